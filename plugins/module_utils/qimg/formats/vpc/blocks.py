# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The block allocation table of a VHD, and the bitmaps of its blocks."""
from __future__ import annotations

from ...errors import StorageError
from ...limits import SECTOR
from ...sizes import ceil_div, round_up
from ..base import ABSENT, DATA, ZERO, Extent
from ..block_map import MIXED, BlockMap
from ..block_table import OneLevelTable
from .layout import DIFFERENCING, ENTRY_BYTES, FOOTER_BYTES, HEADER_BYTES, UNUSED, Footer, Header
from .opening import truncated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...limits import Limits
    from ...storage.base import Storage
    from ..base import Image
    from ..block_table import Updates

#: With more blocks, that all of them are in the file is not found out when it is opened.
_FEW_BLOCKS = 1 << 20
#: Room is made for so many blocks more than are asked for, because that waits for the medium.
_RESERVED_BLOCKS = 15


class VhdMap(BlockMap):
    """The block allocation table of a dynamic or differencing disk.

    New blocks go to where the footer is.  Before, another one is put far enough behind: whatever is interrupted, the
    file ends in a footer.

    :param size: guest bytes
    :param backing: the parent of a differencing disk
    """

    # Blocks never follow each other: their bitmaps are in between.
    entry_step = 0

    def __init__(
        self,
        storage: Storage,
        footer: Footer,
        header: Header,
        size: int,
        limits: Limits,
        backing: Image | None = None,
        is_new: bool = False,
    ) -> None:
        self.footer = footer
        self.header = header
        self._is_differencing = footer.disk_type == DIFFERENCING
        self._bitmap_bytes = header.bitmap_bytes
        #: Mixed blocks that are whole from now on; their bitmaps say so after the next flush.
        self._completed: dict[int, int] = {}
        #: Where the next block goes; ``None``: nobody has looked.
        self._free: int | None = header.table_end if is_new else None
        #: Where the footer is that makes room for new blocks; 0: it is right behind what is used.
        self._reserved = 0
        blocks = ceil_div(size, header.block_size)
        self.table: OneLevelTable
        table = OneLevelTable(
            storage, header.table_offset, blocks, ENTRY_BYTES, "big", UNUSED, limits.table_cache_bytes, is_new
        )
        # A table that was moved lies behind blocks.
        start = FOOTER_BYTES + self._bitmap_bytes
        super().__init__(storage, table, header.block_size, size, start, start, backing)

    def meaning(self, entry: int) -> tuple[int, int | None]:
        if entry == UNUSED:
            return (ABSENT if self._is_differencing else ZERO), None
        # Of a dynamic disk, QEMU does not look at the bitmap, and what Windows writes does not need it.
        return (MIXED if self._is_differencing else DATA), entry * SECTOR + self._bitmap_bytes

    def entry_for(self, block: int, host: int) -> int:
        sector = (host - self._bitmap_bytes) // SECTOR
        if sector >= UNUSED:
            raise StorageError(
                "The file has become larger than a VHD can be", path=self.storage.name, remedy="use vhdx instead"
            )
        return sector

    def may_be_at(self, host: int) -> bool:
        start, end = host - self._bitmap_bytes, host + self.block_size
        header, table = self.footer.header_offset, self.header
        return super().may_be_at(host) and (
            (end <= header or start >= header + HEADER_BYTES)
            and (end <= table.table_offset or start >= table.table_end)
        )

    # Room

    @property
    def stride(self) -> int:
        """Bytes of a block and its bitmap."""
        return self._bitmap_bytes + self.block_size

    @property
    def free(self) -> int:
        """Where blocks, their bitmaps and the table end in the file, and the next block goes.

        :raises CorruptImageError: an entry names a block beyond the end of the file
        """
        if self._free is None:
            end = self.header.table_end
            for block, _count, kind, host in self.block_runs(0, self.table.blocks):
                if kind in (DATA, MIXED) and host is not None:
                    end = max(end, host + self.block_size)
                    if end > self.storage.size:
                        raise self._misplaced(block, host)
            self._free = round_up(end, SECTOR)
        return self._free

    def check_end(self) -> None:
        """See that all blocks are in the file, if that is soon seen.

        :raises CorruptImageError: one is not, in QEMU's words
        """
        table = self.table
        if table.blocks > _FEW_BLOCKS:
            return
        highest = -1
        for first in range(0, table.blocks, table.page_entries):
            entries = table.entries(first // table.page_entries)
            highest = max(highest, *(set(entries or ()) - {UNUSED}), -1)
        if highest >= 0 and highest * SECTOR + self.stride > self.storage.size:
            raise truncated(self.storage.name)

    def allocate(self, block: int, count: int) -> tuple[int, int]:
        start = self.free
        end = start + self.stride
        self.entry_for(block, start + self._bitmap_bytes)
        if end > self._reserved:
            self._reserve(end)
        self.storage.write(start, b"\xff" * self._bitmap_bytes)
        self._free = end
        self.end = end + FOOTER_BYTES
        if self._is_differencing:
            self._completed[block] = start
        return start + self._bitmap_bytes, 1

    def _reserve(self, end: int) -> None:
        """Make room for new blocks up to an offset of the file, and for some more."""
        self._reserved = end + _RESERVED_BLOCKS * self.stride
        if not self.table.is_new:
            self.storage.write(self._reserved, self.footer.pack())
            self.storage.flush()

    def end_file(self) -> None:
        """Put the footer right behind what is used, and end the file there."""
        free = self.free
        self._reserved = 0
        if self.storage.is_device or self.storage.size != free + FOOTER_BYTES:
            self.storage.write(free, self.footer.pack())
            self.storage.flush()
            if not self.storage.is_device:
                self.storage.truncate(free + FOOTER_BYTES)
                self.storage.flush()

    def copy_block(self, block: int, host: int) -> None:
        """Give a block a place of its own, with what is at ``host``, its bitmap included."""
        start, _count = self.allocate(block, 1)
        self.storage.write(start - self._bitmap_bytes, self.storage.read(host - self._bitmap_bytes, self.stride))
        self._completed.pop(block, None)
        self.table.fill(block, 1, self.entry_for(block, start))

    def forget_free(self) -> None:
        """Look again where blocks end."""
        self._free = None

    # Differencing disks

    def mixed_runs(self, block: int, host: int, start: int, end: int) -> Iterator[Extent]:
        block_start = block * self.block_size
        if block in self._completed:
            yield Extent(start, end - start, DATA, self.storage, host + start - block_start)
            return
        bitmap = self.storage.read(host - self._bitmap_bytes, self._bitmap_bytes)
        # One character for each sector, first sector first.
        bits = format(int.from_bytes(bitmap, "big"), "0%db" % (8 * len(bitmap)))
        position = start
        while position < end:
            sector = (position - block_start) // SECTOR
            is_here = bits[sector]
            stop = bits.find("0" if is_here == "1" else "1", sector)
            stop = min(end, block_start + (stop if stop >= 0 else len(bits)) * SECTOR)
            place = (DATA, self.storage, host + position - block_start) if is_here == "1" else (ABSENT, None, None)
            yield Extent(position, stop - position, *place)
            position = stop

    def complete_mixed(self, block: int, host: int) -> None:
        if block in self._completed:
            return
        block_start = block * self.block_size
        for run in list(self.mixed_runs(block, host, block_start, min(self.size, block_start + self.block_size))):
            if run.kind == ABSENT:
                self._complete(ABSENT, run.start, run.start + run.length, host + run.start - block_start)
        self._completed[block] = host - self._bitmap_bytes

    @property
    def changed(self) -> bool:
        return bool(self._completed) or super().changed

    def commit_entries(self, updates: Updates) -> None:
        for place in sorted(self._completed.values()):
            self.storage.write(place, b"\xff" * self._bitmap_bytes)
        super().commit_entries(updates)

    def flush(self) -> None:
        if self._reserved and self.table.is_new:
            self.storage.write(self.free, self.footer.pack())
        super().flush()
        self._completed.clear()
        if self._reserved:
            self.end_file()
