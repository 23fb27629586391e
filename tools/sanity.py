# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ``ansible-test sanity`` in the collection as its archive installs it; arguments are passed on.

The collection is installed outside of the checkout, whose ``.gitignore`` would otherwise hide it from ansible-test.

ansible-test wants to download a script that puts pip into its virtual environments.  Where it cannot, it names the file
in which it looks for the script first; then one is made from pip's own package.
"""
from __future__ import annotations

import base64
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from install_collection import install

#: Does what the script that could not be downloaded does: installs pip and what else it is told, by a packed pip.
BOOTSTRAP = '''
import base64, os, runpy, sys, tempfile

with tempfile.TemporaryDirectory() as directory:
    wheel = os.path.join(directory, "{wheel}")
    with open(wheel, "wb") as packed:
        packed.write(base64.b85decode({content!r}))
    packages = [word for word in sys.argv[1:] if not word.startswith("--no-")]
    if not any(word.startswith("pip") for word in packages):
        packages.append(wheel)
    sys.path.insert(0, wheel)
    sys.argv[1:] = ["install", "--quiet"] + packages
    runpy.run_module("pip", run_name="__main__", alter_sys=True)
'''


def sanity(directory: Path, arguments: list[str]) -> tuple[int, str]:
    """Run the tests, showing what they say; their exit code and what they said."""
    program = Path(sys.executable).with_name("ansible-test")
    version = "%d.%d" % sys.version_info[:2]
    command = [sys.executable, str(program), "sanity", "--venv", "--python", version, "--color", "no", *arguments]
    said = []
    with subprocess.Popen(
        command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            sys.stdout.write(line)
            sys.stdout.flush()
            said.append(line)
    return process.returncode, "".join(said)


def make_bootstrap(script: Path) -> None:
    """Write the script that installs pip of the version in the script's name (``get_pip_24_2.py``)."""
    version = script.stem.removeprefix("get_pip_").replace("_", ".")
    with tempfile.TemporaryDirectory() as directory:
        download = ["pip", "download", "--quiet", "--no-deps", "--dest", directory, "pip==" + version]
        subprocess.run([sys.executable, "-m", *download], check=True)
        (wheel,) = Path(directory).glob("pip-*.whl")
        script.parent.mkdir(parents=True, exist_ok=True)
        content = base64.b85encode(wheel.read_bytes())
        script.write_text(BOOTSTRAP.format(wheel=wheel.name, content=content), encoding="ascii")


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="qimg-sanity-") as directory:
        installed = install(Path(directory))
        code, said = sanity(installed, arguments)
        wanted = re.search(r"bootstrap script can be manually downloaded and saved to: (\S+)", said)
        if wanted is None:
            return code
        script = Path(wanted[1])
        make_bootstrap(script)
        try:
            return sanity(installed, arguments)[0]
        finally:
            script.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
