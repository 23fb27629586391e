# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import the collection's archive as Galaxy does, in a directory of its own; a warning is a failure."""
from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from install_collection import CHECKOUT, run


def main() -> int:
    programs = Path(sys.executable).parent
    with tempfile.TemporaryDirectory(prefix="qimg-importer-") as directory:
        run([str(programs / "ansible-galaxy"), "collection", "build", "--output-path", directory, str(CHECKOUT)])
        (archive,) = Path(directory).glob("qimg-disk-*.tar.gz")
        # The importer starts Ansible's programs by their names, and they keep things in the home directory.
        environment = {**os.environ, "HOME": directory, "PATH": "%s%s%s" % (programs, os.pathsep, os.environ["PATH"])}
        done = subprocess.run(
            [sys.executable, "-m", "galaxy_importer.main", str(archive)],
            cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
    complaints = re.findall(r"^.*\b(?:WARNING|ERROR)\b.*$", done.stdout, re.MULTILINE)
    if done.returncode or complaints or "Importer processing completed successfully" not in done.stdout:
        print(done.stdout)
        print("Galaxy would not import the collection without a complaint.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
