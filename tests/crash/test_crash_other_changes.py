# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The crash test for changes of options, backing files, bitmaps and guest data, for commits and repairs."""
from __future__ import annotations

import struct

import pytest
from test_crash_in_place import KIB, change, crash, make, pattern

from qimg.formats.bits import byte_ranges
from qimg.formats.capabilities import HasBitmaps
from qimg.formats.driver import CHECK, WRITE
from qimg.operations import amend, commit, rebase
from support.crashing import CrashTest, check_counters, digest, opener, view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

LONG = "/".join(["long-directory-name"] * 22)


# Rebase: the guest content never changes, the name at once.


def rebased(tmp_path: Path, new: str | None, unsafe: bool = False, **options: Any) -> CrashTest:
    base = pattern(tmp_path / "base.raw", 250 * KIB)
    pattern(tmp_path / "other.raw", 330 * KIB)
    other = bytearray((tmp_path / "other.raw").read_bytes())
    other[: 100 * KIB] = base.read_bytes()[: 100 * KIB]
    (tmp_path / "other.raw").write_bytes(other)
    overlay = make(tmp_path / "overlay.qcow2", backing=base, snapshots=False, **options)

    def operate() -> None:
        rebase.plan_rebase(
            str(overlay), new, "raw" if new else None, unsafe=unsafe, opener=opener()
        ).apply()

    def look() -> Any:
        if unsafe:
            with opener().open(str(overlay), backing=False) as image:
                return image.backing_file, image.backing_format, digest(image.read(0, image.size))
        with opener().open(str(overlay)) as image:
            return digest(image.read(0, image.size)), image.backing_file is None

    return CrashTest([overlay], [overlay], operate, look)


@pytest.mark.parametrize("cluster_size", [512, 4096, 65536])
@pytest.mark.parametrize("new", ["other.raw", None])
def test_rebase(tmp_path: Path, cluster_size: int, new: str | None) -> None:
    rebased(tmp_path, new, cluster_size=cluster_size).run()


def test_rebase_extended_l2(tmp_path: Path) -> None:
    rebased(tmp_path, "other.raw", cluster_size=16384, extended_l2=True).run()


@pytest.mark.parametrize("cluster_size", [4096, 65536])
@pytest.mark.parametrize("new", [LONG, "short.raw", None])
def test_unsafe_rebase_to_names_of_any_length(tmp_path: Path, cluster_size: int, new: str | None) -> None:
    rebased(tmp_path, new, unsafe=True, cluster_size=cluster_size).run()


@pytest.mark.oracle
@pytest.mark.parametrize("names", [(LONG, "short.raw"), (LONG, LONG[::-1]), ("short.raw", LONG)])
def test_rebase_where_the_extensions_cross_the_first_sector(tmp_path: Path, names: tuple[str, str]) -> None:
    from support.oracle import qemu_img

    overlay = tmp_path / "overlay.qcow2"
    qemu_img("create", "-q", "-u", "-f", "qcow2", "-b", names[0], "-F", "raw", overlay, "1M")

    def operate() -> None:
        rebase.plan_rebase(str(overlay), names[1], "qcow2", unsafe=True, opener=opener()).apply()

    def look() -> Any:
        with opener().open(str(overlay), backing=False) as image:
            return image.backing_file, image.backing_format, image.metadata.extensions  # type: ignore[attr-defined]

    test = CrashTest([overlay], [overlay], operate, look)
    # The order of the extensions may change on the way; nothing else may be added or lost.
    test._between = lambda old, seen, new: seen[:2] in (old[:2], new[:2]) and sorted(seen[2]) in (
        sorted(old[2]), sorted(new[2])
    )
    test.run()
    # The header's first sector went to a second copy of the rest, and back.
    assert any(b"qimg" in event.data for event in test.events if event.kind == "write" and event.offset == 0)


# Amend


AMENDMENTS = [
    ({"compat": "1.1"}, {"compat": "0.10", "snapshots": False}),
    ({"compat": "1.1", "refcount_bits": 64, "lazy_refcounts": True}, {"compat": "0.10"}),
    ({"compat": "0.10"}, {"snapshots": False}),
    ({"compat": "0.10", "refcount_bits": 16}, {"refcount_bits": 4, "lazy_refcounts": True}),
    ({"lazy_refcounts": True}, {}),
    ({"lazy_refcounts": False}, {"lazy_refcounts": True}),
    *(({"refcount_bits": bits}, {}) for bits in (2, 4, 8, 32, 64)),
    ({"refcount_bits": 1}, {"refcount_bits": 64, "snapshots": False}),
    ({"refcount_bits": 16}, {"refcount_bits": 1, "snapshots": False, "cluster_size": 512}),
    ({"size": 500 * KIB}, {}),
    ({"size": 100 * KIB, "refcount_bits": 8}, {}),
]


@pytest.mark.parametrize("wanted, layout", AMENDMENTS)
def test_amend(tmp_path: Path, wanted: dict[str, Any], layout: dict[str, Any]) -> None:
    path = make(tmp_path / "i.qcow2", **{"cluster_size": 4096, **layout})

    def operate() -> None:
        amend.plan_amend(str(path), wanted, opener=opener()).apply()

    CrashTest([path], [path], operate, lambda: view(path)).run()


def test_downgrade_with_zero_clusters_above_a_backing_file(tmp_path: Path) -> None:
    base = pattern(tmp_path / "base.raw", 300 * KIB)
    path = make(tmp_path / "i.qcow2", cluster_size=4096, backing=base)

    def operate() -> None:
        amend.plan_amend(str(path), {"compat": "0.10"}, opener=opener()).apply()

    CrashTest([path], [path], operate, lambda: view(path)).run()


# Emptying, committing


@pytest.mark.parametrize("layout", [{"cluster_size": 512}, {"cluster_size": 65536}, {"compat": "0.10"}])
def test_make_empty(tmp_path: Path, layout: dict[str, Any]) -> None:
    base = pattern(tmp_path / "base.raw", 300 * KIB)
    crash(make(tmp_path / "i.qcow2", backing=base, **layout), lambda image: image.make_empty())


@pytest.mark.parametrize("base_size", [300 * KIB, 200 * KIB, 400 * KIB])
@pytest.mark.parametrize("base_format", ["raw", "qcow2"])
def test_commit_never_changes_what_the_overlay_reads(tmp_path: Path, base_size: int, base_format: str) -> None:
    lowest = pattern(tmp_path / "lowest.raw", 350 * KIB)
    if base_format == "raw":
        base, bases = pattern(tmp_path / "base.raw", base_size), []
    else:
        base = make(tmp_path / "base.qcow2", base_size, cluster_size=4096, backing=lowest, snapshots=False)
        bases = [base]
    overlay = tmp_path / "overlay.qcow2"
    from qimg.operations import create

    create.plan_create(
        str(overlay), "qcow2", 300 * KIB, {"cluster_size": 4096}, str(base), base_format, opener=opener()
    ).apply()
    with opener().open(str(overlay), purpose=WRITE) as image:
        for start in range(0, 300 * KIB, 37 * KIB):
            offset = start // 512 * 512
            image.write(offset, (b"over" * 2000)[: image.size - offset])
        image.write_zeroes(120 * KIB, 30 * KIB)

    def operate() -> None:
        commit.plan_commit(str(overlay), opener=opener()).apply()

    def look() -> Any:
        with opener().open(str(overlay)) as image:
            return digest(image.read(0, image.size))

    CrashTest([overlay, base], [overlay, *bases], operate, look).run()


# Bitmaps: either what they were, or marked as not to be trusted while guest data changes.


def with_bitmaps(path: Path, **options: Any) -> Path:
    make(path, snapshots=False, **options)
    with opener().open(str(path), purpose=WRITE) as image:
        image.add_bitmap("on", 512)  # type: ignore[attr-defined]
        image.add_bitmap("off", 4096, enabled=False)  # type: ignore[attr-defined]
    return path


def bitmap_view(path: Path) -> Any:
    """What bitmaps say; an inconsistent one says nothing."""
    with opener().open(str(path)) as image:
        assert isinstance(image, HasBitmaps)
        return tuple(
            (
                bitmap.name,
                bitmap.granularity,
                bitmap.enabled,
                None if bitmap.inconsistent
                else tuple(byte_ranges(image.dirty_pieces(bitmap.name), bitmap.granularity, image.size)),
            )
            for bitmap in image.bitmaps
        )


BITMAP_CHANGES = [
    lambda image: image.add_bitmap("new", 65536),
    lambda image: image.remove_bitmap("on"),
    lambda image: [image.remove_bitmap(bitmap.name) for bitmap in image.bitmaps],
    lambda image: image.clear_bitmap("on"),
    lambda image: image.disable_bitmap("on"),
    lambda image: image.merge_into_bitmap("off", 512, [(0, b"\x55" * 75)]),
]


@pytest.mark.parametrize("number", range(len(BITMAP_CHANGES)))
@pytest.mark.parametrize("cluster_size", [512, 65536])
def test_bitmap_changes(tmp_path: Path, number: int, cluster_size: int) -> None:
    path = with_bitmaps(tmp_path / "i.qcow2", cluster_size=cluster_size)
    with opener().open(str(path), purpose=WRITE) as image:
        image.write(1024, b"x" * 5000)
    work = change(path, BITMAP_CHANGES[number])
    CrashTest([path], [path], work, lambda: (view(path), bitmap_view(path))).run()


@pytest.mark.parametrize("cluster_size", [512, 4096])
def test_a_guest_write_is_in_the_bitmap_or_the_bitmap_is_not_trusted(tmp_path: Path, cluster_size: int) -> None:
    path = with_bitmaps(tmp_path / "i.qcow2", cluster_size=cluster_size)
    with opener().open(str(path)) as image:
        before = image.read(0, image.size)

    def work(image: Any) -> None:
        image.write(10 * KIB, b"new!" * 3000)
        image.flush()
        image.write_zeroes(100 * KIB, 20 * KIB)

    def look() -> Any:
        with opener().open(str(path)) as image:
            content = image.read(0, image.size)
        changed = {
            sector for sector in range(len(content) // 512)
            if content[sector * 512 : sector * 512 + 512] != before[sector * 512 : sector * 512 + 512]
        }
        (_name, granularity, _enabled, recorded), (_other, _granularity, _off, off) = bitmap_view(path)
        assert granularity == 512
        if recorded is not None:
            known = {sector for start, length in recorded for sector in range(start // 512, (start + length) // 512)}
            missing = changed - known
            assert not missing, "changed but not recorded: %s" % sorted(missing)[:5]
        assert off == ()
        return "safe"

    CrashTest([path], [path], change(path, work), look).run()


@pytest.mark.parametrize("size", [200 * KIB, 301 * KIB, 900 * KIB])
def test_resize_with_bitmaps(tmp_path: Path, size: int) -> None:
    path = with_bitmaps(tmp_path / "i.qcow2", cluster_size=4096)
    with opener().open(str(path), purpose=WRITE) as image:
        image.write(1024, b"x" * 5000)

    work = change(path, lambda image: image.resize(size), "resize")
    CrashTest([path], [path], work, lambda: (view(path), bitmap_view(path))).run()


# Guest data: what was flushed stays, what was not is old or new, sector by sector.


def sectors_between(old: bytes, seen: bytes, new: bytes) -> bool:
    return all(
        seen[start : start + 512] in (old[start : start + 512], new[start : start + 512])
        for start in range(0, len(old), 512)
    )


@pytest.mark.parametrize(
    "layout",
    [{"cluster_size": 512}, {"cluster_size": 65536}, {"cluster_size": 16384, "extended_l2": True}, {"compat": "0.10"}],
)
@pytest.mark.parametrize("with_backing", [False, True])
def test_guest_writes(tmp_path: Path, layout: dict[str, Any], with_backing: bool) -> None:
    base = pattern(tmp_path / "base.raw", 220 * KIB) if with_backing else None
    path = make(tmp_path / "i.qcow2", backing=base, **layout)

    def work(image: Any) -> None:
        image.write(3 * 512, b"first" * 4000)
        image.flush()
        image.write_zeroes(30 * KIB, 40 * KIB)
        image.write(70 * KIB + 512, b"2" * 40 * KIB)
        image.write(200 * KIB, b"3" * 100 * KIB)

    def look() -> bytes:
        with opener().open(str(path)) as image:
            return image.read(0, image.size)

    CrashTest([path], [path], change(path, work), look, sectors_between).run()


@pytest.mark.parametrize("raw", [False, True])
def test_guest_writes_to_an_external_data_file(tmp_path: Path, raw: bool) -> None:
    data_file = str(tmp_path / "data.raw")
    path = make(tmp_path / "i.qcow2", cluster_size=4096, snapshots=False, data_file=data_file, data_file_raw=raw)

    def work(image: Any) -> None:
        image.write(3 * 512, b"first" * 4000)
        image.flush()
        image.write_zeroes(30 * KIB, 40 * KIB)
        image.discard(200 * KIB, 64 * KIB)
        image.write(70 * KIB + 512, b"2" * 40 * KIB)

    def look() -> bytes:
        with opener().open(str(path)) as image:
            return image.read(0, image.size)

    CrashTest([path, tmp_path / "data.raw"], [path], change(path, work), look, sectors_between).run()


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    "size, mode",
    [(100 * KIB, "off"), (301 * KIB, "off"), *((500 * KIB, mode) for mode in ("off", "metadata", "falloc", "full"))],
)
def test_resize_with_an_external_data_file(tmp_path: Path, raw: bool, size: int, mode: str) -> None:
    data = tmp_path / "data.raw"
    path = make(tmp_path / "i.qcow2", cluster_size=4096, snapshots=False, data_file=str(data), data_file_raw=raw)
    CrashTest(
        [path, data], [path], change(path, lambda image: image.resize(size, mode), "resize"), lambda: view(path)
    ).run()


# Repairs: as broken as before, or repaired.


def header_field(path: Path, offset: int, size: int = 8) -> int:
    return int.from_bytes(path.read_bytes()[offset : offset + size], "big")


def poke(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def entry(path: Path, offset: int) -> int:
    return header_field(path, offset)


def leak(path: Path) -> None:
    block = entry(path, header_field(path, 48))
    cluster = path.stat().st_size // 4096
    with open(path, "ab") as file:
        file.write(bytes(3 * 4096))
    poke(path, block + 2 * cluster, struct.pack(">HHH", 1, 5, 1))


def lose_refcounts(path: Path) -> None:
    poke(path, entry(path, header_field(path, 48)) + 8, bytes(40))


def lose_refcount_table(path: Path) -> None:
    poke(path, header_field(path, 48), bytes(8))


def flip_copied(path: Path) -> None:
    l1 = header_field(path, 40)
    poke(path, l1, struct.pack(">Q", entry(path, l1) ^ 1 << 63))
    l2 = entry(path, l1 + 8) & 0x00FFFFFFFFFFFE00 or entry(path, l1) & 0x00FFFFFFFFFFFE00
    for index in range(0, 60, 3):
        if entry(path, l2 + 8 * index):
            poke(path, l2 + 8 * index, struct.pack(">Q", entry(path, l2 + 8 * index) ^ 1 << 63))


def too_high(path: Path) -> None:
    poke(path, entry(path, header_field(path, 48)) + 6, struct.pack(">HHH", 7, 9, 3))


def too_low(path: Path) -> None:
    """Clusters that the snapshots share count less than their references, but not 0."""
    block = entry(path, header_field(path, 48))
    counts = struct.unpack(">64H", path.read_bytes()[block : block + 128])
    for cluster, count in enumerate(counts):
        if count > 1:
            poke(path, block + 2 * cluster, struct.pack(">H", 1))


CORRUPTIONS = {
    "leak": leak, "lost refcounts": lose_refcounts, "lost refcount table": lose_refcount_table,
    "copied flags": flip_copied, "too high": too_high, "too low": too_low,
}


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_a_dirty_image_is_repaired_by_opening_it(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / "i.qcow2", cluster_size=4096, lazy_refcounts=True)
    CORRUPTIONS[name](path)
    poke(path, 79, b"\1")

    def look() -> Any:
        with opener().open(str(path)) as image:
            return digest(image.read(0, image.size))

    test = CrashTest([path], [path], change(path, lambda image: None), look)
    test.run()
    assert test.counters_after == [(0, 0, 0)]
    assert path.read_bytes()[79] == 0


@pytest.mark.parametrize(
    "name, mode", [*((name, "all") for name in sorted(CORRUPTIONS)), ("leak", "leaks"), ("too high", "leaks")]
)
def test_repair(tmp_path: Path, name: str, mode: str) -> None:
    path = make(tmp_path / "i.qcow2", cluster_size=4096)
    CORRUPTIONS[name](path)
    assert check_counters(path) != (0, 0, 0)

    def operate() -> None:
        with opener().open(str(path), purpose=CHECK, writable=True, backing=False) as image:
            image.check(mode)  # type: ignore[attr-defined]

    def look() -> Any:
        with opener().open(str(path)) as image:
            return digest(image.read(0, image.size))

    test = CrashTest([path], [path], operate, look)
    test.run()
    assert test.counters_after == [(0, 0, 0)]
