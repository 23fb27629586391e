# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Tables with one entry for each block of a guest disk, read page by page and changed in memory."""
from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from array import array

from ..errors import CorruptImageError
from .table_runs import equal_run_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Literal

    from ..storage.base import Storage

    ByteOrder = Literal["little", "big"]
    #: File offset, and the bytes to write there.
    Updates = list[tuple[int, bytes]]

#: Bytes of a page of a one-level table, and how many pages are kept in memory at least.
_PAGE_BYTES = 64 << 10
_FEWEST_PAGES = 4


class Page:
    """A part of a table in memory; of its ``entries``, those from ``low`` up to ``high`` were changed."""

    __slots__ = ("entries", "low", "high", "is_new")

    def __init__(self, entries: array[int], is_new: bool = False) -> None:
        self.entries = entries
        self.low, self.high = len(entries), 0
        #: Whether the file does not name it yet.
        self.is_new = is_new

    @property
    def changed(self) -> bool:
        return self.low < self.high


class BlockTable(ABC):
    """The entries of all blocks.

    Nothing that the file names is written before :meth:`updates` are, which is for the caller to do: between two
    flushes of the storage.

    :param storage: where the table lies
    :param blocks: how many blocks there are
    :param entry_bytes: 4 or 8
    :param byte_order: of the entries in the file
    :param page_entries: entries of a page
    :param absent: the entry of a block that has no place
    :param cache_bytes: memory for pages; more only while that much of them is changed
    :param is_new: nobody has the file yet: changed pages may be written at any time
    """

    def __init__(
        self,
        storage: Storage,
        blocks: int,
        entry_bytes: int,
        byte_order: ByteOrder,
        page_entries: int,
        absent: int,
        cache_bytes: int,
        is_new: bool = False,
    ) -> None:
        self.storage = storage
        self.blocks = blocks
        self.typecode = "I" if entry_bytes == 4 else "Q"
        self.entry_bytes = entry_bytes
        self.page_entries = page_entries
        self.absent = absent
        self.is_new = is_new
        self._swaps = byte_order != sys.byteorder
        self._pages: dict[int, Page] = {}
        self._most_pages = max(_FEWEST_PAGES, cache_bytes // (page_entries * entry_bytes))

    # Reading

    def entries(self, page: int) -> array[int] | None:
        """The entries of a page; ``None``: the table does not have it, and all its blocks are absent.

        :raises CorruptImageError: the page is not inside the file
        """
        known = self._page(page)
        return None if known is None else known.entries

    def absent_end(self, page: int, limit: int) -> int:
        """The first page after one that the table does not have, up to ``limit``, that it may have."""
        return page + 1

    def entry(self, block: int) -> int:
        """The entry of one block."""
        page, index = divmod(block, self.page_entries)
        entries = self.entries(page)
        return self.absent if entries is None else entries[index]

    def _page(self, number: int) -> Page | None:
        page = self._pages.pop(number, None)
        if page is None:
            offset = self._place(number)
            if offset is None:
                return None
            self._make_room()
            page = Page(self.read_entries(offset, self._page_length(number)))
        # Last in the dictionary: the most recently used.
        self._pages[number] = page
        return page

    def read_entries(self, offset: int, count: int) -> array[int]:
        """``count`` entries from an offset in the file."""
        entries = array(self.typecode)
        entries.frombytes(self.storage.read(offset, count * self.entry_bytes))
        if self._swaps:
            entries.byteswap()
        return entries

    def packed(self, entries: array[int]) -> bytes:
        """Entries in the byte order of the file."""
        if self._swaps:
            entries = entries[:]
            entries.byteswap()
        return entries.tobytes()

    def _page_length(self, number: int) -> int:
        """The entries of a page in the file."""
        return self.page_entries

    @abstractmethod
    def _place(self, number: int) -> int | None:
        """Where in the file a page is read; ``None``: the table does not have it.

        :raises CorruptImageError: it is not inside the file
        """

    def _copies(self, number: int) -> list[int]:
        """Where in the file a page is written."""
        place = self._place(number)
        return [] if place is None else [place]

    # Changing

    def put(self, block: int, entries: array[int]) -> None:
        """Change the entries from ``block`` on."""
        done = 0
        while done < len(entries):
            number, index = divmod(block + done, self.page_entries)
            count = min(len(entries) - done, self.page_entries - index)
            page = self._changed_page(number, index, index + count)
            page.entries[index : index + count] = entries[done : done + count]
            done += count

    def fill(self, block: int, count: int, entry: int) -> None:
        """Make ``count`` entries from ``block`` on the same."""
        while count:
            index = block % self.page_entries
            part = min(count, self.page_entries - index)
            self.put(block, array(self.typecode, [entry]) * part)
            block += part
            count -= part

    def _changed_page(self, number: int, low: int, high: int) -> Page:
        page = self._page(number)
        if page is None:
            self._make_room()
            page = self._pages[number] = self._add_page(number)
        page.low, page.high = min(page.low, low), max(page.high, high)
        return page

    def _add_page(self, number: int) -> Page:
        """A page that the table does not have yet."""
        raise AssertionError("The table has all pages")

    def _make_room(self) -> None:
        """Drop the pages that were not used for the longest time, and that the file has."""
        if len(self._pages) < self._most_pages:
            return
        for number, page in list(self._pages.items()):
            if self.is_new and page.changed:
                self._write(self._page_updates(number, page))
                page.low, page.high, page.is_new = len(page.entries), 0, False
            if not page.changed:
                del self._pages[number]
                if len(self._pages) <= self._most_pages // 2:
                    return

    def _write(self, updates: Updates) -> None:
        for offset, data in updates:
            self.storage.write(offset, data)

    def _page_updates(self, number: int, page: Page) -> Updates:
        low, high = (0, len(page.entries)) if page.is_new else (page.low, page.high)
        data = self.packed(page.entries[low:high])
        return [(offset + low * self.entry_bytes, data) for offset in self._copies(number)]

    @property
    def changed(self) -> bool:
        """Whether anything is to be written."""
        return any(page.changed for page in self._pages.values())

    def write_new_pages(self) -> None:
        """Write the pages that nothing in the file names yet."""
        for number, page in sorted(self._pages.items()):
            if page.is_new:
                self._write(self._page_updates(number, page))

    def updates(self) -> Updates:
        """What is to be written once everything that the entries name is on the medium, in the order of the pages."""
        found: Updates = []
        for number, page in sorted(self._pages.items()):
            if page.changed and not page.is_new:
                found += self._page_updates(number, page)
        return found

    def committed(self) -> None:
        """Everything that was to be written is on the medium."""
        for page in self._pages.values():
            page.low, page.high, page.is_new = len(page.entries), 0, False
        self.is_new = False

    def forget(self) -> None:
        """Drop all pages, which were not changed or are not to be: they are read anew."""
        self._pages.clear()


class OneLevelTable(BlockTable):
    """A table that lies in the file as a whole; the parameters are those of :class:`BlockTable`.

    :param offset: where it begins in the file, bytes; all of it is inside the file
    """

    def __init__(
        self,
        storage: Storage,
        offset: int,
        blocks: int,
        entry_bytes: int,
        byte_order: ByteOrder,
        absent: int,
        cache_bytes: int,
        is_new: bool = False,
    ) -> None:
        page_entries = _PAGE_BYTES // entry_bytes
        super().__init__(storage, blocks, entry_bytes, byte_order, page_entries, absent, cache_bytes, is_new)
        self.offset = offset

    def _place(self, number: int) -> int | None:
        return self.offset + number * self.page_entries * self.entry_bytes

    def move(self, offset: int) -> None:
        """Go on with a copy of the table at another offset; nothing of it may be waiting to be written."""
        self.forget()
        self.offset = offset

    def _page_length(self, number: int) -> int:
        return min(self.page_entries, self.blocks - number * self.page_entries)

    def equal_runs(self, index: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Runs of equal entries: index, count, entry."""
        while index < end:
            number, position = divmod(index, self.page_entries)
            entries = self.entries(number)
            if entries is None:
                return
            stop = equal_run_end(entries, position, min(len(entries), position + end - index))
            yield index, stop - position, entries[position]
            index += stop - position


class TwoLevelTable(BlockTable):
    """A first table that names second-level tables, which are the pages; the parameters are those of
    :class:`BlockTable`.

    :param first_level: says where the second-level tables are; 0: there is none
    :param unit: bytes of the file that a first-level entry counts: 1, or 512 if it is a sector number
    :param end: how long the file is; tables are inside of it
    :param allocate: gives the offset of room for one more table
    """

    def __init__(
        self,
        storage: Storage,
        first_level: OneLevelTable,
        unit: int,
        blocks: int,
        entry_bytes: int,
        byte_order: ByteOrder,
        page_entries: int,
        absent: int,
        cache_bytes: int,
        end: int,
        allocate: Callable[[], int],
        is_new: bool = False,
    ) -> None:
        super().__init__(storage, blocks, entry_bytes, byte_order, page_entries, absent, cache_bytes, is_new)
        self.first_level = first_level
        self._unit = unit
        self._end = end
        self._allocate = allocate

    def absent_end(self, page: int, limit: int) -> int:
        for first, count, entry in self.first_level.equal_runs(page, limit):
            if entry:
                return first
            page = first + count
        return page

    def _place(self, number: int) -> int | None:
        offset = self.first_level.entry(number) * self._unit
        if not offset:
            return None
        if offset + self.page_entries * self.entry_bytes > self._end:
            raise CorruptImageError(
                "The second-level table %d at offset %#x is not inside the file, which has %d bytes"
                % (number, offset, self._end),
                path=self.storage.name,
                offset=offset,
                remedy="check the image; if the file was cut off, copy it again from where it comes from",
            )
        return offset

    def _add_page(self, number: int) -> Page:
        offset = self._allocate()
        self._end = max(self._end, offset + self.page_entries * self.entry_bytes)
        self.first_level.fill(number, 1, offset // self._unit)
        return Page(array(self.typecode, [self.absent]) * self.page_entries, is_new=True)

    def updates(self) -> Updates:
        return super().updates() + self.first_level.updates()

    @property
    def changed(self) -> bool:
        return self.first_level.changed or super().changed

    def committed(self) -> None:
        super().committed()
        self.first_level.committed()

    def forget(self) -> None:
        super().forget()
        self.first_level.forget()
