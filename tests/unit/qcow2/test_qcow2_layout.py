# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of qcow2: header, extensions, compressed entries, refcounts of every width, runs in tables."""
from __future__ import annotations

from array import array
from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qimg.errors import FormatError
from qimg.formats.qcow2 import layout
from qimg.formats.qcow2.check.counter import ReferenceCounter
from qimg.formats.qcow2.refcounts import widths
from qimg.formats.table_runs import any_has, equal_run_end, progression, progression_run_end

U32, U64 = st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 64) - 1)
CLUSTER_BITS = st.integers(layout.MIN_CLUSTER_BITS, layout.MAX_CLUSTER_BITS)

# Header

HEADERS_V3 = st.builds(
    layout.Header,
    st.just(3), st.integers(0, 512), U32, CLUSTER_BITS, U64, U32, U32, U64, U64, U32, U32, U64, U64, U64, U64, U32,
    st.just(layout.V3_HEADER_LENGTH + 8), st.integers(0, 255), st.binary(min_size=8, max_size=8),
)  # fmt: skip
HEADERS_V2 = st.builds(
    layout.Header,
    st.just(2), st.integers(0, 512), U32, CLUSTER_BITS, U64, U32, U32, U64, U64, U32, U32, U64, st.just(0), st.just(0),
    st.just(0), st.just(4), st.just(layout.V2_HEADER_LENGTH), st.just(layout.ZLIB), st.just(b""),
)  # fmt: skip


@given(st.one_of(HEADERS_V2, HEADERS_V3))
def test_a_header_is_read_as_it_was_written(header: layout.Header) -> None:
    packed = header.pack()

    assert len(packed) == header.header_length
    assert layout.parse_header(packed.ljust(512, b"\0"), "i") == header


@given(st.lists(st.tuples(st.integers(1, (1 << 32) - 1), st.binary(max_size=20)), max_size=4))
def test_extensions_are_read_as_they_were_written(extensions: list[tuple[int, bytes]]) -> None:
    header = layout.Header._make((3, 0, 0, 16, *[0] * 12, layout.V3_HEADER_LENGTH, 0, b""))
    packed = layout.pack_extensions(extensions)

    assert len(packed) % 8 == 0
    cluster = (bytes(layout.V3_HEADER_LENGTH) + packed).ljust(65536, b"\xff")
    assert layout.parse_extensions(cluster, header, "i") == extensions


def test_an_extension_that_is_longer_than_the_cluster_is_refused() -> None:
    header = layout.Header._make((3, 0, 0, 9, *[0] * 12, layout.V3_HEADER_LENGTH, 0, b""))
    cluster = bytes(layout.V3_HEADER_LENGTH) + (5).to_bytes(4, "big") + (500).to_bytes(4, "big")
    with pytest.raises(FormatError, match="Header extension too large"):
        layout.parse_extensions(cluster.ljust(512, b"\0"), header, "i")


@given(st.data(), CLUSTER_BITS)
def test_a_compressed_entry_allows_to_read_all_of_its_bytes_and_no_further_sector(
    data: st.DataObject, cluster_bits: int
) -> None:
    geometry = layout.Geometry(cluster_bits)
    length = data.draw(st.integers(1, geometry.cluster_size))
    offset = data.draw(st.integers(0, geometry.compressed_limit - length))
    entry = geometry.compressed_entry(offset, length)

    assert entry & layout.COMPRESSED and not entry & layout.COPIED
    found, readable = geometry.compressed_range(entry)
    assert found == offset and length <= readable < length + 512 and (offset + readable) % 512 == 0
    first, count = geometry.compressed_clusters(entry)
    assert first == offset >> cluster_bits and (first + count - 1) == (offset + readable - 1) >> cluster_bits


# Refcounts


@given(st.integers(0, 6), st.data())
def test_refcounts_of_every_width_are_read_as_they_were_written(order: int, data: st.DataObject) -> None:
    width = 1 << order
    eight = st.lists(st.integers(0, (1 << width) - 1), min_size=8, max_size=8)
    counts = data.draw(st.lists(eight, min_size=1, max_size=3).map(lambda eights: [*chain(*eights)]))
    packed = widths.pack(order, array(widths.zeroes(order, 0).typecode, counts))

    assert list(widths.unpack(order, packed)) == counts
    assert len(packed) == len(counts) * width // 8
    for index, count in enumerate(counts):
        if width < 8:
            # From the least significant bits of a byte on.
            assert packed[index * width // 8] >> index * width % 8 & (1 << width) - 1 == count
        else:
            assert int.from_bytes(packed[index * width // 8 : (index + 1) * width // 8], "big") == count


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 10), st.sampled_from([1, 2, 200])), max_size=6))
def test_references_are_counted_whatever_their_number(runs: list[tuple[int, int, int]]) -> None:
    counter, expected = ReferenceCounter(5), Counter[int]()
    for first, count, times in runs:
        for _time in range(times):
            counter.add(first, count)
        expected.update(dict.fromkeys(range(first, first + count), times))

    assert [counter.get(cluster) for cluster in range(40)] == [expected[cluster] for cluster in range(40)]
    for order in (0, 3, 4, 6):
        limit = (1 << (1 << order)) - 1
        assert list(counter.block(order, 3, 30)) == [min(limit, expected[cluster]) for cluster in range(3, 33)]
    for limit in (1, 2, 255, 300, 401):
        assert counter.reaches(2, 9, limit) == any(expected[cluster] >= limit for cluster in range(2, 11))


# Runs

#: Tables with long runs of equal and of growing values.
TABLES = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0, 512, 65536]), st.sampled_from([1, 2, 3, 5, 30])),
    min_size=1,
    max_size=6,
).map(lambda runs: array("Q", [(first << 60) + index * step for first, step, count in runs for index in range(count)]))


@given(TABLES, st.sampled_from([0, 512, 65536]), st.data())
def test_runs_end_where_going_on_entry_by_entry_ends(table: array[int], step: int, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(table) - 1))
    end = data.draw(st.integers(position + 1, len(table)))
    stop = position + 1
    while stop < end and table[stop] == table[position] + (stop - position) * step:
        stop += 1

    assert (progression_run_end(table, position, end, step) if step else equal_run_end(table, position, end)) == stop


@given(st.integers(0, 1 << 40), st.integers(1, 3000), st.sampled_from([512, 65536, 2 << 20]))
def test_a_progression_is_what_counting_gives(first: int, count: int, step: int) -> None:
    assert progression(first | 1 << 63, count, step) == array("Q", ((first | 1 << 63) + n * step for n in range(count)))


def test_a_run_does_not_go_on_beyond_64_bits() -> None:
    last = (1 << 64) - 512
    table = array("Q", [last - 1024, last - 512, last, *range(0, 512 * 20, 512)])

    assert progression_run_end(table, 0, len(table), 512) == 3


@given(st.lists(U64, min_size=8, max_size=8), st.integers(0, 63))
def test_whether_any_value_has_a_bit_is_told_of_all_at_once(values: list[int], bit: int) -> None:
    kept = [value & ~(1 << bit) for value in values[:4]] + values[4:]

    assert any_has(array("Q", kept), 1 << bit) == any(value >> bit & 1 for value in kept)
