# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A set of integers kept as runs: cheap for the long, mostly ordered runs that cluster numbers come in."""
from __future__ import annotations

from bisect import bisect_left, bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class IntervalSet:
    """Half-open runs ``[start, end)``, sorted, never touching each other."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(list(zip(self._starts, self._ends)))

    @property
    def total(self) -> int:
        """How many integers it holds."""
        return sum(self._ends) - sum(self._starts)

    def add(self, start: int, end: int) -> None:
        """Add every integer of ``[start, end)``."""
        starts, ends = self._starts, self._ends
        if starts and ends[-1] == start:
            ends[-1] = end
            return
        first = bisect_left(ends, start)
        last = bisect_right(starts, end)
        if first < last:
            start = min(start, starts[first])
            end = max(end, ends[last - 1])
        starts[first:last] = [start]
        ends[first:last] = [end]

    def remove(self, start: int, end: int) -> None:
        """Remove every integer of ``[start, end)``."""
        starts, ends = self._starts, self._ends
        first = bisect_right(ends, start)
        last = bisect_left(starts, end)
        if first >= last:
            return
        kept = []
        if starts[first] < start:
            kept.append((starts[first], start))
        if ends[last - 1] > end:
            kept.append((end, ends[last - 1]))
        starts[first:last] = [run[0] for run in kept]
        ends[first:last] = [run[1] for run in kept]

    def __contains__(self, value: int) -> bool:
        index = bisect_right(self._starts, value) - 1
        return index >= 0 and value < self._ends[index]

    def next_run(self, value: int) -> tuple[int, int] | None:
        """The first run that ends after ``value``."""
        index = bisect_right(self._ends, value)
        if index == len(self._starts):
            return None
        return self._starts[index], self._ends[index]

    def clear(self) -> None:
        """Forget everything."""
        self._starts.clear()
        self._ends.clear()
