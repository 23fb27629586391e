# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines that a seed decides about: ours must answer and do what real qemu-img does.

Each case is a few command lines, one after another, on copies of the same images.  ``QIMG_DIFFERENTIAL=5000`` runs as
many cases, ``QIMG_DIFFERENTIAL=700-710`` these; a failure shows the number of its case, how the images were made, and
the command lines.
"""
from __future__ import annotations

import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest
from cli_differences import known_difference
from cli_file_differences import is_known_in_files
from generated_images import Scenario, scenario
from generated_lines import Lines

from support.comparable import map_elsewhere
from support.oracle import Answer
from support.side_by_side import Difference, SideBySide, template

pytestmark = pytest.mark.oracle

_CASES = "100"
_LINES_PER_CASE = 3
#: So many cases in a row have the same images.
_CASES_PER_SCENARIO = 10


def cases() -> range:
    first, dash, last = os.environ.get("QIMG_DIFFERENTIAL", _CASES).partition("-")
    return range(int(first), int(last) + 1) if dash else range(int(first))


#: What depends on the time, …
_TIMES = (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE"),
    (r'("date-n?sec"): \d+', r"\1: 0"),
)
#: … and, of images that the two have changed, on where in the file a cluster lies and what the file system made of it.
#: (How many clusters there are is compared with the files.)
_PLACES = (
    (r"(disk size|file length): .*", r"\1"),
    (r'("actual-size"): \d+', r"\1: 0"),
    (r'("image-end-offset"): \d+', r"\1: 0"),
    (r'"(fragmented|allocated|compressed)-clusters": \d+,\s*', ""),
    (r"Image end offset: \d+", ""),
    (r"\d+/\d+ = [\d.]+% allocated, [\d.]+% fragmented, [\d.]+% compressed clusters\n", ""),
)


def _comparable(answer: Answer, words: list[str], changed: bool) -> Answer:
    stdout, stderr = answer.stdout, answer.stderr
    for pattern, replacement in _TIMES + (_PLACES if changed else ()):
        stdout = re.sub(pattern, replacement, stdout)
    if changed and words[0] == "info":
        # The length of a file, in the document of the file beneath an image.
        stdout = re.sub(r'"virtual-size": \d+,(\s*"filename": "[^"]*",\s*"format": "file")', r"\1", stdout)
    if changed and words[0] == "map" and answer.code == 0:
        # Where clusters lie decides what is one extent.
        stdout = json.dumps(map_elsewhere(json.loads(stdout))) if stdout.startswith("[") else ""
    return Answer(answer.code, stdout, stderr)


def _is_known_map(pair: SideBySide, theirs: Answer, ours: Answer) -> bool:
    """Whether two answers of ``map`` tell of what may be different in files."""
    if not theirs.stdout.startswith("[{") or (theirs.code, theirs.stderr) != (ours.code, ours.stderr):
        return False
    return is_known_in_files(pair.history, "map", json.loads(theirs.stdout), json.loads(ours.stdout))


@pytest.mark.parametrize("case", cases())
def test_the_two_answer_and_do_the_same(case: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    images = scenario(case // _CASES_PER_SCENARIO)
    built = template(_directory(tmp_path_factory, case // _CASES_PER_SCENARIO), images.build)
    try:
        _run_case(case, images, SideBySide(tmp_path, built, is_known_in_files))
    except Difference as difference:
        pytest.fail("case %d, on these images:\n%s\n%s" % (case, images, difference), pytrace=False)
    shutil.rmtree(tmp_path)


def _directory(tmp_path_factory: pytest.TempPathFactory, number: int) -> Path:
    base: Path = tmp_path_factory.getbasetemp()
    return base / ("generated-%d" % number)


def _run_case(case: int, images: Scenario, pair: SideBySide) -> None:
    lines = Lines(random.Random("case %d" % case), images)
    changed = False
    for _ in range(_LINES_PER_CASE):
        words = lines.next()
        theirs, ours = pair.run(words, lines.stdin)
        if "needs a Python package" in ours.stderr:
            # What this interpreter cannot do cannot be compared.
            return
        theirs, ours = (_comparable(answer, words, changed) for answer in (theirs, ours))
        known = None if theirs == ours else known_difference(words, theirs, ours)
        if theirs != ours and known is None and not _is_known_map(pair, theirs, ours):
            if pair.has_known_differences and words[0] == "measure" and theirs.code == ours.code:
                # It adds up what there is.
                return
            raise pair.difference(theirs, ours)
        if theirs.code != ours.code or (known is not None and known.files_too):
            # From here on the files are not the same.
            return
        if ours.code != 0 and words[0] == "bench":
            # Which requests were done when one failed is a matter of luck.
            return
        pair.expect_same_files()
        if ours.code != 0 and pair.changed():
            # What fails leaves nothing behind here, but something half made there.
            return
        changed = changed or pair.changed()
