# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small images that ask for endless work, or for all memory, are refused at once."""
from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
import types
from pathlib import Path

import pytest

import qimg
from qimg.formats.qcow2 import compression
from qimg.limits import DEFAULT_LIMITS
from qimg.policy import FOLLOW, ReferencePolicy
from qimg.storage.local import LocalFile
from support.crafted import BITMAPS, COPIED, Crafted, bitmap_entry, snapshot_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: What a child may use: much less than the images ask for.
_SECONDS, _BYTES = 45, 512 << 20

OPERATIONS: dict[str, Callable[[str], object]] = {
    "info": qimg.info,
    "map": lambda path: qimg.map_image(path, limit=100),
    "check": qimg.check,
    "repair": lambda path: qimg.plan_repair(path, "all").apply(),
    "snapshots": qimg.list_snapshots,
    "snapshot": lambda path: qimg.create_snapshot(path, "new"),
    "apply": lambda path: qimg.apply_snapshot(path, "1"),
    "delete": lambda path: qimg.delete_snapshot(path, "1"),
    "bitmap": lambda path: qimg.add_bitmap(path, "new", 1 << 20),
    "resize": lambda path: qimg.resize(path, 1 << 29),
    "amend": lambda path: qimg.amend(path, {"refcount_bits": 8}),
    "compare": lambda path: qimg.compare(path, path),
}


def try_all(path: Path, *but: str) -> None:
    """Try each operation, ``but`` some, in a child that must not use much."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, __file__, str(path), *(name for name in OPERATIONS if name not in but)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]


# What makes them large


def one_l2_table_for_all(path: Path) -> None:
    image = Crafted(path, 16, 1 << 46, l1=(1 << 17, 3 << 16))
    image.words(3 << 16, *[COPIED | 3 << 16] * (1 << 17))


def one_cluster_for_16_million_mappings(path: Path) -> None:
    image = Crafted(path, 16, 1 << 40, l1=(1 << 11, 1 << 20))
    image.words(1 << 20, *[COPIED | 4 << 16] * (1 << 11))
    image.words(4 << 16, *[COPIED | 5 << 16, COPIED | 7 << 16] * (1 << 12))


def l2_tables_out_of_the_file(path: Path) -> None:
    image = Crafted(path, 21, 1 << 57, l1=(1 << 18, 4 << 21))
    image.words(4 << 21, *range(COPIED | 1 << 50, COPIED | 1 << 50 | 1 << 39, 1 << 21))


def one_refcount_block_for_all(path: Path) -> None:
    image = Crafted(path, refcount_table=(1 << 24, 128))
    image.words(1 << 24, *[2 << 16] * (1 << 20))
    image.put(2 << 16, b"\0\1" * 32768)


def refcount_blocks_in_holes(path: Path) -> None:
    blocks = first = 1 << 20
    image = Crafted(path, refcount_table=(1 << 24, 128))
    image.words(1 << 24, 2 << 16, *range(first + 1 << 16, first + blocks << 16, 1 << 16))
    image.put(2 << 16, b"\0\1" * 4 + bytes(2 * 252) + b"\0\1" * 128)
    for number in range(32, 64):
        # The blocks that count the blocks.
        image.put(first + number << 16, b"\0\1" * 32768)
    image.put(first + 32 << 16, b"\0\0")
    image.grow(first + blocks << 16)


def one_l1_table_for_all_snapshots(path: Path) -> None:
    image = Crafted(path, snapshots=(2000, 1 << 26))
    image.put(1 << 26, snapshot_entry(1 << 20, 1 << 22, 1 << 28, b"1", b"n") * 2000)
    image.words(1 << 20, *[15 << 16] * (1 << 10))


def l2_tables_that_all_snapshots_share(path: Path) -> None:
    count, tables = 1500, 64
    image = Crafted(path, 16, 1 << 35, l1=(tables, 1 << 20), snapshots=(count, 1 << 26))
    for number in range(tables):
        # Each entry for itself: no two neighbours refer to neighbours.
        first = 10000 + 1000 * number
        image.words(1 << 25 | number << 16, *(cluster << 16 for cluster in range(first + 999, first - 1, -1)))
    l1 = [1 << 25 | number << 16 for number in range(tables)]
    image.words(1 << 20, *l1)
    image.put(1 << 26, b"".join(snapshot_entry(1 << 27 | number << 16, tables, 1 << 35) for number in range(count)))
    for number in range(count):
        image.words(1 << 27 | number << 16, *l1)
    image.grow(80000 << 16)


def one_bitmap_table_for_all(path: Path) -> None:
    count, size = 8000, (1 << 22) * 64 * 512
    extension = struct.pack(">IIQQ", count, 0, count * 32, 1 << 27)
    image = Crafted(path, 9, size, l1=(1 << 22, 1 << 26), autoclear=1, extensions=((BITMAPS, extension),))
    entries = [bitmap_entry(1 << 25, 1 << 16, 9, b"%08d" % number) for number in range(count)]
    image.put(1 << 27, b"".join(entries))


def a_file_of_64_tebibytes(path: Path) -> None:
    Crafted(path, 9, 1 << 20, l1=(32, 3 * 512)).grow(1 << 43)


def a_snapshot_of_a_disk_that_cannot_be(path: Path) -> None:
    image = Crafted(path, snapshots=(1, 4 << 16))
    image.put(2 << 16, b"\0\1" * 6)
    image.put(4 << 16, snapshot_entry(5 << 16, 1, (1 << 64) - 512))
    image.grow(6 << 16)


def a_snapshot_with_a_table_of_8_gibibytes(path: Path) -> None:
    image = Crafted(path, snapshots=(1, 4 << 16))
    image.put(2 << 16, b"\0\1" * 6)
    image.put(4 << 16, snapshot_entry(5 << 16, 1 << 30, 1 << 28))
    image.grow(6 << 16)


def a_number_of_65535_digits(path: Path) -> None:
    image = Crafted(path, snapshots=(1, 4 << 16))
    image.put(2 << 16, b"\0\1" * 8)
    image.put(4 << 16, snapshot_entry(7 << 16, 1, 1 << 28, b"9" * 65535))
    image.grow(8 << 16)


IMAGES = (
    one_l2_table_for_all, l2_tables_out_of_the_file, one_refcount_block_for_all, one_l1_table_for_all_snapshots,
    l2_tables_that_all_snapshots_share, refcount_blocks_in_holes, one_bitmap_table_for_all, a_file_of_64_tebibytes,
    a_snapshot_of_a_disk_that_cannot_be, a_number_of_65535_digits, a_snapshot_with_a_table_of_8_gibibytes,
)  # fmt: skip


@pytest.mark.parametrize("make", IMAGES, ids=[make.__name__ for make in IMAGES])
def test_no_operation_works_for_long(make: types.FunctionType, tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    make(path)
    try_all(path)


def test_mappings_that_many_tables_share_are_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    one_cluster_for_16_million_mappings(path)
    # A comparison looks at every cluster of the guest disk, if no difference ends it.
    try_all(path, "compare")
    other = tmp_path / "other.raw"
    other.write_bytes(b"x")
    os.truncate(other, 1 << 40)
    assert not qimg.compare(str(path), str(other)).identical


def test_a_broken_entry_does_not_make_the_file_longer(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    a_snapshot_with_a_table_of_8_gibibytes(path)
    qimg.plan_repair(str(path), "all").apply()
    with qimg.open_image(str(path), purpose="write") as image:
        image.write(0, b"x" * 65536)
    assert path.stat().st_size < 2 << 20


def test_a_snapshot_that_would_make_the_image_unreadable_is_not_applied(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    a_snapshot_of_a_disk_that_cannot_be(path)
    before = path.read_bytes()
    with pytest.raises(qimg.CorruptImageError, match="The snapshot's disk size"):
        qimg.apply_snapshot(str(path), "1")
    assert path.read_bytes() == before


# An L2 table that many L1 entries refer to, with the right refcounts


def one_l2_table_with_right_refcounts(path: Path, entries: int, flag: int, snapshots: int) -> None:
    bits = 16
    tables = -(-entries * 8 >> bits)
    l1_offset, table = 32 << bits, 4 << bits
    counts = [1] * 3 + [0] + [entries * (1 + snapshots)] * 5 + [0] * 23 + [1] * tables * (1 + snapshots)
    image = Crafted(path, bits, entries << 29, l1=(entries, l1_offset), snapshots=(snapshots, 16 << bits))
    image.words(l1_offset, *[flag | table] * entries)
    image.words(table, *(flag | 5 + number << bits for number in range(4)))
    if snapshots:
        counts[16] = 1
        image.words(l1_offset + (tables << bits), *[table] * entries)
        image.put(16 << bits, snapshot_entry(l1_offset + (tables << bits), entries, entries << 29))
    image.put(2 << bits, struct.pack(">%dH" % len(counts), *counts))
    # As long as if each entry had a table of its own.
    image.grow(entries + 100 << bits)


@pytest.mark.parametrize(
    ("name", "flag"),
    [(name, 0) for name in ("check", "repair", "snapshot", "apply", "delete", "amend")]
    # Flags that contradict the refcounts have to be cleared, which takes a new table.
    + [(name, COPIED) for name in ("snapshot", "apply", "delete", "amend")],
)
def test_a_table_is_looked_at_once_however_many_refer_to_it(
    name: str, flag: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "disk.qcow2"
    one_l2_table_with_right_refcounts(path, 5000, flag, int(name in ("apply", "delete")))
    work = {"read": 0, "written": 0}
    for function, kind in ((LocalFile.read_into, "read"), (LocalFile.write, "written")):

        def count(file: LocalFile, offset: int, data: Any, real: Any = function, kind: str = kind) -> None:
            work[kind] += len(data)
            real(file, offset, data)

        monkeypatch.setattr(LocalFile, function.__name__, count)
    if name == "amend":
        qimg.amend(str(path), {"refcount_bits": 64})
    else:
        OPERATIONS[name](str(path))
    assert max(work.values()) < 2 << 20
    monkeypatch.undo()
    assert flag or qimg.check(str(path)).clean


# Chains


def _backed(path: Path, name: str) -> None:
    Crafted(path, backing_file=name.encode())


def test_options_that_are_nested_without_end_are_refused(tmp_path: Path) -> None:
    base = tmp_path / "base.raw"
    base.write_bytes(bytes(512))
    for number in range(4):
        below = tmp_path / ("%d.qcow2" % (number - 1)) if number else base
        name = {"file." * ((1000 - len(str(below))) // 5) + "filename": str(below)}
        _backed(tmp_path / ("%d.qcow2" % number), "json:" + json.dumps(name))
    with pytest.raises(qimg.OptionError, match="nested more than 64 levels deep"):
        qimg.open_image(str(tmp_path / "3.qcow2"), opener=qimg.Opener(ReferencePolicy(FOLLOW)))


def test_images_inside_images_count_as_images_of_the_chain(tmp_path: Path) -> None:
    base = tmp_path / "base.raw"
    base.write_bytes(bytes(512))
    for number in range(8):
        below = tmp_path / ("%d.qcow2" % (number - 1)) if number else base
        file = {"driver": "file", "filename": str(below)}
        node: dict[str, Any] = {"driver": "qcow2" if number else "raw", "file": file}
        for _layer in range(29):
            node = {"driver": "raw", "file": node}
        _backed(tmp_path / ("%d.qcow2" % number), "json:" + json.dumps(node, separators=(",", ":")))
    with pytest.raises(qimg.LimitError, match="The backing chain has more than 200 images"):
        qimg.open_image(str(tmp_path / "7.qcow2"), opener=qimg.Opener(ReferencePolicy(FOLLOW)))


def test_a_long_chain_is_an_error_of_one_sentence_even_if_the_limit_is_raised(tmp_path: Path) -> None:
    for number in range(600):
        _backed(tmp_path / ("%d.qcow2" % number), "%d.qcow2" % (number - 1))
    path = str(tmp_path / "599.qcow2")
    with pytest.raises(qimg.LimitError) as caught:
        qimg.open_image(path)
    assert str(caught.value).count("Could not open backing file") == 0
    with pytest.raises(qimg.LimitError, match="more images than this program can open"):
        qimg.open_image(path, opener=qimg.Opener(limits=DEFAULT_LIMITS._replace(max_chain=10000)))


# Compressed data


class _Stream:
    """A Zstandard stream that would unpack for ever."""

    eof, unused_data = False, b""
    most = 0

    def decompress(self, data: bytes, limit: int = 1 << 40) -> bytes:
        _Stream.most = max(_Stream.most, min(limit, len(data) << 15))
        return b"A" * min(limit, len(data) << 15)

    def decompressobj(self) -> _Stream:
        return self


@pytest.mark.parametrize("package", ["compression.zstd", "zstandard"])
@pytest.mark.parametrize("said", [None, 1 << 40])
def test_a_few_bytes_are_not_unpacked_to_gigabytes(
    package: str, said: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType(package)
    unknown = (1 << 64) - 1
    parameters = types.SimpleNamespace(content_size=unknown if said is None else said)
    vars(module).update(
        ZstdDecompressor=_Stream,
        ZstdError=ValueError,
        CONTENTSIZE_UNKNOWN=unknown,
        get_frame_parameters=lambda data: parameters,
    )
    monkeypatch.setattr(compression, "_zstd_module", lambda: module)
    monkeypatch.setattr(_Stream, "most", 0)
    with pytest.raises(compression.DecompressionError, match="holds more than a cluster"):
        compression.decompressor(1)(bytes(100 << 10), 65536)
    assert _Stream.most <= 2 << 20


# Threads


def test_work_is_done_by_as_many_threads_as_there_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    source, target = tmp_path / "source.raw", tmp_path / "target.qcow2"
    source.write_bytes(b"data" * (1 << 20))
    monkeypatch.setattr(threading.Thread, "start", start)
    qimg.convert(str(source), str(target), "qcow2", "raw")
    qimg.bench(target, "qcow2", count=100)
    with qimg.open_image(str(target)) as image:
        assert image.read(0, image.size) == b"data" * (1 << 20)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    for name in sys.argv[2:]:
        sys.stderr.write("%s: " % name)
        try:
            OPERATIONS[name](sys.argv[1])
        except qimg.ImageError as error:
            sys.stderr.write("%s\n" % error)
        else:
            sys.stderr.write("done\n")
