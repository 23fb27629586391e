# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Which host clusters a table refers to, and the COPIED flags that say which of them only one table uses.

Section "L1 and L2 table entries" of the specification: the flag of an entry in an active table is set exactly when the
refcount of what it refers to is one.
"""
from __future__ import annotations

import sys

from ...table_runs import as_lanes, equal_run_end, lanes, progression_run_end, scattered_entries
from ..layout import ALL_SUBCLUSTERS, COMPRESSED, COPIED, L2_RESERVED, OFFSET_MASK, Geometry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

    from ..refcounts.allocator import Refcounts

#: The byte of a 64-bit word in memory that holds its top bit.
_TOP_BYTE = 7 if sys.byteorder == "little" else 0
_CLEAR_TOP_BIT = bytes(value & 0x7F for value in range(256))


def first_words(entries: array[int], geometry: Geometry) -> array[int]:
    """The words of L2 entries that hold flags and offsets (with extended L2 entries, every second one)."""
    return entries[0::2] if geometry.extended_l2 else entries


def data_runs(words: array[int], geometry: Geometry, index: int = 0) -> Iterator[tuple[int, int, int]]:
    """Runs of uncompressed entries with neighbouring host clusters and equal flags: ``(index, end, first cluster)``.

    :param index: of the entry to begin with
    """
    end = len(words)
    while index < end:
        entry = words[index]
        if entry & COMPRESSED:
            index += 1
        elif entry & OFFSET_MASK:
            stop = progression_run_end(words, index, end, geometry.cluster_size)
            yield index, stop, (entry & OFFSET_MASK) >> geometry.cluster_bits
            index = stop
        else:
            index = equal_run_end(words, index, end)


def bitmaps_contradict(words: array[int], bitmaps: array[int]) -> bool:
    """Whether subclusters of a table are said to be data and zeroes, or to be data in no host cluster."""
    count = len(words)
    data = as_lanes(bitmaps) & lanes(ALL_SUBCLUSTERS, count)
    # Adding so much sets the top bit of every lane that is not zero.
    rest = lanes(COPIED - 1, count)
    placed = (as_lanes(words) & lanes(OFFSET_MASK, count)) + rest
    return bool(data & as_lanes(bitmaps) >> 32 or (data + rest) & ~placed & lanes(COPIED, count))


def scattered_clusters(words: array[int], geometry: Geometry) -> list[int]:
    """The host clusters of ordinary entries, in order; none if any entry needs a closer look."""
    closer = COMPRESSED | L2_RESERVED | geometry.cluster_size - 1 & OFFSET_MASK
    if any(entry & closer for entry in filter(None, words)):
        return []
    bits = geometry.cluster_bits
    return [(entry & OFFSET_MASK) >> bits for entry in filter(None, words) if entry & OFFSET_MASK]


def host_clusters(words: array[int], geometry: Geometry) -> Iterator[tuple[int, int]]:
    """Runs ``(first, count)`` of host clusters that L2 entries refer to; a cluster comes once for each reference."""
    runs = begin = index = 0
    end = len(words)
    while index < end:
        entry = words[index]
        if entry & COMPRESSED:
            yield geometry.compressed_clusters(entry)
            index += 1
        elif entry & OFFSET_MASK:
            further = scattered_entries(runs, index - begin)
            clusters = scattered_clusters(words[index : index + further], geometry) if further else []
            if clusters:
                for cluster in clusters:
                    yield cluster, 1
                runs = 0
                begin = index = index + further
                continue
            runs += 1
            stop = progression_run_end(words, index, end, geometry.cluster_size)
            yield (entry & OFFSET_MASK) >> geometry.cluster_bits, stop - index
            index = stop
        else:
            index = equal_run_end(words, index, end)


def has_copied(words: array[int]) -> bool:
    """Whether any entry has the COPIED flag."""
    return max(words, default=0) >= COPIED


def clear_copied(entries: array[int], geometry: Geometry) -> None:
    """Clear the COPIED flag of every entry of an L2 table."""
    data = bytearray(entries.tobytes())
    stride = 8 * geometry.entry_words
    data[_TOP_BYTE::stride] = data[_TOP_BYTE::stride].translate(_CLEAR_TOP_BIT)
    entries[:] = type(entries)("Q", bytes(data))


def copied_changes(words: array[int], geometry: Geometry, refcounts: Refcounts) -> list[tuple[int, int, bool]]:
    """Runs ``(index, end, flag)`` of entries whose COPIED flag is not what their refcounts say."""
    changes: list[tuple[int, int, bool]] = []
    begin = 0
    while begin < len(words):
        next_begin = len(words)
        for number, (index, end, first) in enumerate(data_runs(words, geometry, begin)):
            further = scattered_entries(number, index - begin)
            if further and _flags_are_right(words[index : index + further], geometry, refcounts):
                next_begin = index + further
                break
            flag = bool(words[index] & COPIED)
            position = index
            for part in refcounts.slices(first, end - index):
                start = 0
                while start < len(part):
                    stop = equal_run_end(part, start, len(part))
                    wanted = part[start] == 1
                    if wanted != flag:
                        changes.append((position + start, position + stop, wanted))
                    start = stop
                position += len(part)
        begin = next_begin
    return changes


def _flags_are_right(words: array[int], geometry: Geometry, refcounts: Refcounts) -> bool:
    """Whether :func:`copied_changes` would find nothing; faster where hardly any cluster follows another one."""
    bits = geometry.cluster_bits
    entries = [word for word in filter(None, words) if word & OFFSET_MASK and not word & COMPRESSED]
    counts = refcounts.each([(entry & OFFSET_MASK) >> bits for entry in entries])
    return [count == 1 for count in counts] == [entry >= COPIED for entry in entries]


def apply_copied_changes(
    entries: array[int], geometry: Geometry, changes: list[tuple[int, int, bool]]
) -> None:
    """Make the changes that :func:`copied_changes` found."""
    words = geometry.entry_words
    for index, end, flag in changes:
        for position in range(index * words, end * words, words):
            entries[position] = entries[position] | COPIED if flag else entries[position] & ~COPIED
