# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What an L2 table says about guest clusters: runs of a kind (sections "Cluster mapping", "Extended L2 Entries")."""
from __future__ import annotations

from ...errors import CorruptImageError
from ..base import (
    ABSENT,
    ABSENT_ALLOCATED,
    DATA,
    ZERO,
    ZERO_ALLOCATED,
    Extent,
)
from ..base import COMPRESSED as COMPRESSED_KIND
from .layout import COMPRESSED, COPIED, OFFSET_MASK, SUBCLUSTERS, ZERO_FLAG, Geometry, corrupt
from .table_runs import equal_run_end, progression_run_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

    from ...storage.base import Storage


class TableReader:
    """Says what L2 tables map.

    :param data_storage: where guest data lie
    :param has_data_file: whether that is another file than the image's own, where offset 0 is valid
    :param path: the image, for messages
    """

    def __init__(self, geometry: Geometry, data_storage: Storage, has_data_file: bool, path: str) -> None:
        self._geometry = geometry
        self._storage = data_storage
        self._has_data_file = has_data_file
        self._path = path

    def runs(self, entries: array[int], base: int, start: int, end: int) -> list[Extent]:
        """The runs of one table for the guest range from ``start`` to ``end``.

        They end before an entry that is invalid, if one is not.

        :param base: the guest offset of the table's first entry
        :raises CorruptImageError: the first entry is invalid
        """
        if not self._geometry.extended_l2:
            return self._standard_runs(entries, base, start, end)
        runs: list[Extent] = []
        try:
            for run in self._extended_runs(entries, base, start, end):
                runs.append(run)
        except CorruptImageError:
            if not runs:
                raise
        return runs

    def _standard_runs(self, entries: array[int], base: int, start: int, end: int) -> list[Extent]:
        # The innermost loop of every map: a list is built, because each generator on the way costs as much again.
        bits = self._geometry.cluster_bits
        cluster_size = self._geometry.cluster_size
        unaligned = cluster_size - 1
        data_storage, has_data_file = self._storage, self._has_data_file
        runs: list[Extent] = []
        append, new = runs.append, tuple.__new__
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
                kind = COMPRESSED_KIND
                while stop < last and entries[stop] & COMPRESSED:
                    stop += 1
            elif entry & OFFSET_MASK or (has_data_file and entry & (COPIED | ZERO_FLAG) == COPIED):
                kind = ZERO_ALLOCATED if entry & ZERO_FLAG else DATA
                storage, host = data_storage, entry & OFFSET_MASK
                if host & unaligned:
                    if runs:
                        break
                    raise self._unaligned(kind, index, host)
                if stop < last and entries[stop] == entry + cluster_size:
                    stop = progression_run_end(entries, index, last, cluster_size)
            else:
                kind = ZERO if entry & ZERO_FLAG else ABSENT
                if stop < last and entries[stop] == entry:
                    stop = equal_run_end(entries, index, last)
            append(new(Extent, (base + (index << bits), stop - index << bits, kind, storage, host, 0)))
            index = stop
        if runs:
            _cut(runs, start, end)
        return runs

    def _unaligned(self, kind: int, index: int, host: int) -> CorruptImageError:
        what = "Cluster allocation" if kind == DATA else "Preallocated zero cluster"
        return corrupt(self._path, "%s offset %#x unaligned (L2 index: %#x)" % (what, host, index), host)

    def _extended_runs(self, entries: array[int], base: int, start: int, end: int) -> Iterator[Extent]:
        geometry, storage, has_data_file, path = self._geometry, self._storage, self._has_data_file, self._path
        bits = geometry.cluster_bits
        subcluster = geometry.subcluster_size
        position, end = start - base, end - base
        while position < end:
            index = position >> bits
            entry, bitmap = entries[2 * index], entries[2 * index + 1]
            cluster_start = index << bits
            if entry & COMPRESSED:
                if bitmap:
                    raise corrupt(path, "Compressed cluster with a subcluster bitmap (L2 index: %#x)" % index)
                stop = min(end, cluster_start + geometry.cluster_size)
                yield Extent(base + position, stop - position, COMPRESSED_KIND, None, None)
                position = stop
                continue
            host = entry & OFFSET_MASK
            allocated = has_place(entry, has_data_file)
            if host & (geometry.cluster_size - 1):
                raise corrupt(path, "Cluster allocation offset %#x unaligned (L2 index: %#x)" % (host, index), host)
            if bitmap & bitmap >> 32 & 0xFFFFFFFF or (not allocated and bitmap & 0xFFFFFFFF):
                raise corrupt(path, "Invalid subcluster bitmap %#x (L2 index: %#x)" % (bitmap, index))
            if allocated and bitmap == 0xFFFFFFFF:
                # Fully allocated clusters that follow each other are one run, as with standard entries.
                stop_index = index + 1
                limit = (end - 1 >> bits) + 1
                wanted = host + geometry.cluster_size
                while (
                    stop_index < limit
                    and entries[2 * stop_index + 1] == 0xFFFFFFFF
                    and entries[2 * stop_index] & (OFFSET_MASK | COMPRESSED) == wanted
                    and (has_data_file or wanted)
                ):
                    stop_index += 1
                    wanted += geometry.cluster_size
                stop = min(end, stop_index << bits)
                yield Extent(base + position, stop - position, DATA, storage, host + position - cluster_start)
                position = stop
                continue
            if not bitmap and not allocated:
                stop_index = index + 1
                limit = (end - 1 >> bits) + 1
                while stop_index < limit and entries[2 * stop_index] == entry and not entries[2 * stop_index + 1]:
                    stop_index += 1
                stop = min(end, stop_index << bits)
                yield Extent(base + position, stop - position, ABSENT, None, None)
                position = stop
                continue
            cluster_end = min(end, cluster_start + geometry.cluster_size)
            while position < cluster_end:
                number = (position - cluster_start) // subcluster
                kind = subcluster_kind(bitmap, number, allocated)
                stop_number = number + 1
                while stop_number < SUBCLUSTERS and subcluster_kind(bitmap, stop_number, allocated) == kind:
                    stop_number += 1
                stop = min(cluster_end, cluster_start + stop_number * subcluster)
                if allocated:
                    yield Extent(base + position, stop - position, kind, storage, host + position - cluster_start)
                else:
                    yield Extent(base + position, stop - position, kind, None, None)
                position = stop


def _cut(runs: list[Extent], start: int, end: int) -> None:
    """Have runs of whole clusters begin and end where they were asked for."""
    # Every small read comes here: _replace would take longer than all the rest of the look-up.
    new = tuple.__new__
    first_start, length, kind, storage, host, depth = runs[0]
    skip = start - first_start
    if skip:
        host = None if host is None else host + skip
        runs[0] = new(Extent, (start, length - skip, kind, storage, host, depth))
    last_start, length, kind, storage, host, depth = runs[-1]
    if last_start + length > end:
        runs[-1] = new(Extent, (last_start, end - last_start, kind, storage, host, depth))


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


def subcluster_kind(bitmap: int, number: int, allocated: bool) -> int:
    """What one subcluster of an extended L2 entry is."""
    if bitmap >> (32 + number) & 1:
        return ZERO_ALLOCATED if allocated else ZERO
    if bitmap >> number & 1:
        return DATA
    return ABSENT_ALLOCATED if allocated else ABSENT
