# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Finding clusters that a damaged image uses although their refcount is 0.

Every L2 table of the disk and of its snapshots is read once, and the tables of bitmaps.  What cannot be read, or is
broken in another way, is passed over: a check says that.
"""
from __future__ import annotations

from ..layout import MAX_L1_BYTES, OFFSET_MASK, Geometry, words_from_bytes
from ..tables.copied_flags import first_words, host_clusters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Iterator

    from ....intervals import IntervalSet
    from ....storage.base import Storage

    #: Host offset and entries.
    Table = tuple[int, int]


def used_among(
    free: IntervalSet,
    storage: Storage,
    geometry: Geometry,
    l1_tables: Iterable[Table],
    bitmap_tables: Iterable[Table],
    has_data_file: bool,
) -> list[tuple[int, int]]:
    """Runs ``(first, end)`` of clusters in use, among those whose refcount is 0.

    :param free: the clusters whose refcount is 0
    :param l1_tables: of the disk and of its snapshots
    :param has_data_file: whether guest data lie in another file
    """
    found = []
    for first, count in _references(storage, geometry, l1_tables, bitmap_tables, has_data_file):
        run = free.next_run(first)
        while run is not None and run[0] < first + count:
            found.append((max(first, run[0]), min(first + count, run[1])))
            run = free.next_run(run[1])
    return found


def _references(
    storage: Storage,
    geometry: Geometry,
    l1_tables: Iterable[Table],
    bitmap_tables: Iterable[Table],
    has_data_file: bool,
) -> Iterator[tuple[int, int]]:
    """Runs ``(first, count)`` of clusters that L2 tables and bitmap tables refer to, the L2 tables included."""
    bits = geometry.cluster_bits
    seen: set[int] = set()
    for place in dict.fromkeys(l1_tables):
        for entry in filter(None, _words(storage, place)):
            offset = entry & OFFSET_MASK
            if not offset or offset % geometry.cluster_size or offset >= storage.size or offset in seen:
                continue
            seen.add(offset)
            yield offset >> bits, 1
            if not has_data_file:
                entries = words_from_bytes(storage.read(offset, geometry.cluster_size))
                yield from host_clusters(first_words(entries, geometry), geometry)
    for place in bitmap_tables:
        for entry in filter(None, _words(storage, place)):
            yield (entry & OFFSET_MASK) >> bits, 1


def _words(storage: Storage, place: Table) -> array[int]:
    """A table, as far as the file has it; nothing of one that is longer than any may be."""
    offset, entries = place
    length = min(entries * 8, max(0, storage.size - offset)) // 8 * 8
    return words_from_bytes(storage.read(offset, length) if entries * 8 <= MAX_L1_BYTES else b"")
