# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""qcow2 images that no program writes, made field by field."""
from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

COPIED = 1 << 63
COMPRESSED = 1 << 62
BITMAPS = 0x23852875


class Crafted:
    """An image with its refcount table in cluster 1, one refcount block in cluster 2, and an L1 table in cluster 3.

    Clusters 0 to 3 have a refcount of one.

    :param l1: entries and host offset of the L1 table
    :param snapshots: number, and host offset of their table
    """

    def __init__(
        self,
        path: Path,
        cluster_bits: int = 16,
        size: int = 1 << 28,
        l1: tuple[int, int] | None = None,
        refcount_table: tuple[int, int] | None = None,
        snapshots: tuple[int, int] = (0, 0),
        incompatible: int = 0,
        autoclear: int = 0,
        extensions: tuple[tuple[int, bytes], ...] = (),
        backing_file: bytes = b"",
    ) -> None:
        self.path = path
        self.cluster = 1 << cluster_bits
        l1_entries, l1_offset = l1 or (1, 3 * self.cluster)
        table_offset, table_clusters = refcount_table or (self.cluster, 1)
        behind = b"".join(struct.pack(">II", kind, len(data)) + data for kind, data in extensions) + bytes(8)
        self._file = path.open("wb+")
        self.put(
            0,
            struct.pack(
                ">4sIQIIQIIQQIIQQQQII",
                b"QFI\xfb",
                3,
                104 + len(behind) if backing_file else 0,
                len(backing_file),
                cluster_bits,
                size,
                0,
                l1_entries,
                l1_offset,
                table_offset,
                table_clusters,
                *snapshots,
                incompatible,
                0,
                autoclear,
                4,
                104,
            )
            + behind
            + backing_file,
        )
        self._file.truncate(4 * self.cluster)
        self.words(self.cluster, 2 * self.cluster)
        self.put(2 * self.cluster, b"\0\1" * 4)

    def put(self, offset: int, data: bytes) -> None:
        """Write bytes."""
        self._file.seek(offset)
        self._file.write(data)
        self._file.flush()

    def words(self, offset: int, *values: int) -> None:
        """Write table entries."""
        self.put(offset, struct.pack(">%dQ" % len(values), *values))

    def grow(self, length: int) -> None:
        """Have the file end with a hole."""
        self._file.truncate(length)
        self._file.flush()


def snapshot_entry(l1_offset: int, l1_entries: int, disk_size: int, id: bytes = b"1", name: bytes = b"name") -> bytes:
    """An entry of a snapshot table."""
    entry = struct.pack(">QIHHIIQII", l1_offset, l1_entries, len(id), len(name), 0, 0, 0, 0, 16)
    entry += struct.pack(">QQ", 0, disk_size) + id + name
    return entry + bytes(-len(entry) % 8)


def bitmap_entry(table_offset: int, entries: int, granularity_bits: int, name: bytes) -> bytes:
    """An entry of a bitmap directory: a bitmap that records writes."""
    entry = struct.pack(">QIIBBHI", table_offset, entries, 2, 1, granularity_bits, len(name), 0) + name
    return entry + bytes(-len(entry) % 8)
