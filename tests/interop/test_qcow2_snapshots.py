# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Internal snapshots of qcow2: other sizes, old entries, entries of newer programs, VM state, refcounts that end."""
from __future__ import annotations

import struct

import pytest

from qimg.errors import OptionError
from qimg.operations.map import map_image
from qimg.operations.snapshot import list_snapshots
from support import oracle
from support.in_process import qimg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.oracle


def number(content: bytes | bytearray, offset: int, width: int = 8) -> int:
    return int.from_bytes(content[offset : offset + width], "big")


def make(directory: Path, *options: str) -> Path:
    path = directory / "i.qcow2"
    oracle.qemu_img("create", "-q", "-f", "qcow2", *options, path, "1M")
    oracle.qemu_io(path, "write -P 1 0 300k", format="qcow2")
    oracle.qemu_img("snapshot", "-c", "first", path)
    oracle.qemu_io(path, "write -P 2 0 100k", format="qcow2")
    return path


def set_extra(path: Path, extra: bytes) -> None:
    """Give the only snapshot other extra data."""
    content = bytearray(path.read_bytes())
    offset = number(content, 64)
    fixed = content[offset : offset + 40]
    names = number(content, offset + 12, 2) + number(content, offset + 14, 2)
    start = offset + 40 + number(content, offset + 36, 4)
    entry = fixed[:36] + struct.pack(">I", len(extra)) + extra + content[start : start + names]
    content[offset : offset + len(entry)] = entry
    path.write_bytes(content)


def test_a_snapshot_of_another_size_brings_its_size_back(tmp_path: Path) -> None:
    path = make(tmp_path)
    for size in ("9M", "100M"):
        assert qimg("resize", "i.qcow2", size, cwd=tmp_path).code == 0
        assert qimg("snapshot", "-c", size, "i.qcow2", cwd=tmp_path).code == 0
    for name, expected in (("first", 1 << 20), ("100M", 100 << 20), ("9M", 9 << 20)):
        assert qimg("snapshot", "-a", name, "i.qcow2", cwd=tmp_path).code == 0
        assert oracle.info(path)["virtual-size"] == expected
        assert oracle.is_clean(path)
    assert [entry["id"] for entry in oracle.info(path)["snapshots"]] == ["1", "2", "3"]


def test_ids_are_picked_as_qemu_img_picks_them(tmp_path: Path) -> None:
    for side in ("ours", "qemu"):
        (tmp_path / side).mkdir()
        make(tmp_path / side)
    for words in (["-c", "7"], ["-c", "1"], ["-d", "7"], ["-c", "same"], ["-c", "same"], ["-d", "1"], ["-c", "last"]):
        theirs = oracle.run("qemu-img", "snapshot", *words, "i.qcow2", cwd=tmp_path / "qemu")
        assert qimg("snapshot", *words, "i.qcow2", cwd=tmp_path / "ours") == theirs
    listed = [
        [(entry["id"], entry["name"]) for entry in oracle.info(tmp_path / side / "i.qcow2")["snapshots"]]
        for side in ("ours", "qemu")
    ]
    assert listed[0] == listed[1]


def test_old_entries_without_extra_data_are_read_and_kept(tmp_path: Path) -> None:
    path = make(tmp_path, "-o", "compat=0.10")
    set_extra(path, b"")
    old = oracle.info(path)["snapshots"]
    assert qimg("snapshot", "-c", "new", "i.qcow2", cwd=tmp_path).code == 0
    assert oracle.info(path)["snapshots"][:1] == old
    assert qimg("snapshot", "-a", "first", "i.qcow2", cwd=tmp_path).code == 0
    assert oracle.read_guest(path, tmp_path / "raw") == (b"\1" * (300 << 10)).ljust(1 << 20, b"\0")
    assert oracle.is_clean(path)


def test_extra_data_of_newer_programs_is_kept(tmp_path: Path) -> None:
    path = make(tmp_path)
    extra = struct.pack(">QQQ", 0, 1 << 20, 77) + b"of a newer program"
    set_extra(path, extra)
    for words in (["snapshot", "-c", "new"], ["snapshot", "-a", "first"], ["snapshot", "-d", "new"]):
        assert qimg(*words, "i.qcow2", cwd=tmp_path).code == 0
        content = path.read_bytes()
        offset = number(content, 64)
        assert content[offset + 40 : offset + 40 + number(content, offset + 36, 4)] == extra
        assert oracle.is_clean(path)


def test_a_refcount_that_cannot_grow_is_an_error_that_changes_nothing(tmp_path: Path) -> None:
    path = make(tmp_path, "-o", "refcount_bits=2")
    assert qimg("snapshot", "-c", "second", "i.qcow2", cwd=tmp_path).code == 0
    before = path.read_bytes()
    answer = qimg("snapshot", "-c", "third", "i.qcow2", cwd=tmp_path)
    assert answer.code == 1 and "refcount" in answer.stderr, answer
    assert path.read_bytes() == before


def test_one_is_read_directly(tmp_path: Path) -> None:
    make(tmp_path)
    assert qimg("convert", "-l", "first", "-O", "raw", "i.qcow2", "raw", cwd=tmp_path).code == 0
    assert (tmp_path / "raw").read_bytes() == (b"\1" * (300 << 10)).ljust(1 << 20, b"\0")


def test_one_is_described_and_mapped_directly(tmp_path: Path) -> None:
    path = make(tmp_path)
    found, = list_snapshots(str(path))
    assert (found.id, found.name, found.disk_size) == ("1", "first", 1 << 20)
    content = path.read_bytes()
    for snapshot, byte in ((None, b"\2"), ("first", b"\1"), ("1", b"\1")):
        extents = map_image(str(path), "qcow2", snapshot=snapshot)
        assert sum(extent.length for extent in extents) == 1 << 20
        assert sum(extent.length for extent in extents if extent.data) == 320 << 10
        assert content[extents[0].offset :].startswith(byte * (100 << 10))
    with pytest.raises(OptionError, match="Can't find snapshot"):
        map_image(str(path), "qcow2", snapshot="second")


def test_the_state_of_a_machine_outlives_our_changes(tmp_path: Path) -> None:
    # QEMU keeps it in the clusters behind the end of the disk: made by hand of a disk that the header cuts short.
    path = tmp_path / "i.qcow2"
    oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", "cluster_size=512", path, "64k")
    oracle.qemu_io(path, "write -P 1 0 20k", "write -P 9 32k 5k", format="qcow2")
    oracle.qemu_img("snapshot", "-c", "running", path)
    content = bytearray(path.read_bytes())
    struct.pack_into(">Q", content, 24, 32 << 10)
    entry = number(content, 64)
    struct.pack_into(">I", content, entry + 32, 5 << 10)
    struct.pack_into(">QQ", content, entry + 40, 5 << 10, 32 << 10)
    path.write_bytes(content)
    for words in (
        ["snapshot", "-c", "new"], ["snapshot", "-a", "running"], ["snapshot", "-a", "new"], ["snapshot", "-d", "new"],
        ["resize", "--shrink"],
    ):  # fmt: skip
        size = ["16k"] if words[0] == "resize" else []
        assert qimg(*words, "i.qcow2", *size, cwd=tmp_path).code == 0
        assert oracle.is_clean(path)
        assert oracle.info(path)["snapshots"][0]["vm-state-size"] == 5 << 10
        assert state(path) == b"\x09" * (5 << 10)


def state(path: Path) -> bytes:
    """What lies behind the disk's end in the first snapshot."""
    content = path.read_bytes()
    l2 = number(content, number(content, number(content, 64)) + 8) & 0x00FFFFFFFFFFFE00
    found = b""
    for index in range(10):
        cluster = number(content, l2 + 8 * index) & 0x00FFFFFFFFFFFE00
        found += content[cluster : cluster + 512]
    return found


_MAX = (1 << 64) - 1


@pytest.mark.parametrize(
    ("seconds", "nanoseconds", "clock", "state_size", "icount"),
    [
        (0, 0, 0, 0, 0),
        (1, 999999999, 999999, 1, 1),
        (1785000000, 5, 3600 * 10**9 - 1, 1023, _MAX),
        (1 << 31, 0, 360000 * 10**9, 1024000, 1 << 63),
        ((1 << 32) - 1, 1 << 31, 10000 * 3600 * 10**9, 5 << 30, (1 << 63) - 1),
        (1785000000, 0, _MAX, (1 << 40) - 1, _MAX - 1),
    ],
)
def test_every_field_of_a_snapshot_is_shown_as_qemu_img_shows_it(
    seconds: int, nanoseconds: int, clock: int, state_size: int, icount: int, tmp_path: Path
) -> None:
    oracle.qemu_img("create", "-q", "-f", "qcow2", "disk.qcow2", "1M", cwd=tmp_path)
    oracle.qemu_img("snapshot", "-c", "s", "disk.qcow2", cwd=tmp_path)
    with open(tmp_path / "disk.qcow2", "r+b") as file:
        file.seek(64)
        entry = int.from_bytes(file.read(8), "big")
        file.seek(entry + 16)
        file.write(struct.pack(">IIQ", seconds, nanoseconds, clock))
        file.seek(entry + 40)
        file.write(struct.pack(">QQQ", state_size, 1 << 20, icount))

    for words in (["snapshot", "-l"], ["info"], ["info", "--output=json"]):
        assert qimg(*words, "disk.qcow2", cwd=tmp_path) == oracle.run("qemu-img", *words, "disk.qcow2", cwd=tmp_path)
