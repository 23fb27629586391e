# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples in the modules' documentation, as they are written, on images such as they speak of."""
from __future__ import annotations

import ast
import grp
import json
import os
import pwd
from pathlib import Path

import yaml

from qimg.operations.bitmap import plan_present
from qimg.operations.convert import convert
from qimg.operations.create import plan_create
from qimg.operations.snapshot import plan_create_snapshot as plan_snapshot
from support.playbook import program

from .conftest import CHECKOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from support.playbook import Ansible

#: The directories of the examples.
DIRECTORIES = ("/var/lib/libvirt/images", "/srv/images", "/srv/export", "/backup")
MIB = 1 << 20


def examples(module: Path) -> str:
    """The text of a module's examples."""
    for statement in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "EXAMPLES":
            return str(ast.literal_eval(statement.value))
    raise AssertionError("%s has no examples" % module)


def make_images(root: Path, name: str) -> None:
    """What the examples of a module expect to be there."""
    images, golden, export, backup = (root / directory[1:] for directory in DIRECTORIES)
    for directory in (images, golden, export, backup):
        directory.mkdir(parents=True)

    def image(path: Path, size: int = 4 * MIB, format: str = "qcow2", **backing: Any) -> str:
        if backing:
            backing["backing_format"] = "qcow2"
        plan_create(str(path), format, size, **backing).apply()
        return str(path)

    image(golden / "golden.qcow2")
    image(golden / "layer1.qcow2", backing_file="golden.qcow2")
    image(golden / "layer2.qcow2", backing_file="layer1.qcow2")
    image(golden / "debian-12.raw", format="raw")
    for number in ("", "-2"):
        image(images / ("golden%s.qcow2" % number))
    image(images / "scratch.raw", 11 << 30, "raw")
    if name != "qimg_convert" and name != "qimg_create":
        image(images / "web1.qcow2", backing_file="golden.qcow2")
    image(images / "web1-test.qcow2", backing_file="golden.qcow2")
    if name == "qimg_create":
        return
    database = image(images / "db.qcow2")
    convert(database, str(backup / "db.raw"))
    plan_present(image(images / "db-overlay.qcow2", backing_file="db.qcow2"), "since-tuesday").apply()
    if name == "qimg_convert":
        plan_snapshot(database, "before-upgrade").apply()


def test_examples_run_as_they_are_written(ansible: Ansible, tmp_path: Path) -> None:
    plays: list[dict[str, Any]] = []
    for module in sorted((CHECKOUT / "plugins" / "modules").glob("qimg_*.py")):
        root = tmp_path / module.stem
        make_images(root, module.stem)
        text = examples(module)
        for directory in DIRECTORIES:
            text = text.replace(" %s/" % directory, " %s%s/" % (root, directory))
        text = text.replace("libvirt-qemu", pwd.getpwuid(os.geteuid()).pw_name)
        text = text.replace("kvm", grp.getgrgid(os.getegid()).gr_name)
        tasks = yaml.safe_load(text)
        assert all(task["name"] for task in tasks)
        plays.append({"name": module.stem, "hosts": "localhost", "gather_facts": False, "tasks": tasks})
    playbook = tmp_path / "playbook.json"
    playbook.write_text(json.dumps(plays), encoding="utf-8")
    said = ansible.run(str(program("ansible-playbook")), str(playbook))
    assert "failed=0" in said
    images = tmp_path / "qimg_rebase" / "var/lib/libvirt/images"
    assert images.joinpath("web1.qcow2").exists()
    assert not (tmp_path / "qimg_create" / "var/lib/libvirt/images/data.qcow2").exists()
