# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What an L2 table says about guest clusters: runs of a kind (sections "Cluster mapping", "Extended L2 Entries")."""
from __future__ import annotations

from ..base import (
    ABSENT,
    ABSENT_ALLOCATED,
    DATA,
    ZERO,
    ZERO_ALLOCATED,
)
from ..base import (
    COMPRESSED as COMPRESSED_KIND,
)
from .layout import COMPRESSED, COPIED, OFFSET_MASK, SUBCLUSTERS, ZERO_FLAG, Geometry, corrupt
from .table_runs import equal_run_end, progression_run_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

    #: (guest offset within the table's span, length, kind, host offset or None)
    TableRun = tuple[int, int, int, "int | None"]


def table_runs(
    entries: array[int], geometry: Geometry, start: int, end: int, has_data_file: bool, path: str
) -> Iterator[TableRun]:
    """The runs that a table maps between two guest offsets relative to the beginning of its span.

    :param has_data_file: whether guest data lies in another file, where offset 0 is valid
    :raises CorruptImageError: an entry is invalid
    """
    if geometry.extended_l2:
        return _extended_runs(entries, geometry, start, end, has_data_file, path)
    return _standard_runs(entries, geometry, start, end, has_data_file, path)


def standard_kind(entry: int, has_data_file: bool) -> tuple[int, int]:
    """Kind and host offset that a standard L2 entry stands for."""
    if entry & COMPRESSED:
        return COMPRESSED_KIND, 0
    offset = entry & OFFSET_MASK
    if entry & ZERO_FLAG:
        return (ZERO_ALLOCATED, offset) if offset else (ZERO, 0)
    if offset or (has_data_file and entry & COPIED):
        return DATA, offset
    return ABSENT, 0


def _standard_runs(
    entries: array[int], geometry: Geometry, start: int, end: int, has_data_file: bool, path: str
) -> Iterator[TableRun]:
    bits = geometry.cluster_bits
    cluster_size = geometry.cluster_size
    unaligned = cluster_size - 1
    index = start >> bits
    last = (end - 1 >> bits) + 1
    while index < last:
        entry = entries[index]
        kind, host = standard_kind(entry, has_data_file)
        if kind == DATA or kind == ZERO_ALLOCATED:
            if host & unaligned:
                raise corrupt(
                    path,
                    "%s offset %#x unaligned (L2 index: %#x)"
                    % ("Cluster allocation" if kind == DATA else "Preallocated zero cluster", host, index),
                    host,
                )
            stop = progression_run_end(entries, index, last, cluster_size)
        elif kind == COMPRESSED_KIND:
            stop = index + 1
            while stop < last and entries[stop] & COMPRESSED:
                stop += 1
        else:
            stop = equal_run_end(entries, index, last)
        run_start, run_end = index << bits, stop << bits
        if run_start < start:
            host += start - run_start
            run_start = start
        if run_end > end:
            run_end = end
        yield run_start, run_end - run_start, kind, host if kind == DATA or kind == ZERO_ALLOCATED else None
        index = stop


def _extended_runs(
    entries: array[int], geometry: Geometry, start: int, end: int, has_data_file: bool, path: str
) -> Iterator[TableRun]:
    bits = geometry.cluster_bits
    subcluster = geometry.subcluster_size
    position = start
    while position < end:
        index = position >> bits
        entry, bitmap = entries[2 * index], entries[2 * index + 1]
        cluster_start = index << bits
        if entry & COMPRESSED:
            if bitmap:
                raise corrupt(path, "Compressed cluster with a subcluster bitmap (L2 index: %#x)" % index)
            stop = min(end, cluster_start + geometry.cluster_size)
            yield position, stop - position, COMPRESSED_KIND, None
            position = stop
            continue
        host = entry & OFFSET_MASK
        allocated = bool(host) or bool(has_data_file and entry & COPIED)
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
            yield position, stop - position, DATA, host + position - cluster_start
            position = stop
            continue
        if not bitmap and not allocated:
            stop_index = index + 1
            limit = (end - 1 >> bits) + 1
            while stop_index < limit and entries[2 * stop_index] == entry and not entries[2 * stop_index + 1]:
                stop_index += 1
            stop = min(end, stop_index << bits)
            yield position, stop - position, ABSENT, None
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
            yield position, stop - position, kind, host + position - cluster_start if allocated else None
            position = stop


def subcluster_kind(bitmap: int, number: int, allocated: bool) -> int:
    """What one subcluster of an extended L2 entry is."""
    if bitmap >> (32 + number) & 1:
        return ZERO_ALLOCATED if allocated else ZERO
    if bitmap >> number & 1:
        return DATA
    return ABSENT_ALLOCATED if allocated else ABSENT
