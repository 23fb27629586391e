# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every known difference from qemu-img is still there, and documented."""
from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_differences import (
    DIFFERENCES,
    EXPORT_DIFFERENCES,
    ODD_PLACES,
    KnownDifference,
    known_difference,
    shown,
)
from cli_file_differences import FILE_DIFFERENCES, FileDifference, is_known_in_files
from cli_support import split

from support import oracle
from support.side_by_side import Difference, SideBySide

_TWO_EMPTY_BACKING_FILES = "compare %s %s" % (
    """'json:{"driver":"qcow2","file.filename":"data.qcow2","backing":""}'""",
    """'json:{"driver":"qcow2","file.filename":"empty.qcow2","backing":""}'""",
)
_PAGE = Path(__file__).resolve().parents[2] / "docs" / "differences.md"


@pytest.mark.oracle
@pytest.mark.parametrize("entry", DIFFERENCES, ids=lambda entry: entry.title)
def test_the_example_of_a_difference_shows_it(entry: KnownDifference, images: Path, tmp_path: Path) -> None:
    words = split(entry.line)
    theirs, ours = SideBySide(tmp_path, images).run(words)
    assert re.search(entry.theirs, shown(theirs), re.DOTALL), theirs
    assert re.search(entry.ours, shown(ours), re.DOTALL), ours
    assert known_difference(words, theirs, ours) is not None


@pytest.mark.oracle
@pytest.mark.parametrize("line", [*(line for line, *_ in ODD_PLACES), _TWO_EMPTY_BACKING_FILES])
def test_small_differences_in_words_are_as_listed(line: str, images: Path, tmp_path: Path) -> None:
    words = split(line)
    theirs, ours = SideBySide(tmp_path, images).run(words)
    assert theirs != ours
    entry = known_difference(words, theirs, ours)
    assert entry is not None and entry.title == "Caches of any size, and a warning once"


@pytest.mark.oracle
@pytest.mark.parametrize("entry", FILE_DIFFERENCES, ids=lambda entry: entry.title)
def test_the_example_of_a_difference_leaves_other_files(entry: FileDifference, images: Path, tmp_path: Path) -> None:
    def is_other_aspect(lines: list[list[str]], aspect: str, theirs: object, ours: object) -> bool:
        return aspect != entry.aspect and is_known_in_files(lines, aspect, theirs, ours)

    pair = SideBySide(tmp_path, images, is_other_aspect)
    pair.expect_same(split(entry.line))
    with pytest.raises(Difference) as caught:
        pair.expect_same_files()
    assert caught.value.aspect == entry.aspect


def test_the_page_explains_every_difference_and_no_other() -> None:
    headings = re.findall(r"^### (.*)$", _PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(headings) == sorted(entry.title for entry in (*DIFFERENCES, *EXPORT_DIFFERENCES, *FILE_DIFFERENCES))


@pytest.mark.oracle
def test_a_safe_rebase_of_version_2_changes_nothing_that_is_read(images: Path, tmp_path: Path) -> None:
    pair = SideBySide(tmp_path, images)
    # v2.qcow2 has nothing at 1 KiB, other.qcow2 has data at 1 MiB: both are as large as it takes to show it.
    for line in ("resize v2.qcow2 3M", "rebase -b other.qcow2 -F qcow2 v2.qcow2"):
        theirs, ours = pair.run(line.split())
        assert theirs.code == ours.code == 0
    for directory, byte in ((pair.theirs, 4), (pair.ours, 0)):
        oracle.qemu_io("v2.qcow2", "read -P %d 1M 1M" % byte, cwd=directory)


@pytest.mark.oracle
def test_what_does_not_fill_a_cluster_is_left_to_the_backing_file(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "base.raw").write_bytes(b"\7" * 512)
    oracle.qemu_img("create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "over.qcow2", cwd=images)
    pair = SideBySide(tmp_path, images)
    theirs, ours = pair.run(split("convert -c -O qcow2 -B base.raw -F raw over.qcow2 new.qcow2"))
    assert theirs == ours and ours.code == 0
    for directory, depth in ((pair.theirs, 0), (pair.ours, 1)):
        assert [run["depth"] for run in oracle.map_("new.qcow2", cwd=directory)] == [depth]
        oracle.qemu_io("new.qcow2", "read -P 7 0 512", cwd=directory)
