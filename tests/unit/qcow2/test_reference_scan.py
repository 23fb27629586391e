# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""L2 tables that many L1 entries refer to are counted together, with the same result as one after another."""
from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from qimg.formats.capabilities import CheckResult
from qimg.formats.qcow2 import reference_scan
from qimg.formats.qcow2.metadata import Metadata
from qimg.formats.qcow2.reference_counter import ReferenceCounter
from qimg.storage.local import LocalFile
from support.crafted import COMPRESSED, COPIED, Crafted, snapshot_entry

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
