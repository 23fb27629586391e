# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every module by real playbooks: what check mode foretells happens, and a second run has nothing to do."""
from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path

import pytest

from qimg.operations import bitmap
from support import oracle
from support.playbook import Ansible

from .conftest import contents, foreseeable, set_refcounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from support.playbook import Results, Tasks

pytestmark = pytest.mark.oracle

MIB = 1 << 20


def make_inputs(at: Path) -> None:
    """The images that the tasks begin with, made by qemu-img."""

    def image(name: str, *commands: str, size: str = "4M", options: tuple[str, ...] = ()) -> Path:
        format = "raw" if name.endswith(".raw") else "qcow2"
        oracle.qemu_img("create", "-f", format, *options, at / name, size)
        if commands:
            oracle.qemu_io(at / name, *commands, format=format)
        return at / name

    def overlay(name: str, base: str, *commands: str) -> None:
        oracle.qemu_img("create", "-f", "qcow2", "-b", base, "-F", "qcow2", at / name)
        if commands:
            oracle.qemu_io(at / name, *commands, format="qcow2")

    image("source.raw", "write -P 1 0 1M", "write -P 2 3M 64k")
    image("part.raw", "write -P 3 512k 64k", size="1M")
    image("base.qcow2", "write -P 4 0 1M")
    image("base2.qcow2", "write -P 5 1M 1M", size="8M")
    image("large.qcow2", size="8M")
    image("other.qcow2", "write -P 6 0 64k", size="8M")
    image("ignored.qcow2", "write -P 6 0 64k", size="8M")
    image("doomed.qcow2")
    image("stale.qcow2", "write -P 9 2M 64k")
    image("machine.qcow2", "write -P 9 2M 64k", size="8M")
    oracle.qemu_img("convert", "-O", "qcow2", at / "source.raw", at / "converted.qcow2")
    for name in ("snap.qcow2", "unsnap.qcow2", "revert.qcow2", "reverted.qcow2"):
        image(name, "write -P 7 0 128k")
        oracle.qemu_img("snapshot", "-c", "one", at / name)
        oracle.qemu_img("snapshot", "-c", "two", at / name)
    oracle.qemu_io(at / "revert.qcow2", "write -P 8 64k 64k")
    for name in ("leaks.qcow2", "corrupt.qcow2", "clean.qcow2"):
        image(name, "write -P 7 0 256k")
    clusters = (at / "leaks.qcow2").stat().st_size >> 16
    with (at / "leaks.qcow2").open("ab") as file:
        file.write(bytes(2 << 16))
    set_refcounts(at / "leaks.qcow2", clusters, 1, 1)
    set_refcounts(at / "corrupt.qcow2", 6, 0, 3)
    for name in ("rebased.qcow2", "moved.qcow2", "flattened.qcow2", "committed.qcow2"):
        overlay(name, "base.qcow2", "write -P 10 64k 64k")
    overlay("above.qcow2", "ignored.qcow2", "write -P 10 64k 64k")
    image("lower.qcow2", "write -P 4 0 1M")
    overlay("committed.qcow2", "lower.qcow2", "write -P 10 64k 64k")
    image("bottom.qcow2", "write -P 4 0 1M")
    overlay("middle.qcow2", "bottom.qcow2", "write -P 10 1M 64k")
    overlay("top.qcow2", "middle.qcow2", "write -P 11 2M 64k")
    image("grown.qcow2", "write -P 7 0 64k")
    image("shrunk.qcow2", "write -P 7 0 64k", size="8M")
    image("grown.raw", "write -P 7 0 64k")
    image("amended.qcow2", "write -P 7 0 64k", "write -z 64k 64k")
    for case in ("new", "present", "absent", "gone", "cleared", "clear", "enabled", "disabled", "merged", "source"):
        image("bitmap-%s.qcow2" % case)
        oracle.qemu_img("bitmap", "--add", "-g", "4k", at / ("bitmap-%s.qcow2" % case), "first")
        oracle.qemu_io(at / ("bitmap-%s.qcow2" % case), "write -P 7 64k 8k", format="qcow2")
        oracle.qemu_img("bitmap", "--add", "--disable", at / ("bitmap-%s.qcow2" % case), "second")
    oracle.qemu_io(at / "bitmap-source.qcow2", "write -P 7 1M 4k", format="qcow2")


#: Module, its options ({d}: the directory), and whether it changes something.
Case = namedtuple("Case", ["module", "options", "changes"])

CASES = {
    "create_raw": Case("create", {"path": "{d}/new.raw", "format": "raw", "size": 3 * MIB}, True),
    "create_qcow2": Case(
        "create",
        {
            "path": "{d}/new.qcow2",
            "format": "qcow2",
            "size": "1G",
            "options": {"cluster_size": "4k", "lazy_refcounts": True, "compat": "1.1", "preallocation": "metadata"},
        },
        True,
    ),
    "create_overlay": Case(
        "create",
        {"path": "{d}/new-overlay.qcow2", "format": "qcow2", "backing_file": "base.qcow2", "backing_format": "qcow2"},
        True,
    ),
    "create_larger_than_needed": Case(
        "create", {"path": "{d}/large.qcow2", "format": "qcow2", "size": "4M", "size_policy": "at_least"}, False
    ),
    "create_recreate": Case(
        "create", {"path": "{d}/other.qcow2", "format": "qcow2", "size": "4M", "on_mismatch": "recreate"}, True
    ),
    "create_ignore": Case(
        "create", {"path": "{d}/ignored.qcow2", "format": "qcow2", "size": "4M", "on_mismatch": "ignore"}, False
    ),
    "create_absent": Case("create", {"path": "{d}/doomed.qcow2", "state": "absent"}, True),
    "create_absent_already": Case("create", {"path": "{d}/nothing.qcow2", "state": "absent"}, False),
    "convert_new": Case(
        "convert",
        {"source": "{d}/source.raw", "path": "{d}/c1.qcow2", "format": "qcow2", "compress": True},
        True,
    ),
    "convert_snapshot": Case(
        "convert", {"source": "{d}/revert.qcow2", "snapshot": "one", "path": "{d}/c2.raw", "format": "raw"}, True
    ),
    "convert_joined": Case(
        "convert",
        {
            "source": ["{d}/part.raw", "{d}/base.qcow2"],
            "path": "{d}/c3.qcow2",
            "format": "qcow2",
            "replace": "if_different",
        },
        True,
    ),
    "convert_larger": Case(
        "convert",
        {
            "source": "{d}/source.raw",
            "path": "{d}/c4.qcow2",
            "format": "qcow2",
            "options": {"size": "6M", "cluster_size": 4096},
            "replace": "if_different",
        },
        True,
    ),
    "convert_stale": Case(
        "convert",
        {"source": "{d}/source.raw", "path": "{d}/stale.qcow2", "format": "qcow2", "replace": "if_different"},
        True,
    ),
    "convert_same": Case(
        "convert",
        {"source": "{d}/source.raw", "path": "{d}/converted.qcow2", "format": "qcow2", "replace": "if_different"},
        False,
    ),
    "convert_never": Case(
        "convert", {"source": "{d}/source.raw", "path": "{d}/machine.qcow2", "format": "qcow2"}, False
    ),
    "check_leaks": Case("check", {"path": "{d}/leaks.qcow2", "repair": "leaks"}, True),
    "check_all": Case("check", {"path": "{d}/corrupt.qcow2", "repair": "all"}, True),
    "check_clean": Case("check", {"path": "{d}/clean.qcow2", "repair": "all"}, False),
    "snapshot_present": Case("snapshot", {"path": "{d}/snap.qcow2", "name": "three"}, True),
    "snapshot_absent": Case("snapshot", {"path": "{d}/unsnap.qcow2", "name": "one", "state": "absent"}, True),
    "snapshot_reverted": Case("snapshot", {"path": "{d}/revert.qcow2", "id": "1", "state": "reverted"}, True),
    "snapshot_reverted_already": Case(
        "snapshot", {"path": "{d}/reverted.qcow2", "name": "one", "state": "reverted"}, False
    ),
    "rebase_safe": Case(
        "rebase", {"path": "{d}/rebased.qcow2", "backing_file": "{d}/base2.qcow2", "backing_format": "qcow2"}, True
    ),
    "rebase_unsafe": Case(
        "rebase",
        {
            "path": "{d}/moved.qcow2",
            "backing_file": "elsewhere.qcow2",
            "backing_format": "qcow2",
            "unsafe": True,
            "gather": ["info"],
        },
        True,
    ),
    "rebase_none": Case("rebase", {"path": "{d}/flattened.qcow2", "backing_file": ""}, True),
    "resize_larger": Case("resize", {"path": "{d}/grown.qcow2", "size": "16M", "preallocation": "metadata"}, True),
    "resize_smaller": Case("resize", {"path": "{d}/shrunk.qcow2", "size": "2M", "shrink": True}, True),
    "resize_raw": Case("resize", {"path": "{d}/grown.raw", "format": "raw", "size": 5 * MIB}, True),
    "resize_larger_than_needed": Case(
        "resize", {"path": "{d}/large.qcow2", "size": "1M", "size_policy": "at_least"}, False
    ),
    "amend": Case(
        "amend", {"path": "{d}/amended.qcow2", "options": {"compat": "0.10", "size": "6M"}}, True
    ),
    "bitmap_present": Case(
        "bitmap", {"path": "{d}/bitmap-new.qcow2", "name": "third", "granularity": "128K"}, True
    ),
    "bitmap_present_already": Case("bitmap", {"path": "{d}/bitmap-present.qcow2", "name": "first"}, False),
    "bitmap_absent": Case("bitmap", {"path": "{d}/bitmap-absent.qcow2", "name": "first", "state": "absent"}, True),
    "bitmap_absent_already": Case("bitmap", {"path": "{d}/bitmap-gone.qcow2", "name": "no", "state": "absent"}, False),
    "bitmap_absent_from_raw": Case(
        "bitmap", {"path": "{d}/part.raw", "format": "raw", "name": "no", "state": "absent"}, False
    ),
    "bitmap_cleared": Case("bitmap", {"path": "{d}/bitmap-cleared.qcow2", "name": "first", "state": "cleared"}, True),
    "bitmap_cleared_already": Case(
        "bitmap", {"path": "{d}/bitmap-clear.qcow2", "name": "second", "state": "cleared"}, False
    ),
    "bitmap_enabled": Case("bitmap", {"path": "{d}/bitmap-enabled.qcow2", "name": "second", "state": "enabled"}, True),
    "bitmap_disabled": Case(
        "bitmap", {"path": "{d}/bitmap-disabled.qcow2", "name": "first", "state": "disabled"}, True
    ),
    "bitmap_merged": Case(
        "bitmap",
        {
            "path": "{d}/bitmap-merged.qcow2",
            "name": "second",
            "state": "merged",
            "merge": ["first"],
            "merge_image": "{d}/bitmap-source.qcow2",
        },
        True,
    ),
    "commit": Case("commit", {"path": "{d}/committed.qcow2"}, True),
    "commit_base": Case("commit", {"path": "{d}/top.qcow2", "base": "{d}/bottom.qcow2"}, True),
    "info": Case("info", {"path": "{d}/above.qcow2", "backing_chain": True}, False),
    "compare": Case("compare", {"path": "{d}/source.raw", "other_path": "{d}/part.raw"}, False),
}

GATHER_ALL = {"module_defaults": {"group/qimg.disk.qimg": {"gather": ["info", "map", "check"], "map_limit": 1000}}}


def tasks(directory: Path) -> Tasks:
    text = json.dumps({name: {"qimg.disk.qimg_%s" % case.module: case.options} for name, case in CASES.items()})
    made: Tasks = json.loads(text.replace("{d}", str(directory)))
    return made


Runs = namedtuple("Runs", ["directory", "before", "checked", "after_check", "first", "second", "after_second"])


@pytest.fixture(scope="module")
def runs(ansible: Ansible, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """All cases in check mode, then for real, then once more."""
    directory = tmp_path_factory.mktemp("images")
    make_inputs(directory)
    before = contents(directory)
    checked = ansible.play_apart(tasks(directory), "--check", "--diff", keywords=GATHER_ALL)
    after_check = contents(directory)
    first = ansible.play_apart(tasks(directory), "--diff", keywords=GATHER_ALL)
    after_first = contents(directory)
    second = ansible.play_apart(tasks(directory), "--diff", keywords=GATHER_ALL)
    after_second = {name: state for name, state in contents(directory).items() if after_first.get(name) != state}
    return Runs(directory, before, checked, after_check, first, second, after_second)


def test_no_task_fails(runs: Runs) -> None:
    for results in (runs.checked, runs.first, runs.second):
        assert {name: result["msg"] for name, result in results.items() if result.get("failed")} == {}


def test_check_mode_changes_no_file(runs: Runs) -> None:
    assert runs.after_check == runs.before


def changed(results: Results) -> dict[str, bool]:
    return {name: result["changed"] for name, result in results.items()}


def test_check_mode_foretells_what_the_run_does(runs: Runs) -> None:
    assert changed(runs.checked) == {name: case.changes for name, case in CASES.items()}
    assert changed(runs.first) == changed(runs.checked)
    for name in CASES:
        for key in ("actions", "diff"):
            assert runs.first[name].get(key) == runs.checked[name].get(key), name


def test_second_run_changes_nothing(runs: Runs) -> None:
    assert changed(runs.second) == dict.fromkeys(CASES, False)
    assert runs.after_second == {}


def test_diff_shows_what_changes(runs: Runs) -> None:
    for name, case in CASES.items():
        if case.module in ("info", "compare"):
            continue
        diff = runs.first[name]["diff"]
        assert (diff["before"] != diff["after"]) == case.changes, name
        assert diff["before_header"] == diff["after_header"] == runs.first[name]["path"]
    assert runs.first["resize_larger"]["diff"]["before"] == {"size": 4 * MIB}
    assert runs.first["resize_larger"]["diff"]["after"] == {"size": 16 * MIB}
    assert runs.first["snapshot_present"]["diff"]["after"] == {"snapshots": ["one", "two", "three"]}
    assert runs.first["rebase_none"]["diff"]["before"] == {"backing_file": "base.qcow2", "backing_format": "qcow2"}


def test_documents_are_those_of_qemu_img(runs: Runs) -> None:
    seen = 0
    for name, result in runs.second.items():
        if result.get("info") is None:
            continue
        path = result["info"]["filename"]
        options = ("-f", result["info"]["format"])
        assert result["info"] == oracle.info(path, *options), name
        if "map" in result:
            assert result["map"] == oracle.map_(path, *options), name
            assert result["map_truncated"] is False
        if result.get("check") is not None:
            assert result["check"] == oracle.check(path, *options)[1], name
            assert (result["check"]["check-errors"], result["check"].get("corruptions")) == (0, None), name
        seen += 1
    assert seen >= 28


def test_check_mode_foretells_what_the_image_will_say(runs: Runs) -> None:
    for name in CASES:
        if runs.first[name].get("info") is not None:
            assert foreseeable(runs.checked[name]["info"]) == foreseeable(runs.first[name]["info"]), name
    for name in ("create_raw", "create_qcow2", "create_overlay", "resize_larger", "bitmap_present"):
        for key in ("map", "check"):
            assert runs.checked[name][key] is not None or runs.first[name][key] is None
    for key in ("info", "map", "check"):
        assert runs.checked["create_absent"][key] is runs.first["create_absent"][key] is None
    assert runs.first["create_raw"]["check"] is None


def same(directory: Path, one: str, other: str) -> bool:
    return oracle.ask_qemu_img("compare", directory / one, directory / other).code == 0


def test_content_is_what_it_should_be(runs: Runs) -> None:
    at = runs.directory
    for name in ("c1.qcow2", "c4.qcow2", "stale.qcow2", "converted.qcow2"):
        assert same(at, name, "source.raw"), name
    assert same(at, "c2.raw", "reverted.qcow2")
    assert same(at, "revert.qcow2", "reverted.qcow2")
    assert same(at, "machine.qcow2", "source.raw") is False
    oracle.qemu_img("convert", "-O", "raw", at / "part.raw", at / "base.qcow2", at / "joined.raw")
    assert same(at, "c3.qcow2", "joined.raw")
    oracle.qemu_img("create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", at / "expected.qcow2")
    oracle.qemu_io(at / "expected.qcow2", "write -P 10 64k 64k")
    for name in ("rebased.qcow2", "flattened.qcow2", "committed.qcow2", "lower.qcow2"):
        assert same(at, name, "expected.qcow2"), name
    assert same(at, "bottom.qcow2", "top.qcow2")
    assert not (at / "doomed.qcow2").exists()
    assert oracle.info(at / "moved.qcow2")["backing-filename"] == "elsewhere.qcow2"


def test_convert_says_whether_the_image_matches_its_source(runs: Runs) -> None:
    assert runs.first["convert_never"]["matches_source"] is False
    assert runs.first["convert_never"]["difference"] == "its size is 8388608 bytes, not 4194304"
    for name in ("convert_new", "convert_stale", "convert_same", "convert_joined", "convert_larger"):
        assert runs.checked[name]["matches_source"] is runs.first[name]["matches_source"] is True, name
        assert runs.second[name]["matches_source"] is True, name


def test_create_says_what_it_ignores(runs: Runs) -> None:
    assert runs.first["create_ignore"]["differences"] == ["its size is 8388608 bytes, not 4194304"]
    assert runs.first["create_raw"]["differences"] == []


def test_repair_is_foretold_to_the_last_number(runs: Runs) -> None:
    assert runs.checked["check_leaks"]["check"] == runs.first["check_leaks"]["check"]
    assert runs.first["check_leaks"]["check"]["leaks-fixed"] == 2
    assert runs.checked["check_all"]["check"] == runs.first["check_all"]["check"]
    assert runs.first["check_all"]["check"]["corruptions-fixed"] >= 1
    assert runs.second["check_all"]["clean"] is True
    assert "corruptions-fixed" not in runs.second["check_all"]["check"]


def test_bitmaps_are_what_qemu_sees(runs: Runs) -> None:
    def bitmaps(case: str) -> dict[str, tuple[int, list[str]]]:
        found = oracle.info(runs.directory / ("bitmap-%s.qcow2" % case))["format-specific"]["data"].get("bitmaps", [])
        return {each["name"]: (each["granularity"], each["flags"]) for each in found}

    first: dict[str, tuple[int, list[str]]] = {"first": (4096, ["auto"])}
    second: dict[str, tuple[int, list[str]]] = {"second": (65536, [])}
    assert bitmaps("new") == {**first, **second, "third": (131072, ["auto"])}
    assert bitmaps("absent") == second
    assert bitmaps("enabled") == {**first, "second": (65536, ["auto"])}
    assert bitmaps("disabled") == {"first": (4096, []), **second}
    assert bitmaps("merged") == {**first, **second}
    assert bitmap.dirty_ranges(str(runs.directory / "bitmap-merged.qcow2"), "second") == [(65536, 65536), (MIB, 65536)]
    assert bitmap.dirty_ranges(str(runs.directory / "bitmap-cleared.qcow2"), "first") == []


def test_bitmap_is_described_and_foretold(runs: Runs) -> None:
    assert runs.first["bitmap_merged"]["bitmap"] == {
        "name": "second",
        "state": "present",
        "granularity": 65536,
        "enabled": False,
        "inconsistent": False,
        "dirty_bytes": 131072,
    }
    for name in (name for name, case in CASES.items() if case.module == "bitmap"):
        assert runs.checked[name]["bitmap"] == runs.first[name]["bitmap"] == runs.second[name]["bitmap"], name


def test_info_describes_the_chain_below(runs: Runs) -> None:
    ((path, documents),) = runs.first["info"]["images"].items()
    chain = [image["filename"] for image in oracle.info(path, "--backing-chain")]
    assert [path, *(image["filename"] for image in documents["chain"])] == chain and len(chain) == 2
    assert documents["info"] == oracle.info(path)
    assert documents["map"] == oracle.map_(path)
    assert documents["check"] == oracle.check(path)[1]


def test_compare_finds_the_first_difference(runs: Runs) -> None:
    found = {key: runs.first["compare"][key] for key in ("identical", "sizes_differ", "reason", "offset")}
    assert found == {"identical": False, "sizes_differ": True, "reason": "content", "offset": 0}
