# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A table of command lines: ours must answer and do what real qemu-img does."""
from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

import pytest
from cli_cases import CASES
from cli_cases_later import LINES as LATER_LINES
from cli_differences import known_difference
from cli_file_differences import is_known_in_files
from cli_nodes import NODES
from cli_support import split
from cli_unusual import UNUSUAL

from support import oracle
from support.side_by_side import SideBySide

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.oracle import Answer

pytestmark = pytest.mark.oracle


#: A later release is asked each of so many lines; what is new in it has lines of its own.
_LATER_STEP = 4


def cases() -> list[tuple[int, str, str]]:
    """What is asked: release of QEMU, command and line."""
    tables = [*CASES.items(), *UNUSUAL.items(), *NODES.items()]
    lines = [(command, line) for command, lines in tables for line in lines.strip("\n").split("\n")]
    return [
        (release, command, line)
        for release in oracle.releases()
        for command, line in lines[:: 1 if release == oracle.releases()[0] else _LATER_STEP]
    ]


class Pairs:
    """Copies of the images for both programs, which are used again as long as nothing in them is changed."""

    def __init__(self, images: Path, directory: Path, release: int) -> None:
        self._images = images
        self._release = release
        self._directory = directory
        self._made = 0
        self._unchanged: SideBySide | None = None

    @contextlib.contextmanager
    def pair(self) -> Iterator[SideBySide]:
        """Copies for one command line; they are left as they are where it fails the test."""
        pair, self._unchanged = self._unchanged, None
        if pair is None:
            self._made += 1
            root = self._directory / str(self._made)
            root.mkdir()
            pair = SideBySide(root, self._images, is_known_in_files, self._release)
        pair.history.clear()
        yield pair
        if pair.changed():
            shutil.rmtree(pair.ours.parent)
        else:
            self._unchanged = pair


@pytest.fixture(scope="module")
def pairs(request: pytest.FixtureRequest, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Copies of the images for us and one release of qemu-img."""
    return Pairs(images, tmp_path_factory.mktemp("pairs"), request.param)


@pytest.mark.parametrize(
    ("pairs", "command", "line"), cases(), indirect=["pairs"], ids=lambda value: str(value) or "(nothing)"
)
def test_answers_and_results_are_those_of_qemu_img(command: str, line: str, pairs: Pairs) -> None:
    expect_the_same([*split(command), *split(line)], pairs)


@pytest.mark.parametrize("pairs", oracle.releases()[-1:], indirect=True)
@pytest.mark.parametrize("line", LATER_LINES.strip("\n").split("\n"))
def test_what_only_the_later_release_knows_is_the_same_too(line: str, pairs: Pairs) -> None:
    expect_the_same(split(line), pairs)


def _without_disk_size(answer: Answer) -> Answer:
    """How many blocks a file system has used for a file by now depends on what else it has to do."""
    text = re.sub(r'(disk size: |"actual-size": ).*', r"\1", answer.stdout)
    return answer._replace(stdout=text)


def expect_the_same(words: list[str], pairs: Pairs) -> None:
    """Both must print the same and leave the same files, but for known differences."""
    with pairs.pair() as pair:
        theirs, ours = pair.run(words)
        if _without_disk_size(theirs) != _without_disk_size(ours):
            if known_difference(words, theirs, ours) is None:
                raise pair.difference(theirs, ours)
            if theirs.code != ours.code:
                return
        pair.expect_same_files()
