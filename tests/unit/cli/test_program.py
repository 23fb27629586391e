# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line as a process of its own: how it ends."""
from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_names_are_the_bytes_that_they_are_in_every_locale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PYTHONUTF8", "0")
    for words in (("create", "-q", "-f", "qcow2", "Bär", "1M"), ("snapshot", "-c", "böse", "Bär")):
        assert run_program(*words, cwd=tmp_path).returncode == 0

    done = run_program("info", "Bär", cwd=tmp_path, capture_output=True)

    assert os.listdir(tmp_path) == ["Bär"]
    assert "image: Bär\n".encode() in done.stdout and "\n1       böse".encode() in done.stdout


def test_output_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    path = str(tmp_path / "disk.qcow2")
    qimg.create(path, "qcow2", size=1 << 20)

    with open("/dev/full", "wb") as full:
        done = run_program("info", path, stdout=full, stderr=subprocess.PIPE)

    assert done.returncode == 1
    assert b"Could not write to standard output: No space left on device" in done.stderr


def test_a_comparison_of_which_nobody_hears_does_not_say_that_images_differ(tmp_path: Path) -> None:
    path = str(tmp_path / "disk.qcow2")
    qimg.create(path, "qcow2", size=1 << 20)

    with open("/dev/full", "wb") as full:
        done = run_program("compare", path, path, stdout=full, stderr=subprocess.PIPE)

    assert done.returncode == 2
    assert b"Could not write to standard output: No space left on device" in done.stderr


_SIGNAL_AT_START = """\
import os, sys
sys.path.insert(0, %r)
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "qimg.cli.main":
            os.kill(os.getpid(), %d)
sys.meta_path.insert(0, Finder)
sys.argv = ["qimg", "info", "-f", "raw", %r]
from qimg.__main__ import run
run()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGUSR1, 0)])
def test_a_signal_while_the_program_starts_has_it_say_nothing(number: int, code: int, tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(1024))
    program = _SIGNAL_AT_START % (str(PACKAGES), number, str(path))

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)

    assert (done.returncode, done.stderr) == (code, b"")


def test_who_asks_a_running_command_is_told_how_far_it_is(tmp_path: Path) -> None:
    (tmp_path / "disk.raw").write_bytes(b"x" * (8 << 20))
    environment = dict(os.environ, PYTHONPATH=str(PACKAGES))
    command = [sys.executable, "-m", "qimg", "convert", "-r", "1M", "-f", "raw", "-O", "raw", "disk.raw", "new"]
    # Before the program says what is to happen then, a signal would end it; what is ignored stays so for a child.
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        running = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGUSR1, before)
    with running:
        assert running.stderr is not None
        while not select.select([running.stderr], [], [], 0.02)[0]:
            running.send_signal(signal.SIGUSR1)
        line = running.stderr.readline()
        running.terminate()

    assert re.fullmatch(rb"    \(\d+\.\d\d/100%\)\n", line)
