# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is counted together, or entry by entry, counts the same as one after another, or in runs."""
from __future__ import annotations

import tempfile
from array import array
from collections import Counter
from pathlib import Path
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from qimg.formats import table_runs
from qimg.formats.capabilities import CheckResult
from qimg.formats.qcow2.changes.metadata import Metadata
from qimg.formats.qcow2.check import scan as reference_scan
from qimg.formats.qcow2.check.counter import ReferenceCounter
from qimg.formats.qcow2.layout import OFFSET_MASK, Geometry
from qimg.formats.qcow2.tables.copied_flags import bitmaps_contradict, copied_changes, host_clusters
from qimg.storage.local import LocalFile
from support.crafted import COMPRESSED, COPIED, Crafted, snapshot_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CLUSTER, _CLUSTERS = 512, 64
_TABLES = range(16, 20)
_SNAPSHOT_TABLE, _L1_TABLES = 8, range(24, 32)

#: What refers to a cluster of the file, or, now and then, to none, or in a way that no entry may.
_clusters = st.integers(0, _CLUSTERS + 1).map(lambda number: number * _CLUSTER)
_l2_entries = st.one_of(
    st.just(0),
    _clusters,
    _clusters.map(lambda offset: offset | COPIED),
    _clusters.map(lambda offset: offset | COMPRESSED | 100),
    st.sampled_from([1, COPIED | COMPRESSED | 5000, 700, 1 << 60]),
)
_l2_tables = st.lists(st.lists(_l2_entries, max_size=6), min_size=len(_TABLES), max_size=len(_TABLES))
_l1_entries = st.one_of(
    st.sampled_from(_TABLES).map(lambda number: number * _CLUSTER),
    st.sampled_from(_TABLES).map(lambda number: number * _CLUSTER | COPIED),
    st.sampled_from([0, 16 * _CLUSTER + 8, 16 * _CLUSTER | 1, 99 * _CLUSTER]),
)
_l1_tables = st.lists(st.lists(_l1_entries, min_size=1, max_size=5), min_size=1, max_size=len(_L1_TABLES))


def _make(path: Path, l1_tables: list[list[int]], l2_tables: list[list[int]]) -> None:
    offsets = [number * _CLUSTER for number in _L1_TABLES]
    active, *others = l1_tables
    image = Crafted(path, 9, 1 << 15, l1=(len(active), offsets[0]), snapshots=(len(others), _SNAPSHOT_TABLE * _CLUSTER))
    for offset, l1 in zip(offsets, l1_tables):
        image.words(offset, *l1)
    for number, entries in zip(_TABLES, l2_tables):
        image.words(number * _CLUSTER, *entries)
    table = [snapshot_entry(offset, len(l1), 1 << 15) for offset, l1 in zip(offsets[1:], others)]
    image.put(_SNAPSHOT_TABLE * _CLUSTER, b"".join(table))
    image.grow(_CLUSTERS * _CLUSTER)


def _scan(path: Path, remembered: int, order: int) -> tuple[object, ...]:
    """All that a scan finds, if it remembers so many tables."""
    lines: list[str] = []
    with LocalFile.open(str(path)) as storage, mock.patch.object(reference_scan, "_MAX_REMEMBERED", remembered):
        metadata = Metadata.load(storage)
        metadata.header = metadata.header._replace(refcount_order=order)
        result = CheckResult()
        scan = reference_scan.ReferenceScan(metadata, result, lines.append, fix_errors=True)
        scan.count_mapping()
        references = [scan.counter.get(cluster) for cluster in range(len(scan.counter))]
        return lines, vars(result), references, sorted(scan.misplaced_zeroes), scan.dangling


@given(_l1_tables, _l2_tables, st.sampled_from([0, 1, 4]))
def test_tables_counted_together_count_the_same(
    l1_tables: list[list[int]], l2_tables: list[list[int]], order: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "disk.qcow2"
        _make(path, l1_tables, l2_tables)
        assert _scan(path, 1 << 20, order) == _scan(path, 0, order)


#: Entries without errors, in any order; many of them follow each other.
_sound_table = st.permutations(range(40, 52)).map(
    lambda numbers: [number * _CLUSTER | COPIED if number < 49 else 0 for number in numbers]
)
_sound_tables = st.lists(_sound_table, min_size=len(_TABLES), max_size=len(_TABLES))


@given(_l1_tables, st.one_of(_l2_tables, _sound_tables), st.sampled_from([0, 1, 4]))
def test_entries_looked_at_one_by_one_count_the_same_as_runs(
    l1_tables: list[list[int]], l2_tables: list[list[int]], order: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "disk.qcow2"
        _make(path, l1_tables, l2_tables)
        with mock.patch.object(table_runs, "_MANY_RUNS", 1):
            scattered = _scan(path, 1 << 20, order)
        with mock.patch.object(table_runs, "_MANY_RUNS", 1 << 20):
            assert scattered == _scan(path, 1 << 20, order)


class _Counts:
    """Refcounts in a list, in the place of those of an image."""

    def __init__(self, counts: list[int]) -> None:
        self._counts = array("H", counts)

    def slices(self, first: int, count: int) -> list[array[int]]:
        return [self._counts[first : first + count]]

    def each(self, clusters: list[int]) -> list[int]:
        return [self._counts[cluster] for cluster in clusters]


@given(
    st.lists(st.one_of(st.just(0), _l2_entries, _clusters.map(lambda offset: offset | COPIED)), max_size=40),
    st.lists(st.integers(0, 2), min_size=_CLUSTERS + 2, max_size=_CLUSTERS + 2),
)
def test_flags_looked_at_one_by_one_are_as_wrong_as_in_runs(entries: list[int], counts: list[int]) -> None:
    words = array("Q", [entry for entry in entries if entry & OFFSET_MASK < len(counts) * _CLUSTER])
    refcounts: Any = _Counts(counts)

    with mock.patch.object(table_runs, "_MANY_RUNS", 1):
        scattered = copied_changes(words, Geometry(9), refcounts)
    wrong = {index: flag for start, end, flag in scattered for index in range(start, end)}

    assert wrong == {
        index: counts[(word & OFFSET_MASK) // _CLUSTER] == 1
        for index, word in enumerate(words)
        if word & OFFSET_MASK
        and not word & COMPRESSED
        and (counts[(word & OFFSET_MASK) // _CLUSTER] == 1) != bool(word & COPIED)
    }


@given(st.one_of(st.lists(_l2_entries, max_size=40), _sound_table))
def test_clusters_come_once_for_each_reference(entries: list[int]) -> None:
    geometry = Geometry(9)
    expected: Counter[int] = Counter()
    for entry in entries:
        if entry & COMPRESSED:
            first, count = geometry.compressed_clusters(entry)
            expected.update(range(first, first + count))
        elif entry & OFFSET_MASK:
            expected[(entry & OFFSET_MASK) // _CLUSTER] += 1

    for many_runs in (1, 1 << 20):
        with mock.patch.object(table_runs, "_MANY_RUNS", many_runs):
            runs = list(host_clusters(array("Q", entries), geometry))
        assert Counter(cluster for first, count in runs for cluster in range(first, first + count)) == expected


_bitmaps = st.one_of(st.sampled_from([0, 1, 1 << 32, 0xFFFFFFFF, 0xFFFFFFFF << 32]), st.integers(0, (1 << 64) - 1))


@given(st.lists(st.tuples(st.sampled_from([0, 1, 512, COPIED, COPIED | 1024]), _bitmaps), min_size=4, max_size=4))
def test_bitmaps_contradict_their_entries_or_themselves(entries: list[tuple[int, int]]) -> None:
    words, bitmaps = (array("Q", column) for column in zip(*entries))

    assert bitmaps_contradict(words, bitmaps) == any(
        bitmap & bitmap >> 32 or (bitmap & 0xFFFFFFFF and not word & OFFSET_MASK) for word, bitmap in entries
    )


_times = st.sampled_from([1, 2, 7, 100, 254, 255, 256, 70000])
_additions = st.tuples(st.integers(0, 9000), st.integers(1, 5000), _times)


@given(st.lists(_additions, max_size=12))
def test_references_are_counted_exactly(additions: list[tuple[int, int, int]]) -> None:
    counter = ReferenceCounter(10)
    expected = [0] * 14000
    for first, count, times in additions:
        counter.add(first, count, times)
        expected[first : first + count] = [value + times for value in expected[first : first + count]]
    assert [counter.get(cluster) for cluster in range(len(expected))] == expected
    assert list(counter.block(4, 100, 9000)) == [min(value, 65535) for value in expected[100:9100]]
    assert list(counter.block(6, 3000, 5000)) == expected[3000:8000]
    for limit in (1, 254, 255, 256, 70000):
        assert counter.reaches(4000, 200, limit) == (max(expected[4000:4200]) >= limit)


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=12),
    st.lists(st.integers(0, 9), min_size=1, max_size=8),
    st.sampled_from([1, 3, 250, 254, 300]),
    st.sampled_from([4, 65535]),
)
def test_each_of_some_clusters_is_added_as_runs_are_or_none(
    before: list[int], clusters: list[int], times: int, limit: int
) -> None:
    counter, other = ReferenceCounter(10), ReferenceCounter(10)
    for cluster in before:
        counter.add(cluster, 1)
        other.add(cluster, 1)

    done = counter.add_each(clusters, times, limit)

    if done:
        for cluster in clusters:
            other.add(cluster, 1, times)
    counts = [other.get(cluster) for cluster in range(10)]
    assert [counter.get(cluster) for cluster in range(10)] == counts
    assert not done or max(counts[cluster] for cluster in clusters) <= limit
    assert done or len(set(clusters)) < len(clusters) or max(counts) + times > min(limit, 254)
