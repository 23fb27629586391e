# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Where a sparse extent has its grains: a grain directory, which names grain tables, which name grains."""
from __future__ import annotations

import zlib

from ...errors import CorruptImageError, StorageError
from ...intervals import IntervalSet
from ...limits import SECTOR
from ..base import ABSENT, COMPRESSED, DATA, ZERO
from ..block_map import BlockMap
from ..block_table import OneLevelTable, Page, TwoLevelTable
from .layout import SESPARSE, Header, corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ...storage.base import Buffer, Storage
    from ..base import Image, Pieces
    from ..block_table import Updates

#: The grain marker of a compressed grain: its sector on the guest disk, and the bytes that follow.
MARKER_BYTES = 12
#: The entry of a grain that is zero.
_ZERO_GRAIN = 1
#: Entries are sector numbers of 32 bits.
MOST_SECTORS = 1 << 32
#: Bits of an seSparse entry that say what it is.
_KIND_SHIFT = 60
_IS_TABLE = 1
_IS_ZERO = (1, 2)
_IS_ALLOCATED = 3


class _SeSparseTable(TwoLevelTable):
    """The grain tables of an seSparse extent: the directory has their numbers.

    :param tables: where the first of them is in the file
    """

    tables = 0

    def _place(self, number: int) -> int | None:
        entry = self.first_level.entry(number)
        if not entry:
            return None
        index = entry & 0xFFFFFFFF
        offset = self.tables + index * self.page_entries * self.entry_bytes
        if entry >> 32 != _IS_TABLE << _KIND_SHIFT - 32 or offset + self.page_entries * 8 > self.storage.size:
            raise CorruptImageError(
                "L1 entry size is invalid", path=self.storage.name, format="vmdk", offset=offset
            )
        return offset


class _GrainTables(TwoLevelTable):
    """The grain tables of a hosted extent, which are kept in step with a redundant copy where there is one.

    The other parameters are those of :class:`TwoLevelTable`.

    :param redundant: the directory of the copies; ``None``: there are none
    """

    redundant: OneLevelTable | None = None

    def _copies(self, number: int) -> list[int]:
        places = super()._copies(number)
        if self.redundant is not None:
            place = self.redundant.entry(number) * SECTOR
            if place and place not in places and place + self.page_entries * self.entry_bytes <= self.storage.size:
                places.append(place)
        return places

    def _add_page(self, number: int) -> Page:
        page = super()._add_page(number)
        if self.redundant is not None and not self.redundant.entry(number):
            self.redundant.fill(number, 1, self._allocate() // SECTOR)
        return page

    def updates(self) -> Updates:
        redundant = [] if self.redundant is None else self.redundant.updates()
        return super().updates() + redundant

    def committed(self) -> None:
        super().committed()
        if self.redundant is not None:
            self.redundant.committed()

    def forget(self) -> None:
        super().forget()
        if self.redundant is not None:
            self.redundant.forget()

    def table_places(self) -> list[int]:
        """Where the grain tables are in the file, the copies too."""
        directories = [self.first_level] if self.redundant is None else [self.first_level, self.redundant]
        return [
            entry * SECTOR
            for directory in directories
            for _index, _count, entry in directory.equal_runs(0, directory.blocks)
            if entry
        ]


class GrainMap(BlockMap):
    """Where a sparse extent has its grains.

    :param header: checked
    :param size: guest bytes
    :param start: guest offset of the extent
    :param is_new: nobody has the file yet
    """

    def __init__(
        self,
        storage: Storage,
        header: Header,
        size: int,
        start: int,
        backing: Image | None,
        cache_bytes: int,
        is_new: bool = False,
    ) -> None:
        self.header = header
        width = header.entry_bytes
        first = OneLevelTable(
            storage, header.directory, header.directory_entries, width, "little", 0, cache_bytes // 2, is_new
        )
        kind = _SeSparseTable if header.kind == SESPARSE else _GrainTables
        self.table: TwoLevelTable
        table = kind(
            storage,
            first,
            SECTOR,
            header.blocks,
            width,
            "little",
            header.table_entries,
            0,
            cache_bytes // 2,
            storage.size,
            lambda: self.allocate_bytes(header.table_entries * width, SECTOR),
            is_new,
        )
        if isinstance(table, _SeSparseTable):
            table.tables = header.tables
        elif header.redundant:
            table.redundant = OneLevelTable(
                storage, header.redundant, header.directory_entries, width, "little", 0, cache_bytes // 2, is_new
            )
        self.zero_entry = _ZERO_GRAIN if header.zero_grains else None
        self.alignment = header.grain if header.grain % SECTOR == 0 else SECTOR
        #: What guest data must not be written to; ``None``: nobody has looked.
        self._tables: IntervalSet | None = IntervalSet() if is_new else None
        self.entry_step = 0 if header.compressed or header.kind == SESPARSE else header.grain // SECTOR
        super().__init__(storage, table, header.grain, size, SECTOR, storage.size, backing, start)

    def meaning(self, entry: int) -> tuple[int, int | None]:
        if not entry:
            return ABSENT, None
        header = self.header
        if header.kind == SESPARSE:
            return self._sesparse_meaning(entry)
        if header.zero_grains and entry == 1:
            return ZERO, None
        if header.compressed:
            return COMPRESSED, None
        return DATA, entry * SECTOR

    def _sesparse_meaning(self, entry: int) -> tuple[int, int | None]:
        kind = entry >> _KIND_SHIFT
        if kind in _IS_ZERO:
            return ZERO, None
        if kind != _IS_ALLOCATED:
            if kind == 0:
                return ABSENT, None
            raise corrupt(self.storage.name, "The grain table entry %#x is of no kind that is known" % entry)
        index = entry >> 48 & 0xFFF | (entry & 0xFFFFFFFFFFFF) << 12
        return DATA, self.header.grains + index * self.block_size

    def entry_for(self, block: int, host: int) -> int:
        if host // SECTOR >= MOST_SECTORS:
            raise StorageError(
                "The extent is full: no grain can lie behind the first 2 TiB of a file",
                path=self.storage.name,
                remedy="convert the image to one of several extents, or to another format",
            )
        return host // SECTOR

    def place(self, offset: int, length: int) -> Pieces:
        pieces = super().place(offset, length)
        for _storage, host, size in pieces:
            self._check_apart(host, size)
        return pieces

    def write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        for run in self.runs(offset, length):
            if run.kind == DATA and run.offset is not None:
                self._check_apart(run.offset, run.length)
        super().write_zeroes(offset, length, deallocate)

    def _check_apart(self, host: int, length: int) -> None:
        """Refuse to write guest data over header, descriptor and tables.

        :raises CorruptImageError: an entry names a grain there
        """
        if self._tables is None:
            self._tables = self.metadata()
        run = self._tables.next_run(host)
        if run is not None and run[0] < host + length:
            raise corrupt(
                self.storage.name,
                "A grain at offset %#x is said to be guest data, but it holds tables of the image" % max(host, run[0]),
            )

    def zero_behind(self, size: int) -> None:
        for run in self.runs(self.start + size, -size % self.block_size):
            if run.kind == DATA and run.offset is not None:
                self._check_apart(run.offset, run.length)
        super().zero_behind(size)

    def metadata(self) -> IntervalSet:
        """Where in the file header, descriptor and tables are."""
        header, table = self.header, self.table
        found = IntervalSet()
        found.add(0, SECTOR)
        if header.descriptor_end:
            found.add(SECTOR, header.descriptor_end)
        for directory in filter(None, (header.directory, header.redundant)):
            found.add(directory, directory + header.directory_entries * header.entry_bytes)
        if isinstance(table, _GrainTables):
            bytes_each = header.table_entries * header.entry_bytes
            for place in sorted(table.table_places()):
                found.add(place, place + bytes_each)
        return found

    def encoded_reader(self, offset: int, length: int) -> Callable[[Buffer], None]:
        grain = self.block_size
        relative = offset - self.start
        first, end = relative // grain, (relative + length - 1) // grain + 1
        entries = [self.table.entry(block) for block in range(first, end)]

        def read(buffer: Buffer) -> None:
            view = memoryview(buffer)
            for number, entry in enumerate(entries, first):
                low, high = max(relative, number * grain), min(relative + length, (number + 1) * grain)
                content = self._decompressed(number, entry * SECTOR, high - number * grain)
                view[low - relative : high - relative] = content[low - number * grain :]

        return read

    def _decompressed(self, block: int, host: int, length: int) -> bytes:
        """The first ``length`` bytes of a compressed grain at the offset ``host`` of the file."""
        storage = self.storage
        # What does not get smaller grows by a few bytes only.
        most = min(2 * self.block_size, storage.size - host)
        if self.header.markers:
            if most < MARKER_BYTES:
                raise self._broken(block, host)
            size = int.from_bytes(storage.read(host, MARKER_BYTES)[8:], "little")
            host += MARKER_BYTES
            if not 0 < size <= most or host + size > storage.size:
                raise self._broken(block, host)
            most = size
        if most <= 0:
            raise self._broken(block, host)
        try:
            content = zlib.decompressobj().decompress(storage.read(host, most), length)
        except zlib.error:
            raise self._broken(block, host) from None
        if len(content) != length:
            raise self._broken(block, host)
        return content

    def _broken(self, block: int, host: int) -> CorruptImageError:
        return CorruptImageError(
            "The compressed grain %d at offset %#x cannot be decompressed" % (block, host),
            path=self.storage.name,
            format="vmdk",
            offset=host,
            remedy="if the file was cut off, copy it again from where it comes from",
        )
