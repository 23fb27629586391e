# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Refcounts and the cluster allocator of qcow2 (section "Refcounts" of the specification).

Everything here happens in memory; :mod:`..changes.metadata` puts it on disk in one step.  Until then, a cluster that
was in use when the transaction began keeps its content, because the image on disk still needs it: it is *held*, and not
given out again.
"""
from __future__ import annotations

from ....errors import ImageError
from ....intervals import IntervalSet
from ...table_runs import equal_run_end, first_nonzero, first_zero
from ..layout import MAX_REFCOUNT_TABLE_BYTES, Geometry, corrupt, words_from_bytes, words_to_bytes
from . import widths
from .blocks import RefcountBlock, RefcountBlocks, metadata_clusters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable

    from ....storage.base import Storage


class RefcountOverflowError(ImageError):
    """A cluster would be used more often than its refcount can say."""


class Refcounts(RefcountBlocks):
    """How often each host cluster is used, and which of them to use next; parameters as of :class:`RefcountBlocks`."""

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
        super().__init__(storage, geometry, order, table_offset, table_clusters, cache_bytes, fresh)
        #: The allocator looks from here on; nothing below is free, or it was passed over as too small.
        self._hint = 0
        #: Freed in this transaction: still in use in the image on disk.
        self.held = IntervalSet()
        #: Free, but broken entries refer to them, or did: what is put there could show up in the guest disk.
        self.avoided = IntervalSet()
        #: Finds, among runs of clusters that are said to be free, those that the image uses all the same.
        self.find_uncounted: Callable[[IntervalSet], list[tuple[int, int]]] | None = None
        #: The clusters that the file has had so far: what lies behind them was never used.
        self._known_end = -(-storage.size >> geometry.cluster_bits)
        #: Says where tables and other metadata lie: runs ``(first, end)`` of clusters.
        self.find_tables: Callable[[], list[tuple[int, int]]] = list
        self._tables: IntervalSet | None = None
        self._find_anew = False

    @property
    def tables(self) -> IntervalSet:
        """The clusters of the image's tables.  Whatever their refcounts are, no data goes there.

        In an image whose refcounts are wrong, one of them may seem to be free, or to hold guest data.
        """
        if self._tables is None:
            self._tables = IntervalSet()
            for first, end in [] if self._fresh else sorted(self.find_tables()):
                self._tables.add(first, end)
        return self._tables

    def find_tables_anew(self) -> None:
        """Have :attr:`tables` found anew after this transaction: others than those that it allocates become tables."""
        self._find_anew = True

    def check_data(self, first: int, count: int) -> None:
        """Refuse to change, as guest data, what is metadata.

        :raises CorruptImageError: a cluster of the run belongs to a table
        """
        run = self.tables.next_run(first)
        if run is not None and run[0] < first + count:
            offset = max(first, run[0]) << self._geometry.cluster_bits
            raise corrupt(
                self._storage.name,
                "The cluster at offset %#x is said to be guest data, but it holds tables of the image" % offset,
                offset,
            )

    def release_data(self, first: int, count: int) -> None:
        """One reference less to clusters that hold data.

        :raises CorruptImageError: one of them belongs to a table
        """
        self.check_data(first, count)
        self.drop(first, count)

    @property
    def changed(self) -> bool:
        return self.table_dirty or any(block.dirty for block in self._blocks.values())

    # Changing

    def add(self, first: int, count: int, delta: int) -> None:
        """Change the refcount of every cluster of a run by ``delta``.

        :raises RefcountOverflowError: a count would leave its range; counts before it in the run have changed, so the
            transaction must be abandoned
        """
        while count > 0:
            index, start = divmod(first, self.block_entries)
            piece = min(count, self.block_entries - start)
            block = self._block(index)
            if block is None:
                if delta < 0:
                    raise self.underflow(first)
                self._make_block(index)
                continue
            self._add_in_block(block, index, start, piece, delta)
            first += piece
            count -= piece

    def drop(self, first: int, count: int) -> None:
        """One reference less to every cluster of a run, for who gives it up.

        A cluster that is said to be free already stays so, and nothing is put there: others may refer to it as well.
        """
        end = first + count
        while first < end:
            index, start = divmod(first, self.block_entries)
            stop = min(self.block_entries, start + end - first)
            block = self._block(index)
            if block is not None:
                stop = equal_run_end(block.counts, start, stop)
            if block is not None and block.counts[start]:
                self.add(first, stop - start, -1)
            else:
                self.avoided.add(first, first + stop - start)
            first += stop - start

    def _add_in_block(self, block: RefcountBlock, index: int, start: int, count: int, delta: int) -> None:
        counts = block.counts
        base = index * self.block_entries
        position, end = start, start + count
        block.dirty = True
        while position < end:
            value = counts[position]
            stop = equal_run_end(counts, position, end)
            new = value + delta
            if new < 0:
                raise self.underflow(base + position)
            if new > self.max:
                raise RefcountOverflowError(
                    "Cluster at offset %#x has a refcount of %d, the most that %d bits hold"
                    % ((base + position) << self._geometry.cluster_bits, value, 1 << self.order),
                    path=self._storage.name,
                    format="qcow2",
                    remedy="amend the image to wider refcounts (refcount_bits) first",
                )
            counts[position:stop] = widths.repeated(self.order, new, stop - position)
            if new == 0:
                self._released(base + position, base + stop)
            elif value == 0:
                self._taken(base + position, base + stop)
            position = stop

    def _taken(self, first: int, end: int) -> None:
        """Clusters went from free to used."""
        if self._fresh:
            return
        # What was freed and is used again (a snapshot that comes back) is still what is on disk, not new.
        position = first
        while position < end:
            run = self.held.next_run(position)
            if run is None or run[0] >= end:
                self._owned_clusters.add(position, end)
                break
            if run[0] > position:
                self._owned_clusters.add(position, run[0])
            stop = min(run[1], end)
            self.held.remove(max(run[0], position), stop)
            position = stop

    def _released(self, first: int, end: int) -> None:
        """Clusters went from used to free."""
        if self._fresh:
            self.tables.remove(first, end)
            self._hint = min(self._hint, first)
            return
        # What was taken in this very transaction is free again at once; the rest is held until the commit.
        position = first
        while position < end:
            run = self._owned_clusters.next_run(position)
            if run is None or run[0] >= end:
                self.held.add(position, end)
                break
            if run[0] > position:
                self.held.add(position, run[0])
            stop = min(run[1], end)
            start = max(run[0], position)
            self._owned_clusters.remove(start, stop)
            if self._tables is not None:
                self._tables.remove(start, stop)
            self._hint = min(self._hint, start)
            position = stop

    def take_first_clusters(self, count: int, block_cluster: int) -> None:
        """In a new file, have the first clusters used, one of them by the first refcount block."""
        self._add_block(0, block_cluster)
        self.add(0, count, 1)
        self._hint = count

    def take_area(self, first: int, extra: int) -> int:
        """In a new file, put a new table from cluster ``first`` (the end) on, with all blocks that are missing to
        describe it and ``extra`` clusters after it; those are not taken yet.

        :returns: the first cluster after the table
        """
        blocks, table_clusters = metadata_clusters(first + extra, self._geometry, self.order)
        missing = [index for index in range(blocks) if not self.block_offset(index)]
        old_first, old_clusters = self.table_offset >> self._geometry.cluster_bits, self._table_clusters
        self._lengthen_table(max(table_clusters, old_clusters))
        for number, index in enumerate(missing):
            self._add_block(index, first + number)
        table_first = first + len(missing)
        self._table_clusters = max(table_clusters, old_clusters)
        self.table_offset = table_first << self._geometry.cluster_bits
        self.add(first, len(missing) + self._table_clusters, 1)
        self.add(old_first, old_clusters, -1)
        return table_first + self._table_clusters

    # Allocating

    def allocate(self, count: int) -> int:
        """Take ``count`` contiguous free clusters, first fit from where the last search ended.

        :returns: the first cluster
        """
        while True:
            first = self._find_free(count)
            if self._has_blocks(first, count):
                self.add(first, count, 1)
                return first
            # A new block may have been put where the clusters were found: search again.

    def allocate_table(self, count: int = 1) -> int:
        """As :meth:`allocate`, for metadata: no data goes there from now on."""
        first = self.allocate(count)
        self._note_table(first, count)
        return first

    def _note_table(self, first: int, count: int) -> None:
        """Keep :attr:`tables` true: finding them all anew for each commit would take a quarter of its time."""
        if self._tables is not None:
            self._tables.add(first, first + count)

    @property
    def _kept(self) -> tuple[IntervalSet, ...]:
        """What is not given out although its refcount is 0."""
        return self.held, self.avoided, self.tables

    def _find_free(self, count: int) -> int:
        """A run of ``count`` free clusters from the hint on; moves the hint past it."""
        start = position = self._hint
        while position - start < count:
            index, inner = divmod(position, self.block_entries)
            block = self._block(index)
            limit = min(self.block_entries, inner + count - (position - start))
            if block is not None:
                used = first_nonzero(block.counts, inner, limit)
                if used < limit:
                    start = position = index * self.block_entries + first_zero(block.counts, used)
                    continue
            stop = index * self.block_entries + limit
            for kept in self._kept:
                run = kept.next_run(position)
                if run is not None and run[0] < stop:
                    start = position = run[1]
                    break
            else:
                position = stop
        if start < self._known_end and self.find_uncounted is not None and not self._fresh:
            self.avoid_uncounted()
            return self._find_free(count)
        self._hint = position
        return start

    def avoid_uncounted(self) -> None:
        """Find out, once, which clusters are in use although their refcount is 0, and put nothing there.

        A table that is written to such a cluster would overwrite guest data, or another table.
        """
        find, self.find_uncounted = self.find_uncounted, None
        if find is None or self._fresh:
            return
        free = self.free_runs(self._known_end)
        for first, end in find(free) if free else ():
            self.avoided.add(first, end)

    def _has_blocks(self, first: int, count: int) -> bool:
        """Whether a run is covered by blocks; makes the first missing one if it is not."""
        for index in range(first // self.block_entries, (first + count - 1) // self.block_entries + 1):
            if index not in self._blocks and not self.block_offset(index):
                self._make_block(index)
                self._hint = min(self._hint, first)
                return False
        return True

    def _make_block(self, index: int) -> None:
        """Give a range of clusters its refcount block."""
        cluster = self._find_free(1)
        home = cluster // self.block_entries
        if index >= len(self.table):
            self._grow_table(index, cluster)
        self._add_block(index, cluster)
        # A block in its own range counts itself; in another one's, that one may have to be made first.
        if home != index and home not in self._blocks and not self.block_offset(home):
            self._make_block(home)
        self.add(cluster, 1, 1)

    def _add_block(self, index: int, cluster: int) -> None:
        offset = cluster << self._geometry.cluster_bits
        self.table[index] = offset
        self.table_dirty = True
        self._note_table(cluster, 1)
        self._remember(index, RefcountBlock(offset, widths.zeroes(self.order, self.block_entries), True))

    def _grow_table(self, index: int, block_cluster: int) -> None:
        """Make room in the table for block ``index``, which is about to be put into ``block_cluster``."""
        per_cluster = self._geometry.cluster_size // 8
        if not self._fresh:
            # The commit finds a place for the longer table.
            entries = max(index + 1, len(self.table) * 3 // 2)
            self._lengthen_table(-(-entries // per_cluster))
            return
        # A new image gets QEMU's layout: the table moves past everything that blocks can describe so far, together
        # with the blocks that describe its new place, and with half as much again to grow.
        used_blocks = -(-max(index * self.block_entries + 1, block_cluster + 1) // self.block_entries)
        first = used_blocks * self.block_entries
        blocks = metadata_clusters(first, self._geometry, self.order, generous=True)[0]
        self._lengthen_table(-(-(blocks + -(-blocks // 2)) // per_cluster))
        old_first, old_clusters = self.table_offset >> self._geometry.cluster_bits, self._table_clusters
        area_blocks = range(first // self.block_entries, blocks)
        for number, area_index in enumerate(area_blocks):
            self._add_block(area_index, first + number)
        new_clusters = len(self.table) // per_cluster
        self.table_offset = (first + len(area_blocks)) << self._geometry.cluster_bits
        self._table_clusters = new_clusters
        self.add(first, len(area_blocks) + new_clusters, 1)
        self.add(old_first, old_clusters, -1)

    def _lengthen_table(self, clusters: int) -> None:
        if clusters * self._geometry.cluster_size > MAX_REFCOUNT_TABLE_BYTES:
            raise ImageError(
                "The image cannot grow: its refcount table would be too large",
                path=self._storage.name,
                format="qcow2",
                remedy="convert it to an image with larger clusters",
            )
        missing = clusters * self._geometry.cluster_size - len(self.table) * 8
        self.table.frombytes(bytes(missing))
        self.table_dirty = True

    # Committing

    def relocate(self) -> tuple[int, int]:
        """Give every changed block, and the table, a place that the image on disk does not use; write them there.

        :returns: host offset and clusters of the refcount table from now on
        """
        bits = self._geometry.cluster_bits
        per_cluster = self._geometry.cluster_size // 8
        while True:
            # Moving a block changes the counts of other blocks, until all that are touched have moved.
            moving = [index for index, block in self._blocks.items() if block.dirty and not block.owned]
            for index in moving:
                self._move_block(index)
            if moving:
                continue
            new_clusters = len(self.table) // per_cluster
            if self.table_dirty and not (self.table_owned and new_clusters == self._table_clusters):
                new = self.allocate_table(new_clusters)
                if len(self.table) // per_cluster != new_clusters:
                    # The allocation itself made the table longer: this place is too small.
                    self.add(new, new_clusters, -1)
                    continue
                self.drop(self.table_offset >> bits, self._table_clusters)
                self.table_offset = new << bits
                self._table_clusters = new_clusters
                self.table_owned = True
                continue
            break
        for block in self._blocks.values():
            if block.dirty:
                self._write_block(block)
        if self.table_dirty:
            self._storage.write(self.table_offset, words_to_bytes(self.table))
            self.table_dirty = False
        return self.table_offset, len(self.table) // per_cluster

    def _move_block(self, index: int) -> None:
        """Give a changed block a cluster of this transaction; its old one is held until the commit."""
        bits = self._geometry.cluster_bits
        new = self.allocate_table()
        block = self._blocks[index]
        old = block.offset >> bits
        # Only now: until it has its new place, nobody may write it.
        block.owned = True
        block.offset = new << bits
        self.table[index] = new << bits
        self.table_dirty = True
        if old:
            self.drop(old, 1)

    def relieve(self) -> None:
        """Bound the memory of a large transaction: give changed blocks their new places early, so that they can go."""
        if len(self._blocks) < self._max_blocks:
            return
        for index in [index for index, block in self._blocks.items() if block.dirty and not block.owned]:
            self._move_block(index)
        self._evict()

    def first_free(self) -> int:
        """The first cluster that the allocator would give out now."""
        self._hint = self._find_free(1)
        return self._hint

    def rewind(self) -> None:
        """Have the allocator look from the beginning of the file again."""
        self._hint = 0

    def move_down(self, start: int) -> None:
        """Have blocks and table moved that lie behind cluster ``start``, and have a free cluster below them."""
        free = max(start, self.first_free()) << self._geometry.cluster_bits
        for index in range(len(self.table)):
            if self.block_offset(index) > free:
                block = self._block(index)
                if block is not None:
                    block.dirty = True
                    if not any(block.counts):
                        self._drop_block(index)
        if self.table_offset > free:
            self.table_dirty = True

    def _drop_block(self, index: int) -> None:
        """Forget a block whose clusters are all free."""
        cluster = self.block_offset(index) >> self._geometry.cluster_bits
        del self._blocks[index]
        self.table[index] = 0
        self.table_dirty = True
        self.drop(cluster, 1)

    def reset(self, order: int, counts: dict[int, array[int]]) -> None:
        """Start anew with a table and blocks that have no place yet; the commit finds one.

        :param counts: number of a block -> its contents, of any length; the clusters of the old structure still count
            as used
        """
        per_cluster = self._geometry.cluster_size // 8
        self.order = order
        self.max = (1 << (1 << order)) - 1
        self.block_entries = self._geometry.cluster_size * 8 >> order
        used = [index for index in sorted(counts) if any(counts[index])]
        clusters = used[-1] // per_cluster + 1 if used else 1
        self._table = words_from_bytes(bytes(clusters * self._geometry.cluster_size))
        self._table_clusters = 0
        self.table_owned = False
        self.table_dirty = True
        self._blocks.clear()
        for index in used:
            counts[index].extend(widths.zeroes(order, self.block_entries - len(counts[index])))
            self._blocks[index] = RefcountBlock(0, counts[index], False)
            self._blocks[index].dirty = True
        self.held.clear()
        self._owned_clusters.clear()
        self._hint = 0
        self.find_tables_anew()

    def begin(self) -> list[tuple[int, int]]:
        """Start the next transaction: what is on disk is now the state that must be kept.

        :returns: the runs of clusters that the last transaction freed
        """
        freed = list(self.held)
        if freed:
            self._hint = min(self._hint, freed[0][0])
        if self._fresh or self._find_anew:
            self._tables = None
            self._find_anew = False
        elif self._tables is not None:
            for first, end in freed:
                self._tables.remove(first, end)
        self.held.clear()
        self._owned_clusters.clear()
        for block in self._blocks.values():
            block.owned = False
        self.table_owned = False
        self._fresh = False
        return freed
