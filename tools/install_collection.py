# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the collection's archive and install it, as its users do: ``python tools/install_collection.py DIRECTORY``."""
from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def install(collections: Path) -> Path:
    """Put the built collection below a directory of collections, and nothing else.

    :returns: the directory of the installed collection
    """
    galaxy = [str(Path(sys.executable).with_name("ansible-galaxy")), "collection"]
    with tempfile.TemporaryDirectory() as directory:
        run([*galaxy, "build", "--output-path", directory, str(CHECKOUT)])
        (archive,) = Path(directory).glob("qimg-disk-*.tar.gz")
        run([*galaxy, "install", "--force", "--no-deps", "--offline", "-p", str(collections), str(archive)])
    return collections / "ansible_collections" / "qimg" / "disk"


def run(command: list[str]) -> None:
    """Run a command; what it says is only of interest if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit("%s\n%s failed" % (done.stdout, " ".join(command)))


if __name__ == "__main__":
    print(install(Path(sys.argv[1])))
