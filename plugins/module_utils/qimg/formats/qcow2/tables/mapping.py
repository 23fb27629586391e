# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The two-level table that maps guest clusters to host clusters (section "Cluster mapping" of the specification)."""
from __future__ import annotations

from array import array

from ..layout import COPIED, OFFSET_MASK, Geometry, corrupt, words_from_bytes, words_to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ....intervals import IntervalSet
    from ....storage.base import Storage
    from ..refcounts.allocator import Refcounts


class L2Table:
    """One L2 table in memory; ``entries`` are 64-bit words, two for each cluster with extended L2 entries."""

    __slots__ = ("l1_index", "offset", "entries", "owned", "dirty")

    def __init__(self, l1_index: int, offset: int, entries: array[int], owned: bool) -> None:
        self.l1_index = l1_index
        self.offset = offset
        self.entries = entries
        #: Whether it lies in a cluster of this transaction, so that it may be written there.
        self.owned = owned
        self.dirty = owned


class Mapping:
    """The active L1 table and its L2 tables, read on demand and changed in memory.

    An L2 table that is changed first gets a cluster of its own that the image on disk does not use; :meth:`commit`
    does the same for the L1 table.

    :param l1: the L1 entries, as they are in the file at ``l1_offset``
    :param refcounts: where clusters for tables come from
    :param fresh: the file is new: nothing on disk needs to be kept
    """

    def __init__(
        self,
        storage: Storage,
        geometry: Geometry,
        l1: array[int],
        l1_offset: int,
        refcounts: Refcounts,
        cache_bytes: int,
        fresh: bool = False,
    ) -> None:
        self._storage = storage
        self._geometry = geometry
        self._refcounts = refcounts
        self.l1 = l1
        self.l1_offset = l1_offset
        #: Clusters that the table occupies at ``l1_offset``.
        self._l1_clusters = -(-len(l1) * 8 // geometry.cluster_size)
        self.l1_owned = fresh
        self.l1_dirty = fresh
        self._tables: dict[int, L2Table] = {}
        self._max_tables = max(4, cache_bytes // geometry.cluster_size)

    @property
    def changed(self) -> bool:
        return self.l1_dirty or any(table.dirty for table in self._tables.values())

    def table(self, l1_index: int) -> L2Table | None:
        """The L2 table of an L1 entry; ``None`` where there is none.

        :raises CorruptImageError: the entry points nowhere
        """
        table = self._tables.pop(l1_index, None)
        if table is None:
            entry = self.l1[l1_index] if l1_index < len(self.l1) else 0
            offset = entry & OFFSET_MASK
            if not offset:
                return None
            if offset % self._geometry.cluster_size:
                raise corrupt(
                    self._storage.name, "L2 table offset %#x unaligned (L1 index: %#x)" % (offset, l1_index), offset
                )
            self._make_room()
            entries = words_from_bytes(self._storage.read(offset, self._geometry.cluster_size))
            owned = bool(entry & COPIED) and self._refcounts.owns(offset >> self._geometry.cluster_bits)
            table = L2Table(l1_index, offset, entries, owned)
            table.dirty = False
        # Last in the dictionary: the most recently used.
        self._tables[l1_index] = table
        return table

    def own_table(self, l1_index: int) -> L2Table:
        """The L2 table of an L1 entry, in a cluster of this transaction, to be changed."""
        table = self.table(l1_index)
        if table is not None and table.owned:
            table.dirty = True
            return table
        bits = self._geometry.cluster_bits
        cluster = self._refcounts.allocate_table()
        if table is None:
            self._make_room()
            table = L2Table(l1_index, 0, array("Q", bytes(self._geometry.cluster_size)), True)
            self._tables[l1_index] = table
        else:
            self._refcounts.drop(table.offset >> bits, 1)
        table.offset = cluster << bits
        table.owned = table.dirty = True
        self.l1[l1_index] = table.offset | COPIED
        self.l1_dirty = True
        self._refcounts.relieve()
        return table

    def set_entry(self, l1_index: int, entry: int) -> None:
        """Change an L1 entry; of which tables there are, the caller keeps count."""
        if self.l1[l1_index] != entry:
            cached = self._tables.get(l1_index)
            if cached is not None and cached.offset != entry & OFFSET_MASK:
                del self._tables[l1_index]
            self.l1[l1_index] = entry
            self.l1_dirty = True

    def drop_table(self, l1_index: int) -> None:
        """Forget an L2 table whose clusters are all free, and free its own."""
        offset = self.l1[l1_index] & OFFSET_MASK
        self._tables.pop(l1_index, None)
        if offset:
            self._refcounts.drop(offset >> self._geometry.cluster_bits, 1)
        self.l1[l1_index] = 0
        self.l1_dirty = True

    def _make_room(self) -> None:
        if len(self._tables) < self._max_tables:
            return
        for l1_index, table in list(self._tables.items()):
            if table.dirty:
                self._write_table(table)
            del self._tables[l1_index]
            if len(self._tables) <= self._max_tables // 2:
                return

    def _write_table(self, table: L2Table) -> None:
        self._storage.write(table.offset, words_to_bytes(table.entries))
        table.dirty = False

    def replace_l1(self, l1: array[int]) -> None:
        """Map the guest disk by other L1 entries from now on."""
        self._tables.clear()
        self.l1 = l1
        self.l1_dirty = True
        self._refcounts.find_tables_anew()

    def resize_l1(self, entries: int) -> None:
        """Make the L1 table longer."""
        self.l1.frombytes(bytes((entries - len(self.l1)) * 8))
        self.l1_dirty = True

    def place_l1(self) -> None:
        """Give a changed L1 table a place that the image on disk does not use."""
        clusters = -(-len(self.l1) * 8 // self._geometry.cluster_size)
        if not self.l1_dirty or (self.l1_owned and clusters == self._l1_clusters):
            return
        bits = self._geometry.cluster_bits
        new = self._refcounts.allocate_table(clusters) if clusters else 0
        if self._l1_clusters:
            self._refcounts.drop(self.l1_offset >> bits, self._l1_clusters)
        self.l1_offset = new << bits
        self._l1_clusters = clusters
        self.l1_owned = True

    def write_tables(self) -> None:
        """Write every changed L2 table to its place of this transaction."""
        for table in self._tables.values():
            if table.dirty:
                self._write_table(table)

    def write(self) -> None:
        """Write every changed table to its place of this transaction."""
        self.write_tables()
        if self.l1_dirty:
            self._storage.write(self.l1_offset, words_to_bytes(self.l1))
            self.l1_dirty = False

    def move_down(self, start: int, lost: IntervalSet) -> None:
        """Have every table moved that lies behind cluster ``start``, and has a free cluster below it.

        :param lost: clusters that the file does not have
        """
        bits = self._geometry.cluster_bits
        free = max(start, self._refcounts.first_free())
        for l1_index, entry in enumerate(self.l1):
            offset = entry & OFFSET_MASK
            if offset >> bits > free and entry & COPIED and offset >> bits not in lost:
                self.own_table(l1_index)
                free = max(start, self._refcounts.first_free())
        if self.l1_offset >> bits > free:
            self.l1_dirty = True

    def begin(self) -> None:
        """Start the next transaction: what is on disk is now the state that must be kept."""
        for table in self._tables.values():
            table.owned = False
        self.l1_owned = False
