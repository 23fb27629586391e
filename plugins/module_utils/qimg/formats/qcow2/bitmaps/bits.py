# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The bits of one dirty bitmap (sections "Bitmap table" and "Bitmap data" of the specification)."""
from __future__ import annotations

from array import array

from ....storage.zeros import is_zero
from ...bits import or_into, set_bits
from ...table_runs import equal_run_end
from ..layout import OFFSET_MASK, Geometry, corrupt, words_from_bytes, words_to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ....storage.base import Storage
    from ..refcounts.allocator import Refcounts

#: Table entry: all bits of this cluster are set, and no space is used for them.
_ALL_ONES = 1
_TABLE_RESERVED = 0xFF000000000001FE


class BitmapBits:
    """Bits, a cluster of them (a *chunk*) at a time; a chunk is read when it is needed.

    Changed chunks go to clusters that the image on disk does not use; chunks without a bit, and whole chunks of set
    bits, use none.

    :param name: how messages call the bitmap
    :param count: how many bits there are
    :param table_offset: where the bitmap table is; 0: nowhere yet, all bits are clear
    :param before_load: called with the number of bytes before chunks or a table take memory, to make room
    """

    def __init__(
        self,
        storage: Storage,
        geometry: Geometry,
        refcounts: Refcounts,
        name: str,
        count: int,
        table_offset: int,
        table_entries: int,
        before_load: Callable[[int], None],
    ) -> None:
        self._storage = storage
        self._geometry = geometry
        self._refcounts = refcounts
        self._name = name
        self.count = count
        self.table_offset = table_offset
        #: Entries of the table that is at ``table_offset``.
        self.table_entries = table_entries
        self._before_load = before_load
        self._table = None if table_offset else array("Q", bytes(8 * entries_for(count, geometry)))
        self._chunks: dict[int, bytearray] = {}
        self._changed: set[int] = set()
        self._table_changed = not table_offset

    @property
    def changed(self) -> bool:
        """Whether the disk does not have these bits yet."""
        return self._table_changed or bool(self._changed)

    @property
    def table(self) -> array[int]:
        """The bitmap table's entries.

        :raises CorruptImageError: an entry is invalid
        """
        return self._table if self._table is not None else self.load_table()

    def load_table(self) -> array[int]:
        """Read the bitmap table, unless that has been done.

        :raises CorruptImageError: an entry is invalid
        """
        if self._table is None:
            self._before_load(self.table_entries * 8)
            entries = words_from_bytes(self._storage.read(self.table_offset, self.table_entries * 8))
            for entry in set(entries):
                offset = entry & OFFSET_MASK
                if entry & _TABLE_RESERVED or offset % self._geometry.cluster_size or (offset and entry & _ALL_ONES):
                    raise corrupt(
                        self._storage.name,
                        "Could not read bitmap_table table from image for bitmap '%s': Invalid argument" % self._name,
                        self.table_offset,
                    )
            self._table = entries
        return self._table

    # Chunks

    @property
    def _chunk_bits(self) -> int:
        return self._geometry.cluster_size * 8

    def _chunk_count(self, index: int) -> int:
        """How many bits a chunk has."""
        return min(self._chunk_bits, self.count - index * self._chunk_bits)

    def _read(self, index: int) -> bytearray:
        """The bits of a chunk; what lies beyond the last one is clear."""
        entry = self.table[index]
        count = self._chunk_count(index)
        length = -(-count // 8)
        if entry & OFFSET_MASK:
            data = bytearray(self._storage.read(entry & OFFSET_MASK, length))
        elif entry & _ALL_ONES:
            data = bytearray(b"\xff" * length)
        else:
            return bytearray(length)
        _clear_from(data, count)
        return data

    def _load(self, index: int) -> bytearray:
        chunk = self._chunks.get(index)
        if chunk is None:
            self._before_load(-(-self._chunk_count(index) // 8))
            chunk = self._chunks[index] = self._read(index)
        return chunk

    def forget(self) -> None:
        """Let go of what is in memory; changed chunks are first written to clusters of this transaction."""
        self._store_chunks()
        self._chunks.clear()
        if not self._table_changed:
            self._table = None

    def _store_chunks(self) -> None:
        for index in sorted(self._changed):
            chunk = self._chunks[index]
            if is_zero(memoryview(chunk)):
                self._put(index, 0)
            elif len(chunk) == self._geometry.cluster_size and chunk.count(255) == len(chunk):
                self._put(index, _ALL_ONES)
            else:
                offset = self.table[index] & OFFSET_MASK
                if not offset or not self._refcounts.owns(offset >> self._geometry.cluster_bits):
                    offset = self._refcounts.allocate(1) << self._geometry.cluster_bits
                    self._put(index, offset)
                self._storage.write(offset, bytes(chunk).ljust(self._geometry.cluster_size, b"\0"))
        self._changed.clear()

    def _put(self, index: int, entry: int) -> None:
        """Replace a table entry, and free what the old one refers to."""
        old = self.table[index]
        if old == entry:
            return
        if old & OFFSET_MASK:
            self._refcounts.release_data((old & OFFSET_MASK) >> self._geometry.cluster_bits, 1)
        self.table[index] = entry
        self._table_changed = True

    def _drop(self, index: int, entry: int) -> None:
        """As :meth:`_put`, for a chunk that no longer matters."""
        self._chunks.pop(index, None)
        self._changed.discard(index)
        self._put(index, entry)

    # Bits

    def mark(self, first: int, end: int) -> None:
        """Set bits ``[first, end)``."""
        chunk_bits = self._chunk_bits
        end = min(end, self.count)
        while first < end:
            index, start = divmod(first, chunk_bits)
            stop = min(chunk_bits, start + end - first)
            if stop - start == chunk_bits:
                self._drop(index, _ALL_ONES)
            elif index in self._chunks or self.table[index] != _ALL_ONES:
                if set_bits(self._load(index), start, stop):
                    self._changed.add(index)
            first += stop - start

    def merge(self, first: int, bits: bytes) -> None:
        """Set every bit that is set in ``bits``, which begin at bit ``first``."""
        if first % 8:
            bits = (int.from_bytes(bits, "little") << first % 8).to_bytes(len(bits) + 1, "little")
            first -= first % 8
        chunk_bits = self._chunk_bits
        position = 0
        while position < len(bits) and first + position * 8 < self.count:
            index, start = divmod(first + position * 8, chunk_bits)
            piece = bits[position : position + (chunk_bits - start) // 8]
            position += len(piece)
            if is_zero(memoryview(piece)) or (index not in self._chunks and self.table[index] == _ALL_ONES):
                continue
            chunk = self._load(index)
            if or_into(chunk, start // 8, piece):
                self._changed.add(index)
            _clear_from(chunk, self._chunk_count(index))

    def clear(self) -> None:
        """Clear all bits."""
        for index in list(self._chunks):
            self._drop(index, 0)
        table = self.table
        index = 0
        while index < len(table):
            if table[index]:
                self._put(index, 0)
                index += 1
            else:
                index = equal_run_end(table, index, len(table))

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """``(first, bits)`` of every chunk with a bit set, in order; ``first`` is the number of its first bit."""
        table = self.table
        index = 0
        loaded = sorted(self._chunks)
        while index < len(table):
            while loaded and loaded[0] < index:
                loaded.pop(0)
            if index in self._chunks or table[index]:
                data = self._chunks.get(index) or self._read(index)
                if not is_zero(memoryview(data)):
                    yield index * self._chunk_bits, bytes(data)
                index += 1
            else:
                index = equal_run_end(table, index, loaded[0] if loaded else len(table))

    def resize(self, count: int) -> None:
        """Have ``count`` bits; new ones are clear."""
        entries = entries_for(count, self._geometry)
        for index in range(entries, len(self.table)):
            self._drop(index, 0)
        last = min(len(self.table), entries) - 1
        if last >= 0 and (last in self._chunks or self.table[last]):
            # Only this chunk can have other bits, or mean others, than before.
            chunk = self._load(last)
            self.count = count
            length = -(-self._chunk_count(last) // 8)
            del chunk[length:]
            chunk.extend(bytes(length - len(chunk)))
            _clear_from(chunk, self._chunk_count(last))
            self._changed.add(last)
        self.count = count
        table = self.table
        if entries != len(table):
            self._table_changed = True
            del table[entries:]
            table.frombytes(bytes(8 * (entries - len(table))))

    # Disk

    def free(self) -> None:
        """Give back everything on disk.

        :raises CorruptImageError: the table is invalid; nothing was given back
        """
        for entry in self.table:
            if entry & OFFSET_MASK:
                self._refcounts.release_data((entry & OFFSET_MASK) >> self._geometry.cluster_bits, 1)
        self._free_table()

    def _free_table(self) -> None:
        if self.table_offset:
            bits = self._geometry.cluster_bits
            self._refcounts.drop(self.table_offset >> bits, -(-self.table_entries * 8 >> bits))
            self.table_offset = self.table_entries = 0

    def place(self) -> None:
        """Write what changed to clusters that the image on disk does not use."""
        self._store_chunks()
        if not self._table_changed:
            return
        bits = self._geometry.cluster_bits
        table = self.table
        clusters = -(-len(table) * 8 >> bits)
        offset = self._refcounts.allocate_table(clusters) << bits
        self._free_table()
        self.table_offset = offset
        self.table_entries = len(table)
        self._storage.write(offset, words_to_bytes(table).ljust(clusters << bits, b"\0"))
        self._table_changed = False


def entries_for(count: int, geometry: Geometry) -> int:
    """Table entries (clusters of bits) for ``count`` bits."""
    return -(-count >> geometry.cluster_bits + 3)


def _clear_from(chunk: bytearray, count: int) -> None:
    """Clear the bits of the last byte from bit ``count`` on."""
    if count % 8:
        chunk[count // 8] &= (1 << count % 8) - 1
