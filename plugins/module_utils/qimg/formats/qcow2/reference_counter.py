# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Counting how often each host cluster is referred to, one byte per cluster."""
from __future__ import annotations

from array import array

from ...storage.zeros import ZEROS
from . import refcount_widths as widths

_MANY = 255
#: Byte value -> one more; 254 becomes "many", whose exact count is kept aside.
_INCREMENT = bytes((*range(1, 256), _MANY))


class ReferenceCounter:
    """References to the clusters of a file; clusters beyond its present end are added as they are referred to."""

    def __init__(self, clusters: int) -> None:
        self._counts = bytearray(clusters)
        self._many: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def extend(self, clusters: int) -> None:
        """Count at least so many clusters."""
        while len(self._counts) < clusters:
            # In pieces: all at once, the new zeroes would be in memory twice.
            self._counts.extend(ZEROS[: clusters - len(self._counts)])

    def add(self, first: int, count: int) -> None:
        """One more reference to each of ``count`` clusters."""
        end = first + count
        self.extend(end)
        if count == 1:
            value = self._counts[first]
            if value < _MANY - 1:
                self._counts[first] = value + 1
                return
        piece = self._counts[first:end].translate(_INCREMENT)
        if _MANY in piece:
            for cluster in range(first, end):
                if self._counts[cluster] >= _MANY - 1:
                    self._many[cluster] = self._many.get(cluster, self._counts[cluster]) + 1
        self._counts[first:end] = piece

    def get(self, cluster: int) -> int:
        """References to one cluster."""
        if cluster >= len(self._counts):
            return 0
        value = self._counts[cluster]
        return self._many[cluster] if value == _MANY else value

    def reaches(self, first: int, count: int, limit: int) -> bool:
        """Whether any cluster of a run has ``limit`` references or more."""
        if limit >= _MANY:
            return any(self._many[cluster] >= limit for cluster in self._many if first <= cluster < first + count)
        return max(self._counts[first : first + count], default=0) >= limit

    def block(self, order: int, first: int, count: int) -> array[int]:
        """The counts of a run as refcounts of ``order`` (cut to what that width holds)."""
        piece = self._counts[first : first + count]
        piece.extend(bytes(count - len(piece)))
        counts = widths.zeroes(order, count)
        if counts.itemsize == 1:
            limit = (1 << (1 << order)) - 1
            return array("B", bytes(piece.translate(bytes(min(value, limit) for value in range(256)))))
        raw = bytearray(counts.tobytes())
        low = 0 if widths.LITTLE_ENDIAN else counts.itemsize - 1
        raw[low :: counts.itemsize] = piece
        counts = array(counts.typecode, bytes(raw))
        limit = (1 << (1 << order)) - 1
        for cluster, value in self._many.items():
            if first <= cluster < first + count:
                counts[cluster - first] = min(value, limit)
        return counts
