# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Where a QED image has its clusters: a first-level table names second-level tables, which name clusters."""
from __future__ import annotations

from array import array

from ...intervals import IntervalSet
from ...sizes import ceil_div
from ..base import ABSENT, DATA, ZERO
from ..block_map import BlockMap
from ..block_table import OneLevelTable, Page, TwoLevelTable
from .layout import ENTRY_BYTES, Header, corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...limits import Limits
    from ...storage.base import Storage
    from ..base import Image, Pieces

#: A second-level table can have one gibibyte: it is read in parts.
_PART_ENTRIES = 8192


class ClusterTables(TwoLevelTable):
    """The tables; a page is a part of a second-level table.

    :param header: checked
    """

    def __init__(
        self, storage: Storage, header: Header, blocks: ClusterMap, cache_bytes: int, is_new: bool
    ) -> None:
        first = OneLevelTable(
            storage, header.l1_offset, header.table_entries, ENTRY_BYTES, "little", 0, cache_bytes // 2, is_new
        )
        part = min(header.table_entries, _PART_ENTRIES)
        self._parts = header.table_entries // part
        self._part_bytes = part * ENTRY_BYTES
        table_bytes = header.table_entries * ENTRY_BYTES
        count = ceil_div(header.size, header.cluster)
        super().__init__(
            storage,
            first,
            1,
            count,
            ENTRY_BYTES,
            "little",
            part,
            0,
            cache_bytes // 2,
            storage.size,
            lambda: blocks.allocate_bytes(table_bytes, header.cluster),
            is_new,
        )

    def absent_end(self, page: int, limit: int) -> int:
        first = super().absent_end(page // self._parts, ceil_div(limit, self._parts))
        return max(page + 1, min(limit, first * self._parts))

    def _place(self, number: int) -> int | None:
        table, part = divmod(number, self._parts)
        offset = super()._place(table)
        return None if offset is None else offset + part * self._part_bytes

    def _add_page(self, number: int) -> Page:
        table = number // self._parts
        if not self.first_level.entry(table):
            # The other parts are zero, as all that is new in the file.
            super()._add_page(table)
            self._end = max(self._end, self.first_level.entry(table) + self._parts * self._part_bytes)
        return Page(array(self.typecode, [self.absent]) * self.page_entries, is_new=True)

    def places(self) -> Iterator[int]:
        """Where second-level tables are in the file."""
        for _index, _count, entry in self.first_level.equal_runs(0, self.first_level.blocks):
            if entry:
                yield entry


class ClusterMap(BlockMap):
    """The clusters.  New ones, and tables, go to the end of the file.

    :param header: checked
    :param backing: what answers for absent clusters
    :param is_new: nobody has the file yet
    """

    zero_entry = 1

    def __init__(
        self, storage: Storage, header: Header, limits: Limits, backing: Image | None, is_new: bool = False
    ) -> None:
        self.header = header
        self.entry_step = self.alignment = header.cluster
        self.tables = ClusterTables(storage, header, self, limits.table_cache_bytes, is_new)
        #: What guest data must not be written to; ``None``: nobody has looked.
        self._kept: IntervalSet | None = IntervalSet() if is_new else None
        start = header.data_start
        super().__init__(storage, self.tables, header.cluster, header.size, start, max(start, storage.size), backing)

    def meaning(self, entry: int) -> tuple[int, int | None]:
        if entry <= 1:
            return (ZERO if entry else ABSENT), None
        if entry % self.header.cluster:
            raise corrupt(self.storage.name, "A cluster is said to be at offset %#x, where none can begin" % entry)
        return DATA, entry

    def entry_for(self, block: int, host: int) -> int:
        return host

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
        """Refuse to write guest data over tables.

        :raises CorruptImageError: an entry names a cluster there
        """
        if self._kept is None:
            self._kept = self.used_by_tables()
        run = self._kept.next_run(host)
        if run is not None and run[0] < host + length:
            raise corrupt(
                self.storage.name,
                "The cluster at offset %#x is said to be guest data, but it holds tables of the image" % host,
            )

    def used_by_tables(self) -> IntervalSet:
        """The bytes of the file that header and tables have."""
        header = self.header
        length = header.table_clusters * header.cluster
        found = IntervalSet()
        found.add(0, header.data_start)
        for place in sorted([header.l1_offset, *self.tables.places()]):
            found.add(place, place + length)
        return found

    def write_header(self, header: Header) -> None:
        """Replace the header, which one sector holds, and wait until it is on the medium."""
        self.storage.write(0, header.pack())
        self.storage.flush()
        self.header = header
