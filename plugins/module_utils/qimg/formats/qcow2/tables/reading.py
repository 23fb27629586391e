# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What L2 tables say about guest clusters: runs of a kind (sections "Cluster mapping", "Extended L2 Entries")."""
from __future__ import annotations

from ....errors import CorruptImageError, ImageError
from ...base import ABSENT, ABSENT_ALLOCATED, DATA, ZERO, ZERO_ALLOCATED, Extent
from ...base import COMPRESSED as COMPRESSED_KIND
from ...table_runs import equal_run_end, progression_run_end
from ..layout import ALL_SUBCLUSTERS, COMPRESSED, COPIED, OFFSET_MASK, SUBCLUSTERS, ZERO_FLAG, Geometry, corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

    from ....storage.base import Storage
    from .mapping import Mapping


class TableReader:
    """Says what L2 tables map.

    :param data_storage: where guest data lie
    :param has_data_file: whether that is another file than the image's own, where offset 0 is valid
    :param path: the image, for messages
    :param has_zeroes: whether there may be zero clusters, which version 2 does not know
    """

    def __init__(
        self, geometry: Geometry, data_storage: Storage, has_data_file: bool, path: str, has_zeroes: bool = True
    ) -> None:
        self._geometry = geometry
        self._storage = data_storage
        self._has_data_file = has_data_file
        self._has_zeroes = has_zeroes
        self._path = path
        self._span = geometry.l2_span
        self._add_runs = self._add_extended if geometry.extended_l2 else self._add_standard

    def runs(self, mapping: Mapping, offset: int, length: int) -> Iterator[Extent]:
        """What the tables have for a guest range.

        :raises CorruptImageError: (when it is come to) an entry is invalid
        """
        span = self._span
        base = offset - offset % span
        end = offset + length
        if offset < end <= base + span:
            # Most look-ups are of a few clusters: a generator would double what they take.
            try:
                table = mapping.table(offset // span)
                if table is not None:
                    runs = self.table_runs(table.entries, base, offset, end)
                    if runs[-1].start + runs[-1].length == end:
                        return iter(runs)
            except ImageError:
                # Whoever only asks is not told.
                pass
        return self._all_runs(mapping, offset, end)

    def _all_runs(self, mapping: Mapping, offset: int, end: int) -> Iterator[Extent]:
        span = self._span
        while offset < end:
            l1_index = offset // span
            table = mapping.table(l1_index)
            if table is not None:
                base = l1_index * span
                runs = self.table_runs(table.entries, base, offset, min(end, base + span))
                yield from runs
                # Not the end of the table where an entry further on is broken: whoever goes on is told then.
                offset = runs[-1].start + runs[-1].length
            else:
                stop_index = l1_index
                limit = min(len(mapping.l1), (end - 1) // span + 1)
                while stop_index < limit and not mapping.l1[stop_index] & OFFSET_MASK:
                    stop_index = equal_run_end(mapping.l1, stop_index, limit)
                stop = end if stop_index >= len(mapping.l1) else min(end, stop_index * span)
                yield Extent(offset, stop - offset, ABSENT, None, None)
                offset = stop

    def table_runs(self, entries: array[int], base: int, start: int, end: int) -> list[Extent]:
        """The runs of one table for the guest range from ``start`` to ``end``.

        They end before an entry that is invalid, if one is not.

        :param base: the guest offset of the table's first entry
        :raises CorruptImageError: the first entry is invalid
        """
        # The innermost loops of every map: a list is built, because each generator on the way costs as much again.
        runs: list[Extent] = []
        try:
            self._add_runs(runs, entries, base, start, end)
        except CorruptImageError:
            if not runs:
                raise
        return runs

    def _add_standard(self, runs: list[Extent], entries: array[int], base: int, start: int, end: int) -> None:
        bits = self._geometry.cluster_bits
        cluster_size = self._geometry.cluster_size
        unaligned = cluster_size - 1
        data_storage, has_data_file, has_zeroes = self._storage, self._has_data_file, self._has_zeroes
        append, new = runs.append, tuple.__new__
        position = start
        index = start - base >> bits
        last = (end - base - 1 >> bits) + 1
        while index < last:
            entry = entries[index]
            stop = index + 1
            storage: Storage | None = None
            host: int | None = None
            if not entry:
                kind = ABSENT
                if stop < last and not entries[stop]:
                    stop = equal_run_end(entries, index, last)
            elif entry & COMPRESSED:
                if has_data_file:
                    raise corrupt(
                        self._path,
                        "Compressed cluster entry found in image with external data file (L2 index: %#x)" % index,
                    )
                kind = COMPRESSED_KIND
                while stop < last and entries[stop] & COMPRESSED:
                    stop += 1
            elif entry & OFFSET_MASK or (has_data_file and entry & (COPIED | ZERO_FLAG) == COPIED):
                kind = ZERO_ALLOCATED if entry & ZERO_FLAG else DATA
                host = entry & OFFSET_MASK
                if host & unaligned:
                    raise self._unaligned(kind, index, host)
                if has_data_file and host != base + (index << bits):
                    raise misplaced(self._path, host, base + (index << bits))
                storage = data_storage
                host += position & unaligned
                if stop < last and entries[stop] == entry + cluster_size:
                    stop = progression_run_end(entries, index, last, cluster_size)
            else:
                kind = ZERO if entry & ZERO_FLAG else ABSENT
                if stop < last and entries[stop] == entry:
                    stop = equal_run_end(entries, index, last)
            if not has_zeroes and (kind == ZERO or kind == ZERO_ALLOCATED):
                raise corrupt(self._path, "Zero cluster entry found in pre-v3 image (L2 index: %#x)" % index)
            next_position = base + (stop << bits) if stop < last else end
            append(new(Extent, (position, next_position - position, kind, storage, host, 0)))
            position = next_position
            index = stop

    def _unaligned(self, kind: int, index: int, host: int) -> CorruptImageError:
        what = "Cluster allocation" if kind == DATA else "Preallocated zero cluster"
        return corrupt(self._path, "%s offset %#x unaligned (L2 index: %#x)" % (what, host, index), host)

    def _add_extended(self, runs: list[Extent], entries: array[int], base: int, start: int, end: int) -> None:
        bits = self._geometry.cluster_bits
        cluster_size = self._geometry.cluster_size
        unaligned = cluster_size - 1
        data_storage, has_data_file = self._storage, self._has_data_file
        append, new = runs.append, tuple.__new__
        position = start
        index = start - base >> bits
        last = (end - base - 1 >> bits) + 1
        while index < last:
            entry, bitmap = entries[2 * index], entries[2 * index + 1]
            stop = index + 1
            storage: Storage | None = None
            host: int | None = None
            kind = -1
            if entry & COMPRESSED:
                # Its subclusters are not told apart: like QEMU, we look at no bitmap, and leave it to a check.
                kind = COMPRESSED_KIND
            elif has_place(entry, has_data_file):
                host = entry & OFFSET_MASK
                if host & unaligned:
                    raise self._unaligned(DATA, index, host)
                if has_data_file and host != base + (index << bits):
                    raise misplaced(self._path, host, base + (index << bits))
                if bitmap >> 32 & bitmap:
                    raise self._invalid_bitmap(bitmap, index)
                if bitmap == ALL_SUBCLUSTERS:
                    # Fully allocated clusters that follow each other are one run, as with standard entries.
                    kind = DATA
                    wanted = host + cluster_size
                    while (
                        stop < last
                        and entries[2 * stop + 1] == ALL_SUBCLUSTERS
                        and entries[2 * stop] & (OFFSET_MASK | COMPRESSED) == wanted
                    ):
                        stop += 1
                        wanted += cluster_size
                storage = data_storage
                host += position & unaligned
            elif bitmap & ALL_SUBCLUSTERS:
                raise self._invalid_bitmap(bitmap, index)
            elif not bitmap:
                kind = ABSENT
                if not entry:
                    stop = equal_run_end(entries, 2 * index, 2 * last) // 2
            next_position = base + (stop << bits) if stop < last else end
            if kind < 0:
                self._add_subclusters(runs, bitmap, storage, host, position, next_position)
            else:
                append(new(Extent, (position, next_position - position, kind, storage, host, 0)))
            position = next_position
            index = stop

    def _add_subclusters(
        self, runs: list[Extent], bitmap: int, storage: Storage | None, host: int | None, start: int, end: int
    ) -> None:
        """The runs in a part of one cluster whose subclusters differ, or are all absent or zero.

        :param host: where the part lies; ``None``: the cluster has no place
        """
        bits = self._geometry.subcluster_size.bit_length() - 1
        allocated = host is not None
        while start < end:
            kind, stop = subcluster_run(bitmap, start >> bits & SUBCLUSTERS - 1, allocated)
            run_end = min(end, ((start >> bits & -SUBCLUSTERS) + stop) << bits)
            runs.append(tuple.__new__(Extent, (start, run_end - start, kind, storage, host, 0)))
            if host is not None:
                host += run_end - start
            start = run_end

    def _invalid_bitmap(self, bitmap: int, index: int) -> CorruptImageError:
        return corrupt(self._path, "Invalid subcluster bitmap %#x (L2 index: %#x)" % (bitmap, index))


def misplaced(path: str, host: int, guest: int) -> CorruptImageError:
    """The error for a cluster that a data file has elsewhere than the guest: there, both are the same."""
    reason = "External data file host cluster offset %#x does not match guest cluster offset: %#x"
    return corrupt(path, reason % (host, guest), host)


def has_place(entry: int, has_data_file: bool) -> bool:
    """Whether an L2 entry that is not compressed names a host cluster.

    In a data file this may be the very first one: there, only the flag tells offset 0 from no place.
    """
    return bool(entry & OFFSET_MASK) or (has_data_file and bool(entry & COPIED))


def standard_kind(entry: int, has_data_file: bool) -> tuple[int, int]:
    """Kind and host offset that a standard L2 entry stands for."""
    if entry & COMPRESSED:
        return COMPRESSED_KIND, 0
    offset = entry & OFFSET_MASK
    if entry & ZERO_FLAG:
        return (ZERO_ALLOCATED, offset) if offset else (ZERO, 0)
    return (DATA, offset) if has_place(entry, has_data_file) else (ABSENT, 0)


def subcluster_run(bitmap: int, number: int, allocated: bool) -> tuple[int, int]:
    """What one subcluster of an extended L2 entry is, and up to which one all are so."""
    zeroes, data = bitmap >> 32 + number, (bitmap & ALL_SUBCLUSTERS) >> number
    if zeroes & 1:
        kind = ZERO_ALLOCATED if allocated else ZERO
        others = ~zeroes
    elif data & 1:
        kind = DATA
        others = ~data
    else:
        kind = ABSENT_ALLOCATED if allocated else ABSENT
        others = zeroes | data | 1 << SUBCLUSTERS - number
    return kind, number + (others & -others).bit_length() - 1
