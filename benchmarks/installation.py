# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""qimg as people have it: the ``qimg`` command in an environment of its own, with bytecode beside the modules.

What the interpreter that runs the benchmarks loads when it starts, and whether it may write bytecode, does not count.
"""
from __future__ import annotations

import importlib.util
import os
import sys
import venv
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "plugins" / "module_utils" / "qimg"

#: The optional packages for each codec.
CODECS = {"zlib": ("isal", "zlib_ng"), "zstd": ("zstandard", "backports.zstd")}

_PROGRAM = """\
#!%s
import sys
from qimg.__main__ import run
if __name__ == "__main__":
    sys.exit(run())
"""


def install(directory: Path) -> dict[str, str]:
    """Install qimg, and no optional package.

    :returns: the environment in which ``qimg`` is found
    """
    place = directory / "environment"
    venv.create(place, with_pip=False, symlinks=True)
    libraries = place / "lib" / ("python%d.%d" % sys.version_info[:2]) / "site-packages"
    (libraries / "qimg").symlink_to(PACKAGE)
    program = place / "bin" / "qimg"
    program.write_text(_PROGRAM % (place / "bin" / "python"), encoding="utf-8")
    program.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PATH"] = os.pathsep.join([str(place / "bin"), os.environ.get("PATH", os.defpath)])
    environment["PYTHONPYCACHEPREFIX"] = str(directory / "bytecode")
    return environment


def with_codec(directory: Path, package: str) -> list[str] | None:
    """What stands before a command that may import one of the optional packages; ``None``: it is not installed."""
    try:
        found = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        return None
    place = directory / "codecs" / package
    link = place.joinpath(*package.split("."))
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(found.origin).parent)
    return ["env", "PYTHONPATH=%s" % place]
