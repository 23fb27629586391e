# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said when a server reads, writes or finds nothing: qemu-img's words and exit codes."""
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support import oracle
from support.in_process import qimg
from support.nbd import nbdkit, serving, unix_listener

pytestmark = pytest.mark.oracle

_SIZE = 128 << 10
#: What nbdkit fails at -> command lines; the export holds the file that is named. Each reads or writes once, as what
#: several requests answer at the same time comes in any order.
LINES = """
extents disk compare -f raw {export} disk
extents disk compare -F raw disk {export}
extents disk map -f raw {export}
extents disk measure -f raw -O qcow2 {export}
extents disk convert -f raw {export} new
extents disk dd -f raw if={export} of=new
pread disk compare -f raw {export} disk
pread disk compare -F raw disk {export}
pread disk dd -f raw if={export} of=new
pread disk convert -f raw {export} new
pread disk info {export}
pread disk rebase -b {export} -F raw over.qcow2
pread empty.qcow2 info -f qcow2 {export}
pread disk rebase -b '' over-export.qcow2
pwrite disk commit over-export.qcow2
pwrite disk convert -n -O raw disk {export}
"""


_EXPORT = "nbd+unix:///?socket=s"


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("disks")
    (directory / "disk").write_bytes(b"x" * _SIZE)
    oracle.qemu_img("create", "-q", "-f", "qcow2", "empty.qcow2", "64k", cwd=directory)
    for name in ("over.qcow2", "over-export.qcow2"):
        base = str(directory / "disk")
        oracle.qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", name, cwd=directory)
        oracle.qemu_io(name, "write 64k 64k", cwd=directory)
    oracle.qemu_img("rebase", "-u", "-b", _EXPORT, "-F", "raw", "over-export.qcow2", cwd=directory)
    return directory


@pytest.mark.parametrize("line", LINES.strip().splitlines())
def test_both_say_the_same(line: str, disks: Path, tmp_path: Path) -> None:
    failing, exported, *words = line.format(export=_EXPORT).split(" ")
    words = ["" if word == "''" else word for word in words]
    server = nbdkit("--filter=error", "file", exported, "error-%s=EIO" % failing, "error-%s-rate=100%%" % failing)
    answers = []
    for side in ("qemu", "ours"):
        directory = tmp_path / side
        shutil.copytree(disks, directory)
        with unix_listener(directory, "s") as listener, serving(server, listener, directory):
            if side == "qemu":
                answers.append(oracle.run("qemu-img", *words, cwd=directory))
            else:
                answers.append(qimg(*words, cwd=directory))
        if answers[-1].code == 0:
            assert (directory / "new").read_bytes() == b"x" * _SIZE
    theirs, ours = answers
    assert ours == theirs
