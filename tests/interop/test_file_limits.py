# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said when a file may not become as long as it has to be: qemu-img's words."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cli_support import install, split

from support import oracle

pytestmark = pytest.mark.oracle

#: No file may become longer than this.
_KIB = 4096
LINES = """
create -f raw new 10M
create -f raw -o preallocation=full new 10M
create -f raw -o preallocation=falloc new 10M
create -f qcow2 -o preallocation=full new 10M
create -f qcow2 -o preallocation=falloc new 10M
create -f qcow2 -o preallocation=metadata new 10M
create -f qcow2 -o data_file=data new 10M
create -f qcow2 -o data_file=data,preallocation=full new 10M
convert -O raw empty.qcow2 new
convert -O raw -o preallocation=full empty.qcow2 new
convert -O raw -o preallocation=falloc empty.qcow2 new
convert -O qcow2 -o preallocation=full empty.qcow2 new
convert -O qcow2 -o preallocation=falloc empty.qcow2 new
convert -O qcow2 -o preallocation=metadata empty.qcow2 new
dd if=empty.qcow2 of=new bs=1M
resize small.qcow2 10M --preallocation=full
resize small.qcow2 10M --preallocation=falloc
resize small.qcow2 10M --preallocation=metadata
resize -f raw small.raw 10M
resize -f raw small.raw 10M --preallocation=full
resize -f raw small.raw 10M --preallocation=falloc
rebase -b '' over.qcow2
commit full.qcow2
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("small")
    oracle.qemu_img("create", "-q", "-f", "qcow2", "empty.qcow2", "10M", cwd=directory)
    oracle.qemu_img("create", "-q", "-f", "qcow2", "small.qcow2", "1M", cwd=directory)
    oracle.qemu_img("create", "-q", "-f", "raw", "small.raw", "1M", cwd=directory)
    (directory / "full").write_bytes(b"x" * (10 << 20))
    oracle.qemu_img("create", "-q", "-f", "qcow2", "-b", "full", "-F", "raw", "over.qcow2", cwd=directory)
    words = ("create", "-q", "-f", "qcow2", "-b", "small.qcow2", "-F", "qcow2", "full.qcow2", "10M")
    oracle.qemu_img(*words, cwd=directory)
    oracle.qemu_io("full.qcow2", "write 0 10M", cwd=directory)
    return directory


@pytest.mark.parametrize("line", LINES.strip().splitlines())
def test_both_say_the_same(line: str, small: Path, program: Path, tmp_path: Path) -> None:
    answers = []
    for side, command in (("theirs", "qemu-img"), ("ours", str(program))):
        shutil.copytree(small, tmp_path / side)
        words = ["sh", "-c", 'ulimit -f %d && exec "$0" "$@"' % (_KIB * 2), command, *split(line)]
        done = subprocess.run(words, capture_output=True, cwd=tmp_path / side, check=False)
        answers.append((done.returncode, done.stdout.decode(), done.stderr.decode()))
    assert answers[1] == answers[0]
    assert "File too large" in answers[1][2] or "too large for file format" in answers[1][2]
