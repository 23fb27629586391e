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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from support.playbook import Ansible

CHECKOUT = Path(__file__).resolve().parents[2]
#: Where the tasks of the README look for images.
DIRECTORY = r"/srv/images|/var/lib/libvirt/images"


def tasks(directory: Path) -> dict[str, dict[str, Any]]:
    """The tasks of the README by their names, with all images in one directory and of the user who runs the tests."""
    yaml = pytest.importorskip("yaml")
    page = (CHECKOUT / "README.md").read_text("utf-8")
    page = page.replace("libvirt-qemu", pwd.getpwuid(os.geteuid()).pw_name)
    page = page.replace("group: kvm", "group: " + grp.getgrgid(os.getegid()).gr_name)
    found = {}
    for block in re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        for task in yaml.safe_load(re.sub(DIRECTORY, str(directory), block)):
            name = re.sub(r"\W+", "_", task.pop("name"))
            found[name] = task
    return found


def test_the_tasks_work_and_change_nothing_the_second_time(ansible: Ansible, tmp_path: Path) -> None:
    (tmp_path / "debian-12.raw").write_bytes(b"\1" * (1 << 20) + bytes(3 << 20))

    first = ansible.play(tasks(tmp_path))
    second = ansible.play(tasks(tmp_path))

    assert len(first) >= 4
    assert [name for name, result in {**first, **second}.items() if result.get("failed")] == []
    assert [name for name, result in first.items() if result["changed"]] == list(first)[:2]
    assert [name for name, result in second.items() if result["changed"]] == []
    assert {path.name for path in tmp_path.glob("*.qcow2")} == {
        "golden.qcow2", "web1.qcow2", "web2.qcow2", "db1.qcow2"
    }
