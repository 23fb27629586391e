# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the command line share."""
from __future__ import annotations

import subprocess


def split(line: str) -> list[str]:
    """The words of a line, as a shell has them."""
    if not line.strip():
        return []
    done = subprocess.run(
        ["bash", "-c", "printf '%%s\\0' %s" % line], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    return [word.decode("utf-8", "surrogateescape") for word in done.stdout.split(b"\0")[:-1]]
