# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks of the README, played as they are written, but for where the images are and whose they are."""
from __future__ import annotations

import grp
import os
import pwd
import re
from pathlib import Path

import pytest

import qimg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from support.playbook import Ansible

CHECKOUT = Path(__file__).resolve().parents[2]
#: Where the tasks of the README look for images.
DIRECTORY = r"/srv/images|/var/lib/libvirt/images"


#: The version of the golden image that the README publishes, and the next.
VERSION, NEXT_VERSION = "12.11", "12.12"


def tasks(directory: Path, version: str = VERSION) -> dict[str, dict[str, Any]]:
    """The tasks of the README by their names, with all images in one directory and of the user who runs the tests."""
    yaml = pytest.importorskip("yaml")
    page = (CHECKOUT / "README.md").read_text("utf-8")
    assert VERSION in page
    page = page.replace(VERSION, version).replace("libvirt-qemu", pwd.getpwuid(os.geteuid()).pw_name)
    page = page.replace("group: kvm", "group: " + grp.getgrgid(os.getegid()).gr_name)
    found = {}
    for block in re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        for task in yaml.safe_load(re.sub(DIRECTORY, str(directory), block)):
            name = re.sub(r"\W+", "_", task.pop("name"))
            found[name] = task
    return found


def test_the_tasks_work_and_change_nothing_the_second_time(ansible: Ansible, tmp_path: Path) -> None:
    (tmp_path / "debian-12.11.raw").write_bytes(b"\1" * (1 << 20) + bytes(3 << 20))

    first = ansible.play(tasks(tmp_path))
    second = ansible.play(tasks(tmp_path))

    assert len(first) >= 5
    assert [name for name, result in {**first, **second}.items() if result.get("failed")] == []
    assert [name for name, result in first.items() if result["changed"]] == list(first)[:2]
    assert [name for name, result in second.items() if result["changed"]] == []
    assert {path.name for path in tmp_path.glob("*.qcow2")} == {
        "debian-12.11.qcow2", "web1.qcow2", "web2.qcow2", "db1.qcow2"
    }


def test_the_disks_move_to_the_next_version_and_keep_their_content(ansible: Ansible, tmp_path: Path) -> None:
    for version, byte in ((VERSION, b"\1"), (NEXT_VERSION, b"\2")):
        (tmp_path / ("debian-%s.raw" % version)).write_bytes(byte * (1 << 20) + bytes(3 << 20))
    ansible.play(tasks(tmp_path))
    with qimg.open_image(tmp_path / "web1.qcow2", purpose="write") as disk:
        disk.write(2 << 20, b"of the guest")
    qimg.convert(tmp_path / "web1.qcow2", tmp_path / "before.raw")

    moved, again = ansible.play(tasks(tmp_path, NEXT_VERSION)), ansible.play(tasks(tmp_path, NEXT_VERSION))

    assert [name for name, result in {**moved, **again}.items() if result.get("failed")] == []
    assert [result["changed"] for result in moved.values()][:3] == [True, False, True]
    assert not any(result["changed"] for result in again.values())
    assert qimg.info(tmp_path / "web1.qcow2").backing_filename == "debian-%s.qcow2" % NEXT_VERSION
    assert qimg.compare(tmp_path / "before.raw", tmp_path / "web1.qcow2").identical
