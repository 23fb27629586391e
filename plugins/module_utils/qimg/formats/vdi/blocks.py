# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The block map of a VDI image: where its blocks are, and where new ones go."""
from __future__ import annotations

from ...intervals import IntervalSet
from ..base import DATA, ZERO
from ..block_map import BlockMap
from ..block_table import OneLevelTable
from .layout import BLOCK, DISCARDED, ENTRY_BYTES, STATIC, UNALLOCATED, Header, corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...limits import Limits
    from ...storage.base import Storage
    from ..block_table import Updates


class VdiMap(BlockMap):
    """The block map.  Blocks have numbers in the file: new ones get the next number.

    Whoever writes goes by the header for the next number, and so the header is on the medium before any entry that
    names a new block.

    :param header: checked
    :param is_new: nobody has the file yet
    """

    def __init__(self, storage: Storage, header: Header, limits: Limits, is_new: bool = False) -> None:
        self.header = header
        #: The next number.
        self.allocated = header.allocated
        #: Runs of numbers below that one that no entry names; ``None``: nobody has looked.
        self._free: list[tuple[int, int]] | None = [] if is_new else None
        cache = limits.table_cache_bytes
        table = OneLevelTable(
            storage, header.map_offset, header.blocks, ENTRY_BYTES, "little", UNALLOCATED, cache, is_new
        )
        self.shows_holes = header.image_type == STATIC
        super().__init__(storage, table, BLOCK, header.disk_size, header.data_offset, header.data_offset)

    def meaning(self, entry: int) -> tuple[int, int | None]:
        # In both cases there is nothing: QEMU calls it zero, as there is no image below.
        return (ZERO, None) if entry >= DISCARDED else (DATA, self.header.data_offset + entry * BLOCK)

    def entry_for(self, block: int, host: int) -> int:
        return (host - self.header.data_offset) // BLOCK

    def place_of(self, number: int) -> int:
        """The offset in the file of the block with a number."""
        return self.header.data_offset + number * BLOCK

    def allocate(self, block: int, count: int) -> tuple[int, int]:
        if self._free is None:
            self._free = self._unused()
        if self._free:
            start, end = self._free.pop()
            count = min(count, end - start)
            if start + count < end:
                self._free.append((start + count, end))
        else:
            start = self.allocated
            self.allocated += count
        host = self.place_of(start)
        self.end = max(self.end, host + count * BLOCK)
        return host, count

    def used_numbers(self) -> tuple[int, int]:
        """How many blocks are allocated, and the highest of their numbers (-1: there are none).

        :raises CorruptImageError: an entry names a block beyond the end of the file
        """
        count, highest = 0, -1
        for _block, length, kind, host in self.block_runs(0, self.header.blocks):
            if kind == DATA and host is not None:
                count += length
                highest = max(highest, self.entry_for(0, host) + length - 1)
        return count, highest

    def forget_free(self) -> None:
        """Look again for numbers that no entry names, before the next block is allocated."""
        self._free = None

    def _unused(self) -> list[tuple[int, int]]:
        """Runs of numbers that no entry names, last first.

        :raises CorruptImageError: new blocks would overwrite others
        """
        count, highest = self.used_numbers()
        if highest >= self.allocated:
            raise corrupt(
                self.storage.name,
                "The header counts %d blocks, but block %d is in use: new ones would overwrite others"
                % (self.allocated, highest),
            )
        if count == self.allocated:
            return []
        free = IntervalSet()
        free.add(0, self.allocated)
        for _block, length, kind, host in self.block_runs(0, self.header.blocks):
            if kind == DATA and host is not None:
                free.remove(self.entry_for(0, host), self.entry_for(0, host) + length)
        return list(free)[::-1]

    def commit_entries(self, updates: Updates) -> None:
        if self.allocated != self.header.allocated:
            self.write_header(self.header._replace(allocated=self.allocated), flush=not self.table.is_new)
        super().commit_entries(updates)

    def write_header(self, header: Header, flush: bool = True) -> None:
        """Replace the header, which one sector holds, and wait until it is on the medium."""
        self.storage.write(0, header.pack())
        if flush:
            self.storage.flush()
        self.header = header
        self.allocated = header.allocated
