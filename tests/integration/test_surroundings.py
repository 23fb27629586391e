# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules where they are used: on hosts with an old and bare Python, under odd names, in the background."""
from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from support import oracle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from support.playbook import Ansible


def oldest_python() -> str:
    """The oldest Python here that a managed host may have."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for minor in range(9, 14):
        found = sorted(root.glob("versions/3.%d.*/bin/python" % minor))
        if found:
            return str(found[0])
        on_path = shutil.which("python3.%d" % minor)
        if on_path is not None:
            return on_path
    return sys.executable


@pytest.fixture
def bare_python(tmp_path: Path) -> str:
    """A Python without any installed package."""
    script = tmp_path / "python3"
    script.write_text('#!/bin/sh\nexec %s -S "$@"\n' % oldest_python())
    script.chmod(0o755)
    return str(script)


@pytest.mark.oracle
def test_nothing_but_an_old_python_is_needed(ansible: Ansible, bare_python: str, tmp_path: Path) -> None:
    raw, golden, overlay = (str(tmp_path / name) for name in ("server.raw", "golden.qcow2", "web1.qcow2"))
    (tmp_path / "server.raw").write_bytes(b"\1" * (1 << 20) + bytes(3 << 20))
    tasks: dict[str, dict[str, Any]] = {
        "convert": {
            "qimg.disk.qimg_convert": {
                "source": raw, "source_format": "raw", "path": golden, "format": "qcow2", "compress": True,
            }
        },
        "create": {
            "qimg.disk.qimg_create": {
                "path": overlay, "format": "qcow2", "backing_file": "golden.qcow2", "backing_format": "qcow2",
            }
        },
        "snapshot": {"qimg.disk.qimg_snapshot": {"path": overlay, "name": "one"}},
        "bitmap": {"qimg.disk.qimg_bitmap": {"path": golden, "name": "one"}},
        "rebase": {"qimg.disk.qimg_rebase": {"path": overlay, "backing_file": ""}},
        "amend": {"qimg.disk.qimg_amend": {"path": overlay, "options": {"lazy_refcounts": True}}},
        "resize": {"qimg.disk.qimg_resize": {"path": overlay, "size": "8M", "preallocation": "metadata"}},
        "check": {"qimg.disk.qimg_check": {"path": overlay, "repair": "all"}},
        "info": {"qimg.disk.qimg_info": {"path": [raw, golden, overlay]}},
        "compare": {"qimg.disk.qimg_compare": {"path": raw, "format": "raw", "other_path": overlay}},
    }
    results = ansible.play(tasks, python=bare_python)
    assert {name: result.get("msg") for name, result in results.items() if result["failed"]} == {}
    assert [name for name, result in results.items() if result["changed"]] == [
        "convert", "create", "snapshot", "bitmap", "rebase", "amend", "resize",
    ]
    assert results["compare"]["identical"]
    for image in (golden, overlay):
        assert oracle.is_clean(image)


ODD_NAMES = [
    "with space.qcow2",
    "ümläut-日本.qcow2",
    "quote'\".qcow2",
    "a,b=c:d.qcow2",
    "{{ curly }}.qcow2",
    "-dash.qcow2",
    "new\nline.qcow2",
]


@pytest.mark.oracle
def test_odd_names_are_names(ansible: Ansible, tmp_path: Path) -> None:
    oracle.qemu_img("create", "-f", "qcow2", tmp_path / "base.qcow2", "4M")
    tasks: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(ODD_NAMES):
        path, unsafe = {"__ansible_unsafe": str(tmp_path / name)}, {"__ansible_unsafe": name}
        tasks["create%d" % number] = {
            "qimg.disk.qimg_create": {
                "path": path, "format": "qcow2", "backing_file": "base.qcow2", "backing_format": "qcow2",
            }
        }
        tasks["snapshot%d" % number] = {"qimg.disk.qimg_snapshot": {"path": path, "name": unsafe}}
    tasks["look"] = {"qimg.disk.qimg_info": {"path": [str(tmp_path)], "gather": ["info"]}}
    results = ansible.play(tasks)
    assert {name: result.get("msg") for name, result in results.items() if result["failed"]} == {}
    assert results["look"]["images"].keys() == {str(tmp_path / name) for name in [*ODD_NAMES, "base.qcow2"]}
    for name in ODD_NAMES:
        (snapshot,) = oracle.info("file:%s" % (tmp_path / name))["snapshots"]
        assert snapshot["name"] == name


def test_defaults_of_the_group_are_for_all_modules(ansible: Ansible, tmp_path: Path) -> None:
    one, two = (str(tmp_path / name) for name in ("one.qcow2", "two.qcow2"))
    disk = {"path": one, "format": "qcow2"}
    tasks: dict[str, dict[str, Any]] = {
        "create": {"qimg.disk.qimg_create": {**disk, "size": "1M"}},
        "convert": {"qimg.disk.qimg_convert": {"source": one, "path": two, "format": "qcow2"}},
        "bitmap": {"qimg.disk.qimg_bitmap": {**disk, "name": "new"}},
        "snapshot": {"qimg.disk.qimg_snapshot": {**disk, "name": "new"}},
        "resize": {"qimg.disk.qimg_resize": {**disk, "size": "1M"}},
        "rebase": {"qimg.disk.qimg_rebase": {**disk, "backing_file": two, "backing_format": "qcow2"}},
        "commit": {"qimg.disk.qimg_commit": disk},
        "amend": {"qimg.disk.qimg_amend": {**disk, "options": {"lazy_refcounts": True}}},
        "check": {"qimg.disk.qimg_check": disk},
        "info": {"qimg.disk.qimg_info": disk},
        "compare": {"qimg.disk.qimg_compare": {**disk, "other_path": two}},
    }
    defaults = {"gather": ["map"], "map_limit": 5, "reference_policy": "follow", "force_share": True}
    results = ansible.play(tasks, keywords={"module_defaults": {"group/qimg.disk.qimg": defaults}})
    assert {name: result.get("msg") for name, result in results.items() if result["failed"]} == {}
    for name, result in results.items():
        for documents in result.get("images", {name: result}).values():
            gathered = documents.keys() & {"info", "map", "map_truncated", "check"}
            assert gathered - ({"check"} if name == "check" else set()) == {"map", "map_truncated"}, name
    assert results["compare"]["images"].keys() == {one, two}


def test_map_is_cut_where_the_user_says(ansible: Ansible, tmp_path: Path) -> None:
    path = str(tmp_path / "holes.raw")
    with open(path, "wb") as file:
        for offset in range(0, 4 << 20, 1 << 20):
            file.seek(offset)
            file.write(b"\1" * 65536)
    results = ansible.play(
        {
            "cut": {"qimg.disk.qimg_info": {"path": path, "format": "raw", "gather": ["map"], "map_limit": 3}},
            "exact": {"qimg.disk.qimg_info": {"path": path, "format": "raw", "gather": ["map"], "map_limit": 7}},
            "whole": {"qimg.disk.qimg_info": {"path": path, "format": "raw", "gather": ["map"], "map_limit": 0}},
        }
    )
    found = {name: result["images"][path] for name, result in results.items()}
    assert {name: (len(documents["map"]), documents["map_truncated"]) for name, documents in found.items()} == {
        "cut": (3, True),
        "exact": (7, False),
        "whole": (7, False),
    }
    assert found["cut"]["map"] == found["whole"]["map"][:3]


def test_modules_run_in_the_background(ansible: Ansible, tmp_path: Path) -> None:
    create = {"path": str(tmp_path / "new.qcow2"), "format": "qcow2", "size": "1M"}
    results = ansible.play(
        {
            "watched": {"qimg.disk.qimg_create": create, "async": 3600, "poll": 1},
            "again": {"qimg.disk.qimg_create": create, "async": 3600, "poll": 1},
        }
    )
    assert [results[name]["changed"] for name in ("watched", "again")] == [True, False]
    assert results["watched"]["info"]["virtual-size"] == 1 << 20


def test_links_lead_to_the_image(ansible: Ansible, tmp_path: Path) -> None:
    link, image = tmp_path / "link.raw", tmp_path / "image.raw"
    image.write_bytes(bytes(1 << 20))
    link.symlink_to(image.name)
    tasks = {
        "resize": {"qimg.disk.qimg_resize": {"path": str(link), "format": "raw", "size": "2M"}},
        "recreate": {
            "qimg.disk.qimg_create": {"path": str(link), "format": "raw", "size": "3M", "on_mismatch": "recreate"}
        },
    }
    assert all(result["changed"] for result in ansible.play(tasks).values())
    assert link.is_symlink() and image.stat().st_size == 3 << 20
    gone = {"path": str(link), "format": "raw", "state": "absent"}
    remove: dict[str, Any] = {"remove": {"qimg.disk.qimg_create": gone}}
    assert ansible.play(remove)["remove"]["changed"]
    assert not link.is_symlink() and image.exists()


def test_pages_of_the_collection_lead_to_pages_that_are_there(collections: Path) -> None:
    root = collections / "ansible_collections" / "qimg" / "disk"
    pages = sorted(root.rglob("*.md"))
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)[)#]", page.read_text("utf-8"))]
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []
    assert len(links) > 10
