# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The refcount table and its blocks, as far as they are in memory (section "Host cluster management")."""
from __future__ import annotations

from ....errors import ImageError
from ....intervals import IntervalSet
from ...table_runs import equal_run_end
from ..layout import REFCOUNT_BLOCK_OFFSET_MASK, Geometry, check_room, corrupt, words_from_bytes
from . import widths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array

    from ....storage.base import Storage


#: No file system allocates less than this at once.
_LEAST_FILE_BLOCK = 512


class RefcountBlock:
    """One refcount block in memory."""

    __slots__ = ("offset", "counts", "owned", "dirty")

    def __init__(self, offset: int, counts: array[int], owned: bool) -> None:
        self.offset = offset
        self.counts = counts
        #: Whether it lies in a cluster of this transaction, so that it may be written there.
        self.owned = owned
        self.dirty = owned


class RefcountBlocks:
    """Says how often each host cluster is used; keeps a bounded number of blocks in memory.

    :param table_clusters: length of the refcount table at ``table_offset``; it is read when it is first needed
    :param fresh: the file is new: the table is all zero, and nothing on disk needs to be kept
    """

    def __init__(
        self,
        storage: Storage,
        geometry: Geometry,
        order: int,
        table_offset: int,
        table_clusters: int,
        cache_bytes: int,
        fresh: bool = False,
    ) -> None:
        self._storage = storage
        self._geometry = geometry
        self.order = order
        self.max = (1 << (1 << order)) - 1
        self.block_entries = geometry.cluster_size * 8 >> order
        self._table = words_from_bytes(bytes(table_clusters * geometry.cluster_size)) if fresh else None
        self.table_offset = table_offset
        self.table_owned = fresh
        self.table_dirty = fresh
        self._table_clusters = table_clusters
        self._fresh = fresh
        self._blocks: dict[int, RefcountBlock] = {}
        self._max_blocks = max(4, cache_bytes // geometry.cluster_size)
        #: Allocated in this transaction: free in the image on disk.
        self._owned_clusters = IntervalSet()

    @property
    def table(self) -> array[int]:
        """The refcount table's entries.

        :raises CorruptImageError: there are so many blocks that they cannot be in the file
        """
        if self._table is None:
            length = self._table_clusters * self._geometry.cluster_size
            table = words_from_bytes(self._storage.read(self.table_offset, length))
            check_room(table, self._storage, self._geometry, self.table_offset, "The refcount table has more blocks")
            self._table = table
        return self._table

    def get(self, cluster: int) -> int:
        """The refcount of one cluster."""
        block = self._block(cluster // self.block_entries)
        return block.counts[cluster % self.block_entries] if block else 0

    def each(self, clusters: list[int]) -> list[int]:
        """The refcounts of some clusters."""
        entries = self.block_entries
        indexes = {cluster // entries for cluster in clusters}
        if len(indexes) > self._max_blocks:
            return [self.get(cluster) for cluster in clusters]
        blocks = {}
        for index in indexes:
            block = self._block(index)
            blocks[index] = block.counts if block else widths.zeroes(self.order, entries)
        return [blocks[cluster // entries][cluster % entries] for cluster in clusters]

    def slices(self, first: int, count: int) -> list[array[int]]:
        """The refcounts of a run of clusters, as consecutive arrays."""
        parts = []
        while count > 0:
            index, start = divmod(first, self.block_entries)
            piece = min(count, self.block_entries - start)
            block = self._block(index)
            parts.append(
                block.counts[start : start + piece] if block else widths.zeroes(self.order, piece)
            )
            first += piece
            count -= piece
        return parts

    def block_offset(self, index: int) -> int:
        """Host offset of a refcount block; 0: there is none, all its clusters are free."""
        return self.table[index] & REFCOUNT_BLOCK_OFFSET_MASK if index < len(self.table) else 0

    def _block(self, index: int) -> RefcountBlock | None:
        block = self._blocks.get(index)
        if block is None:
            offset = self.block_offset(index)
            if not offset:
                return None
            if offset % self._geometry.cluster_size:
                raise corrupt(
                    self._storage.name,
                    "Refblock offset %#x unaligned (reftable index: %#x)" % (offset, index),
                    offset,
                )
            if offset >> 63:
                raise corrupt(
                    self._storage.name, "Refblock offset %#x is no file offset (reftable index: %#x)" % (offset, index)
                )
            data = self._storage.read(offset, self._geometry.cluster_size)
            owned = self.owns(offset >> self._geometry.cluster_bits)
            block = RefcountBlock(offset, widths.unpack(self.order, data), owned)
            block.dirty = False
            self._remember(index, block)
        return block

    def _remember(self, index: int, block: RefcountBlock) -> None:
        if len(self._blocks) >= self._max_blocks:
            self._evict()
        self._blocks[index] = block

    def _evict(self) -> None:
        """Drop what is not needed; write what may already be written (its cluster is ours)."""
        for index, block in list(self._blocks.items()):
            if block.dirty and not block.owned:
                continue
            if block.dirty:
                self._write_block(block)
            del self._blocks[index]
            if len(self._blocks) < self._max_blocks // 2:
                return

    def _write_block(self, block: RefcountBlock) -> None:
        self._storage.write(block.offset, widths.pack(self.order, block.counts))
        block.dirty = False

    def owns(self, cluster: int) -> bool:
        """Whether a cluster was allocated in this transaction, so that the image on disk does not need its content."""
        return self._fresh or cluster in self._owned_clusters

    def uses(self, wanted: int, clusters: int, allocated: int) -> bool:
        """Whether at least ``wanted`` of the first ``clusters`` are in use.

        :param allocated: bytes of the file that have space behind them; no more blocks than that can have anything in
            them, whatever the refcount table says
        """
        used = 0
        blocks_left = allocated // _LEAST_FILE_BLOCK + 1
        for index in range(min(len(self.table), -(-clusters // self.block_entries))):
            if not self.block_offset(index):
                continue
            blocks_left -= 1
            first = index * self.block_entries
            (counts,) = self.slices(first, min(self.block_entries, clusters - first))
            used += len(counts) - counts.count(0)
            if used >= wanted or not blocks_left:
                break
        return used >= wanted

    def filled_blocks(self) -> list[int]:
        """The indexes of the blocks that may have anything in them: those in holes of the file have not."""
        filled = IntervalSet()
        for start, length, is_data in self._storage.extents(0, self._storage.size):
            if is_data:
                filled.add(start, start + length)
        size = self._geometry.cluster_size
        indexes = []
        for index, entry in enumerate(self.table):
            offset = entry & REFCOUNT_BLOCK_OFFSET_MASK
            if offset:
                run = filled.next_run(offset)
                if index in self._blocks or (run is not None and run[0] < offset + size):
                    indexes.append(index)
        return indexes

    def used_end(self, lost: IntervalSet | None = None) -> int:
        """One more than the last cluster in use.

        :param lost: clusters that do not count, because the file does not have them
        """
        used = len(self.table.tobytes().rstrip(b"\0"))
        for index in range((used - 1) // self.table.itemsize, -1, -1):
            block = self._block(index)
            if block is not None and any(block.counts):
                for last in range(len(block.counts) - 1, -1, -1):
                    cluster = index * self.block_entries + last
                    if block.counts[last] and (lost is None or cluster not in lost):
                        return cluster + 1
        return 0

    def free_runs(self, known_end: int) -> IntervalSet:
        """The clusters below ``known_end`` whose refcount is 0."""
        free = IntervalSet()
        first = 0
        while first < known_end:
            index = first // self.block_entries
            count = min(self.block_entries, known_end - first)
            block = self._block(index)
            if block is None:
                # Of a large sparse file, most of the table may be empty.
                entries = len(self.table)
                stop = equal_run_end(self.table, index, entries) if index < entries else entries
                last = known_end if stop == entries else stop * self.block_entries
                free.add(first, min(last, known_end))
                first = last
                continue
            start = 0
            while start < count:
                stop = equal_run_end(block.counts, start, count)
                if not block.counts[start]:
                    free.add(first + start, first + stop)
                start = stop
            first += count
        return free

    def underflow(self, cluster: int) -> ImageError:
        """The error for a cluster that is in use, and said to be free."""
        return corrupt(
            self._storage.name,
            "Cluster at offset %#x is in use but its refcount is 0" % (cluster << self._geometry.cluster_bits),
        )

    def check_used(self, clusters: list[int]) -> None:
        """See that each of some clusters has a refcount.

        :raises CorruptImageError: one of them has none
        """
        for cluster in clusters:
            if not self.get(cluster):
                raise self.underflow(cluster)

    def structure(self) -> list[int]:
        """The host clusters of the table and the blocks, in ascending order; one that is used twice comes twice."""
        bits = self._geometry.cluster_bits
        first = self.table_offset >> bits
        clusters = list(range(first, first + self._table_clusters))
        for entry in filter(None, self.table):
            offset = entry & REFCOUNT_BLOCK_OFFSET_MASK
            if offset and offset == entry and not offset % self._geometry.cluster_size:
                clusters.append(offset >> bits)
        return sorted(clusters)


def metadata_clusters(clusters: int, geometry: Geometry, order: int, generous: bool = False) -> tuple[int, int]:
    """How many refcount blocks and table clusters describe ``clusters`` other clusters, and themselves.

    :param generous: leave room for the table to grow by half
    """
    per_block = geometry.cluster_size * 8 >> order
    per_table_cluster = geometry.cluster_size // 8
    blocks = table = 0
    total = -1
    while True:
        blocks = -(-(clusters + blocks + table) // per_block)
        table = -(-blocks // per_table_cluster)
        if clusters + blocks + table == total:
            if not generous:
                return blocks, table
            clusters += -(-table // 2)
            generous = False
        total = clusters + blocks + table
