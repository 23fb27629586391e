# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The crash test for what is done less often: repairs of every kind, subclusters, compressed copies, other sizes."""
from __future__ import annotations

import struct

import pytest
from test_crash_commands import content
from test_crash_in_place import KIB, change, crash, make, pattern
from test_crash_other_changes import entry, header_field, poke

from qimg.formats.driver import CHECK, RESIZE, WRITE
from qimg.operations import amend, commit, create, rebase
from support.crashing import CrashTest, check_counters, digest, opener, view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

CLUSTER = 4096
SUBCLUSTERS = {"cluster_size": 16384, "extended_l2": True}
OFFSET = 0x00FFFFFFFFFFFE00


# Repairs


def active_table(path: Path) -> int:
    """Where the first L2 table of the guest disk is."""
    return entry(path, header_field(path, 40)) & OFFSET


def snapshot_table(path: Path) -> int:
    """Where the first L2 table of the first snapshot is."""
    return entry(path, entry(path, header_field(path, 64))) & OFFSET


def misplace_zeroes(path: Path, table: int) -> None:
    """Zero clusters with a place that is none, in free entries at the end of a table."""
    for index in (500, 505, 511):
        poke(path, table + 8 * index, struct.pack(">Q", 1 << 20 | 0x200 | 1))


def misplace_in_both(path: Path) -> None:
    misplace_zeroes(path, active_table(path))
    misplace_zeroes(path, snapshot_table(path))


def cut_extra_data(path: Path) -> None:
    """The first snapshot lacks what version 3 demands."""
    offset = header_field(path, 64)
    content = path.read_bytes()
    names = content[offset + 64 : offset + 68]
    second = content[offset + 72 : offset + 72 + 68]
    first = content[offset : offset + 36] + struct.pack(">I", 0) + names
    poke(path, offset, first.ljust(48, b"\0") + second)


def give_too_much_extra_data(path: Path) -> None:
    offset = header_field(path, 64)
    content = path.read_bytes()
    second = content[offset + 72 : offset + 72 + 68]
    first = content[offset : offset + 36] + struct.pack(">I", 1100) + content[offset + 40 : offset + 64] + b"x" * 1076
    poke(path, offset, (first + content[offset + 64 : offset + 68]).ljust(1144, b"\0") + second)


def lose_block(path: Path) -> None:
    """The refcount table names a block behind the end of the file."""
    poke(path, header_field(path, 48) + 8, struct.pack(">Q", (path.stat().st_size // CLUSTER + 5) * CLUSTER))


def break_refcount_table(path: Path) -> None:
    poke(path, header_field(path, 48) + 7, b"\x10")


def share_block(path: Path) -> None:
    """A refcount block that is guest data too."""
    table = header_field(path, 48)
    poke(path, table + 8, struct.pack(">Q", entry(path, table)))


def mark_corrupt(path: Path) -> None:
    poke(path, 79, bytes((path.read_bytes()[79] | 2,)))


def flip_copied_of_data(path: Path) -> None:
    table = active_table(path)
    for offset in range(table, table + 60 * 8, 8):
        if entry(path, offset) & OFFSET:
            poke(path, offset, struct.pack(">Q", entry(path, offset) ^ 1 << 63))


REPAIRS: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    "zeroes in the disk": (lambda path: misplace_zeroes(path, active_table(path)), {}),
    "zeroes in a snapshot": (misplace_in_both, {}),
    "incomplete snapshot": (cut_extra_data, {}),
    "too much in a snapshot": (give_too_much_extra_data, {}),
    "block outside": (lose_block, {}),
    "unaligned block": (break_refcount_table, {}),
    "block used twice": (share_block, {}),
    "mark": (mark_corrupt, {}),
    "mark and subclusters": (mark_corrupt, SUBCLUSTERS),
    "copied flags of a data file": (flip_copied_of_data, {"data_file": "data.raw", "snapshots": False}),
}


@pytest.mark.parametrize("name", REPAIRS)
def test_repairs_of_every_kind(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    damage, layout = REPAIRS[name]
    path = make(tmp_path / "i.qcow2", **{"cluster_size": CLUSTER, **layout})
    damage(path)

    def operate() -> None:
        with opener().open(str(path), purpose=CHECK, writable=True, backing=False) as image:
            image.check("all")  # type: ignore[attr-defined]

    def look() -> Any:
        # Not all that is broken can be opened but for a check.
        with opener().open(str(path), purpose=CHECK) as image:
            return digest(image.read(0, image.size))

    test = CrashTest([path], [path], operate, look)
    test.run()
    assert test.counters_after == [(0, 0, 0)]


# Subclusters, compressed copies


def overlay_of(path: Path, base: Path, format: str, **options: Any) -> Path:
    create.plan_create(str(path), "qcow2", 300 * KIB, options, str(base), format, opener=opener()).apply()
    with opener().open(str(path), purpose=WRITE) as image:
        for start in range(0, 300 * KIB, 37 * KIB):
            image.write(start // 512 * 512, b"over" * 700)
        image.write_zeroes(120 * KIB + 512, 30 * KIB)
    return path


@pytest.mark.parametrize("snapshots", [False, True], ids=["reset", "discard"])
@pytest.mark.parametrize("layout", [SUBCLUSTERS, {"compat": "0.10", "cluster_size": CLUSTER}], ids=["extl2", "v2"])
def test_commit_into_and_out_of(tmp_path: Path, layout: dict[str, Any], snapshots: bool) -> None:
    lowest = pattern(tmp_path / "lowest.raw", 200 * KIB + 512)
    base = overlay_of(tmp_path / "base.qcow2", lowest, "raw", **layout)
    top = overlay_of(tmp_path / "top.qcow2", base, "qcow2", **layout)
    if snapshots:
        with opener().open(str(top), purpose=WRITE) as image:
            image.create_snapshot("kept", 1, 1)  # type: ignore[attr-defined]

    def operate() -> None:
        commit.plan_commit(str(top), opener=opener()).apply()

    CrashTest([top, base], [top, base], operate, lambda: digest(content(top))).run()


@pytest.mark.parametrize("layout", [SUBCLUSTERS, {"cluster_size": CLUSTER}], ids=["extl2", "4k"])
@pytest.mark.parametrize("new", ["other.raw", None])
def test_rebase_with_compression(tmp_path: Path, layout: dict[str, Any], new: str | None) -> None:
    base = pattern(tmp_path / "base.raw", 250 * KIB)
    (tmp_path / "other.raw").write_bytes(b"compresses well " * (200 * KIB // 16) + bytes(50 * KIB))
    overlay = overlay_of(tmp_path / "overlay.qcow2", base, "raw", **layout)

    def operate() -> None:
        rebase.plan_rebase(str(overlay), new, "raw" if new else None, compress=True, opener=opener()).apply()

    CrashTest([overlay], [overlay], operate, lambda: digest(content(overlay))).run()


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("action", ["apply", "delete"])
def test_snapshots_of_disks_of_other_size(tmp_path: Path, which: int, action: str) -> None:
    path = make(tmp_path / "i.qcow2", cluster_size=512, snapshots=False)
    for name, size in (("small", 90 * KIB), ("large", 700 * KIB), ("now", 200 * KIB)):
        with opener().open(str(path), purpose=RESIZE) as image:
            image.resize(size)  # type: ignore[attr-defined]
            image.write(size - 40 * KIB, b"at the end" * 1000)
            if name != "now":
                image.create_snapshot(name, 1, 1)  # type: ignore[attr-defined]

    def work(image: Any) -> None:
        if action == "apply":
            image.apply_snapshot(image.snapshots[which])
        else:
            image.delete_snapshot(image.snapshots[which])

    crash(path, work, RESIZE)


@pytest.mark.parametrize("size", [290 * KIB, 350 * KIB, 600 * KIB])
@pytest.mark.parametrize("mode", ["off", "falloc"])
@pytest.mark.parametrize("layout", [SUBCLUSTERS, {"cluster_size": CLUSTER}], ids=["extl2", "4k"])
def test_resize_above_a_longer_backing_file(tmp_path: Path, layout: dict[str, Any], mode: str, size: int) -> None:
    base = pattern(tmp_path / "base.raw", 400 * KIB)
    path = overlay_of(tmp_path / "i.qcow2", base, "raw", **layout)
    mode = "off" if size < 300 * KIB else mode
    crash(path, lambda image: image.resize(size, mode), RESIZE)


# Amend, with all that may be there at once


@pytest.mark.parametrize(
    "wanted",
    [
        {"compat": "0.10"}, {"refcount_bits": 64}, {"refcount_bits": 8, "lazy_refcounts": True, "size": 500 * KIB},
        {"size": 100 * KIB},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("with_snapshots", [False, True])
def test_amend_of_an_image_with_bitmaps(tmp_path: Path, wanted: dict[str, Any], with_snapshots: bool) -> None:
    path = make(tmp_path / "i.qcow2", cluster_size=512, snapshots=with_snapshots)
    with opener().open(str(path), purpose=WRITE) as image:
        image.add_bitmap("on", 512)  # type: ignore[attr-defined]
        image.add_bitmap("off", 4096, enabled=False)  # type: ignore[attr-defined]
    with opener().open(str(path), purpose=WRITE) as image:
        image.write(1024, b"x" * 50000)

    def operate() -> None:
        amend.plan_amend(str(path), wanted, opener=opener()).apply()

    CrashTest([path], [path], operate, lambda: view(path)).run()


@pytest.mark.parametrize("raw", [False, True])
def test_amend_of_the_size_with_an_external_data_file(tmp_path: Path, raw: bool) -> None:
    data = tmp_path / "data.raw"
    path = make(tmp_path / "i.qcow2", cluster_size=4096, snapshots=False, data_file=str(data), data_file_raw=raw)

    def operate() -> None:
        amend.plan_amend(str(path), {"size": 500 * KIB, "refcount_bits": 8}, opener=opener()).apply()

    CrashTest([path, data], [path], operate, lambda: view(path)).run()


# Guest data of an image whose refcounts are lazy


def test_a_writer_that_dies_leaves_no_work_behind_though_refcounts_may_be_lazy(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2", cluster_size=512, lazy_refcounts=True)
    old = content(path)

    def work(image: Any) -> None:
        image.write(10 * KIB, b"new!" * 9216)
        image.flush()
        image.discard(100 * KIB, 50 * KIB)

    def is_clean() -> Any:
        assert check_counters(path) == (0, 0, 0)
        seen = content(path)
        same = all(
            seen[start : start + 512] in (old[start : start + 512], b"new!" * 128, bytes(512))
            for start in range(0, len(seen), 512)
        )
        return "whole" if same else seen

    CrashTest([path], [path], change(path, work), is_clean).run()


# Features that we do not know


@pytest.mark.parametrize("cluster_size", [512, 65536])
def test_unknown_autoclear_bits_are_cleared_before_data_is_overwritten(tmp_path: Path, cluster_size: int) -> None:
    path = make(tmp_path / "i.qcow2", cluster_size=cluster_size, snapshots=False)
    with opener().open(str(path), purpose=WRITE) as image:
        image.write(0, b"\1" * (100 * KIB))
    poke(path, 88, struct.pack(">Q", 1 << 62 | 4))

    def look() -> Any:
        return header_field(path, 88), digest(content(path))

    def knows_better(old: Any, seen: Any, new: Any) -> bool:
        return bool(seen[0] == new[0] == 0)

    work = change(path, lambda image: image.write(3 * KIB, b"\2" * (90 * KIB)))
    CrashTest([path], [path], work, look, knows_better).run()
