# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the demonstration twice, the second time to see that nothing changes; arguments are ansible-playbook's."""
from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
IMAGES = CHECKOUT / "build" / "demo"


def play(arguments: list[str]) -> int:
    """Run the playbook of the installed collection once.

    :returns: how many tasks changed something
    """
    program = Path(sys.executable).with_name("ansible-playbook")
    command = [str(program), "qimg.disk.demo", "--extra-vars", "demo_directory=%s" % IMAGES, *arguments]
    recap = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stdout or ():
            sys.stdout.write(line)
            sys.stdout.flush()
            recap = line if "unreachable=" in line else recap
    if process.returncode:
        sys.exit(process.returncode)
    return int(re.findall(r"changed=(\d+)", recap)[0])


def main(arguments: list[str]) -> str | None:
    shutil.rmtree(IMAGES, ignore_errors=True)
    IMAGES.mkdir(parents=True)
    print("The first run makes the images in %s." % IMAGES, flush=True)
    if play(arguments) == 0:
        return "The first run changed nothing, though there were no images."
    print("The second run must find everything as it should be.", flush=True)
    changed = play(arguments)
    if changed:
        return "The second run changed something: %d tasks." % changed
    print("The second run changed nothing. The images are in %s." % IMAGES)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
