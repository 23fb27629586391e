# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an image is as a file: owner, group and permissions, given or kept."""
from __future__ import annotations

import grp
import os
import pwd
import stat
from collections import namedtuple
from pathlib import Path

import pytest

from qimg.operations.create import plan_create
from qimg.storage.local import LocalFile
from qimg.storage.locks import READ_IMAGE
from support.playbook import Ansible

from .conftest import contents, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ROOT = os.geteuid() == 0
#: Whose the images shall be: somebody else's, where we can give them away.
OWNER, GROUP = (65534, 1) if ROOT else (os.geteuid(), os.getegid())
OURS = {"owner": str(OWNER), "group": str(GROUP)}

Case = namedtuple("Case", ["module", "options", "changes", "mode"])

SMALL = {"format": "qcow2", "size": "1M"}
CASES = {
    "create": Case("create", {"path": "{d}/new.qcow2", **SMALL, **OURS, "mode": "0600"}, True, 0o600),
    "create_open": Case("create", {"path": "{d}/open.qcow2", **SMALL, **OURS, "mode": "0666"}, True, 0o666),
    "create_symbolic": Case("create", {"path": "{d}/symbolic.qcow2", **SMALL, "mode": "g+w,o="}, True, 0o660),
    "create_as_usual": Case("create", {"path": "{d}/usual.qcow2", **SMALL}, True, 0o644),
    "create_data_file": Case(
        "create",
        {"path": "{d}/split.qcow2", **SMALL, **OURS, "mode": "0600", "options": {"data_file": "split.data"}},
        True,
        0o600,
    ),
    "create_there": Case("create", {"path": "{d}/there.qcow2", **SMALL, **OURS, "mode": "0660"}, True, 0o660),
    "create_link": Case("create", {"path": "{d}/link.qcow2", **SMALL, "mode": "u=rw,g=r,o="}, True, 0o640),
    "create_kept": Case("create", {"path": "{d}/kept.qcow2", **SMALL}, False, 0o604),
    "recreate_kept": Case(
        "create",
        {"path": "{d}/replaced.qcow2", "format": "qcow2", "size": "2M", "on_mismatch": "recreate"},
        True,
        0o604,
    ),
    "recreate": Case(
        "create",
        {"path": "{d}/replaced2.qcow2", "format": "qcow2", "size": "2M", "on_mismatch": "recreate", "mode": "0640"},
        True,
        0o640,
    ),
    "convert": Case(
        "convert",
        {"source": "{d}/there.qcow2", "path": "{d}/copy.raw", "format": "raw", **OURS, "mode": "0400"},
        True,
        0o400,
    ),
    "convert_there": Case(
        "convert",
        {"source": "{d}/kept.qcow2", "path": "{d}/target.qcow2", "format": "qcow2", "mode": "0640"},
        True,
        0o640,
    ),
}


def image(path: Path, mode: int = 0o604) -> Path:
    plan_create(str(path), "qcow2", 1 << 20).apply()
    path.chmod(mode)
    return path


def attributes(path: Path) -> tuple[int, int, int, dict[str, bytes]]:
    status = path.stat()
    extended = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode), extended


Runs = namedtuple("Runs", ["directory", "unchanged", "replaced", "checked", "first", "second"])


@pytest.fixture(scope="module")
def runs(ansible: Ansible, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """All cases in check mode, then for real, then once more."""
    at = tmp_path_factory.mktemp("files")
    for name in ("there.qcow2", "linked.qcow2", "kept.qcow2", "replaced.qcow2", "replaced2.qcow2", "target.qcow2"):
        image(at / name)
    (at / "link.qcow2").symlink_to("linked.qcow2")
    os.chown(at / "replaced.qcow2", OWNER, GROUP)
    try:
        os.setxattr(at / "replaced.qcow2", "user.note", b"mine")
    except OSError:
        pass  # Not every file system has them; then there is nothing to be kept.
    replaced = attributes(at / "replaced.qcow2")
    tasks = {
        name: {
            "qimg.disk.qimg_%s" % case.module: {
                key: value.replace("{d}", str(at)) if isinstance(value, str) else value
                for key, value in case.options.items()
            }
        }
        for name, case in CASES.items()
    }
    before = contents(at)
    umask = os.umask(0o022)
    try:
        checked = ansible.play(tasks, "--check", "--diff")
        unchanged = contents(at) == before
        first, second = ansible.play(tasks, "--diff"), ansible.play(tasks)
    finally:
        os.umask(umask)
    return Runs(at, unchanged, replaced, checked, first, second)


def test_check_mode_foretells_owner_and_permissions(runs: Runs) -> None:
    assert failed(runs.checked) == failed(runs.first) == failed(runs.second) == {}
    assert runs.unchanged
    for name, case in CASES.items():
        assert runs.checked[name]["changed"] == runs.first[name]["changed"] == case.changes, name
        assert runs.checked[name]["actions"] == runs.first[name]["actions"], name
        assert runs.checked[name]["diff"] == runs.first[name]["diff"], name
    assert [name for name, result in runs.second.items() if result["changed"]] == []


def test_files_are_what_was_asked_for(runs: Runs) -> None:
    for name, case in CASES.items():
        uid, gid, mode, _extended = attributes(Path(runs.first[name]["path"]))
        assert mode == case.mode, name
        assert runs.first[name]["mode"] == ("0777" if name == "create_link" else "%04o" % mode)
        if "owner" in case.options:
            assert (uid, gid) == (OWNER, GROUP), name
    assert attributes(runs.directory / "split.data")[:3] == (OWNER, GROUP, 0o600)
    assert attributes(runs.directory / "linked.qcow2")[2] == 0o640
    assert (runs.directory / "link.qcow2").is_symlink()


def test_replaced_file_hands_on_what_it_was(runs: Runs) -> None:
    assert attributes(runs.directory / "replaced.qcow2") == runs.replaced


def test_diff_shows_owner_and_permissions(runs: Runs) -> None:
    there = runs.first["create_there"]
    assert "change mode from 0604 to 0660" in there["actions"]
    assert (there["diff"]["before"]["mode"], there["diff"]["after"]["mode"]) == ("0604", "0660")
    new = runs.first["create"]["diff"]["after"]
    names = (pwd.getpwuid(OWNER).pw_name, grp.getgrgid(GROUP).gr_name)
    assert (new["owner"], new["group"], new["mode"]) == (*names, "0600")


def test_what_cannot_be_given_is_refused_before_anything_is_made(ansible: Ansible, tmp_path: Path) -> None:
    new: dict[str, Any] = {"path": str(tmp_path / "new.qcow2"), **SMALL}
    used = image(tmp_path / "used.qcow2")
    tasks = {
        "owner": {"qimg.disk.qimg_create": {**new, "owner": "nobody-of-that-name"}},
        "large_owner": {"qimg.disk.qimg_create": {**new, "owner": "99999999999"}},
        "mode": {"qimg.disk.qimg_create": {**new, "mode": "rw"}},
        "large_mode": {"qimg.disk.qimg_create": {**new, "mode": "100644"}},
        "remote": {"qimg.disk.qimg_convert": {"source": str(used), "path": "nbd:x:1", "format": "raw", "mode": "0600"}},
        "in_use": {"qimg.disk.qimg_create": {"path": str(used), **SMALL, "force_share": True, "mode": "0600"}},
    }
    advice = "is no mode; give an octal or symbolic mode, in quotes"
    before = contents(tmp_path)
    with LocalFile.open(str(used)) as held:
        held.lock(READ_IMAGE)
        for options in ([], ["--check"]):
            results = ansible.play(tasks, *options)
            messages = failed(results)
            in_use = messages.pop("in_use")
            if options:
                warning = "owner: There is no '%s'; in check mode, an earlier task is taken to make it"
                assert results["owner"]["warnings"] == [warning % "nobody-of-that-name"]
                assert results["large_owner"]["warnings"] == [warning % "99999999999"]
            else:
                message = "'%s': owner: There is no '%s' on this host; make it first"
                assert messages.pop("owner") == message % (new["path"], "nobody-of-that-name")
                assert messages.pop("large_owner") == message % (new["path"], "99999999999")
            assert messages == {
                "mode": "'%s': mode: 'rw' %s" % (new["path"], advice),
                "large_mode": "'%s': mode: '100644' %s" % (new["path"], advice),
                "remote": "'nbd:x:1': mode: What is not a local file has none; leave it out",
            }
            assert "another process is using the image" in in_use
            assert contents(tmp_path) == before
