# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where every kind of metadata lies in a qcow2 image, and what can be written over it.

Written from the specification alone, so that it does not share the mistakes of what it tests.
"""
from __future__ import annotations

import struct
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

OFFSET = 0x00FFFFFFFFFFFE00
COMPRESSED, COPIED = 1 << 62, 1 << 63


class Field(NamedTuple):
    """A number in an image: where it lies, how many bytes it has, and what it is."""

    what: str
    offset: int
    width: int
    value: int


class Damage(NamedTuple):
    """What is written over a field."""

    field: Field
    value: int


_HEADER = (
    ("backing_file_offset", 8, 8),
    ("backing_file_size", 16, 4),
    ("cluster_bits", 20, 4),
    ("size", 24, 8),
    ("crypt_method", 32, 4),
    ("l1_size", 36, 4),
    ("l1_table_offset", 40, 8),
    ("refcount_table_offset", 48, 8),
    ("refcount_table_clusters", 56, 4),
    ("nb_snapshots", 60, 4),
    ("snapshots_offset", 64, 8),
)
_HEADER_V3 = (
    ("incompatible_features", 72, 8),
    ("compatible_features", 80, 8),
    ("autoclear_features", 88, 8),
    ("refcount_order", 96, 4),
    ("header_length", 100, 4),
    ("compression_type", 104, 1),
)
_SNAPSHOT = (
    ("l1_table_offset", 0, 8),
    ("l1_size", 8, 4),
    ("id_str_size", 12, 2),
    ("name_size", 14, 2),
    ("vm_state_size", 32, 4),
    ("extra_data_size", 36, 4),
    ("extra vm_state_size", 40, 8),
    ("extra disk_size", 48, 8),
)
_BITMAP = (
    ("bitmap_table_offset", 0, 8),
    ("bitmap_table_size", 8, 4),
    ("flags", 12, 4),
    ("type", 16, 1),
    ("granularity_bits", 17, 1),
    ("name_size", 18, 2),
    ("extra_data_size", 20, 4),
)


class Layout:
    """The fields of one image."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.version = self._number(4, 4)
        self.cluster_size = 1 << self._number(20, 4)
        features = self._number(72, 8) if self.version >= 3 else 0
        self.extended = bool(features & 1 << 4)
        self.refcount_bits = 1 << self._number(96, 4) if self.version >= 3 else 16

    def _number(self, offset: int, width: int) -> int:
        return int.from_bytes(self.content[offset : offset + width], "big")

    def _field(self, what: str, offset: int, width: int) -> Field:
        return Field(what, offset, width, self._number(offset, width))

    def fields(self) -> Iterator[Field]:
        """Some of each kind."""
        for name, offset, width in _HEADER + (_HEADER_V3 if self.version >= 3 else ()):
            yield self._field("header %s" % name, offset, width)
        yield from self._extensions()
        yield from self._mapping()
        yield from self._refcounts()
        yield from self._snapshots()
        yield from self._bitmaps()

    def _extensions(self) -> Iterator[Field]:
        if self.version < 3:
            return
        offset = self._number(100, 4)
        for number in range(2):
            yield self._field("extension %d type" % number, offset, 4)
            yield self._field("extension %d length" % number, offset + 4, 4)
            offset += 8 + -(-self._number(offset + 4, 4) // 8) * 8

    def _extension(self, wanted: int) -> int:
        """Where the content of an extension begins; 0: there is none."""
        offset = self._number(100, 4) if self.version >= 3 else 72
        while True:
            kind, length = struct.unpack_from(">II", self.content, offset)
            if kind == 0:
                return 0
            if kind == wanted:
                return offset + 8
            offset += 8 + -(-length // 8) * 8

    def _mapping(self) -> Iterator[Field]:
        l1 = self._number(40, 8)
        for index in range(min(2, self._number(36, 4))):
            field = self._field("L1 entry %d" % index, l1 + 8 * index, 8)
            yield field
            if index == 0:
                yield from self._l2(field.value & OFFSET)

    def _l2(self, table: int) -> Iterator[Field]:
        step = 16 if self.extended else 8
        seen = set()
        for index in range(self.cluster_size // step):
            entry = self._number(table + index * step, 8)
            bitmap = self._number(table + index * step + 8, 8) if self.extended else 0
            kind = "%s%s%s" % (
                "compressed" if entry & COMPRESSED else "data" if entry & OFFSET else "empty",
                " zero" if entry & 1 and not entry & COMPRESSED else "",
                " mixed" if bitmap not in (0, 0xFFFFFFFF, 0xFFFFFFFF << 32) else "",
            )
            if kind in seen:
                continue
            seen.add(kind)
            yield self._field("L2 entry (%s)" % kind, table + index * step, 8)
            if self.extended:
                yield self._field("L2 bitmap (%s)" % kind, table + index * step + 8, 8)

    def _refcounts(self) -> Iterator[Field]:
        table = self._number(48, 8)
        first = self._field("refcount table entry 0", table, 8)
        yield first
        yield self._field("refcount table entry 1", table + 8, 8)
        block = first.value
        l1 = self._number(40, 8)
        l2 = self._number(l1, 8) & OFFSET
        for what, cluster in (
            ("header", 0),
            ("refcount table", table // self.cluster_size),
            ("refcount block", block // self.cluster_size),
            ("L1 table", l1 // self.cluster_size),
            ("L2 table", l2 // self.cluster_size),
            ("last cluster", (len(self.content) - 1) // self.cluster_size),
        ):
            bit = cluster * self.refcount_bits
            yield self._field("refcount of %s" % what, block + bit // 8, max(1, self.refcount_bits // 8))

    def _snapshots(self) -> Iterator[Field]:
        if not self._number(60, 4):
            return
        entry = self._number(64, 8)
        for name, offset, width in _SNAPSHOT:
            yield self._field("snapshot %s" % name, entry + offset, width)
        l1 = self._number(entry, 8)
        yield self._field("snapshot L1 entry 0", l1, 8)
        l2 = self._number(l1, 8) & OFFSET
        yield self._field("snapshot L2 entry 0", l2, 8)

    def _bitmaps(self) -> Iterator[Field]:
        extension = self._extension(0x23852875)
        if not extension:
            return
        for name, offset, width in (("nb_bitmaps", 0, 4), ("reserved", 4, 4), ("size", 8, 8), ("offset", 16, 8)):
            yield self._field("bitmaps extension %s" % name, extension + offset, width)
        directory = self._number(extension + 16, 8)
        for name, offset, width in _BITMAP:
            yield self._field("bitmap %s" % name, directory + offset, width)
        table = self._number(directory, 8)
        yield self._field("bitmap table entry 0", table, 8)


def damages(content: bytes) -> Iterator[Damage]:
    """Every field with every kind of wrong value."""
    layout = Layout(content)
    for field in layout.fields():
        seen = {field.value}
        for value in _values(field, len(content), layout.cluster_size):
            value &= (1 << 8 * field.width) - 1
            if value not in seen:
                seen.add(value)
                yield Damage(field, value)


def _values(field: Field, length: int, cluster: int) -> Iterator[int]:
    value = field.value
    yield 0
    yield (1 << 8 * field.width) - 1
    yield value + 1
    yield value - 1
    if field.width < 8:
        yield 2
        yield from (value ^ 1 << bit for bit in range(0, 8 * field.width, 3))
        return
    end = -(-length // cluster) * cluster
    for bit in (0, 1, 2, 8, 9, 11, 32, 33, 55, 56, 61, 62, 63):
        yield value ^ 1 << bit
    flags = value & ~OFFSET
    for place in (0, 512, cluster, 2 * cluster, 3 * cluster, end - cluster, end, end + cluster, end + (1 << 40)):
        yield flags | place
    yield (value & OFFSET) + cluster | flags


def damaged(content: bytes, damage: Damage) -> bytes:
    """The image with one field written over."""
    field = damage.field
    return (
        content[: field.offset]
        + damage.value.to_bytes(field.width, "big")
        + content[field.offset + field.width :]
    )
