# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of all kinds, and files without names: descriptors, pipes, links, and what only looks like a file."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import install

from support import oracle
from support.side_by_side import comparable_words

pytestmark = pytest.mark.oracle

#: ``P`` is the program; ``x 255`` gives a name of so many letters.
LINES = r"""
exec 3<disk; P convert -O qcow2 /dev/fd/3 out
P convert -O qcow2 /dev/stdin out <disk; cat disk | P convert -O raw /dev/stdin new
P convert -O raw disk /dev/stdout >out
P convert -O qcow2 disk /dev/fd/4 4<>out; P convert -O qcow2 disk /dev/fd/4 4>>new
P convert -O qcow2 disk /dev/fd/4 4<raw
P convert -n -O raw disk /dev/fd/4 4<>raw; P convert -n -O raw disk /dev/fd/4 4<raw
exec 4<>out; rm out; P convert -O qcow2 disk /dev/fd/4; P info /dev/fd/4 | grep -v size
P convert -O raw 'json:{"driver":"qcow2","file":{"driver":"file","filename":"/dev/fd/3"}}' out 3<disk
P compare disk /dev/fd/3 3<disk; P dd if=/dev/fd/3 of=/dev/fd/4 bs=64k 3<disk 4<>out
P resize /dev/fd/3 3M 3<>disk; P rebase -u -b raw -F raw /dev/fd/3 3<>disk
P create -f qcow2 -b raw -F raw /dev/fd/3 3<>out; P info --output=json /dev/fd/3 3<out | grep name
P create -f qcow2 -b /dev/fd/3 -F raw out 3<raw; P info --output=json out 3<raw | grep name
P amend -o lazy_refcounts=on /dev/fd/3 3<>disk; P check -r all /dev/fd/3 3<>disk
P bench -c 3 -w /dev/fd/3 3<>disk | head -1; P commit /dev/fd/3 3<>disk
P info fd:3 3<disk; P info /dev/fd/77
mkfifo p; P convert -n -O raw disk p
mkfifo p; exec 5<>p; P convert -n -O raw disk p
mkfifo p; P resize p 1M; P commit p; P rebase -u -b '' p
bind s; P info s; P convert -O raw disk s; P create -f qcow2 s 1M; P convert -n -O raw disk s
ln -s disk l; P info l; P convert -O raw l out; P convert -O raw disk l; readlink l
ln -s out l; P convert -O raw disk l; ln -s new m; P create -f qcow2 m 1M; readlink l m
ln -s sub/out l; P convert -O raw disk l; ln -s m m; P convert -O raw disk m; P info m; readlink l m
ln -s raw l; P create -f qcow2 -b l -F raw out; P info --backing-chain out | grep -v size
ln -s . d; P convert -O raw d/disk d/out
P info 'with space'; cp disk 'with space'; P convert -O raw 'with space' 'new space'
cp disk a:b; P info a:b; P info file:a:b; P info ./a:b; P convert -O raw ./a:b ./c:d; P convert -O raw file:a:b file:e:f
P convert -O raw disk c:d; P create -f qcow2 -b c:d -F raw out 1M; P create -f qcow2 -u -b c:d -F raw out 1M; P info out
cp raw c:d; P create -f qcow2 -b ./c:d -F raw out; P create -f qcow2 -b file:c:d -F raw new; P map out; P map new
cp disk $'n\nl'; P info $'n\nl'; P info --output=json $'n\nl'; P map $'n\nl'; P check $'n\nl'
cp disk $'b\xff\xfe'; P info $'b\xff\xfe'; P info --output=json $'b\xff\xfe'; P convert -O raw $'b\xff\xfe' $'c\xff'
P info $'b\xff\xfe'; P convert -O raw disk $'no\xff/x'
cp disk $'q"\\\t'; P info --output=json $'q"\\\t'; P info $'q"\\\t'
cp disk ./-x; P info -- -x; P info -x; P convert -O raw -- disk -y; cp disk ./--help; P info -- --help
P info $(x 255); P info $(x 256); P info $(x 5000)
P convert -O raw disk $(x 255); P create -f qcow2 $(x 254) 1M
P convert -O raw disk $(x 256); P convert -O raw disk $(x 5000); P create -f qcow2 $(x 300) 1M
P create -f qcow2 -u -b $(x 1023) -F raw out 1M; P info out; P create -f qcow2 -b $(x 300) -F raw new 1M
P info ''; P convert -O raw '' out; P convert -O raw disk ''; P create -f qcow2 '' 1M
P convert -O raw disk .; P convert -O raw disk ./; P convert -O raw . out; P info .; P create -f raw . 1M
P convert -O raw disk out/; P convert -O raw disk disk/; P convert -O raw disk no/out/; P create -f raw out/ 1M
P convert -O raw disk/ out; P info disk/; P create -f raw disk/x 1M; P convert -O raw disk no/x
P info file:; P info file:disk; P info file://disk; P info file:///nowhere/disk
P convert -O raw disk file:out; P convert -O raw disk file:; P create -f raw file:new 1M
P create -f raw json:{} 1M; P convert -O raw disk json:x; P info host_device:disk
P info /dev/null; P convert -f raw -O raw /dev/zero out; P convert -f raw -O raw /dev/null new
P create -f raw /dev/null 1M; P convert -O raw disk /dev/full
P info /proc/self/mem; P convert -f raw -O raw /proc/version out; P convert -f raw -O raw /proc/self/status out
P convert -O raw disk /proc/x; P convert -O raw disk /sys/x
"""

_WORDS = """\
P() { timeout 20 "$PROGRAM" "$@"; }
x() { printf 'x%%.0s' $(seq $1); }
bind() { "$PYTHON" -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' $1; }
%s
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ours, installed under qemu-img's name."""
    return str(install(tmp_path_factory.mktemp("bin")))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("images")
    oracle.qemu_img("create", "-q", "-f", "qcow2", "disk", "2M", cwd=directory)
    oracle.qemu_io("disk", "write -P 3 0 1M", cwd=directory)
    oracle.qemu_img("convert", "-O", "raw", "disk", "raw", cwd=directory)
    return directory


def run(program: str, line: str, directory: Path) -> tuple[int, str, str]:
    done = subprocess.run(
        ["bash", "-c", _WORDS % line], cwd=directory, capture_output=True, check=False, timeout=60,
        env={**os.environ, "PROGRAM": program, "PYTHON": sys.executable, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    stdout = re.sub(rb'"(actual|virtual)-size": \d+|(disk size|file length): .*', b"", done.stdout)
    return (
        done.returncode,
        stdout.decode("utf-8", "surrogateescape"),
        comparable_words(done.stderr.decode("utf-8", "surrogateescape")),
    )


@pytest.mark.parametrize("line", LINES.strip().split("\n"))
def test_a_name_means_what_it_means_to_qemu_img(line: str, program: str, images: Path, tmp_path: Path) -> None:
    answers, files = [], []
    for name, directory in (("qemu-img", tmp_path / "theirs"), (program, tmp_path / "ours")):
        shutil.copytree(images, directory)
        answers.append(run(name, line, directory))
        files.append(sorted(os.listdir(directory)))

    assert answers[1] == answers[0]
    assert files[1] == files[0]
    for each in files[0]:
        theirs, ours = tmp_path / "theirs" / each, tmp_path / "ours" / each
        if theirs.is_file() and theirs.read_bytes() != ours.read_bytes():
            compared = oracle.ask_qemu_img("compare", "-s", theirs, ours)
            assert compared.code == 0, (each, compared)


@pytest.mark.parametrize(
    "line",
    ["convert -O raw p out", "dd if=p of=out", "compare disk p", "check p", "snapshot -l p", "measure -O raw p",
     "info p", "create -f qcow2 -b p -F raw out"],
)  # fmt: skip
def test_nobody_waits_for_the_other_end_of_a_pipe(line: str, program: str, images: Path, tmp_path: Path) -> None:
    """qemu-img waits for somebody to open it, and then refuses it in these words."""
    shutil.copytree(images, tmp_path / "ours")
    code, stdout, stderr = run(program, "mkfifo p; P " + line, tmp_path / "ours")
    assert code == (2 if line.startswith("compare") else 1)
    assert stdout == ""
    assert "'file' driver requires 'p' to be a regular file\n" in stderr
    assert sorted(os.listdir(tmp_path / "ours")) == ["disk", "p", "raw"]
