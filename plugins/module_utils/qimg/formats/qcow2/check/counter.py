# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Counting how often each host cluster is referred to, one byte per cluster."""
from __future__ import annotations

from array import array

from ....storage.zeros import ZEROS
from ...table_runs import equal_run_end
from ..refcounts import widths

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Iterator

_MANY = 255
#: Exact counts that no byte holds are kept for so many clusters together.
_GROUP = 4096


class ReferenceCounter:
    """References to the clusters of a file; clusters beyond its present end are added as they are referred to."""

    def __init__(self, clusters: int) -> None:
        #: The count of each cluster, or "many": then it is kept aside.
        self._counts = bytearray(clusters)
        self._many: dict[int, array[int]] = {}
        #: How many more -> byte value -> so many more, at most "many".
        self._additions: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def extend(self, clusters: int) -> None:
        """Count at least so many clusters."""
        while len(self._counts) < clusters:
            # In pieces: all at once, the new zeroes would be in memory twice.
            self._counts.extend(ZEROS[: clusters - len(self._counts)])

    def add(self, first: int, count: int, times: int = 1) -> None:
        """``times`` more references to each of ``count`` clusters."""
        end = first + count
        self.extend(end)
        if count == 1:
            value = self._counts[first] + times
            if value < _MANY:
                self._counts[first] = value
                return
        step = min(times, _MANY)
        if step not in self._additions:
            self._additions[step] = bytes(min(value + step, _MANY) for value in range(256))
        old = self._counts[first:end]
        new = old.translate(self._additions[step])
        if _MANY in new:
            for run in _runs_of_many(new, 0, len(new)):
                self._add_to_many(first, old, run.start(), run.end(), times)
        self._counts[first:end] = new

    def add_each(self, clusters: list[int], times: int, limit: int) -> bool:
        """``times`` more references to each of some clusters, in any order; none lies beyond the present end.

        :returns: whether that was done: not if one comes twice, or would have very many, or more than ``limit``
        """
        counts = self._counts
        if max(map(counts.__getitem__, clusters)) + times > min(limit, _MANY - 1) or len(set(clusters)) < len(clusters):
            return False
        for cluster in clusters:
            counts[cluster] += times
        return True

    def _add_to_many(self, first: int, old: bytearray, start: int, end: int, times: int) -> None:
        """The part of :meth:`add` for a run of clusters that have many references from now on.

        :param old: the bytes of the clusters from ``first`` on; the run goes from index ``start`` to ``end``
        """
        while start < end:
            group, position = divmod(first + start, _GROUP)
            count = min(end - start, _GROUP - position)
            if group not in self._many:
                self._many[group] = array("Q", bytes(8 * _GROUP))
            exact = self._many[group]
            before = array("Q", list(old[start : start + count]))
            if _MANY in before:
                known = exact[position : position + count]
                before = array("Q", [kept if value == _MANY else value for value, kept in zip(before, known)])
            index = 0
            while index < count:
                stop = equal_run_end(before, index, count)
                exact[position + index : position + stop] = array("Q", [before[index] + times]) * (stop - index)
                index = stop
            start += count

    def get(self, cluster: int) -> int:
        """References to one cluster."""
        if cluster >= len(self._counts):
            return 0
        value = self._counts[cluster]
        return self._many[cluster // _GROUP][cluster % _GROUP] if value == _MANY else value

    def reaches(self, first: int, count: int, limit: int) -> bool:
        """Whether any cluster of a run has ``limit`` references or more."""
        most = max(self._counts[first : first + count], default=0)
        if limit < _MANY or most < _MANY:
            return most >= limit
        return any(max(counts) >= limit for _start, counts in self._exact(first, count))

    def _exact(self, first: int, count: int) -> list[tuple[int, array[int]]]:
        """Runs of clusters with many references: index from ``first`` on, and their counts."""
        parts = []
        for run in _runs_of_many(self._counts, first, first + count):
            start = run.start()
            while start < run.end():
                group, position = divmod(start, _GROUP)
                counts = self._many[group][position : position + run.end() - start]
                parts.append((start - first, counts))
                start += len(counts)
        return parts

    def block(self, order: int, first: int, count: int) -> array[int]:
        """The counts of a run as refcounts of ``order`` (cut to what that width holds)."""
        piece = self._counts[first : first + count]
        piece.extend(bytes(count - len(piece)))
        counts = widths.zeroes(order, count)
        limit = (1 << (1 << order)) - 1
        if counts.itemsize == 1:
            return array("B", bytes(piece.translate(bytes(min(value, limit) for value in range(256)))))
        raw = bytearray(counts.tobytes())
        low = 0 if widths.LITTLE_ENDIAN else counts.itemsize - 1
        raw[low :: counts.itemsize] = piece
        counts = array(counts.typecode, bytes(raw))
        for start, exact in self._exact(first, count):
            counts[start : start + len(exact)] = array(counts.typecode, [min(value, limit) for value in exact])
        return counts


def _runs_of_many(counts: bytearray, start: int, end: int) -> Iterator[re.Match[bytes]]:
    """Runs of clusters, between two of them, that have many references."""
    if counts.find(_MANY, start, end) < 0:
        # So it is in nearly all images; importing this takes a tenth of a short check.
        return iter(())
    import re

    return re.compile(rb"\xff+").finditer(counts, start, end)
