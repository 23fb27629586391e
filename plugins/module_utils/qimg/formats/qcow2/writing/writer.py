# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Laying out guest data: which host clusters a guest write goes to.

Data of a cluster that only this image uses is overwritten in place; everything else gets new clusters, which the next
commit makes visible together with their data.
"""
from __future__ import annotations

from ....storage.zeros import is_zero
from ...base import ABSENT, ABSENT_ALLOCATED, DATA, ZERO, ZERO_ALLOCATED, add_piece
from ...base import COMPRESSED as COMPRESSED_KIND
from ...chain import chain_extents
from ...table_runs import progression, progression_run_end
from ..layout import ALL_SUBCLUSTERS, COMPRESSED, COPIED, OFFSET_MASK, RAW_EXTERNAL_DATA, SUBCLUSTERS, ZERO_FLAG
from ..tables.reading import has_place, misplaced, standard_kind, subcluster_run
from .compressed import CompressedWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ....storage.base import Storage
    from ...base import Image, Pieces
    from ..changes.metadata import Metadata
    from ..tables.mapping import L2Table


class Writer:
    """Allocates host clusters for guest writes.

    :param image: the same image as ``metadata``, to read what partial clusters held before
    """

    def __init__(self, metadata: Metadata, image: Image) -> None:
        self._metadata = metadata
        self._image = image
        self._geometry = metadata.geometry
        self._mapping = metadata.mapping
        self._refcounts = metadata.refcounts
        self._own_table = self._mapping.own_table
        self._compressed = CompressedWriter(metadata)
        #: The file must reach so far: zeroes before it were left to be a hole.
        self._file_end = 0

    @property
    def _data(self) -> Storage:
        return self._metadata.data_file or self._metadata.storage

    # Plain data

    def place(self, offset: int, length: int) -> Pieces:
        """Host ranges for new data of a guest range (see :meth:`Image.place <qimg.formats.base.Image.place>`)."""
        self._record(offset, length)
        return self._place(offset, length)

    def _place(self, offset: int, length: int) -> Pieces:
        pieces: Pieces = []
        span = self._geometry.l2_span
        end = offset + length
        while offset < end:
            l1_index = offset // span
            stop = min(end, (l1_index + 1) * span)
            base = l1_index * span
            if self._geometry.extended_l2:
                self._place_extended(l1_index, base, offset - base, stop - base, pieces)
            else:
                self._place_standard(l1_index, base, offset - base, stop - base, pieces)
            offset = stop
        return pieces

    def _record(self, offset: int, length: int) -> None:
        """Have the dirty bitmaps know of a guest write before it happens."""
        bitmaps = self._metadata.bitmaps
        if not length or not bitmaps.records_writes:
            return
        if not bitmaps.guarded and not self._metadata.fresh:
            # The first write since the last commit: nothing else is waiting for its data.
            bitmaps.guard()
            self._metadata.commit()
        bitmaps.mark(offset, length)

    def finish(self) -> None:
        """Before a commit: no more data goes where this transaction's went."""
        self._metadata.bitmaps.end_guard()
        if self._data.size < self._file_end:
            self._data.truncate(self._file_end)
        self._compressed.finish()

    def _place_standard(self, l1_index: int, base: int, start: int, end: int, pieces: Pieces) -> None:
        bits = self._geometry.cluster_bits
        index = start >> bits
        last = (end - 1 >> bits) + 1
        while index < last:
            table = self._mapping.table(l1_index)
            stop = self._in_place_end(table, index, last)
            if stop > index and table is not None:
                host = table.entries[index] & OFFSET_MASK
                self._check_data(host, stop - index, base + (index << bits))
            else:
                stop = self._allocation_end(table, index, last)
                host = self._allocate_standard(l1_index, base, index, stop, start, end)
            run_start = max(start, index << bits)
            run_end = min(end, stop << bits)
            add_piece(pieces, self._data, host + run_start - (index << bits), run_end - run_start)
            index = stop

    def _in_place_end(self, table: L2Table | None, index: int, last: int) -> int:
        """The end of a run of clusters from ``index`` on whose data may be overwritten where it is."""
        if table is None:
            return index
        kind, _host = standard_kind(table.entries[index], self._metadata.has_data_file)
        if kind != DATA or not table.entries[index] & COPIED:
            return index
        return progression_run_end(table.entries, index, last, self._geometry.cluster_size)

    def _allocation_end(self, table: L2Table | None, index: int, last: int) -> int:
        """The end of a run of clusters from ``index`` on that all need new host clusters."""
        if table is None:
            return last
        if self._reserved_host(table, index):
            return index + 1
        stop = index + 1
        while (
            stop < last
            and not self._reserved_host(table, stop)
            and self._in_place_end(table, stop, stop + 1) == stop
        ):
            stop += 1
        return stop

    def _reserved_host(self, table: L2Table, index: int) -> int:
        """The host offset that a zero cluster has reserved for itself alone."""
        entry = table.entries[index]
        if entry & COPIED and standard_kind(entry, self._metadata.has_data_file)[0] == ZERO_ALLOCATED:
            return entry & OFFSET_MASK
        return 0

    def _allocate_standard(self, l1_index: int, base: int, index: int, stop: int, start: int, end: int) -> int:
        """Give clusters ``[index, stop)`` of a table host clusters for data; complete the partial ones.

        :param start: where the guest write begins, relative to ``base``; ``end`` likewise
        :returns: host offset of the first
        """
        bits = self._geometry.cluster_bits
        fill_before = self._old_content(base, index << bits, max(start, index << bits))
        fill_after = self._old_content(base, min(end, stop << bits), stop << bits)
        table = self._own_table(l1_index)
        host = self._reserved_host(table, index)
        if host:
            self._check_data(host, 1, base + (index << bits))
        else:
            if self._metadata.has_data_file:
                host = base + (index << bits)
            else:
                host = self._refcounts.allocate(stop - index) << bits
            self._release(table, index, stop)
        table.entries[index:stop] = progression(host | COPIED, stop - index, self._geometry.cluster_size)
        self._fill(host, fill_before)
        self._fill(host + ((stop - index) << bits) - len(fill_after), fill_after)
        return host

    def _old_content(self, base: int, start: int, end: int) -> bytes:
        """What the guest sees now in a part of a cluster that a write does not cover."""
        if start >= end:
            return b""
        inside = min(end, self._image.size - base) - start
        if inside <= 0:
            # A whole subcluster may lie beyond the end of the disk.
            return bytes(end - start)
        return self._image.read(base + start, inside) + bytes(end - start - inside)

    def _fill(self, host: int, content: bytes) -> None:
        """Complete a new cluster; beyond the end of a file everything is zero already."""
        if not content:
            return
        if host >= self._data.size and self._data.reads_zero_when_new and is_zero(memoryview(content)):
            self._file_end = max(self._file_end, host + len(content))
            return
        self._data.write(host, content)

    def _release(self, table: L2Table, index: int, stop: int) -> None:
        """Drop what entries ``[index, stop)`` of a table refer to."""
        if self._metadata.has_data_file:
            return
        words = self._geometry.entry_words
        for position in range(index * words, stop * words, words):
            entry = table.entries[position]
            if entry & COMPRESSED:
                first, count = self._geometry.compressed_clusters(entry)
                self._refcounts.release_data(first, count)
            elif entry & OFFSET_MASK:
                self._refcounts.release_data((entry & OFFSET_MASK) >> self._geometry.cluster_bits, 1)

    def _check_data(self, host: int, clusters: int, guest: int) -> None:
        """Before guest data is overwritten where it is: see that it is no metadata, nor that of another cluster."""
        if not self._metadata.has_data_file:
            self._refcounts.check_data(host >> self._geometry.cluster_bits, clusters)
        elif host != guest:
            raise misplaced(self._metadata.storage.name, host, guest)

    # Extended L2 entries

    def _place_extended(self, l1_index: int, base: int, start: int, end: int, pieces: Pieces) -> None:
        bits = self._geometry.cluster_bits
        while start < end:
            index = start >> bits
            stop = min(end, index + 1 << bits)
            table = self._mapping.table(l1_index)
            run = 1
            if not self._is_ours(table, index):
                # Clusters that are written whole and have nothing yet get neighbouring places.
                while start == index << bits and stop < end and self._is_absent(table, index + run):
                    run += 1
                    stop = min(end, index + run << bits)
            host = self._write_extended(l1_index, base, index, run, start, stop)
            add_piece(pieces, self._data, host + start - (index << bits), stop - start)
            start = stop

    def _is_ours(self, table: L2Table | None, index: int) -> bool:
        """Whether a cluster has a host cluster that only it uses."""
        if table is None:
            return False
        entry = table.entries[2 * index]
        if entry & COMPRESSED:
            return False
        return bool(entry & COPIED) and self._has_place(entry)

    def _is_absent(self, table: L2Table | None, index: int) -> bool:
        return table is None or not (table.entries[2 * index] or table.entries[2 * index + 1])

    def _write_extended(self, l1_index: int, base: int, index: int, run: int, start: int, end: int) -> int:
        """Make the subclusters of a write allocated, in the cluster's own place or a new one."""
        bits = self._geometry.cluster_bits
        sub = self._geometry.subcluster_size
        cluster_start = index << bits
        first = (start - cluster_start) // sub
        last = -(-(end - cluster_start) // sub)
        table = self._mapping.table(l1_index)
        in_place = self._is_ours(table, index)
        if in_place and table is not None:
            self._check_data(table.entries[2 * index] & OFFSET_MASK, 1, base + cluster_start)
        bitmap = table.entries[2 * index + 1] if table is not None else 0
        entry = table.entries[2 * index] if table is not None else 0

        fills = []
        if not in_place:
            # A shared or compressed cluster moves as a whole: what is not written is copied.
            kept = self._kept_subclusters(entry, bitmap)
            for number in range(SUBCLUSTERS):
                if kept >> number & 1 and not first <= number < last:
                    position = cluster_start + number * sub
                    fills.append((position - cluster_start, self._old_content(base, position, position + sub)))
        else:
            kept = bitmap & ALL_SUBCLUSTERS
        head = cluster_start + first * sub
        if start > head and not (in_place and kept >> first & 1):
            fills.append((head - cluster_start, self._old_content(base, head, start)))
        tail = cluster_start + last * sub
        if tail > end and not (in_place and kept >> (last - 1) % SUBCLUSTERS & 1 and last <= SUBCLUSTERS):
            fills.append((end - cluster_start, self._old_content(base, end, tail)))

        written = (1 << min(last, SUBCLUSTERS)) - (1 << first)
        new_bitmap = (kept | written) & ALL_SUBCLUSTERS
        zero_bits = bitmap >> 32 & ~new_bitmap if not entry & COMPRESSED else 0
        new_bitmap |= (zero_bits & ALL_SUBCLUSTERS) << 32
        if in_place and new_bitmap == bitmap:
            return entry & OFFSET_MASK
        table = self._own_table(l1_index)
        if in_place:
            host = entry & OFFSET_MASK
        else:
            if self._metadata.has_data_file:
                host = base + cluster_start
            else:
                host = self._refcounts.allocate(run) << bits
            self._release(table, index, index + 1)
        table.entries[2 * index] = host | COPIED
        table.entries[2 * index + 1] = new_bitmap
        for number in range(1, run):
            covered = min(SUBCLUSTERS, -(-(end - cluster_start - (number << bits)) // sub))
            table.entries[2 * (index + number)] = (host + (number << bits)) | COPIED
            table.entries[2 * (index + number) + 1] = (1 << covered) - 1
        for position, content in fills:
            self._fill(host + position, content)
        return host

    def _has_place(self, entry: int) -> bool:
        return has_place(entry, self._metadata.has_data_file)

    def _kept_subclusters(self, entry: int, bitmap: int) -> int:
        """Which subclusters of a cluster hold data, as a bitmap."""
        if entry & COMPRESSED:
            return ALL_SUBCLUSTERS
        return bitmap & ALL_SUBCLUSTERS if self._has_place(entry) else 0

    # Zeroes

    def write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        """Make a guest range read as zeroes, as a guest write."""
        self._record(offset, length)
        self.zero(offset, length, deallocate)

    def zero(self, offset: int, length: int, deallocate: bool) -> None:
        """The same, but not as a guest write: no dirty bitmap hears of it."""
        unit = self._geometry.subcluster_size
        end = offset + length
        if self._metadata.header.autoclear_features & RAW_EXTERNAL_DATA and self._metadata.data_file is not None:
            self._metadata.data_file.write_zeroes(offset, length, deallocate)
        if self._metadata.header.version < 3 and self._image.backing_file is not None:
            self._write_zero_bytes(offset, end)
            return
        start = -(-offset // unit) * unit
        stop = end if end >= self._image.size else end // unit * unit
        if offset < start:
            head_end = min(start, end)
            if self._reads_zero(start - unit, offset) and self._reads_zero(head_end, start):
                start -= unit
            else:
                self._write_zero_bytes(offset, head_end)
        if stop < end and stop >= start:
            if self._reads_zero(end, stop + unit):
                stop += unit
            else:
                self._write_zero_bytes(stop, end)
        if start < stop:
            self._for_tables(
                start, stop, lambda l1_index, base, a, b: self._zero_units(l1_index, base, a, b, deallocate)
            )

    def discard(self, offset: int, length: int) -> None:
        """Drop the content of a guest range; only whole clusters are dropped."""
        self._record(offset, length)
        if self._metadata.header.version < 3 and self._image.backing_file is not None:
            # Nothing could say that a cluster is zero: old content of the backing file would come up again.
            return
        bits = self._geometry.cluster_bits
        end = offset + length
        if end < self._image.size:
            end = end >> bits << bits
        start = -(-offset >> bits) << bits
        if start < end:
            self._for_tables(start, end, self._discard_clusters)

    def _reads_zero(self, start: int, end: int, below: bool = True) -> bool:
        """Whether maps alone say that a guest range is zero.

        :param below: whether what the backing chain says counts
        """
        end = min(end, self._image.size)
        if start >= end:
            return True
        for run in self._image.runs(start, end - start):
            if run.kind in (ABSENT, ABSENT_ALLOCATED):
                is_zero = self._image.backing_file is None or (
                    below and self._is_zero_below(run.start, run.start + run.length)
                )
            else:
                is_zero = run.kind in (ZERO, ZERO_ALLOCATED)
            if not is_zero:
                return False
        return True

    def _is_zero_below(self, start: int, end: int) -> bool:
        """Whether the backing chain says that it is zero in a guest range."""
        backing = self._image.backing
        if backing is None:
            return False
        end = min(end, backing.size)
        return start >= end or all(extent.zero for extent in chain_extents(backing, start, end - start))

    def _write_zero_bytes(self, start: int, end: int) -> None:
        # What lies below may be replaced by something else: only this image's own zeroes stay.
        if self._reads_zero(start, end, below=False):
            return
        self.occupy(start, end)

    def occupy(self, start: int, end: int) -> None:
        """Write zeroes into a guest range, not as a guest write; its clusters have places of their own from then on."""
        for storage, host, length in self._place(start, end - start):
            storage.write_zeroes(host, length, deallocate=False)

    def _for_tables(self, start: int, end: int, work: Callable[[int, int, int, int], None]) -> None:
        """Call ``work(l1_index, base, start, end)`` for each L2 table of a range, offsets relative to its base."""
        span = self._geometry.l2_span
        while start < end:
            l1_index = start // span
            stop = min(end, (l1_index + 1) * span)
            work(l1_index, l1_index * span, start - l1_index * span, stop - l1_index * span)
            start = stop

    def _zero_units(self, l1_index: int, base: int, start: int, end: int, deallocate: bool) -> None:
        """Zero whole clusters (or subclusters) of one table, by flags."""
        bits = self._geometry.cluster_bits
        if self._metadata.header.version < 3:
            self._discard_clusters(l1_index, base, start, end)
            return
        table = self._own_table(l1_index)
        first, last = start >> bits, (end - 1 >> bits) + 1
        if not self._geometry.extended_l2:
            for index in range(first, last):
                entry = table.entries[index]
                if entry & COMPRESSED or (deallocate and self._has_place(entry)):
                    self._release(table, index, index + 1)
                    table.entries[index] = ZERO_FLAG
                else:
                    table.entries[index] = entry | ZERO_FLAG
            return
        sub = self._geometry.subcluster_size
        for index in range(first, last):
            cluster_start = index << bits
            from_sub = max(0, start - cluster_start) // sub
            to_sub = min(SUBCLUSTERS, -(-(end - cluster_start) // sub))
            if index == last - 1 and base + end >= self._image.size:
                # As QEMU, which splits such a request at the last whole subcluster of the disk.
                partial = self._image.size % sub
                if not partial or self._image.size - partial <= base + cluster_start:
                    to_sub = SUBCLUSTERS
            self._zero_subclusters(table, base, index, from_sub, to_sub, deallocate)

    def _zero_subclusters(
        self, table: L2Table, base: int, index: int, first: int, last: int, deallocate: bool
    ) -> None:
        entry, bitmap = table.entries[2 * index], table.entries[2 * index + 1]
        mask = (1 << last) - (1 << first)
        whole = mask == ALL_SUBCLUSTERS
        if entry & COMPRESSED and not whole:
            # A compressed cluster has no subclusters: it must become an ordinary one first.
            start = base + (index << self._geometry.cluster_bits)
            sub = self._geometry.subcluster_size
            self.occupy(start + first * sub, start + last * sub)
            return
        if whole and (entry & COMPRESSED or (deallocate and self._has_place(entry))):
            self._release(table, index, index + 1)
            table.entries[2 * index] = 0
            table.entries[2 * index + 1] = ALL_SUBCLUSTERS << 32
            return
        table.entries[2 * index + 1] = bitmap & ~mask | mask << 32

    def _discard_clusters(self, l1_index: int, base: int, start: int, end: int) -> None:
        """Drop whole clusters of one table; they read as zeroes from then on."""
        table = self._mapping.table(l1_index)
        has_backing = self._image.backing_file is not None
        if table is None and not has_backing:
            return
        bits = self._geometry.cluster_bits
        words = self._geometry.entry_words
        table = self._own_table(l1_index)
        keeps_zero_flag = self._metadata.header.version >= 3
        for index in range(start >> bits, (end - 1 >> bits) + 1):
            kinds = self._cluster_kinds(table, index)
            if kinds == {ZERO} or (kinds <= {ABSENT, ZERO} and not has_backing):
                # It reads as zeroes already, and takes no space.
                continue
            self._release(table, index, index + 1)
            if words == 2:
                table.entries[index * 2] = 0
                table.entries[index * 2 + 1] = ALL_SUBCLUSTERS << 32
            else:
                table.entries[index] = ZERO_FLAG if keeps_zero_flag else 0

    def _cluster_kinds(self, table: L2Table, index: int) -> set[int]:
        """The kinds of runs that a cluster consists of."""
        if not self._geometry.extended_l2:
            return {standard_kind(table.entries[index], self._metadata.has_data_file)[0]}
        entry, bitmap = table.entries[2 * index], table.entries[2 * index + 1]
        if entry & COMPRESSED:
            return {COMPRESSED_KIND}
        allocated = self._has_place(entry)
        kinds = set()
        number = 0
        while number < SUBCLUSTERS:
            kind, number = subcluster_run(bitmap, number, allocated)
            kinds.add(kind)
        return kinds

    # Compressed data

    def write_compressed(self, offset: int, data: bytes | None, plain: memoryview) -> None:
        """Store one guest cluster compressed, directly after the previous one where that is possible.

        :param data: the compressed bytes; ``None``: it did not shrink, ``plain`` is stored as it is
        :raises CorruptImageError: the cluster already has content
        """
        if data is None:
            for storage, host, length in self.place(offset, min(len(plain), self._image.size - offset)):
                storage.write(host, plain[:length])
                plain = plain[length:]
            return
        self._record(offset, min(self._geometry.cluster_size, self._image.size - offset))
        self._compressed.write(offset, data)
