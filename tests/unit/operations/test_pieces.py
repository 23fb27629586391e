# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cutting runs of a source into pieces for the threads of a copy."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qimg.formats.base import ABSENT, DATA, ZERO
from qimg.operations.pieces import PieceCutter, SourceRun, split_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

RUNS = st.lists(st.tuples(st.sampled_from([DATA, ZERO, ABSENT]), st.integers(1, 40)), max_size=12)


def source_runs(runs: list[tuple[int, int]]) -> Iterator[SourceRun]:
    """Runs directly behind each other, of a source whose bytes lie 1000 further on in its file."""
    start = 0
    for kind, length in runs:
        yield SourceRun(start, length, kind, None, start + 1000 if kind == DATA else None, None, start)
        start += length


@given(RUNS, st.sampled_from([1, 4, 16]), st.sampled_from([16, 32]), st.booleans(), st.booleans())
def test_every_byte_is_moved_once_or_is_zero_or_is_left(
    runs: list[tuple[int, int]], unit: int, piece_bytes: int, zeroes_are_data: bool, units_are_whole: bool
) -> None:
    kinds = [kind for kind, length in runs for _byte in range(length)]
    zero: list[int] = []
    left: list[int] = []
    cutter = PieceCutter(
        unit,
        piece_bytes,
        zeroes_are_data,
        units_are_whole,
        lambda start, length: zero.extend(range(start, start + length)),
        left.append,
    )
    moved: list[int] = []
    for piece in cutter.pieces(source_runs(runs)):
        assert 0 < piece.length <= cutter.most_bytes
        done = 0
        for start, position, length in piece.stretches():
            assert position == done and 0 < length <= piece_bytes
            assert start // piece_bytes == (start + length - 1) // piece_bytes
            done += length
        assert done == piece.length
        position = 0
        for part in piece.parts:
            (start,) = [
                start + position - begin
                for start, begin, length in piece.stretches()
                if begin <= position and position + part.length <= begin + length
            ]
            assert part.start == part.layer_start == start
            assert part.offset is None or part.offset == start + 1000
            position += part.length
            moved += range(start, start + part.length)
    rest = [byte for byte in range(len(kinds)) if byte not in {*moved, *zero}]

    assert moved == sorted(moved)
    assert sorted([*moved, *zero, *rest]) == list(range(len(kinds)))
    assert sum(left) == len(rest)
    assert all(kinds[byte] == ABSENT for byte in rest)
    assert all(kinds[byte] == ZERO for byte in zero) and not (zero and zeroes_are_data)
    assert {byte for byte, kind in enumerate(kinds) if kind == DATA} <= set(moved)
    for first in range(0, len(kinds), unit):
        bytes_of_unit = set(range(first, min(first + unit, len(kinds))))
        if {kinds[byte] for byte in bytes_of_unit} <= {ZERO, ABSENT} and not zeroes_are_data:
            # Nothing to move: the unit need not be written.
            assert not bytes_of_unit & set(moved)
        elif units_are_whole and DATA in {kinds[byte] for byte in bytes_of_unit}:
            assert bytes_of_unit <= set(moved)


@given(RUNS, st.sampled_from([1, 4, 16]))
def test_the_zeroes_of_a_whole_unit_are_told_at_once(runs: list[tuple[int, int]], unit: int) -> None:
    kinds = [kind for kind, length in runs for _byte in range(length)]
    told: list[tuple[int, int]] = []
    left: list[int] = []
    tell = told.append
    cutter = PieceCutter(unit, 16, False, False, lambda start, length: tell((start, start + length)), left.append)
    for _piece in cutter.pieces(source_runs(runs)):
        pass
    for first in range(0, len(kinds) - unit + 1, unit):
        if set(kinds[first : first + unit]) == {ZERO}:
            assert any(start <= first and first + unit <= end for start, end in told)


@pytest.mark.parametrize(
    ("position", "lengths"), [(0, [10]), (100, [10]), (103, [3, 7]), (109, [9, 1]), (110, [10]), (500, [10])]
)
def test_a_run_is_split_only_inside(position: int, lengths: list[int]) -> None:
    parts = list(split_run(SourceRun(100, 10, DATA, None, 7, None, 40), position))

    assert [part.length for part in parts] == lengths
    assert [part.offset - part.start for part in parts] == [7 - 100] * len(parts)
    assert [part.layer_start - part.start for part in parts] == [40 - 100] * len(parts)


def test_small_stretches_are_moved_together() -> None:
    cutter = PieceCutter(4, 32, False, False, lambda start, length: None, lambda length: None)
    runs = [(DATA, 4), (ZERO, 4), (DATA, 8), (ABSENT, 100), (DATA, 4), (DATA, 4), (ZERO, 4), (DATA, 32)]

    pieces = list(cutter.pieces(source_runs(runs)))

    assert [piece.stretches() for piece in pieces] == [
        [(0, 0, 4), (8, 4, 8), (116, 12, 8)],
        [(128, 0, 32)],
    ]
