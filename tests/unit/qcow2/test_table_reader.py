# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of L2 tables, against what the specification says of each (sub)cluster alone."""
from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qimg.errors import CorruptImageError
from qimg.formats.base import ABSENT, ABSENT_ALLOCATED, COMPRESSED, DATA, ZERO, ZERO_ALLOCATED, Extent
from qimg.formats.qcow2.layout import COMPRESSED as COMPRESSED_FLAG
from qimg.formats.qcow2.layout import COPIED, ZERO_FLAG, Geometry
from qimg.formats.qcow2.tables.reading import TableReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BITS = 14
SIZE = 1 << BITS
SUB = SIZE // 32
CLUSTERS = 12
BASE = 5 << 30
STORAGE: Any = "where data lie"

PLACES = st.one_of(st.just(0), st.integers(1, 6).map(lambda number: number << BITS | COPIED))
STANDARD = st.one_of(
    st.just(0),
    PLACES,
    PLACES.map(lambda place: place | ZERO_FLAG),
    st.just(COMPRESSED_FLAG | 4711),
)
BITMAPS = st.one_of(st.sampled_from([0, 0xFFFFFFFF, 0xFFFFFFFF << 32]), st.integers(0, (1 << 64) - 1))


@st.composite
def extended_entries(draw: Any) -> tuple[int, int]:
    """An entry with a bitmap that is valid for it."""
    if draw(st.integers(0, 5)) == 0:
        return COMPRESSED_FLAG | 4711, 0
    place, bitmap = draw(PLACES), draw(BITMAPS)
    zeroes, data = bitmap >> 32, bitmap & 0xFFFFFFFF
    return place, zeroes << 32 | (data & ~zeroes if place else 0)


@st.composite
def ranges(draw: Any) -> tuple[int, int]:
    start = draw(st.integers(0, CLUSTERS * SIZE // 512 - 1))
    end = draw(st.integers(start + 1, CLUSTERS * SIZE // 512))
    return BASE + start * 512, BASE + end * 512


def standard_kind(entry: int, has_data_file: bool) -> tuple[int, int | None]:
    """Kind and host offset of a cluster."""
    if entry & COMPRESSED_FLAG:
        return COMPRESSED, None
    place = entry & ~(COPIED | ZERO_FLAG)
    if entry & ZERO_FLAG:
        return (ZERO_ALLOCATED, place) if place else (ZERO, None)
    return (DATA, place) if place or (has_data_file and entry & COPIED) else (ABSENT, None)


def extended_kind(entry: int, bitmap: int, number: int) -> tuple[int, int | None]:
    """Kind of a subcluster, and host offset of its cluster."""
    if entry & COMPRESSED_FLAG:
        return COMPRESSED, None
    place = entry & ~COPIED or None
    if bitmap >> 32 + number & 1:
        return ZERO if place is None else ZERO_ALLOCATED, place
    if bitmap >> number & 1:
        return DATA, place
    return ABSENT if place is None else ABSENT_ALLOCATED, place


def assert_covered(runs: list[Extent], start: int, end: int) -> None:
    """The runs are in order and without gaps."""
    assert runs[0].start == start
    assert [run.start + run.length for run in runs] == [*(run.start for run in runs[1:]), end]
    assert all(run.length > 0 for run in runs)


def assert_says(runs: list[Extent], offset: int, kind: int, host: int | None) -> None:
    """What the runs say of one sector."""
    (run,) = [run for run in runs if run.start <= offset < run.start + run.length]
    assert run.kind == kind
    assert (None if run.offset is None else run.offset + offset - run.start) == host
    assert run.storage == (None if host is None else STORAGE)


@given(st.lists(STANDARD, min_size=CLUSTERS, max_size=CLUSTERS), ranges(), st.booleans())
def test_runs_of_standard_entries(entries: list[int], wanted: tuple[int, int], has_data_file: bool) -> None:
    reader = TableReader(Geometry(BITS), STORAGE, has_data_file, "image")
    start, end = wanted
    if has_data_file:
        # There, clusters lie where the guest has them, and none is compressed.
        entries = [
            0 if entry & COMPRESSED_FLAG or not entry else entry & (COPIED | ZERO_FLAG) | BASE + index * SIZE
            for index, entry in enumerate(entries)
        ]

    runs = reader.table_runs(array("Q", entries), BASE, start, end)

    assert_covered(runs, start, end)
    for offset in range(start, end, 512):
        index, inner = divmod(offset - BASE, SIZE)
        kind, host = standard_kind(entries[index], has_data_file)
        assert_says(runs, offset, kind, None if host is None else host + inner)


@given(st.lists(extended_entries(), min_size=CLUSTERS, max_size=CLUSTERS), ranges())
def test_runs_of_extended_entries(entries: list[tuple[int, int]], wanted: tuple[int, int]) -> None:
    reader = TableReader(Geometry(BITS, extended_l2=True), STORAGE, False, "image")
    start, end = wanted

    runs = reader.table_runs(array("Q", [word for entry in entries for word in entry]), BASE, start, end)

    assert_covered(runs, start, end)
    for offset in range(start, end, 512):
        index, inner = divmod(offset - BASE, SIZE)
        kind, host = extended_kind(*entries[index], inner // SUB)
        assert_says(runs, offset, kind, None if host is None else host + inner)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ((1 << BITS | COPIED, 1 << 32 | 1), "Invalid subcluster bitmap 0x100000001"),
        ((0, 2), "Invalid subcluster bitmap 0x2"),
        ((512 | COPIED, 0xFFFFFFFF), "Cluster allocation offset 0x200 unaligned"),
    ],
)
def test_extended_entries_that_contradict_themselves_are_refused(words: tuple[int, int], what: str) -> None:
    reader = TableReader(Geometry(BITS, extended_l2=True), STORAGE, False, "image")

    with pytest.raises(CorruptImageError, match=what):
        reader.table_runs(array("Q", words), 0, 0, SIZE)


def test_fully_allocated_neighbours_with_extended_entries_are_one_run() -> None:
    reader = TableReader(Geometry(BITS, extended_l2=True), STORAGE, False, "image")
    words = array("Q", [word for number in range(1, 9) for word in (number << BITS | COPIED, 0xFFFFFFFF)])

    assert reader.table_runs(words, 0, 0, 8 * SIZE) == [Extent(0, 8 * SIZE, DATA, STORAGE, SIZE)]


def test_a_compressed_cluster_is_one_whatever_its_bitmap_says() -> None:
    reader = TableReader(Geometry(BITS, extended_l2=True), STORAGE, False, "image")
    assert reader.table_runs(array("Q", (COMPRESSED_FLAG | 4711, 1)), 0, 0, SIZE) == [
        Extent(0, SIZE, COMPRESSED, None, None)
    ]
