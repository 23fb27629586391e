# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Finding clusters that a damaged image uses although their refcount is 0.

Every L2 table of the disk and of its snapshots is read once, and the tables of bitmaps.  What cannot be read, or is
broken in another way, is passed over: a check says that.
"""
from __future__ import annotations

from ...errors import ImageError
from .copied_flags import first_words, host_clusters
from .layout import MAX_L1_BYTES, OFFSET_MASK, words_from_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...intervals import IntervalSet
    from .metadata import Metadata


def used_among(metadata: Metadata, free: IntervalSet) -> list[tuple[int, int]]:
    """Runs ``(first, end)`` of clusters in use, among those whose refcount is 0.

    :param free: the clusters whose refcount is 0
    """
    found = []
    for first, count in _references(metadata):
        run = free.next_run(first)
        while run is not None and run[0] < first + count:
            found.append((max(first, run[0]), min(first + count, run[1])))
            run = free.next_run(run[1])
    return found


def _references(metadata: Metadata) -> Iterator[tuple[int, int]]:
    """Runs ``(first, count)`` of clusters that L2 tables and bitmap tables refer to, those tables included."""
    geometry, storage = metadata.geometry, metadata.storage
    bits = geometry.cluster_bits
    file_end = storage.size
    seen: set[int] = set()
    for l1 in _l1_tables(metadata):
        for entry in filter(None, l1):
            offset = entry & OFFSET_MASK
            if not offset or offset % geometry.cluster_size or offset >= file_end or offset in seen:
                continue
            seen.add(offset)
            yield offset >> bits, 1
            if not metadata.has_data_file:
                entries = words_from_bytes(storage.read(offset, geometry.cluster_size))
                yield from host_clusters(first_words(entries, geometry), geometry)
    try:
        bitmaps = metadata.bitmaps.bitmaps
    except ImageError:
        return
    for bitmap in bitmaps:
        length = bitmap.bits.table_entries * 8
        if bitmap.bits.table_offset and bitmap.bits.table_offset + length <= file_end:
            for entry in filter(None, words_from_bytes(storage.read(bitmap.bits.table_offset, length))):
                yield (entry & OFFSET_MASK) >> bits, 1


def _l1_tables(metadata: Metadata) -> Iterator[list[int]]:
    """The L1 tables of the disk and of the snapshots, on disk, those that can be read."""
    header = metadata.header
    places = [(header.l1_table_offset, header.l1_size)]
    try:
        places += [(snapshot.l1_table_offset, snapshot.l1_size) for snapshot in metadata.snapshots]
    except ImageError:
        pass
    for offset, entries in dict.fromkeys(places):
        if entries * 8 <= MAX_L1_BYTES and offset < metadata.storage.size:
            try:
                yield list(metadata.read_l1(offset, entries))
            except ImageError:
                continue
