# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SDK has two names: ``qimg``, and the one that it has inside the Ansible collection."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import qimg

IN_COLLECTION = "ansible_collections.qimg.disk.plugins.module_utils.qimg"

#: Imports every module of the SDK under one name, uses it, and says which other name it was seen under.
PROGRAM = """
import importlib, pkgutil, sys

sys.path.insert(0, sys.argv[1])
sdk = importlib.import_module(sys.argv[2])
names = [found.name for found in pkgutil.walk_packages(sdk.__path__, sys.argv[2] + ".")]
for name in names:
    if not name.endswith(".__main__"):
        importlib.import_module(name)
sdk.create(sys.argv[3], "qcow2", size=1 << 20)
assert sdk.info(sys.argv[3]).virtual_size == 1 << 20
try:
    sdk.info(sys.argv[3] + ".missing")
except sdk.ImageError as error:
    assert type(error).__module__ == sys.argv[2] + ".errors"
else:
    raise AssertionError("a missing image has no info")
other = "qimg" if sys.argv[2] != "qimg" else "ansible_collections"
assert other not in sys.modules, "%s imports %s" % (sys.argv[2], other)
print(len(names))
"""


def modules_imported(directory: Path, name: str, image: Path) -> int:
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, str(directory), name, str(image)],
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_the_sdk_is_the_same_under_both_names(tmp_path: Path) -> None:
    package = Path(qimg.__file__).parent
    collection = tmp_path / "ansible_collections" / "qimg" / "disk" / "plugins" / "module_utils"
    collection.mkdir(parents=True)
    (collection / "qimg").symlink_to(package)

    alone = modules_imported(package.parent, "qimg", tmp_path / "a.qcow2")
    inside = modules_imported(tmp_path, IN_COLLECTION, tmp_path / "b.qcow2")

    assert alone == inside > 50
