# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the command line share."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import qimg


def split(line: str) -> list[str]:
    """The words of a line, as a shell has them."""
    if not line.strip():
        return []
    done = subprocess.run(
        ["bash", "-c", "printf '%%s\\0' %s" % line], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    return [word.decode("utf-8", "surrogateescape") for word in done.stdout.split(b"\0")[:-1]]


_PROGRAM = """\
#!%s
import sys
sys.path.insert(0, %r)
from qimg.__main__ import run
run()
"""


def install(directory: Path) -> Path:
    """Our program, as an executable file called ``qimg``, and a link to it called ``qemu-img``; returns the link."""
    program = directory / "qimg"
    program.write_text(_PROGRAM % (sys.executable, str(Path(qimg.__file__).parents[1])))
    program.chmod(0o755)
    link = directory / "qemu-img"
    link.symlink_to(program)
    return link
