# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person at a terminal sees: standard output and standard error as one stream."""
from __future__ import annotations

import os
import pty
import re
from pathlib import Path

import pytest
from cli_support import install, split

from support.side_by_side import SideBySide

pytestmark = pytest.mark.oracle

LINES = r"""
convert -p -O qcow2 data.qcow2 new.qcow2
convert -p odd.raw nowhere/new
convert -p nowhere new
convert -p -O qcow2 -o cluster_size=3 odd.raw new
commit -p over.qcow2
commit -p nowhere
rebase -p -b nowhere -F raw over.qcow2
compare -p odd.raw nowhere
compare -p data.qcow2 empty.qcow2
amend -p -o nonsense=1 data.qcow2
amend -p -o lazy_refcounts=on data.qcow2
"""


def on_a_terminal(program: str, words: list[str], directory: Path) -> tuple[int, bytes]:
    """Exit code and everything that appears."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(directory)
        os.execvp(program, [program, *words])
    seen = b""
    while True:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:
            # Nobody has the other end open any more.
            break
        if not piece:
            break
        seen += piece
    os.close(terminal)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    # How many steps there are between the first and the last depends on how the work is cut.
    return code, re.sub(rb"(\r    \(\d+\.\d\d/100%\))+(?=\r    \(100\.00/100%\)\r)", b"", seen)


@pytest.mark.parametrize("line", LINES.strip().split("\n"))
def test_messages_and_progress_come_in_qemu_img_s_order(line: str, images: Path, tmp_path: Path) -> None:
    pair = SideBySide(tmp_path, images)
    ours = on_a_terminal(str(install(tmp_path)), split(line), pair.ours)
    assert ours == on_a_terminal("qemu-img", split(line), pair.theirs)
