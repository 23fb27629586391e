# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a second run says where the image is no longer, or not yet, what the play asks for."""
from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from qimg.operations.convert import convert
from qimg.operations.create import plan_create
from support import oracle

from .conftest import failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from support.playbook import Ansible

pytestmark = pytest.mark.oracle


def create(path: Path, **options: Any) -> dict[str, Any]:
    return {"qimg.disk.qimg_create": {"path": str(path), "format": "qcow2", **options}}


def test_an_existing_image_needs_no_size(ansible: Ansible, tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    plan_create(str(path), "qcow2", 3 << 20).apply()
    path.chmod(0o600)
    steps = {
        "mode": create(path, mode="0640"),
        "options": create(path, options={"cluster_size": "64k"}),
        "other_options": create(path, options={"cluster_size": "4k"}, on_mismatch="recreate"),
        "new": create(tmp_path / "new.qcow2"),
    }
    checked, results = ansible.play(steps, "--check"), ansible.play(steps)
    assert results["mode"]["actions"] == checked["mode"]["actions"] == ["change mode from 0600 to 0640"]
    assert path.stat().st_mode & 0o777 == 0o640
    assert not results["options"]["changed"]
    assert failed(results).keys() == failed(checked).keys() == {"other_options", "new"}
    for message in failed(results).values():
        assert message.endswith("Image creation needs a size parameter; give the size")
    assert oracle.info(path)["virtual-size"] == 3 << 20


def test_a_disk_that_has_grown_is_not_led_to_its_loss(ansible: Ansible, tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    steps = {
        "create": create(path, size="1G"),
        "resize": {"qimg.disk.qimg_resize": {"path": str(path), "size": "2G"}},
        "again": create(path, size="1G"),
        "at_least": create(path, size="1G", size_policy="at_least"),
    }
    results = ansible.play(steps)
    assert failed(results) == {
        "again": "'%s': The existing file is not what was asked for: its size is 2147483648 bytes, not 1073741824; set "
        "size_policy to at_least if a larger disk is fine; or set on_mismatch to ignore if it is right as it is" % path
    }
    assert not results["at_least"]["changed"]


def test_a_relative_size_stays_relative(ansible: Ansible, tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    plan_create(str(path), "qcow2", 3 << 20).apply()
    grow = {"path": str(path), "size": "+5M", "allow_relative": True, "force_share": True}
    result = ansible.play({"grow": {"qimg.disk.qimg_resize": grow}})["grow"]
    assert result["actions"] == ["grow the disk from 3145728 to 8388608 bytes"]
    assert oracle.info(path)["virtual-size"] == 8 << 20


def test_a_copy_in_another_form_is_replaced(ansible: Ansible, tmp_path: Path) -> None:
    source = tmp_path / "source.raw"
    source.write_bytes(b"a disk " * (1 << 17) + bytes(1 << 20))
    (tmp_path / "noise.raw").write_bytes(os.urandom(1 << 20))
    for name in ("base.qcow2", "other.qcow2"):
        convert(str(source), str(tmp_path / name), "qcow2")
    given: dict[str, dict[str, Any]] = {
        "as_it_was": {},
        "cluster_size": {"options": {"cluster_size": "128k"}},
        "compat": {"options": {"compat": "0.10"}},
        "compressed": {"compress": True},
        "backing_file": {"backing_file": "base.qcow2", "backing_format": "qcow2"},
        "other_backing_file": {"backing_file": "other.qcow2", "backing_format": "qcow2"},
        "uncompressed": {},
        "noise": {"compress": True, "source": str(tmp_path / "noise.raw")},
    }
    for name in given:
        words = ["-c"] if name == "uncompressed" else []
        raw = tmp_path / "noise.raw" if name == "noise" else source
        if "other" in name:
            words = ["-B", str(tmp_path / "base.qcow2"), "-F", "qcow2"]
        oracle.qemu_img("convert", "-O", "qcow2", *words, raw, tmp_path / (name + ".qcow2"))
    steps = {
        name: {
            "qimg.disk.qimg_convert": {
                "source": str(source), "path": str(tmp_path / (name + ".qcow2")), "format": "qcow2",
                "replace": "if_different", **options,
            }
        }
        for name, options in given.items()
    }
    backing = "; its backing_format is not set, and should be 'qcow2'"
    expected = {
        "as_it_was": [],
        "cluster_size": ["its cluster_size is 65536, not 131072"],
        "compat": ["its compat is '1.1', not '0.10'"],
        "compressed": ["its data are not compressed, and should be"],
        "backing_file": ("its backing_file is not set, and should be 'base.qcow2'" + backing).split("; "),
        "other_backing_file": ["its backing_file is '%s', not 'other.qcow2'" % (tmp_path / "base.qcow2")],
        "uncompressed": ["its data are compressed, and should not be"],
        "noise": [],
    }
    checked, first, second = ansible.play(steps, "--check"), ansible.play(steps), ansible.play(steps)
    for results in (checked, first):
        assert failed(results) == {}
        assert {name: result["differences"] for name, result in results.items()} == expected
        assert {name: result["changed"] for name, result in results.items()} == {
            name: bool(differences) for name, differences in expected.items()
        }
        assert {result["matches_source"] for result in results.values()} == {True}
    assert first["compat"]["actions"] == ["replace the existing image: its compat is '1.1', not '0.10'"]
    assert [name for name, result in second.items() if result["changed"] or result["differences"]] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_owners_are_shown_by_name(ansible: Ansible, tmp_path: Path) -> None:
    path, user = tmp_path / "disk.qcow2", pwd.getpwuid(1)
    plan_create(str(path), "qcow2", 1 << 20).apply()
    result = ansible.play({"owner": create(path, owner=user.pw_name)}, "--diff")["owner"]
    assert (result["diff"]["before"]["owner"], result["diff"]["after"]["owner"]) == ("root", user.pw_name)
    assert result["actions"] == ["change owner from root to %s" % user.pw_name]
    assert path.stat().st_uid == 1


def test_a_backing_format_has_one_name(ansible: Ansible, tmp_path: Path) -> None:
    for name in ("base.qcow2", "disk.qcow2"):
        plan_create(str(tmp_path / name), "qcow2", 1 << 20).apply()
    backing = {"backing_file": "base.qcow2", "backing_format": "qcow2"}
    results = ansible.play(
        {
            "create": create(tmp_path / "new.qcow2", **backing),
            "rebase": {"qimg.disk.qimg_rebase": {"path": str(tmp_path / "disk.qcow2"), **backing, "unsafe": True}},
            "amend": {
                "qimg.disk.qimg_amend": {
                    "path": str(tmp_path / "disk.qcow2"),
                    "options": {"lazy_refcounts": True},
                }
            },
        },
        "--diff",
    )
    assert failed(results) == {}
    for name, result in results.items():
        assert result["diff"]["after"]["backing_format"] == "qcow2", name
    assert "backing_fmt" not in str(results)
