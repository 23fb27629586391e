# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules on block devices, which are there before any image is, and longer than most."""
from __future__ import annotations

import os
import stat
import subprocess

import pytest

from .conftest import failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.playbook import Ansible, Results, Tasks

MIB = 1 << 20


@pytest.fixture
def device(tmp_path: Path) -> Iterator[str]:
    """A block device of 16 MiB that holds something else."""
    content = tmp_path / "device.img"
    content.write_bytes(b"old" * (16 * MIB // 3) + b"!")
    attached = subprocess.run(["losetup", "-f", "--show", content], capture_output=True, text=True, check=False)
    if attached.returncode:
        pytest.skip("no block devices can be made here")
    path = attached.stdout.strip()
    try:
        yield path
    finally:
        subprocess.run(["losetup", "-d", path], check=True)


def changed(results: Results) -> list[str]:
    return [name for name, result in results.items() if result["changed"]]


def test_images_on_a_device_settle(ansible: Ansible, device: str, tmp_path: Path) -> None:
    source = tmp_path / "server.raw"
    source.write_bytes(b"\1" * MIB + bytes(MIB))
    copy = {"source": str(source), "source_format": "raw", "path": device, "replace": "if_different"}
    absent = {"remove": {"qimg.disk.qimg_create": {"path": device, "state": "absent"}}}
    raw: Tasks = {"raw": {"qimg.disk.qimg_convert": {**copy, "format": "raw"}}, **absent}
    qcow2: Tasks = {
        "qcow2": {"qimg.disk.qimg_convert": {**copy, "format": "qcow2"}},
        "snapshot": {"qimg.disk.qimg_snapshot": {"path": device, "name": "one"}},
        "resize": {"qimg.disk.qimg_resize": {"path": device, "size": "8M", "size_policy": "at_least"}},
        "check": {"qimg.disk.qimg_check": {"path": device, "repair": "all"}},
        "present": {
            "qimg.disk.qimg_create": {"path": device, "format": "qcow2", "size": "2M", "size_policy": "at_least"}
        },
        **absent,
    }
    for tasks, changing in ((raw, ["raw"]), (qcow2, ["qcow2", "snapshot", "resize"])):
        checked, first, again = ansible.play(tasks, "--check"), ansible.play(tasks), ansible.play(tasks)
        assert changed(checked) == changed(first) == changing
        assert failed(checked) == failed(first) == failed(again)
        assert failed(first).keys() == {"remove"}
        if tasks is raw:
            assert changed(again) == []
            assert again["raw"]["matches_source"] is True
            with open(device, "rb") as file:
                assert file.read(2 * MIB) == source.read_bytes()
                assert file.read(3) == (b"old" * MIB)[2 * MIB :][:3]
    assert "Only image files can be removed" in first["remove"]["msg"]
    assert stat.S_ISBLK(os.stat(device).st_mode)
