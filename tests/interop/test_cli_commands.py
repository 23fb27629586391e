# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A table of command lines: ours must answer and do what real qemu-img does."""
from __future__ import annotations

from pathlib import Path

import pytest
from cli_cases import CASES
from cli_differences import is_known_in_files, known_difference
from cli_nodes import NODES
from cli_support import split
from cli_unusual import UNUSUAL

from support.side_by_side import SideBySide

pytestmark = pytest.mark.oracle


def cases() -> list[tuple[str, str]]:
    tables = [*CASES.items(), *UNUSUAL.items(), *NODES.items()]
    return [(command, line) for command, lines in tables for line in lines.strip("\n").split("\n")]


@pytest.mark.parametrize(("command", "line"), cases(), ids=lambda value: value or "(nothing)")
def test_answers_and_results_are_those_of_qemu_img(command: str, line: str, images: Path, tmp_path: Path) -> None:
    pair = SideBySide(tmp_path, images, is_known_in_files)
    words = [*split(command), *split(line)]
    theirs, ours = pair.run(words)
    if theirs != ours:
        if known_difference(words, theirs, ours) is None:
            raise pair.difference(theirs, ours)
        if theirs.code != ours.code:
            return
    pair.expect_same_files()
