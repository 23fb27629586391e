# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Counting every reference of every table of an image, and saying what is wrong with the entries."""
from __future__ import annotations

import errno
import os
from collections import Counter
from operator import sub

from ....errors import CorruptImageError, LimitError
from ...capabilities import CheckResult
from ...table_runs import equal_run_end, progression_run_end, scattered_entries
from ..layout import (
    ALL_SUBCLUSTERS,
    COMPRESSED,
    COPIED,
    EXT_CRYPTO,
    L1_RESERVED,
    L2_RESERVED,
    MAX_L1_BYTES,
    OFFSET_MASK,
    REFCOUNT_BLOCK_OFFSET_MASK,
    REFCOUNT_TABLE_RESERVED,
    ZERO_FLAG,
    check_l1_room,
    corrupt,
    words_from_bytes,
)
from ..tables.copied_flags import bitmaps_contradict, first_words, scattered_clusters
from .counter import ReferenceCounter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable

    from ..changes.metadata import Metadata

#: QEMU checks no larger files.
_MAX_CLUSTERS = (1 << 31) - 1
#: A file is not taken to be longer than this just because a refcount block is said to lie so far out.
_MAX_ASSUMED_FILE_SIZE = 1 << 44
#: Nor to have more clusters: each takes a byte of memory here.
_MAX_ASSUMED_CLUSTERS = 1 << 24
#: L2 tables that are referred to more than once, and cannot be counted together at the end, are read no more often.
_MAX_BYTES_READ_AGAIN = 2 * MAX_L1_BYTES
#: So many L2 tables are remembered; more are read as often as they are referred to.
_MAX_REMEMBERED = 1 << 20
_NOTHING = (0, 0, 0)


class ReferenceScan:
    """Counts the references of an image; counters and messages are those of qemu-img.

    :param report: called with each line that qemu-img prints to its error stream
    :param fix_errors: repair, in memory, entries that can be repaired on the way
    """

    def __init__(
        self, metadata: Metadata, result: CheckResult, report: Callable[[str], None], fix_errors: bool
    ) -> None:
        self._metadata = metadata
        self._geometry = metadata.geometry
        self._result = result
        self._report = report
        self._fix_errors = fix_errors
        self._file_size = metadata.storage.size
        clusters = self._clusters_of(self._file_size)
        if clusters > _MAX_CLUSTERS:
            raise LimitError(
                "Check failed: %s" % os.strerror(errno.EFBIG),
                path=metadata.storage.name,
                format="qcow2",
                remedy="a file with more than %d clusters cannot be checked" % _MAX_CLUSTERS,
            )
        try:
            self.counter = ReferenceCounter(clusters)
        except MemoryError:
            raise LimitError(
                "There is not enough memory to count the references to %d clusters" % clusters,
                path=metadata.storage.name,
                format="qcow2",
                remedy="check it on a machine with more memory",
            ) from None
        #: Bytes of all L1 tables of snapshots so far.
        self._snapshot_l1_bytes = 0
        #: What references are counted as.
        self._times = 1
        #: Entries of L1 tables whose L2 table has no errors -> what the table adds to the counters of the guest disk.
        self._sound: dict[int, tuple[int, int, int]] = {0: _NOTHING}
        #: Those whose table has errors.
        self._broken: set[int] = set()
        #: How often the tables of :attr:`_sound` were referred to after they had been counted.
        self._repeated: Counter[int] = Counter()
        self._bytes_read_again = 0
        #: Zero clusters with an invalid place, to be made plain ones: host offset of the L2 table, index of the entry.
        self.misplaced_zeroes: list[tuple[int, int]] = []
        #: Such entries that are known already.
        self.ignored: set[tuple[int, int]] = set()
        #: Runs ``(first, end)`` of clusters beyond the end of the file that entries refer to.
        self.dangling: list[tuple[int, int]] = []
        #: Whether the refcount table or blocks themselves are broken.
        self.rebuild_needed = False

    def _clusters_of(self, length: int) -> int:
        return -(-length >> self._geometry.cluster_bits)

    def run(self) -> None:
        """Count everything, in the order in which qemu-img does.

        :raises CorruptImageError: the bitmap directory is broken, so that its references cannot be counted
        """
        header = self._metadata.header
        bits = self._geometry.cluster_bits
        self.count_mapping()
        self._count(header.refcount_table_offset, header.refcount_table_clusters << bits)
        crypto = self._metadata.extension(EXT_CRYPTO)
        if crypto is not None and len(crypto) == 16 and header.crypt_method:
            self._count(int.from_bytes(crypto[:8], "big"), int.from_bytes(crypto[8:], "big"))
        self._count_bitmaps()
        self._count_refcount_blocks()

    def count_mapping(self) -> None:
        """Count header, mapping tables, data and snapshots only."""
        self._count(0, self._geometry.cluster_size)
        self._count_l1(self._metadata.header.l1_table_offset, self._metadata.mapping.l1, active=True)
        self._count_snapshots()
        self._count_repeated()

    def _count(self, offset: int, length: int) -> None:
        """One reference to every cluster of a host range."""
        if length <= 0:
            return
        end = offset + length
        # The last cluster may be cut off by the end of the file, but not lie wholly beyond it.
        if end > self._file_size and end - self._file_size >= self._geometry.cluster_size:
            self._report(
                "ERROR: counting reference for region exceeding the end of the file by one cluster or more: "
                "offset 0x%x size 0x%x" % (offset, length)
            )
            self._result.corruptions += 1
            self.dangling.append((offset >> self._geometry.cluster_bits, self._clusters_of(end)))
            return
        bits = self._geometry.cluster_bits
        first = offset >> bits
        count = (end - 1 >> bits) - first + 1
        limit = self._metadata.refcounts.max
        if self.counter.reaches(first, count, limit - self._times + 1):
            for cluster in range(first, first + count):
                room = max(0, min(limit - self.counter.get(cluster), self._times))
                self.counter.add(cluster, 1, room)
                if room == self._times:
                    continue
                self._report("ERROR: overflow cluster offset=0x%x" % (cluster << bits))
                self._report(
                    "Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean "
                    "copy if the image cannot be opened for writing"
                )
                self._result.corruptions += self._times - room
            return
        self.counter.add(first, count, self._times)

    def _count_l1(self, offset: int, l1: array[int], active: bool) -> None:
        self._count(offset, len(l1) * 8)
        if not active and self._counts_together and self._sound.keys() >= set(l1):
            self._repeated.update(l1)
            return
        l1_index = 0
        while l1_index < len(l1):
            entry = l1[l1_index]
            if not entry:
                l1_index = equal_run_end(l1, l1_index, len(l1))
                continue
            if not (entry in self._sound or entry in self._broken):
                self._count_table(entry, active)
            elif entry in self._sound and (
                self._counts_together or self._bytes_read_again > _MAX_BYTES_READ_AGAIN
            ):
                self._repeated[entry] += 1
                if active:
                    self._add_to_result(self._sound[entry])
            else:
                self._count_table_again(entry, active)
            l1_index += 1

    @property
    def _counts_together(self) -> bool:
        """Whether more references to a table without errors are counted at the end, all at once.

        A cluster with too many of them is reported once then.  Narrow refcounts, which a few references exceed, are
        exceeded and reported in the order of the tables.
        """
        return self._metadata.refcounts.order >= 4

    def _count_table(self, entry: int, active: bool) -> None:
        """What an entry of an L1 table refers to, for the first time."""
        result = self._result
        errors = (result.corruptions, result.corruptions_fixed)
        allocated, fragmented = result.allocated_clusters, result.fragmented_clusters
        compressed = result.compressed_clusters
        self._count_l1_entry(entry, active)
        if len(self._sound) + len(self._broken) >= _MAX_REMEMBERED:
            return
        if errors != (result.corruptions, result.corruptions_fixed):
            self._broken.add(entry)
            return
        self._sound[entry] = _NOTHING
        if result.allocated_clusters != allocated:
            self._sound[entry] = (
                result.allocated_clusters - allocated,
                result.fragmented_clusters - fragmented,
                result.compressed_clusters - compressed,
            )

    def _count_table_again(self, entry: int, active: bool) -> None:
        """The same once more, with all that is said about the table."""
        self._bytes_read_again += self._geometry.cluster_size
        if entry in self._broken and self._bytes_read_again > _MAX_BYTES_READ_AGAIN:
            raise corrupt(
                self._metadata.storage.name, "Its L2 tables with errors are used too often", entry & OFFSET_MASK
            )
        self._count_l1_entry(entry, active)

    def _count_repeated(self) -> None:
        """All further references to L2 tables without errors, each table once."""
        for entry, times in self._repeated.items():
            if entry:
                self._times = times
                self._count_l1_entry(entry, active=False)
                self._times = 1
        self._repeated.clear()

    def _add_to_result(self, counts: tuple[int, int, int]) -> None:
        allocated, fragmented, compressed = counts
        self._result.allocated_clusters += allocated
        self._result.fragmented_clusters += fragmented
        self._result.compressed_clusters += compressed

    def _count_l1_entry(self, entry: int, active: bool) -> None:
        if entry & L1_RESERVED:
            self._report("ERROR found L1 entry with reserved bits set: %x" % entry)
            self._result.corruptions += 1
        l2_offset = entry & OFFSET_MASK
        self._count(l2_offset, self._geometry.cluster_size)
        if l2_offset % self._geometry.cluster_size:
            self._report("ERROR l2_offset=%x: Table is not cluster aligned; L1 entry corrupted" % l2_offset)
            self._result.corruptions += 1
        self._count_l2(l2_offset, active)

    def _count_l2(self, offset: int, active: bool) -> None:
        entries = words_from_bytes(self._metadata.storage.read(offset, self._geometry.cluster_size))
        words = first_words(entries, self._geometry)
        bitmaps = entries[1::2] if self._geometry.extended_l2 else None
        sound = bitmaps is None or not bitmaps_contradict(words, bitmaps)
        size = self._geometry.cluster_size
        next_offset = 0
        runs = begin = index = 0
        end = len(words)
        while index < end:
            entry = words[index]
            if not entry and sound:
                index = equal_run_end(words, index, end)
                continue
            host = entry & OFFSET_MASK
            if not (sound and host) or entry & (COMPRESSED | L2_RESERVED) or host % size:
                next_offset = self._count_entry(words, bitmaps, offset, index, next_offset, active)
                index += 1
                continue
            further = scattered_entries(runs, index - begin)
            last = self._count_scattered(words[index : index + further], next_offset, active) if further else None
            if last is not None:
                runs, next_offset = 0, (last + 1) * size
                begin = index = index + further
                continue
            runs += 1
            stop = progression_run_end(words, index, end, size)
            if active:
                self._result.allocated_clusters += stop - index
                if next_offset and host != next_offset:
                    self._result.fragmented_clusters += 1
            next_offset = host + (stop - index) * size
            if not self._metadata.has_data_file:
                self._count_run(host, stop - index)
            index = stop

    def _count_scattered(self, words: array[int], next_offset: int, active: bool) -> int | None:
        """Count entries without looking for runs: faster where hardly any cluster follows another one.

        :returns: the last cluster; ``None``: nothing was done, because something needs a closer look
        """
        clusters = scattered_clusters(words, self._geometry)
        if self._metadata.has_data_file or max(clusters, default=self._file_size) >= self._clusters_of(self._file_size):
            return None
        if not self.counter.add_each(clusters, self._times, self._metadata.refcounts.max):
            return None
        if active:
            expected = next_offset >> self._geometry.cluster_bits or clusters[0]
            steps = list(map(sub, clusters, [expected - 1, *clusters]))
            self._result.allocated_clusters += len(clusters)
            self._result.fragmented_clusters += len(steps) - steps.count(1)
        return clusters[-1]

    def _count_run(self, host: int, clusters: int) -> None:
        """References to neighbouring data clusters, each counted for itself at the end of the file."""
        bits = self._geometry.cluster_bits
        end = host + (clusters << bits)
        limit = self._metadata.refcounts.max
        within = end <= self._file_size or end - self._file_size < self._geometry.cluster_size
        if within and not self.counter.reaches(host >> bits, clusters, limit - self._times + 1):
            self.counter.add(host >> bits, clusters, self._times)
            return
        for number in range(clusters):
            self._count(host + (number << bits), 1 << bits)

    def _count_entry(
        self,
        words: array[int],
        bitmaps: array[int] | None,
        l2_offset: int,
        index: int,
        next_offset: int,
        active: bool,
    ) -> int:
        """One L2 entry that needs a closer look; returns the host offset that would continue it."""
        result = self._result
        entry = words[index]
        bitmap = bitmaps[index] if bitmaps is not None else 0
        size = self._geometry.cluster_size
        if entry & COMPRESSED:
            self._count_compressed(entry, bitmap, index, active)
            return next_offset
        if entry & L2_RESERVED:
            self._report("ERROR found l2 entry with reserved bits set: %x" % entry)
            result.corruptions += 1
        host = entry & OFFSET_MASK
        is_plain_zero = bitmaps is None and entry & ZERO_FLAG
        # In an external data file, guest data may lie at the very beginning.
        if not host and (is_plain_zero or not (self._metadata.has_data_file and entry & COPIED)):
            if bitmap & ALL_SUBCLUSTERS:
                self._report("ERROR: Unallocated cluster has non-zero subcluster allocation map")
                result.corruptions += 1
            return next_offset
        if bitmap >> 32 & bitmap:
            self._report("ERROR offset=%x: Allocated cluster has corrupted subcluster allocation bitmap" % host)
            result.corruptions += 1
        if (l2_offset, index) in self.ignored:
            return next_offset
        if host % size:
            has_data = bitmap & ALL_SUBCLUSTERS if bitmaps is not None else not entry & ZERO_FLAG
            result.corruptions += 1
            if has_data:
                self._report("ERROR offset=%x: Data cluster is not properly aligned; L2 entry corrupted." % host)
            else:
                # What an unaligned table seems to say are other clusters' bytes.
                fix = self._fix_errors and l2_offset % size == 0
                self._report(
                    "%s offset=%x: Preallocated cluster is not properly aligned; L2 entry corrupted."
                    % ("Repairing" if fix else "ERROR", host)
                )
                if fix:
                    self.misplaced_zeroes.append((l2_offset, index))
                    result.corruptions -= 1
                    result.corruptions_fixed += 1
                    return next_offset
        if active:
            result.allocated_clusters += 1
            if next_offset and host != next_offset:
                result.fragmented_clusters += 1
        if not self._metadata.has_data_file:
            self._count(host, size)
        return host + size

    def _count_compressed(self, entry: int, bitmap: int, index: int, active: bool) -> None:
        result = self._result
        if entry & COPIED:
            offset, _length = self._geometry.compressed_range(entry)
            self._report("ERROR: coffset=0x%x: copied flag must never be set for compressed clusters" % offset)
            entry &= ~COPIED
            result.corruptions += 1
        if self._metadata.has_data_file:
            self._report("ERROR compressed cluster %d with data file, entry=0x%x" % (index, entry))
            result.corruptions += 1
            return
        if bitmap:
            self._report(
                "ERROR compressed cluster %d with non-zero subcluster allocation bitmap, entry=0x%x" % (index, entry)
            )
            result.corruptions += 1
            return
        offset, length = self._geometry.compressed_range(entry)
        self._count(offset, length)
        if active:
            result.allocated_clusters += 1
            result.compressed_clusters += 1
            # Compressed clusters are fragmented by nature.
            result.fragmented_clusters += 1

    def _count_snapshots(self) -> None:
        metadata = self._metadata
        for snapshot in metadata.snapshots:
            shown = tuple(text.split(b"\0")[0].decode("utf-8", "replace") for text in (snapshot.id, snapshot.name))
            wrong = None
            if snapshot.l1_table_offset % self._geometry.cluster_size:
                wrong = "l1_offset=%#x: L1 table is not cluster aligned" % snapshot.l1_table_offset
            elif snapshot.l1_size * 8 > MAX_L1_BYTES:
                wrong = "l1_size=%#x: L1 table is too large" % snapshot.l1_size
            if wrong is not None:
                self._report("ERROR snapshot %s (%s) %s; snapshot table entry corrupted" % (*shown, wrong))
                self._result.corruptions += 1
                continue
            if snapshot.l1_table_offset >> 63:
                # No file has such offsets; what the snapshot holds must not be taken for leaked.
                self._count(snapshot.l1_table_offset, snapshot.l1_size * 8)
                self._report("ERROR: I/O error in check_refcounts_l1")
                raise corrupt(metadata.storage.name, "Check failed: Input/output error", snapshot.l1_table_offset)
            self._snapshot_l1_bytes += snapshot.l1_size * 8
            check_l1_room(self._snapshot_l1_bytes, metadata.storage)
            l1 = metadata.read_l1(snapshot.l1_table_offset, snapshot.l1_size)
            self._count_l1(snapshot.l1_table_offset, l1, active=False)
        self._count(metadata.header.snapshots_offset, metadata.snapshot_table_bytes)

    def _count_bitmaps(self) -> None:
        metadata = self._metadata
        if not metadata.has_valid_bitmaps:
            return
        try:
            directory = metadata.bitmaps
            for bitmap in directory.bitmaps:
                bitmap.bits.load_table()
        except CorruptImageError:
            self._result.corruptions += 1
            raise
        self._count(directory.offset, directory.length)
        for bitmap in directory.bitmaps:
            self._count(bitmap.bits.table_offset, bitmap.bits.table_entries * 8)
            for entry in bitmap.bits.table:
                if entry & OFFSET_MASK:
                    self._count(entry & OFFSET_MASK, self._geometry.cluster_size)

    def _count_refcount_blocks(self) -> None:
        bits = self._geometry.cluster_bits
        table = self._metadata.refcounts.table
        for index, entry in enumerate(table):
            if not entry:
                continue
            if entry & REFCOUNT_TABLE_RESERVED:
                self._report("ERROR refcount table entry %d has reserved bits set" % index)
                self._result.corruptions += 1
                self.rebuild_needed = True
                continue
            offset = entry & REFCOUNT_BLOCK_OFFSET_MASK
            if offset % self._geometry.cluster_size:
                self._report(
                    "ERROR refcount block %d is not cluster aligned; refcount table entry corrupted" % index
                )
                self._result.corruptions += 1
                self.rebuild_needed = True
                continue
            if offset >> bits >= len(self.counter):
                self._count_block_outside(index, offset)
                continue
            self._count(offset, self._geometry.cluster_size)
            references = self.counter.get(offset >> bits)
            if references != 1:
                self._report("ERROR refcount block %d refcount=%d" % (index, references))
                self._result.corruptions += 1
                self.rebuild_needed = True

    def _count_block_outside(self, index: int, offset: int) -> None:
        self._report("%s refcount block %d is outside image" % ("Repairing" if self._fix_errors else "ERROR", index))
        most = min(_MAX_ASSUMED_FILE_SIZE, _MAX_ASSUMED_CLUSTERS << self._geometry.cluster_bits)
        if not self._fix_errors or offset >= most:
            self._result.corruptions += 1
            # No file reaches so far; without this block, others are needed.
            self.rebuild_needed = self.rebuild_needed or self._fix_errors
            return
        # The file is taken as if it reached so far: the block is all zero then.
        self._file_size = max(self._file_size, offset + self._geometry.cluster_size)
        self._result.corruptions_fixed += 1
        self.counter.extend(self._clusters_of(self._file_size))
        self._count(offset, self._geometry.cluster_size)
