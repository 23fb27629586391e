# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules on images of other formats than qcow2: made, copied, resized and removed, once."""
from __future__ import annotations

from pathlib import Path

import pytest

from support import oracle

from .conftest import failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from support.playbook import Ansible, Tasks

pytestmark = pytest.mark.oracle

MIB = 1 << 20
#: Name -> format and creation options.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "split": ("vmdk", {"subformat": "twoGbMaxExtentSparse"}),
    "vhdx": ("vhdx", {"block_size": "1M"}),
    "parallels": ("parallels", {}),
    "vdi": ("vdi", {}),
}


def test_images_of_other_formats_settle_and_go(ansible: Ansible, tmp_path: Path) -> None:
    (tmp_path / "server.raw").write_bytes(b"\1" * MIB + bytes(3 * MIB))
    images = tmp_path / "images"
    images.mkdir()
    tasks: Tasks = {}
    for kind, (format, options) in KINDS.items():
        made, copied = str(images / (kind + ".img")), str(images / (kind + "-copy.img"))
        tasks["make_" + kind] = {
            "qimg.disk.qimg_create": {
                "path": made, "format": format, "size": "4M", "size_policy": "at_least", "options": options,
            }
        }
        tasks["grow_" + kind] = {"qimg.disk.qimg_resize": {"path": made, "format": format, "size": "6M"}}
        tasks["copy_" + kind] = {
            "qimg.disk.qimg_convert": {
                "source": str(tmp_path / "server.raw"), "source_format": "raw", "path": copied, "format": format,
                "replace": "if_different", "options": options,
            }
        }
    foreseen = ansible.play(tasks, "--check")
    assert not list(images.iterdir())
    done, again = ansible.play(tasks), ansible.play(tasks)
    for results in (foreseen, done, again):
        assert failed(results) == {}
    assert all(result["changed"] for result in foreseen.values())
    assert all(result["changed"] for result in done.values())
    assert not any(result["changed"] for result in again.values())
    for name, result in done.items():
        assert foreseen[name]["actions"] == result["actions"], name
    for kind, (format, _options) in KINDS.items():
        assert oracle.info(images / (kind + ".img"), "-f", format)["virtual-size"] == 6 * MIB
        copy = oracle.read_guest(images / (kind + "-copy.img"), tmp_path / "copy", format)
        assert copy == (tmp_path / "server.raw").read_bytes()

    gone = ansible.play(
        {
            "remove_%s%s" % (kind, copy.replace("-", "_")): {
                "qimg.disk.qimg_create": {
                    "path": str(images / (kind + copy + ".img")), "format": format, "state": "absent",
                }
            }
            for kind, (format, _options) in KINDS.items()
            for copy in ("", "-copy")
        }
    )
    assert failed(gone) == {} and all(result["changed"] for result in gone.values())
    assert not list(images.iterdir())
