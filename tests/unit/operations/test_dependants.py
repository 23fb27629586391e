# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Which images lie on another one, and which changes would have them read something else."""
from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

import qimg
from qimg.formats import format_names, get_driver
from qimg.formats.driver import Driver
from qimg.operations import dependants as searching
from qimg.storage.scratch import Rehearsal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MIB = 1 << 20


def overlay(path: Path, backing_file: str, **options: Any) -> Path:
    """An image of that backing file, which need not be there."""
    qimg.create(path, "qcow2", MIB, options, backing_file, "qcow2", open_backing=False)
    return path


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    path = tmp_path / "golden.qcow2"
    qimg.create(path, "qcow2", MIB)
    return path


def found(path: Path, *directories: Path, **arguments: Any) -> list[str]:
    return [os.path.basename(each.path) for each in qimg.dependants(path, directories, **arguments)]


def test_overlays_are_found_by_whatever_name_they_give_the_image(golden: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.qcow2").symlink_to(golden)
    os.link(golden, tmp_path / "hard.qcow2")
    node = {"driver": "qcow2", "file": {"driver": "file", "filename": str(golden)}}
    names = {
        "absolute": str(golden),
        "colon": "file:" + str(golden),
        "described": "json:" + json.dumps(node),
        "detour": "sub/../golden.qcow2",
        "hard": "hard.qcow2",
        "link": "link.qcow2",
        "relative": "golden.qcow2",
    }
    for name, backing_file in names.items():
        overlay(tmp_path / (name + "-overlay"), backing_file)
    overlay(tmp_path / "other", "another.qcow2")
    overlay(tmp_path / "gone", "sub/golden.qcow2")
    overlay(tmp_path / "remote", "nbd://localhost/golden.qcow2")

    for path in (golden, tmp_path / "link.qcow2", tmp_path / "hard.qcow2", tmp_path / "sub" / ".." / "golden.qcow2"):
        assert found(path) == [name + "-overlay" for name in names], path


def test_version_2_and_small_clusters_are_read_too(golden: Path, tmp_path: Path) -> None:
    overlay(tmp_path / "old", "golden.qcow2", compat="0.10")
    overlay(tmp_path / "small", "golden.qcow2", cluster_size=512)

    assert found(golden) == ["old", "small"]


def test_further_directories_and_images_are_looked_at_if_they_are_named(golden: Path, tmp_path: Path) -> None:
    for name in ("machines", "elsewhere"):
        (tmp_path / name).mkdir()
        overlay(tmp_path / name / (name + ".qcow2"), "../golden.qcow2")

    assert found(golden) == []
    assert found(golden, tmp_path / "machines", tmp_path / "missing") == ["machines.qcow2"]
    assert found(golden, images=[tmp_path / "elsewhere" / "elsewhere.qcow2"]) == ["elsewhere.qcow2"]


def test_both_directories_of_a_link_are_looked_at(tmp_path: Path) -> None:
    for name in ("data", "pool"):
        (tmp_path / name).mkdir()
    golden = tmp_path / "data" / "golden.qcow2"
    qimg.create(golden, "qcow2", MIB)
    (tmp_path / "pool" / "golden.qcow2").symlink_to(golden)
    overlay(tmp_path / "data" / "a.qcow2", "golden.qcow2")
    overlay(tmp_path / "pool" / "b.qcow2", "golden.qcow2")
    # Its name counts where the link is.
    (tmp_path / "real").mkdir()
    overlay(tmp_path / "real" / "c.qcow2", "golden.qcow2")
    (tmp_path / "pool" / "c.qcow2").symlink_to(tmp_path / "real" / "c.qcow2")

    assert found(tmp_path / "pool" / "golden.qcow2") == ["a.qcow2", "b.qcow2", "c.qcow2"]


def test_images_on_overlays_count_and_those_of_a_commit_do_not(golden: Path, tmp_path: Path) -> None:
    overlay(tmp_path / "middle", "golden.qcow2")
    overlay(tmp_path / "top", "middle")
    overlay(tmp_path / "on-top", "top")
    assert found(golden) == ["middle", "on-top", "top"]

    above = tuple(str(tmp_path / name) for name in ("top", "middle"))
    assert found(golden, above=above) == []
    overlay(tmp_path / "beside", "middle")
    assert found(golden, above=above) == ["beside"]


def test_a_data_file_belongs_to_its_image(golden: Path, tmp_path: Path) -> None:
    qimg.create(tmp_path / "disk.qcow2", "qcow2", MIB, {"data_file": "disk.raw"})

    (dependant,) = qimg.dependants(tmp_path / "disk.raw")

    assert dependant == (str(tmp_path / "disk.qcow2"), "data file", "disk.raw")


def test_loops_end(tmp_path: Path) -> None:
    overlay(tmp_path / "one", "two")
    overlay(tmp_path / "two", "one")
    overlay(tmp_path / "self", "self")

    assert found(tmp_path / "one") == ["two"]
    assert found(tmp_path / "self") == []


def test_whatever_else_is_there_is_passed_over(golden: Path, tmp_path: Path) -> None:
    overlay(tmp_path / "overlay", "golden.qcow2")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("golden.qcow2")
    head = bytearray((tmp_path / "overlay").read_bytes()[:512])
    for name, offset in (("cut", 8), ("far", 8), ("huge", 16)):
        broken = bytearray(head)
        broken[offset : offset + 4] = struct.pack(">I", 0xFFFFFFFF)
        (tmp_path / name).write_bytes(bytes(broken[: 100 if name == "cut" else 512]))
    nul = bytearray((tmp_path / "overlay").read_bytes())
    nul[nul.index(b"golden.qcow2")] = 0
    (tmp_path / "nul").write_bytes(nul)

    # A name of 4 GiB is cut to the longest that there can be.
    assert [name for name in found(golden) if name != "huge"] == ["overlay"]


def test_what_cannot_be_read_is_left_out(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overlay(tmp_path / "open", "golden.qcow2")
    secret = overlay(tmp_path / "secret", "golden.qcow2")
    really_open = os.open

    def refusing_open(path: Any, flags: int) -> int:
        # For root, no mode does that.
        if str(path) == str(secret):
            raise PermissionError
        return really_open(path, flags)

    monkeypatch.setattr(os, "open", refusing_open)

    assert found(golden) == ["open"]


def test_no_file_that_an_image_names_is_opened(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    overlay(tmp_path / "elsewhere" / "middle", str(golden))
    overlay(tmp_path / "top", "elsewhere/middle")
    opened = []
    really_open = os.open

    def noting_open(path: Any, flags: int) -> int:
        opened.append(str(path))
        return really_open(path, flags)

    monkeypatch.setattr(os, "open", noting_open)

    assert found(golden) == []
    assert sorted(opened) == [str(golden), str(tmp_path / "top")]


def test_of_each_file_little_is_read(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overlay(tmp_path / "overlay", "golden.qcow2", cluster_size=2 * MIB)
    for number in range(20):
        (tmp_path / ("disk%d.raw" % number)).write_bytes(b"\1" * MIB)
    sizes = []
    really_read = os.pread

    def noting_read(fd: int, length: int, offset: int) -> bytes:
        sizes.append(length)
        return really_read(fd, length, offset)

    monkeypatch.setattr(os, "pread", noting_read)

    assert found(golden) == ["overlay"]
    assert sum(sizes) < 32 << 10


def test_there_is_an_end_to_looking(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MAX_FILES", 3)
    for number in range(3):
        (tmp_path / str(number)).touch()

    with pytest.raises(qimg.LimitError, match="more than 3 files"):
        qimg.dependants(golden)


def test_what_is_no_local_file_has_no_directory() -> None:
    assert qimg.dependants("nbd://localhost/golden") == []
    assert qimg.dependants("unknown:golden") == []


@pytest.mark.parametrize("format", format_names())
def test_formats_with_backing_files_tell_their_names(format: str) -> None:
    driver = get_driver(format)

    tells_names = type(driver).named_files is not Driver.named_files
    # Differencing disks are read, and not made.
    assert tells_names == (driver.has_option("backing_file") or format in ("vhdx", "vpc"))


def test_what_is_rehearsed_counts(golden: Path, tmp_path: Path) -> None:
    overlay(tmp_path / "moved", "golden.qcow2")
    overlay(tmp_path / "removed", "golden.qcow2")
    opener = qimg.Opener()
    opener.rehearsal = Rehearsal()
    (tmp_path / "elsewhere").mkdir()
    for name in ("made", "elsewhere/made-elsewhere"):
        qimg.plan_create(
            tmp_path / name, "qcow2", None, None, str(golden), "qcow2", opener=opener
        ).rehearse()
    qimg.plan_rebase(tmp_path / "moved", None, opener=opener).rehearse()
    qimg.plan_remove(tmp_path / "removed", opener=opener).rehearse()

    assert found(golden, opener=opener) == ["made-elsewhere", "made"]
    assert found(golden) == ["moved", "removed"]


def test_an_image_that_is_only_rehearsed_has_dependants(tmp_path: Path) -> None:
    opener = qimg.Opener()
    opener.rehearsal = Rehearsal()
    golden = tmp_path / "golden.qcow2"
    qimg.plan_create(golden, "qcow2", MIB, opener=opener).rehearse()
    qimg.plan_create(
        tmp_path / "overlay", "qcow2", None, None, "golden.qcow2", "qcow2", opener=opener
    ).rehearse()

    assert found(golden, opener=opener) == ["overlay"]
    assert qimg.altered_dependants(qimg.plan_remove(golden, opener=opener), opener=opener) != []


# Plans


def convert(tmp_path: Path, source: str, **request: Any) -> qimg.Plan:
    whole = qimg.ConvertRequest((tmp_path / source,), None, tmp_path / "golden.qcow2", "qcow2", **request)
    return qimg.plan_convert(whole, "if_different")


PLANS: dict[str, tuple[Callable[[Path], qimg.Plan], bool]] = {
    "convert_other": (lambda at: convert(at, "newer"), True),
    "convert_same": (lambda at: convert(at, "same", options={"cluster_size": 4096}), False),
    "recreate": (lambda at: qimg.plan_create(at / "golden.qcow2", "qcow2", 2 * MIB, existing="recreate"), True),
    "remove": (lambda at: qimg.plan_remove(at / "golden.qcow2"), True),
    "grow": (lambda at: qimg.plan_resize(at / "golden.qcow2", 2 * MIB), False),
    "shrink": (lambda at: qimg.plan_resize(at / "golden.qcow2", 65536, shrink=True), True),
    "amend": (lambda at: qimg.plan_amend(at / "golden.qcow2", {"lazy_refcounts": True}), False),
    "amend_shrink": (lambda at: qimg.plan_amend(at / "golden.qcow2", {"size": 65536}), True),
    "take_snapshot": (lambda at: qimg.plan_create_snapshot(at / "golden.qcow2", "two"), False),
    "revert": (lambda at: qimg.plan_apply_snapshot(at / "golden.qcow2", "one"), True),
    "delete_snapshot": (lambda at: qimg.plan_delete_snapshot(at / "golden.qcow2", "one"), False),
    "rebase": (lambda at: qimg.plan_rebase(at / "golden.qcow2", "same", "qcow2"), False),
    "rebase_unsafe": (lambda at: qimg.plan_rebase(at / "golden.qcow2", "same", "qcow2", unsafe=True), True),
    "commit_beside": (lambda at: qimg.plan_commit(at / "beside"), True),
    "commit_above": (lambda at: qimg.plan_commit(at / "overlay", base="golden.qcow2"), True),
}


@pytest.mark.parametrize("case", PLANS)
def test_plans_know_whether_overlays_would_read_something_else(golden: Path, tmp_path: Path, case: str) -> None:
    plan, alters = PLANS[case]
    for name in ("same", "newer"):
        qimg.create(tmp_path / name, "qcow2", MIB)
    with qimg.open_image(tmp_path / "newer", purpose="write") as image:
        image.write(0, b"new")
    qimg.create_snapshot(golden, "one")
    overlay(tmp_path / "overlay", "golden.qcow2")
    overlay(tmp_path / "beside", "golden.qcow2")
    with qimg.open_image(tmp_path / "beside", purpose="write") as image:
        image.write(0, b"new")

    planned = plan(tmp_path)

    assert planned.changed
    left_out = {"commit_beside": "beside", "commit_above": "overlay"}.get(case)
    expected = [name for name in ("beside", "overlay") if name != left_out] if alters else []
    assert [os.path.basename(each.path) for each in qimg.altered_dependants(planned)] == expected


def test_an_overlay_may_be_committed_that_is_the_only_one(golden: Path, tmp_path: Path) -> None:
    overlay(tmp_path / "overlay", "golden.qcow2")
    overlay(tmp_path / "upper", "overlay")

    for name, base in (("overlay", None), ("upper", "golden.qcow2")):
        assert qimg.altered_dependants(qimg.plan_commit(tmp_path / name, base=base)) == []


def test_a_new_image_has_no_dependants_yet(tmp_path: Path) -> None:
    overlay(tmp_path / "overlay", "golden.qcow2")

    assert found(tmp_path / "golden.qcow2") == ["overlay"]
    assert qimg.altered_dependants(qimg.plan_create(tmp_path / "golden.qcow2", "qcow2", MIB)) == []


def test_the_error_names_the_first_of_many() -> None:
    error = qimg.DependantsError("/golden", ["/disk%02d" % number for number in range(12)])

    assert "'/golden': Other images depend on it" in str(error)
    assert "'/disk09' and 2 more" in str(error) and "/disk10" not in str(error)
    assert len(error.details()["dependants"]) == 12
