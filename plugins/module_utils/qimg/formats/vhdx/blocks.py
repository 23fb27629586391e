# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Where a VHDX has its payload blocks, and how the entries of its table are changed: through the log."""
from __future__ import annotations

import os

from ...intervals import IntervalSet
from ...limits import MIB
from ...sizes import ceil_div
from ..base import ABSENT, DATA, ZERO, Extent
from ..block_map import MIXED, BlockMap
from ..block_table import BlockTable
from .layout import (
    AREA_END,
    BITMAP_PRESENT,
    ENTRY_BYTES,
    HEADER_PLACES,
    NO_GUID,
    NOT_PRESENT,
    OFFSET_MASK,
    PAGE,
    PARTIAL,
    PRESENT,
    STATE_MASK,
    ZEROED,
    Header,
    Parameters,
    corrupt,
)
from .log import most_pages, pack_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...limits import Limits
    from ...storage.base import Storage
    from ..base import Image
    from ..block_table import Updates


class Headers:
    """The two headers of a file, of which one is replaced at a time.

    :param number: which of them counts
    """

    def __init__(self, storage: Storage, header: Header, number: int) -> None:
        self.storage = storage
        self.header = header
        self._number = number

    def update(self, **changes: object) -> None:
        """Replace the header that does not count by one that does, and wait until it is on the medium."""
        header = self.header._replace(sequence=self.header.sequence + 1, **changes)
        self._number = 1 - self._number
        self.storage.write(HEADER_PLACES[self._number], header.pack())
        self.storage.flush()
        self.header = header


class PayloadTable(BlockTable):
    """The entries of the payload blocks; those of a chunk are a page, and the entry of its bitmap block follows it."""

    def __init__(self, storage: Storage, parameters: Parameters, cache_bytes: int, is_new: bool) -> None:
        chunk = parameters.chunk
        super().__init__(
            storage, parameters.blocks, ENTRY_BYTES, "little", chunk, NOT_PRESENT, cache_bytes, is_new
        )
        self._offset = parameters.bat_offset

    def _place(self, number: int) -> int | None:
        return self._offset + number * (self.page_entries + 1) * ENTRY_BYTES

    def _page_length(self, number: int) -> int:
        return min(self.page_entries, self.blocks - number * self.page_entries)

    def bitmap_entry(self, page: int) -> int:
        """The entry of the bitmap block of a chunk."""
        place = self._offset + (page * (self.page_entries + 1) + self.page_entries) * ENTRY_BYTES
        return int.from_bytes(self.storage.read(place, ENTRY_BYTES), "little")


class VhdxMap(BlockMap):
    """The payload blocks.

    :param storage: the file
    :param metadata: the file as its log leaves it
    :param headers: of the file
    :param parameters: checked
    :param backing: the parent of a differencing disk
    :param is_new: nobody has the file yet
    """

    zero_entry = ZEROED
    alignment = MIB

    def __init__(
        self,
        storage: Storage,
        metadata: Storage,
        headers: Headers,
        parameters: Parameters,
        limits: Limits,
        backing: Image | None = None,
        is_new: bool = False,
    ) -> None:
        self.headers = headers
        self.parameters = parameters
        self.entry_step = parameters.block_size
        self.shows_holes = parameters.is_fixed
        self._sectors = parameters.block_size // parameters.sector
        self._payload = PayloadTable(metadata, parameters, limits.table_cache_bytes, is_new)
        self._structures: IntervalSet | None = None
        super().__init__(
            storage, self._payload, parameters.block_size, parameters.size, AREA_END, storage.size, backing
        )

    def meaning(self, entry: int) -> tuple[int, int | None]:
        state = entry & STATE_MASK
        if state == PRESENT:
            return DATA, entry & OFFSET_MASK
        if state == PARTIAL and self.parameters.has_parent:
            return MIXED, entry & OFFSET_MASK
        if state == NOT_PRESENT:
            return ABSENT, None
        if state in (4, 5, PARTIAL):
            raise corrupt(self.storage.name, "A payload block is in the state %d, which none can be in" % state)
        # Zero, unmapped, or never defined: nobody may rely on anything else.
        return ZERO, None

    def entry_for(self, block: int, host: int) -> int:
        return host | PRESENT

    def may_be_at(self, host: int) -> bool:
        if not super().may_be_at(host):
            return False
        run = self.structures.next_run(host)
        return run is None or run[0] >= host + min(self.block_size, max(self._file_end, self.end) - host)

    @property
    def structures(self) -> IntervalSet:
        """Where log, table and metadata are in the file: no block is there."""
        if self._structures is None:
            header, parameters = self.headers.header, self.parameters
            self._structures = IntervalSet()
            for start, length in sorted(
                (
                    (header.log_offset, header.log_length),
                    (parameters.bat_offset, parameters.bat_length),
                    (parameters.metadata, MIB),
                )
            ):
                if length:
                    self._structures.add(start, start + length)
        return self._structures

    # Differencing disks

    def _bitmap(self, block: int) -> tuple[int, int]:
        """Where the bits of a block begin in the file, and how many bytes they have."""
        chunk = self.table.page_entries
        entry = self._payload.bitmap_entry(block // chunk)
        host = entry & OFFSET_MASK
        if entry & STATE_MASK != BITMAP_PRESENT or not AREA_END <= host <= self.storage.size - MIB:
            raise corrupt(self.storage.name, "The chunk of block %d has no bitmap of its sectors" % block)
        length = self._sectors // 8
        return host + block % chunk * length, length

    def mixed_runs(self, block: int, host: int, start: int, end: int) -> Iterator[Extent]:
        place, length = self._bitmap(block)
        # One character for each sector, first sector first: the lowest bit of a byte is its first sector.
        bits = format(int.from_bytes(self.storage.read(place, length), "little"), "0%db" % (8 * length))[::-1]
        sector = self.parameters.sector
        block_start = block * self.block_size
        position = start
        while position < end:
            index = (position - block_start) // sector
            is_here = bits[index]
            stop = bits.find("0" if is_here == "1" else "1", index)
            stop = min(end, block_start + (stop if stop >= 0 else len(bits)) * sector)
            found = (DATA, self.storage, host + position - block_start) if is_here == "1" else (ABSENT, None, None)
            yield Extent(position, stop - position, *found)
            position = stop

    def complete_mixed(self, block: int, host: int) -> None:
        block_start = block * self.block_size
        for run in list(self.mixed_runs(block, host, block_start, min(self.size, block_start + self.block_size))):
            if run.kind == ABSENT:
                self._complete(ABSENT, run.start, run.start + run.length, host + run.start - block_start)
        self.table.fill(block, 1, self.entry_for(block, host))

    # Changing

    def commit_entries(self, updates: Updates) -> None:
        if self.table.is_new:
            super().commit_entries(updates)
            return
        change_pages(self.storage, self.headers, updates)


def change_pages(storage: Storage, headers: Headers, updates: Updates) -> None:
    """Change metadata through the log: each 4096 bytes wholly or not at all, and all that fits into the log together.

    What the new metadata refer to is on the medium.
    """
    pages: dict[int, bytearray] = {}
    for offset, data in updates:
        done = 0
        while done < len(data):
            number, inner = divmod(offset + done, PAGE)
            length = min(PAGE - inner, len(data) - done)
            if number not in pages:
                pages[number] = bytearray(storage.read(number * PAGE, PAGE))
            pages[number][inner : inner + length] = data[done : done + length]
            done += length
    numbers = sorted(pages)
    step = most_pages(headers.header.log_length)
    if step < 1:
        raise corrupt(storage.name, "The log has no room for a change", "convert the image to a new one")
    for first in range(0, len(numbers), step):
        part = {number: bytes(pages[number]) for number in numbers[first : first + step]}
        guid = os.urandom(16)
        storage.write(headers.header.log_offset, pack_entry(1, guid, part, storage.size))
        storage.flush()
        headers.update(log_guid=guid)
        for number, page in part.items():
            storage.write(number * PAGE, page)
        storage.flush()
        headers.update(log_guid=NO_GUID)


def entries_between(blocks: VhdxMap, first: int, end: int) -> Iterator[tuple[int, int]]:
    """Numbers and entries of the blocks from ``first`` up to ``end`` that have places."""
    table = blocks.table
    for page in range(first // table.page_entries, ceil_div(end, table.page_entries)):
        entries = table.entries(page)
        base = page * table.page_entries
        for index, entry in enumerate(entries or ()):
            if first <= base + index < end and entry & STATE_MASK in (PRESENT, PARTIAL):
                yield base + index, entry
