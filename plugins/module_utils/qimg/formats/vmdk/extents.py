# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The extents of a VMDK: the parts of the guest disk, each with a file."""
from __future__ import annotations

import zlib
from abc import ABC, abstractmethod

from ...errors import CorruptImageError
from ...limits import SECTOR
from ..base import ABSENT, COMPRESSED, DATA, ZERO, Extent, without_holes
from ..block_map import BlockMap
from ..block_table import OneLevelTable, TwoLevelTable
from .layout import SESPARSE, Header, corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...storage.base import Buffer, Storage
    from ..base import Image

#: The grain marker of a compressed grain: its sector on the guest disk, and the bytes that follow.
_MARKER_BYTES = 12
#: Bits of an seSparse entry that say what it is.
_KIND_SHIFT = 60
_IS_TABLE = 1
_IS_ZERO = (1, 2)
_IS_ALLOCATED = 3


class Part(ABC):
    """A part of the guest disk; offsets are those of the guest disk.

    :param start: where it begins there
    :param size: guest bytes
    :param storage: its file
    :param name: of the file, as the descriptor has it
    :param kind: as the descriptor has it; empty for a file that has the descriptor too
    """

    grain: int | None = None
    compressed = False

    def __init__(self, start: int, size: int, storage: Storage, name: str, kind: str) -> None:
        self.start = start
        self.size = size
        self.storage = storage
        self.name = name
        self.kind = kind

    @abstractmethod
    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        """What it has for a range that is inside."""

    def encoded_reader(self, offset: int, length: int) -> Callable[[Buffer], None]:
        """As :meth:`Image.encoded_reader`."""
        raise NotImplementedError("A flat extent has no compressed grains")


class FlatPart(Part):
    """A file, or a part of one, that has the guest's bytes as they are.

    :param host: where they begin in the file
    """

    def __init__(self, start: int, size: int, storage: Storage, name: str, kind: str, host: int) -> None:
        super().__init__(start, size, storage, name, kind)
        self._host = host
        if host + size > storage.size:
            raise corrupt(
                storage.name, "File truncated, expecting at least %d bytes for the extent" % (host + size)
            )

    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        return without_holes(Extent(offset, length, DATA, self.storage, self._host + offset - self.start))


class SparsePart(Part):
    """A sparse extent.

    :param header: checked
    :param backing: what answers for absent grains
    :param cache_bytes: memory for its tables
    """

    def __init__(
        self,
        start: int,
        size: int,
        storage: Storage,
        name: str,
        kind: str,
        header: Header,
        backing: Image | None,
        cache_bytes: int,
    ) -> None:
        super().__init__(start, size, storage, name, kind)
        self.grain = header.grain
        self.compressed = header.compressed
        if header.capacity < size:
            raise corrupt(
                storage.name,
                "The extent has %d bytes, and its descriptor says %d" % (header.capacity, size),
            )
        self._map = GrainMap(storage, header, size, start, backing, cache_bytes)

    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        return self._map.runs(offset, length)

    def encoded_reader(self, offset: int, length: int) -> Callable[[Buffer], None]:
        return self._map.encoded_reader(offset, length)


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


class GrainMap(BlockMap):
    """Where a sparse extent has its grains.

    :param header: checked
    :param size: guest bytes
    :param start: guest offset of the extent
    """

    def __init__(
        self, storage: Storage, header: Header, size: int, start: int, backing: Image | None, cache_bytes: int
    ) -> None:
        self.header = header
        width = header.entry_bytes
        first = OneLevelTable(
            storage, header.directory, header.directory_entries, width, "little", 0, cache_bytes // 2
        )
        kind = _SeSparseTable if header.kind == SESPARSE else TwoLevelTable
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
        )
        if isinstance(table, _SeSparseTable):
            table.tables = header.tables
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
        return host // SECTOR

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
            if most < _MARKER_BYTES:
                raise self._broken(block, host)
            size = int.from_bytes(storage.read(host, _MARKER_BYTES)[8:], "little")
            host += _MARKER_BYTES
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
