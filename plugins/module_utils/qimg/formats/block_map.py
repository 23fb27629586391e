# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Guest disks that are cut into equal blocks, each of which has a place in a file, or none.

This is what VDI, VHD, VHDX, Parallels, VMDK, QED and qcow have in common.  A format says what the entries of its table
mean and where new blocks go; reading, allocating, completing blocks that are written in part, zeroing, and the order in
which a change reaches the medium are here.

A change is made in this order: data go to blocks that no entry names, or over the data of their own block; the storage
is flushed; the entries are written; the storage is flushed again.  Whatever is interrupted, an entry names a block
whose data are there; at worst, a block at the end of the file is named by none.
"""
from __future__ import annotations

from abc import ABC, abstractmethod

from ..errors import CorruptImageError
from ..limits import BUFFER_BYTES, SECTOR
from ..sizes import ceil_div, round_up
from ..storage.zeros import is_zero
from .base import (
    ABSENT,
    ABSENT_ALLOCATED,
    COMPRESSED,
    DATA,
    ZERO,
    ZERO_ALLOCATED,
    Extent,
    Image,
    add_piece,
    without_holes,
)
from .table_runs import equal_run_end, progression, progression_run_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterator
    from typing import Optional

    from ..storage.base import Buffer, Storage
    from .base import Origin, Pieces
    from .block_table import BlockTable, Updates

    #: First block, count of blocks, kind, and the place of the first in the file if they have one.
    BlockRun = tuple[int, int, int, Optional[int]]

#: A kind of block beside those of images: some of its sectors are in the file, the others are absent.
MIXED = -1

#: Data of larger blocks are placed in parts: a block may have holes.
_MOST_WRITE_UNIT = 64 << 10


class BlockMap(ABC):
    """Where one file has the blocks of a guest disk, or of a part of one.  Offsets are those of the guest disk.

    :param storage: the file
    :param table: has one entry for each block
    :param block_size: guest bytes of a block, a multiple of 512
    :param size: guest bytes of all blocks; the last block may be cut off by it
    :param data_start: no block begins before that offset of the file
    :param end: where new blocks may begin, all that follows being free
    :param backing: what answers for absent blocks; ``None``: they are zero
    :param start: guest offset of the first block
    """

    #: By how much entries differ whose blocks follow each other in the file; 0: blocks never do.
    entry_step = 1
    #: The entry of a block that is zero whatever lies below; ``None``: the format cannot say that.
    zero_entry: int | None = None
    #: Blocks begin at multiples of that many bytes when they are allocated.
    alignment = SECTOR
    #: Whether holes of the file inside of blocks are shown, as QEMU does for images that were allocated as a whole.
    shows_holes = False

    def __init__(
        self,
        storage: Storage,
        table: BlockTable,
        block_size: int,
        size: int,
        data_start: int,
        end: int,
        backing: Image | None = None,
        start: int = 0,
    ) -> None:
        self.storage = storage
        self.table = table
        self.block_size = block_size
        self.size = size
        self.data_start = data_start
        self.end = end
        self.backing = backing
        self.start = start
        #: So long is the file, but for what was allocated since.
        self._file_end = storage.size

    # What a format says

    @abstractmethod
    def meaning(self, entry: int) -> tuple[int, int | None]:
        """What an entry stands for: a kind (those of images, and :data:`MIXED`), and the offset of the block's data in
        the file (``None``: it has none, or it is compressed)."""

    @abstractmethod
    def entry_for(self, block: int, host: int) -> int:
        """The entry of a block whose data are in the file, as a whole, from the offset ``host`` on.

        :raises StorageError: the format cannot name a place so far away
        """

    def allocate(self, block: int, count: int) -> tuple[int, int]:
        """Room for new data of blocks that follow each other: the offset of the first, and for how many it is.

        The room is at the end of the file unless a format knows better.
        """
        host = round_up(self.end, self.alignment)
        self.end = host + count * self.block_size
        return host, count

    def allocate_bytes(self, length: int, alignment: int = 1) -> int:
        """Room for compressed data or for a table at the end of the file."""
        host = round_up(self.end, alignment)
        self.end = host + length
        return host

    def mixed_runs(self, block: int, host: int, start: int, end: int) -> Iterator[Extent]:
        """The runs of a :data:`MIXED` block, from guest offset ``start`` to ``end``."""
        raise NotImplementedError("The format has no mixed blocks")

    def complete_mixed(self, block: int, host: int) -> None:
        """Copy into a :data:`MIXED` block what is absent from it, and make its entry that of a whole block."""
        raise NotImplementedError("The format has no mixed blocks")

    def encoded_reader(self, offset: int, length: int) -> Callable[[Buffer], None]:
        """As :meth:`Image.encoded_reader`, for compressed blocks."""
        raise NotImplementedError("The format has no compressed blocks")

    def commit_entries(self, updates: Updates) -> None:
        """Write changed entries; everything that they name is on the medium, and a flush follows."""
        for offset, data in updates:
            self.storage.write(offset, data)

    # Reading

    def block_runs(self, block: int, count: int) -> Iterator[BlockRun]:
        """Runs of blocks of a kind, whose places (if they have some) follow each other.

        :raises CorruptImageError: (when it is come to) an entry names no place where a block could be
        """
        table = self.table
        per_page = table.page_entries
        end = block + count
        while block < end:
            number, index = divmod(block, per_page)
            entries = table.entries(number)
            if entries is None:
                stop = min(end, table.absent_end(number, ceil_div(end, per_page)) * per_page)
                kind, _host = self.meaning(table.absent)
                yield block, stop - block, kind, None
                block = stop
                continue
            last = min(per_page, index + end - block)
            base = block - index
            while index < last:
                stop, kind, host = self._entry_run(entries, index, last, base)
                yield base + index, stop - index, kind, host
                index = stop
            block = base + last

    def _entry_run(self, entries: array[int], index: int, last: int, base: int) -> tuple[int, int, int | None]:
        """The run that begins at an entry: the index behind it, its kind, and the place of its first block."""
        entry = entries[index]
        kind, host = self.meaning(entry)
        if host is None:
            if kind == COMPRESSED:
                stop = index + 1
                while stop < last and self.meaning(entries[stop])[0] == COMPRESSED:
                    stop += 1
                return stop, kind, None
            return equal_run_end(entries, index, last), kind, None
        if not self.may_be_at(host):
            raise self._misplaced(base + index, host)
        limit = max(self._file_end, self.end)
        if not self.entry_step or kind == MIXED:
            return index + 1, kind, host
        # What follows and does not begin inside the file is for a run of its own to find.
        last = min(last, index + ceil_div(limit - host, self.block_size))
        return progression_run_end(entries, index, last, self.entry_step), kind, host

    def may_be_at(self, host: int) -> bool:
        """Whether a block may be at an offset of the file: not in its metadata, and not behind its end."""
        return self.data_start <= host < max(self._file_end, self.end)

    def _misplaced(self, block: int, host: int) -> CorruptImageError:
        where = "in the file's metadata" if host < max(self._file_end, self.end) else "beyond the end of the file"
        return CorruptImageError(
            "Block %d is at offset %#x, which is %s" % (block, host, where),
            path=self.storage.name,
            offset=host,
            remedy="check the image; if the file was cut off, copy it again from where it comes from",
        )

    def _blocks(self, offset: int, end: int) -> Iterator[BlockRun]:
        """The runs of the blocks that a guest range touches."""
        first = (offset - self.start) // self.block_size
        return self.block_runs(first, ceil_div(end - self.start, self.block_size) - first)

    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        """As :meth:`Image.runs <qimg.formats.base.Image.runs>`."""
        end = offset + length
        if offset >= end:
            return
        for block, count, kind, host in self._blocks(offset, end):
            block_start = self.start + block * self.block_size
            start, stop = max(offset, block_start), min(end, block_start + count * self.block_size)
            if host is None:
                yield Extent(start, stop - start, kind, None, None)
            elif kind == MIXED:
                yield from self.mixed_runs(block, host, start, stop)
            else:
                run = Extent(start, stop - start, kind, self.storage, host + start - block_start)
                if self.shows_holes and kind == DATA:
                    yield from without_holes(run)
                else:
                    yield run

    # Writing

    def place(self, offset: int, length: int) -> Pieces:
        """As :meth:`Image.place <qimg.formats.base.Image.place>`."""
        pieces: Pieces = []
        end = offset + length
        while offset < end:
            block, count, kind, host = next(self._blocks(offset, end))
            block_start = self.start + block * self.block_size
            if kind == MIXED and host is not None:
                self.complete_mixed(block, host)
            elif kind != DATA or host is None:
                count, host = self._place_new(block, count, kind, host, offset, end)
            stop = min(end, block_start + count * self.block_size)
            add_piece(pieces, self.storage, host + offset - block_start, stop - offset)
            offset = stop
        return pieces

    def _place_new(
        self, block: int, count: int, kind: int, host: int | None, start: int, end: int
    ) -> tuple[int, int]:
        """Give blocks new places (or those at ``host`` that are reserved for them), and complete those of them that a
        write from ``start`` to ``end`` covers in part.

        :returns: for how many blocks there was room, and where it begins
        """
        if host is None:
            host, count = self.allocate(block, count)
        first = self.start + block * self.block_size
        stop = first + count * self.block_size
        if start > first:
            self._complete(kind, first, start, host)
        if end < stop:
            self._complete(kind, end, stop, host + end - first)
        self._put(block, count, host)
        return count, host

    def _put(self, block: int, count: int, host: int) -> None:
        first = self.entry_for(block, host)
        if count > 1:
            # Whether the last one can be named.
            self.entry_for(block + count - 1, host + (count - 1) * self.block_size)
        self.table.put(block, progression(first, count, self.entry_step, self.table.typecode))

    def _complete(self, kind: int, start: int, end: int, host: int) -> None:
        """Write into a new block what a guest range holds that is not yet in it."""
        inside = min(end, self.start + self.size)
        if kind == COMPRESSED and start < inside:
            content = bytearray(inside - start)
            self.encoded_reader(start, len(content))(content)
            self.storage.write(host, content)
            host, start = host + len(content), inside
        if kind in (ABSENT, ABSENT_ALLOCATED) and self.backing is not None:
            inside = min(inside, self.backing.size)
            while start < inside:
                length = min(inside - start, BUFFER_BYTES)
                data = self.backing.read(start, length)
                if is_zero(memoryview(data)):
                    self._zero_new(host, length)
                else:
                    self.storage.write(host, data)
                host, start = host + length, start + length
        if start < end:
            self._zero_new(host, end - start)

    def _zero_new(self, host: int, length: int) -> None:
        """Zero a part of a new block; beyond the end of a file everything is zero already."""
        if self.storage.reads_zero_when_new:
            length = min(length, self.storage.size - host)
        if length > 0:
            self.storage.write_zeroes(host, length)

    def write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        """As :meth:`Image.write_zeroes <qimg.formats.base.Image.write_zeroes>`."""
        end = offset + length
        while offset < end:
            block, count, kind, host = next(self._blocks(offset, end))
            block_start = self.start + block * self.block_size
            stop = min(end, block_start + count * self.block_size)
            if kind == DATA and host is not None:
                self.storage.write_zeroes(host + offset - block_start, stop - offset, deallocate)
            elif not self._reads_zero(kind, offset):
                self._zero_blocks(kind, offset, stop, deallocate)
            offset = stop

    def _reads_zero(self, kind: int, offset: int) -> bool:
        """Whether blocks of that kind read as zeroes from ``offset`` on."""
        if kind in (ABSENT, ABSENT_ALLOCATED):
            return self.backing is None or offset >= self.backing.size
        return kind in (ZERO, ZERO_ALLOCATED)

    def _zero_blocks(self, kind: int, start: int, end: int, deallocate: bool) -> None:
        """Zero blocks that have no plain data: by their entries, where the format can say so of whole blocks."""
        entry = self.zero_entry
        if entry is None and self.backing is None:
            entry = self.table.absent
        first = ceil_div(start - self.start, self.block_size)
        is_disk_end = end == self.start + self.size
        last = (ceil_div if is_disk_end else _floor_div)(end - self.start, self.block_size)
        if entry is None or kind == MIXED or first >= last:
            self._occupy(start, end, deallocate)
            return
        self._occupy(start, self.start + first * self.block_size, deallocate)
        self.table.fill(first, last - first, entry)
        self._occupy(self.start + last * self.block_size, end, deallocate)

    def _occupy(self, start: int, end: int, deallocate: bool) -> None:
        """Write zeroes into blocks that have places of their own from then on."""
        if start < end:
            for storage, host, length in self.place(start, end - start):
                storage.write_zeroes(host, length, deallocate)

    def zero_behind(self, size: int) -> None:
        """Zero what follows the end of a disk of ``size`` bytes in its last block, before it grows."""
        inner = size % self.block_size
        if not inner:
            return
        _block, _count, kind, host = next(self.block_runs(size // self.block_size, 1))
        if kind == DATA and host is not None and self.storage.size > host + inner:
            self.storage.write_zeroes(host + inner, min(self.block_size, self.storage.size - host) - inner)

    def discard(self, offset: int, length: int) -> None:
        """As :meth:`Image.discard <qimg.formats.base.Image.discard>`: blocks keep their places, and become holes."""
        for run in self.runs(offset, length):
            if run.kind == DATA and run.offset is not None:
                self.storage.discard(run.offset, run.length)

    @property
    def changed(self) -> bool:
        """Whether anything but data is to be written by the next flush."""
        return self.table.changed

    def flush(self) -> None:
        """Put data, and then the entries that name them, on the medium."""
        table = self.table
        if self.changed:
            if not self.storage.is_device and self.storage.size < self.end:
                # Parts of new blocks that are zero were not written.
                self.storage.truncate(self.end)
            table.write_new_pages()
            self.storage.flush()
            self.commit_entries(table.updates())
        self.storage.flush()
        table.committed()


class BlockImage(Image):
    """An image whose guest disk is cut into blocks of one file.

    :param block_map: says where they are; its storage is that of the image, its backing file too
    """

    def __init__(self, origin: Origin, block_map: BlockMap) -> None:
        self._map = block_map
        self.size = block_map.size
        super().__init__(origin, block_map.storage, block_map.backing)

    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        return self._map.runs(offset, length)

    def encoded_reader(self, offset: int, length: int) -> Callable[[Buffer], None]:
        return self._map.encoded_reader(offset, length)

    @property
    def write_unit(self) -> int:
        """Parts of a block: what is not written of a new one is a hole."""
        block = self._map.block_size
        return min(block & -block, _MOST_WRITE_UNIT)

    def _place(self, offset: int, length: int) -> Pieces:
        return self._map.place(offset, length)

    def _write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        self._map.write_zeroes(offset, length, deallocate)

    def _discard(self, offset: int, length: int) -> None:
        self._map.discard(offset, length)

    def _flush(self) -> None:
        self._map.flush()


def _floor_div(value: int, divisor: int) -> int:
    return value // divisor
