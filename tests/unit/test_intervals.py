# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of runs against Python's sets, which are slower and obviously right."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qimg.intervals import IntervalSet

#: Runs ``[start, end)``, some of them empty, close enough to touch and to overlap.
RUNS = st.tuples(st.integers(0, 16), st.integers(0, 4)).map(lambda run: (run[0], run[0] + run[1]))
CHANGES = st.lists(st.tuples(st.booleans(), RUNS), max_size=20)


def made(changes: list[tuple[bool, tuple[int, int]]]) -> tuple[IntervalSet, set[int]]:
    """Runs added and removed in turn, as both kinds of set."""
    runs, numbers = IntervalSet(), set()
    for adds, (start, end) in changes:
        if start == end:
            continue
        if adds:
            runs.add(start, end)
            numbers |= set(range(start, end))
        else:
            runs.remove(start, end)
            numbers -= set(range(start, end))
    return runs, numbers


@given(CHANGES)
def test_it_holds_what_was_added_and_not_removed(changes: list[tuple[bool, tuple[int, int]]]) -> None:
    runs, numbers = made(changes)

    assert {number for start, end in runs for number in range(start, end)} == numbers
    assert runs.total == len(numbers)
    assert bool(runs) == bool(numbers)
    assert {number for number in range(22) if number in runs} == numbers


@given(CHANGES)
def test_runs_are_in_order_and_never_touch(changes: list[tuple[bool, tuple[int, int]]]) -> None:
    listed = list(made(changes)[0])

    assert all(start < end for start, end in listed)
    assert all(one[1] < other[0] for one, other in zip(listed, listed[1:]))


@given(CHANGES, st.integers(0, 22))
def test_the_next_run_is_the_first_that_ends_behind_a_number(
    changes: list[tuple[bool, tuple[int, int]]], number: int
) -> None:
    runs = made(changes)[0]

    assert runs.next_run(number) == next((run for run in runs if run[1] > number), None)


def test_it_may_be_changed_while_its_runs_are_listed() -> None:
    runs = made([(True, (0, 5)), (True, (10, 15))])[0]
    for start, end in runs:
        runs.remove(start, end)

    assert not runs


def test_nothing_is_left_after_it_was_cleared() -> None:
    runs = made([(True, (0, 5))])[0]
    runs.clear()

    assert list(runs) == [] and 3 not in runs
