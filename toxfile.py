# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let tox find the Pythons that pyenv keeps off the PATH, for the unit tests on each of them."""
from __future__ import annotations

import os
import re
from pathlib import Path


def _pyenv_pythons() -> list[str]:
    """One Python for each version from 3.9 on, the newest patch release of each."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    newest: dict[int, tuple[int, str]] = {}
    for python in root.glob("versions/3.*/bin/python"):
        version = re.fullmatch(r"3\.(\d+)\.(\d+)", python.parent.parent.name)
        if version is not None and int(version[1]) >= 9:
            minor, patch = int(version[1]), int(version[2])
            newest[minor] = max(newest.get(minor, (0, "")), (patch, str(python)))
    return [path for _minor, (_patch, path) in sorted(newest.items())]


# What `tox --discover` would say, had it been given.
os.environ.setdefault("TOX_DISCOVER", ",".join(_pyenv_pythons()))
