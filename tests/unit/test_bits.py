# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Strings of bits against sets of numbers, which are slower and obviously right."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qimg.formats.bit_scaling import scaled
from qimg.formats.bits import byte_ranges, or_into, set_bits, set_runs

#: Strings with long runs as well as single bits.
BITS = st.lists(
    st.one_of(st.binary(min_size=1, max_size=3), st.sampled_from([b"\0" * 20, b"\xff" * 20])), min_size=1, max_size=8
).map(b"".join)


def numbers(bits: bytes | bytearray, first: int = 0) -> set[int]:
    """The numbers of the set bits."""
    return {first + 8 * position + bit for position, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1}


@given(BITS, st.data())
def test_set_bits_sets_exactly_a_range_and_says_whether_it_changed_anything(bits: bytes, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, 8 * len(bits) - 1))
    end = data.draw(st.integers(first + 1, 8 * len(bits)))
    changed = bytearray(bits)
    assert set_bits(changed, first, end) == (not set(range(first, end)) <= numbers(bits))
    assert numbers(changed) == numbers(bits) | set(range(first, end))
    assert len(changed) == len(bits)


@given(BITS, BITS, st.data())
def test_or_into_joins_two_strings_and_leaves_out_what_is_behind_the_first(
    bits: bytes, other: bytes, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, len(bits) - 1))
    joined = bytearray(bits)
    changed = or_into(joined, position, other)
    expected = numbers(bits) | {bit for bit in numbers(other, 8 * position) if bit < 8 * len(bits)}
    assert numbers(joined) == expected
    assert len(joined) == len(bits)
    assert changed == (expected != numbers(bits))


@given(st.integers(0, 1000), BITS)
def test_set_runs_are_the_set_bits_in_order_and_as_long_as_they_can_be(first: int, bits: bytes) -> None:
    runs = list(set_runs(first, bits))
    assert {bit for start, end in runs for bit in range(start, end)} == numbers(bits, first)
    assert all(end < next_start for (_start, end), (next_start, _end) in zip(runs, runs[1:]))


@given(st.integers(0, 300), BITS, st.integers(-5, 14))
def test_scaled_bits_mark_exactly_the_granules_that_are_touched(first: int, bits: bytes, shift: int) -> None:
    if shift >= 0:
        expected = {bit >> shift for bit in numbers(bits, first)}
    else:
        expected = {(bit << -shift) + part for bit in numbers(bits, first) for part in range(1 << -shift)}
    found: set[int] = set()
    for piece_first, piece in scaled(first, bits, shift):
        found |= numbers(piece, piece_first)
    assert found == expected


@given(st.lists(BITS, min_size=1, max_size=4), st.integers(0, 40))
def test_byte_ranges_join_across_pieces_and_end_with_the_disk(strings: list[bytes], cut: int) -> None:
    granularity = 512
    pieces = []
    marked: set[int] = set()
    first = 0
    for bits in strings:
        pieces.append((first * granularity, bits))
        marked |= numbers(bits, first)
        first += 8 * len(bits)
    size = (max(marked) + 1) * granularity - 8 * cut if marked else granularity
    ranges = list(byte_ranges(pieces, granularity, size))
    assert all(offset + length < following for (offset, length), (following, _) in zip(ranges, ranges[1:]))
    covered = {byte // granularity for offset, length in ranges for byte in range(offset, offset + length, granularity)}
    assert covered == marked
    assert all(offset + length <= size for offset, length in ranges)
