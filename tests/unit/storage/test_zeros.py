# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding zeroes, and the buffers in which they are looked for."""
from __future__ import annotations

import ctypes
import mmap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qimg.storage.buffers import ComparableBuffer, aligned_buffer
from qimg.storage.zeros import ZEROS, data_runs, is_zero

#: Bytes with long runs of zeroes, and single bytes among them.
BYTES = st.lists(st.one_of(st.integers(0, 40).map(bytes), st.binary(min_size=1, max_size=3)), max_size=8).map(b"".join)


@given(BYTES)
def test_zeroes_are_found(data: bytes) -> None:
    assert is_zero(memoryview(data)) == (not any(data))


@pytest.mark.parametrize("position", [0, len(ZEROS) - 1, len(ZEROS), 2 * len(ZEROS), 2 * len(ZEROS) + 4])
def test_a_byte_is_found_in_more_than_the_block_of_zeroes_to_compare_with(position: int) -> None:
    data = bytearray(2 * len(ZEROS) + 5)
    assert is_zero(memoryview(data))
    data[position] = 1
    assert not is_zero(memoryview(data))


@given(BYTES, st.sampled_from([1, 2, 4, 8]))
def test_data_runs_are_the_units_that_are_not_zero(data: bytes, grain: int) -> None:
    units = [any(data[start : start + grain]) for start in range(0, len(data), grain)]
    runs = list(data_runs(memoryview(data), grain))

    covered = [unit for start, end in runs for unit in range(start // grain, -(-end // grain))]
    assert covered == [unit for unit, has_data in enumerate(units) if has_data]
    assert all(one[1] < other[0] for one, other in zip(runs, runs[1:]))
    assert all(end == len(data) or end % grain == 0 for _start, end in runs)


@pytest.mark.parametrize("zeroes", [0, 1, 2, 3, 5, 8, 13, 40])
def test_data_behind_any_number_of_zero_units_is_found(zeroes: int) -> None:
    data = b"\1" + bytes(7 + 8 * zeroes) + b"\1" + bytes(7)

    assert list(data_runs(memoryview(data), 8)) == ([(0, 16)] if not zeroes else [(0, 8), (len(data) - 8, len(data))])


def test_an_aligned_buffer_begins_on_a_page_and_is_zero() -> None:
    buffer = aligned_buffer(10000)

    assert ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % mmap.PAGESIZE == 0
    assert len(buffer) == 10000 and is_zero(buffer) and not buffer.readonly


@given(st.binary(min_size=1, max_size=20), st.binary(max_size=20))
def test_a_buffer_can_be_compared_with_parts_of_another(content: bytes, other: bytes) -> None:
    buffer = ComparableBuffer(len(content))
    buffer.view[:] = content

    assert buffer.holds(memoryview(other)) == content.startswith(other)
    for offset in range(len(content)):
        assert buffer.holds(memoryview(other), offset) == content.startswith(other, offset)
        assert buffer.holds(memoryview(content)[offset:], offset)
