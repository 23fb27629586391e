# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line as a process of its own: how it ends."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import qimg

PACKAGES = Path(qimg.__file__).resolve().parent.parent


def run_program(*words: str, **arguments: object) -> subprocess.CompletedProcess[bytes]:
    environment = dict(os.environ, PYTHONPATH=str(PACKAGES))
    command = [sys.executable, "-m", "qimg", *words]
    return subprocess.run(command, env=environment, check=False, **arguments)  # type: ignore[call-overload,no-any-return]


def test_all_output_is_written_before_the_process_ends(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    with open(path, "wb") as disk:
        for number in range(2000):
            disk.seek(number << 16)
            disk.write(b"x" * 4096)

    done = run_program("map", "-f", "raw", "--output=json", str(path), capture_output=True)

    assert (done.returncode, done.stderr) == (0, b"")
    assert len(json.loads(done.stdout)) == 3999


def test_the_exit_code_and_the_message_are_those_of_the_command(tmp_path: Path) -> None:
    done = run_program("info", str(tmp_path / "nothing"), capture_output=True)

    assert done.returncode == 1
    assert done.stderr.startswith(b"qimg: Could not open '")


def test_output_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    path = str(tmp_path / "disk.qcow2")
    qimg.create(path, "qcow2", size=1 << 20)

    with open("/dev/full", "wb") as full:
        done = run_program("info", path, stdout=full, stderr=subprocess.PIPE)

    assert done.returncode == 1
    assert b"Could not write to standard output: No space left on device" in done.stderr
