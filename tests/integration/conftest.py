# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection, installed from the archive that is built of this checkout."""
from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from support import playbook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
#: What every module that works on one image is given beside its path.
ON_ONE_IMAGE: dict[str, dict[str, Any]] = {
    "check": {},
    "snapshot": {"name": "new"},
    "rebase": {"backing_file": ""},
    "resize": {"size": "8M"},
    "amend": {"options": {"refcount_bits": 8}},
    "bitmap": {"name": "new"},
    "commit": {},
    "info": {"gather": ["info", "map", "check"]},
}


@pytest.fixture(scope="session")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that ``ansible-galaxy`` has installed the built archive into."""
    reason = playbook.missing()
    if reason is not None:
        pytest.skip(reason)
    directory: Path = tmp_path_factory.mktemp("collections")
    subprocess.run([sys.executable, CHECKOUT / "tools" / "install_collection.py", directory], check=True)
    return directory


@pytest.fixture(scope="session")
def ansible(collections: Path, tmp_path_factory: pytest.TempPathFactory) -> playbook.Ansible:
    return playbook.Ansible(collections, tmp_path_factory.mktemp("ansible"))


def contents(directory: Path) -> dict[str, tuple[int, str]]:
    """Mode and digest of every file below a directory, to see that none has changed."""
    found = {}
    for root, _directories, names in os.walk(directory):
        for name in names:
            path = Path(root, name)
            if path.is_file():
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[str(path.relative_to(directory))] = (path.stat().st_mode, digest)
    return found


def set_refcounts(image: Path, cluster: int, *counts: int) -> None:
    """Falsify 16-bit reference counts in the image's first refcount block."""
    with image.open("r+b") as file:
        file.seek(48)
        (table,) = struct.unpack(">Q", file.read(8))
        file.seek(table)
        (block,) = struct.unpack(">Q", file.read(8))
        file.seek(block + 2 * cluster)
        file.write(struct.pack(">%dH" % len(counts), *counts))


def foreseeable(info: dict[str, Any]) -> dict[str, Any]:
    """What can be known of an image before it is there: neither its length nor when its snapshots will be taken."""
    snapshots = [each["name"] for each in info.get("snapshots", [])]
    return {**info, "actual-size": 0, "children": [], "snapshots": snapshots}


def failed(results: playbook.Results) -> dict[str, str]:
    """The messages of the tasks that failed, by name."""
    return {name: result["msg"] for name, result in results.items() if result.get("failed")}
