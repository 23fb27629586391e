# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A table of command lines: ours must answer and do what real qemu-img does."""
from __future__ import annotations

import subprocess
from pathlib import Path

import cli_cases
import cli_images
import pytest
from cli_differences import expected_difference
from support.side_by_side import SideBySide, template

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.getbasetemp() / "cli-images", cli_images.build)


def split(line: str) -> list[str]:
    """The words of a line, as a shell has them."""
    done = subprocess.run(
        ["bash", "-c", "printf '%%s\\0' %s" % line], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    return [word.decode("utf-8", "surrogateescape") for word in done.stdout.split(b"\0")[:-1]] if line.strip() else []


def cases() -> list[tuple[str, str]]:
    return [(command, line) for command, lines in cli_cases.CASES.items() for line in lines.strip("\n").split("\n")]


@pytest.mark.parametrize(("command", "line"), cases(), ids=lambda value: value or "(nothing)")
def test_answers_and_results_are_those_of_qemu_img(command: str, line: str, images: Path, tmp_path: Path) -> None:
    if expected_difference(command, line):
        pytest.skip("differs on purpose: see test_cli_differences.py")
    pair = SideBySide(tmp_path, images)
    pair.expect_same([command, *split(line)])
    pair.expect_same_files()
