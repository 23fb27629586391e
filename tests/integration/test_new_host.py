# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode where nothing exists yet: every task knows what those before it would have made."""
from __future__ import annotations

import os
from collections import namedtuple
from pathlib import Path

import pytest

from .conftest import contents, failed, foreseeable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from support.playbook import Ansible, Results, Tasks

QCOW2 = {"format": "qcow2"}
GOLDEN = {"backing_file": "golden.qcow2", "backing_format": "qcow2"}
OVERLAY = {"path": "overlay.qcow2", "format": "qcow2"}
#: Module and options; the directory is put before every path.
STEPS: dict[str, tuple[str, dict[str, Any]]] = {
    "raw": ("create", {"path": "server.raw", "format": "raw", "size": "8M"}),
    "golden": (
        "convert",
        {
            "source": "server.raw", "source_format": "raw", "path": "golden.qcow2", **QCOW2, "compress": True,
            "gather": ["info", "map", "check"],
        },
    ),
    "golden_2": (
        "convert",
        {
            "source": "golden.qcow2", "source_format": "qcow2", "path": "golden-2.qcow2", **QCOW2,
            "options": {"cluster_size": "128k"},
        },
    ),
    "golden_again": (
        "convert", {"source": "server.raw", "source_format": "raw", "path": "golden.qcow2", **QCOW2}
    ),
    "overlay": ("create", {**OVERLAY, **QCOW2, **GOLDEN}),
    "overlay_again": ("create", {**OVERLAY, **QCOW2, **GOLDEN, "size": "8M"}),
    "snapshot": ("snapshot", {**OVERLAY, "name": "one"}),
    "resize": ("resize", {**OVERLAY, "size": "12M"}),
    "resize_again": ("resize", {**OVERLAY, "size": "10M", "size_policy": "at_least"}),
    "revert": ("snapshot", {**OVERLAY, "name": "one", "state": "reverted"}),
    "revert_again": ("snapshot", {**OVERLAY, "name": "one", "state": "reverted"}),
    "amend": ("amend", {**OVERLAY, "options": {"lazy_refcounts": True}}),
    "bitmap": ("bitmap", {**OVERLAY, "name": "bits"}),
    "disabled": ("bitmap", {**OVERLAY, "name": "bits", "state": "disabled"}),
    "rebase": ("rebase", {**OVERLAY, "backing_file": "golden-2.qcow2", "backing_format": "qcow2"}),
    "check": ("check", {**OVERLAY, "repair": "all", "fail_on": "leaks"}),
    "forget": ("snapshot", {**OVERLAY, "name": "one", "state": "absent"}),
    "info": ("info", OVERLAY),
    "info_all": ("info", {"path": "", "gather": ["info"]}),
    "info_pattern": ("info", {"path": "*.qcow2", "gather": ["info"]}),
    "compare": ("compare", {"path": "server.raw", "format": "raw", "other_path": "overlay.qcow2"}),
    "gone": ("create", {"path": "golden.qcow2", **QCOW2, "state": "absent"}),
    "gone_again": ("create", {"path": "golden.qcow2", **QCOW2, "state": "absent"}),
}


def tasks(directory: Path) -> Tasks:
    made: Tasks = {"directory": {"ansible.builtin.file": {"path": str(directory), "state": "directory"}}}
    for name, (module, options) in STEPS.items():
        placed = {
            key: str(directory / value) if key in ("path", "source", "other_path") else value
            for key, value in options.items()
        }
        made[name] = {"qimg.disk.qimg_" + module: placed}
    return made


Runs = namedtuple("Runs", ["directory", "existed", "checked", "first"])


@pytest.fixture(scope="module")
def runs(ansible: Ansible, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    directory = tmp_path_factory.mktemp("host") / "images"
    checked = ansible.play(tasks(directory), "--check", "--diff")
    existed = directory.exists()
    return Runs(directory, existed, checked, ansible.play(tasks(directory), "--diff"))


def test_nothing_is_made(runs: Runs) -> None:
    assert not runs.existed
    assert failed(runs.checked) == failed(runs.first) == {}


def test_every_step_is_foretold(runs: Runs) -> None:
    for name in STEPS:
        if name not in ("info", "info_all", "info_pattern", "compare", "rebase", "golden_again", "revert_again"):
            for key in ("changed", "actions", "diff", "bitmap", "matches_source", "differences", "clean"):
                assert runs.checked[name].get(key) == runs.first[name].get(key), (name, key)
    # What golden.qcow2 holds will only be known when it is there.
    assert runs.checked["golden_again"]["matches_source"] is None
    assert runs.checked["revert_again"]["changed"]
    assert runs.checked["rebase"]["changed"]
    unchanged = [name for name in STEPS if not runs.first[name]["changed"]]
    assert unchanged == [
        "golden_again", "overlay_again", "resize_again", "revert_again", "check", "info", "info_all", "info_pattern",
        "compare", "gone_again",
    ]


def test_images_to_come_are_described(runs: Runs) -> None:
    for name in ("raw", "golden_2", "overlay", "resize", "revert", "amend", "disabled"):
        checked, first = runs.checked[name]["info"], runs.first[name]["info"]
        assert foreseeable(checked) == foreseeable(first), name
    paths = {str(runs.directory / name) for name in ("server.raw", "golden.qcow2", "golden-2.qcow2", "overlay.qcow2")}
    for name in ("info", "info_all"):
        found, later = runs.checked[name]["images"], runs.first[name]["images"]
        assert found.keys() == later.keys() and len(found) in (1, len(paths)), name
        for path in found:
            assert foreseeable(found[path]["info"]) == foreseeable(later[path]["info"]), path
    assert runs.first["info_all"]["images"].keys() == paths
    assert runs.checked["info_pattern"]["images"].keys() == paths - {str(runs.directory / "server.raw")}
    assert runs.first["info_pattern"]["images"].keys() == paths - {str(runs.directory / "server.raw")}


def test_what_is_not_known_is_not_said(runs: Runs) -> None:
    assert (runs.checked["golden"]["map"], runs.checked["golden"]["check"]) == (None, None)
    assert runs.checked["compare"]["skipped"] is True
    assert runs.checked["compare"]["msg"].endswith("What it will hold is not known before it has been made")


def test_only_a_directory_that_is_not_there_is_warned_about(runs: Runs) -> None:
    warning = "There is no directory '%s'; in check mode, an earlier task is taken to make it, and this one to succeed "
    for name, result in runs.checked.items():
        makes = name in ("raw", "golden", "golden_2", "overlay")
        assert result.get("warnings", []) == ([warning % runs.directory + "with it"] if makes else []), name


def changed(results: Results) -> dict[str, bool]:
    return {name: result["changed"] for name, result in results.items()}


def test_what_others_make_is_taken_to_be_there(ansible: Ansible, tmp_path: Path) -> None:
    download, target = str(tmp_path / "cloud.img"), str(tmp_path / "golden.qcow2")
    overlay = {"path": str(tmp_path / "web1.qcow2"), **QCOW2, **GOLDEN}
    tasks: Tasks = {
        "convert": {"qimg.disk.qimg_convert": {"source": download, "path": target, **QCOW2}},
        "overlay": {"qimg.disk.qimg_create": overlay},
        "snapshot": {"qimg.disk.qimg_snapshot": {"path": overlay["path"], "name": "one"}},
        "repair": {"qimg.disk.qimg_check": {"path": target, "repair": "all"}},
        "check": {"qimg.disk.qimg_check": {"path": target}},
        "info": {"qimg.disk.qimg_info": {"path": [target, overlay["path"]]}},
        "wrong": {"qimg.disk.qimg_snapshot": {"path": overlay["path"], "name": ""}},
    }
    results = ansible.play(tasks, "--check")
    assert changed(results) == {
        "convert": True, "overlay": True, "snapshot": True, "repair": True, "check": False, "info": False,
        "wrong": False,
    }
    assert failed(results).keys() == {"wrong"}
    assumed = "There is no '%s'; in check mode, an earlier task is taken to make it, and this one to succeed with it"
    assert results["convert"]["warnings"] == [assumed % download]
    assert results["overlay"]["warnings"] == [assumed % target]
    assert [name for name, result in results.items() if result.get("skipped")] == ["check", "info"]
    assert results["info"]["msg"] == (
        "What this task would find cannot be foretold, because there is no '%s' and no '%s' yet"
        % (target, overlay["path"])
    )
    assert contents(tmp_path) == {}
    assert len(failed(ansible.play(tasks))) == len(tasks)


def test_a_name_that_may_be_mistyped_is_pointed_out(ansible: Ansible, tmp_path: Path) -> None:
    for name in ("debian-12.raw", "web1.qcow2", "unlike.raw"):
        (tmp_path / name).write_bytes(bytes(512))
    copy = {"path": str(tmp_path / "new.qcow2"), **QCOW2, "gather": []}
    tasks: Tasks = {
        "mistyped": {"qimg.disk.qimg_convert": {"source": str(tmp_path / "debain-12.raw"), **copy}},
        "numbered": {"qimg.disk.qimg_convert": {"source": str(tmp_path / "web2.qcow2"), **copy}},
    }
    results = ansible.play(tasks, "--check")
    (mistyped,), (numbered,) = (results[name]["warnings"] for name in tasks)
    assert mistyped.endswith("; or is '%s' meant?" % (tmp_path / "debian-12.raw"))
    assert numbered.endswith("and this one to succeed with it")


def test_tasks_that_are_done_for_real_are_seen_as_they_are(ansible: Ansible, tmp_path: Path) -> None:
    image: dict[str, Any] = {"path": str(tmp_path / "disk.qcow2"), **QCOW2}
    create, resize = {"qimg.disk.qimg_create": {**image, "size": "4M"}}, {"qimg.disk.qimg_resize": {"size": "8M"}}
    resize["qimg.disk.qimg_resize"]["path"] = image["path"]
    look = {"qimg.disk.qimg_info": {"path": image["path"], "gather": ["info"]}}
    steps: Tasks = {
        "foretold": {**create, "check_mode": True},
        "foretold_again": {**create, "check_mode": True},
        "done": {**create, "check_mode": False},
        "larger": {**resize, "check_mode": True},
        "look": {**look, "check_mode": True},
    }
    results = ansible.play(steps)
    assert failed(results) == {}
    assert changed(results) == {
        "foretold": True, "foretold_again": True, "done": True, "larger": True, "look": False,
    }
    assert results["look"]["images"][image["path"]]["info"]["virtual-size"] == 4 << 20
    os.unlink(image["path"])
    results = ansible.play(steps, "--check")
    assert changed(results) == {
        "foretold": True, "foretold_again": False, "done": True, "larger": True, "look": False,
    }
    assert results["look"]["images"][image["path"]]["info"]["virtual-size"] == 8 << 20
    assert Path(image["path"]).exists()


def test_changes_of_what_is_there_are_known_to_later_tasks(ansible: Ansible, tmp_path: Path) -> None:
    path = str(tmp_path / "disk.qcow2")
    image: dict[str, Any] = {"path": path, **QCOW2}
    ansible.play({"create": {"qimg.disk.qimg_create": {**image, "size": "4M"}}})
    os.chmod(path, 0o444)
    before = contents(tmp_path)
    results = ansible.play(
        {
            "resize": {"qimg.disk.qimg_resize": {"path": path, "size": "8M"}},
            "resized": {"qimg.disk.qimg_create": {**image, "size": "8M"}},
            "snapshot": {"qimg.disk.qimg_snapshot": {"path": path, "name": "one"}},
            "taken": {"qimg.disk.qimg_snapshot": {"path": path, "name": "one"}},
            "remove": {"qimg.disk.qimg_create": {"path": path, "state": "absent"}},
            "again": {"qimg.disk.qimg_create": {**image, "size": "2M"}},
            "info": {"qimg.disk.qimg_info": {"path": path, "gather": ["info"]}},
        },
        "--check",
    )
    assert failed(results) == {}
    assert [name for name, is_changed in changed(results).items() if is_changed] == [
        "resize", "snapshot", "remove", "again",
    ]
    assert results["info"]["images"][path]["info"]["virtual-size"] == 2 << 20
    assert contents(tmp_path) == before


def test_what_one_host_alone_would_have_is_not_taken_to_be_on_others(ansible: Ansible, tmp_path: Path) -> None:
    steps: Tasks = {
        "alone": {
            "qimg.disk.qimg_create": {"path": str(tmp_path / "alone.qcow2"), **QCOW2, "size": "4M"},
            "when": "inventory_hostname == 'one'",
        },
        "once": {
            "qimg.disk.qimg_create": {"path": str(tmp_path / "once.qcow2"), **QCOW2, "size": "4M"},
            "run_once": True,
        },
        "look_alone": {"qimg.disk.qimg_info": {"path": str(tmp_path / "alone.qcow2")}},
        "look_once": {"qimg.disk.qimg_info": {"path": str(tmp_path / "once.qcow2")}},
    }
    # One host after another: the results are those of the last.
    results = ansible.play(steps, "--check", "--forks=1", inventory="one,two,")
    assert results["alone"]["skipped"] is True and results["once"]["changed"] is True
    assert results["look_alone"].get("skipped") is True, "the image of the other host was found"
    assert results["look_once"].get("skipped") is None


def test_what_runs_once_builds_on_what_the_host_would_have(ansible: Ansible, tmp_path: Path) -> None:
    path = str(tmp_path / "disk.qcow2")
    resize = {"qimg.disk.qimg_resize": {"path": path, "size": "8M"}}
    steps: Tasks = {
        "create": {"qimg.disk.qimg_create": {"path": path, **QCOW2, "size": "4M"}},
        "once": {**resize, "run_once": True},
        "again": resize,
    }
    assert changed(ansible.play(steps, "--check")) == {"create": True, "once": True, "again": False}


def test_images_too_large_to_be_handed_on_are_named(ansible: Ansible, tmp_path: Path) -> None:
    path = str(tmp_path / "disk.qcow2")
    image = {"path": path, **QCOW2, "size": "32G", "options": {"preallocation": "metadata"}, "gather": []}
    results = ansible.play({"create": {"qimg.disk.qimg_create": image}}, "--check")
    assert results["create"]["changed"]
    warning = (
        "What would become of '%s' is too much to be handed on; in check mode, later tasks see the image as it is now"
    )
    # Only some versions of Ansible put it into the result too; printed, it is broken into lines, at hyphens too.
    assert "".join(("[WARNING]: " + warning % path).split()) in "".join(ansible.said.split())
