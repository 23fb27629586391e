# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Whether two guest disks have the same content."""
from __future__ import annotations

import os
import threading
from collections import namedtuple

from ..formats.base import Extent
from ..formats.chain import chain_extents, merged
from ..formats.opening import READ, Opener
from ..limits import DEFAULT_LIMITS, SECTOR
from ..storage.buffers import aligned_buffer
from ..storage.zeros import is_zero
from .parallel import ordered_results

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ..formats.base import Image
    from ..formats.opening import Reference

# Why two disks are not the same.
CONTENT, SIZE, STATUS = "content", "size", "status"


class CompareResult(namedtuple("CompareResult", ["identical", "sizes_differ", "reason", "offset"])):
    """What a comparison found.

    ``sizes_differ`` alone does not make disks different: the longer one may end in zeroes.  ``reason`` is ``content``,
    ``size`` or ``status`` (the last two in strict mode only), or ``None``; ``offset`` is that of the first sector, or
    extent, that differs.
    """

    __slots__ = ()

    def document(self) -> dict[str, Any]:
        """The result as plain data."""
        document = {"identical": self.identical, "sizes-differ": self.sizes_differ}
        if self.reason is not None:
            document["reason"] = self.reason
        if self.offset is not None:
            document["offset"] = self.offset
        return document


def compare(
    first: Reference,
    second: Reference,
    first_format: str | None = None,
    second_format: str | None = None,
    strict: bool = False,
    opener: Opener | None = None,
    progress: Callable[[float], None] | None = None,
) -> CompareResult:
    """Compare two guest disks, their backing chains included.

    :param strict: also demand equal sizes and equal allocation
    :raises ImageError: one of them cannot be opened or read
    """
    opener = opener or Opener()
    with opener.open(first, first_format, READ) as one:
        with Opener(opener.policy, opener.limits, opener.force_share).open(second, second_format, READ) as other:
            return compare_images(one, other, strict, progress)


def compare_images(
    one: Image, other: Image, strict: bool = False, progress: Callable[[float], None] | None = None
) -> CompareResult:
    """Compare two open images."""
    sizes_differ = one.size != other.size
    if strict and sizes_differ:
        return CompareResult(False, True, SIZE, None)
    total = max(one.size, other.size, 1)
    for jobs_end, mismatch in _mismatches(one, other, strict):
        if mismatch is not None:
            return CompareResult(False, sizes_differ, mismatch[0], mismatch[1])
        if progress is not None:
            progress(min(1.0, jobs_end / total))
    return CompareResult(True, sizes_differ, None, None)


def _mismatches(
    one: Image, other: Image, strict: bool
) -> Iterator[tuple[int, tuple[str, int] | None]]:
    """For each stretch, its end and what differs in it first."""
    threads = max(2, min(DEFAULT_LIMITS.threads, os.cpu_count() or 1))
    yield from ordered_results(_jobs(one, other, strict), threads)


def _jobs(
    one: Image, other: Image, strict: bool
) -> Iterator[Callable[[], tuple[int, tuple[str, int] | None]]]:
    buffers = threading.local()
    piece = DEFAULT_LIMITS.buffer_bytes // 4

    def job_for(start: int, length: int, left: _Side, right: _Side) -> Callable[[], tuple[int, tuple[str, int] | None]]:
        def job() -> tuple[int, tuple[str, int] | None]:
            if not hasattr(buffers, "pair"):
                buffers.pair = (aligned_buffer(piece), aligned_buffer(piece))
            first, second = (buffer[:length] for buffer in buffers.pair)
            offset = _first_difference(left, right, start, first, second)
            return start + length, None if offset is None else (CONTENT, offset)

        return job

    for start, length, left, right in _common_runs(one, other):
        if strict and _status(left) != _status(right):
            yield lambda start=start: (start, (STATUS, start))  # type: ignore[misc]
            return
        if left.zero and right.zero:
            continue
        position = start
        end = start + length
        while position < end:
            size = min(piece - position % piece, end - position)
            yield job_for(position, size, left.reader(position, size), right.reader(position, size))
            position += size


class _Side:
    """How to read one stretch of one disk in any thread."""

    __slots__ = ("fill", "zero")

    def __init__(self, zero: bool, fill: Callable[[memoryview], None] | None) -> None:
        self.zero = zero
        self.fill = fill


class _Cursor:
    """One extent of one disk."""

    __slots__ = ("extent", "layers", "zero")

    def __init__(self, extent: Extent, layers: list[Image]) -> None:
        self.extent = extent
        self.layers = layers
        self.zero = extent.zero

    def reader(self, start: int, length: int) -> _Side:
        """How to read a part of it."""
        extent = self.extent
        if extent.zero:
            return _Side(True, None)
        if extent.storage is None:
            return _Side(False, self.layers[extent.depth].encoded_reader(start, length))
        storage, offset = extent.storage, extent.offset + start - extent.start
        return _Side(False, lambda view: storage.read_into(offset, view))


def _status(cursor: _Cursor) -> tuple[Any, ...]:
    extent = cursor.extent
    return (extent.data, extent.zero, extent.present, extent.compressed, extent.offset is not None)


def _common_runs(one: Image, other: Image) -> Iterator[tuple[int, int, _Cursor, _Cursor]]:
    """Runs in which neither disk changes its extent; beyond its end a disk is zero."""
    total = max(one.size, other.size)
    left, right = _cursors(one, total), _cursors(other, total)
    first, second = next(left, None), next(right, None)
    position = 0
    while first is not None and second is not None:
        first_end = first.extent.start + first.extent.length
        second_end = second.extent.start + second.extent.length
        end = min(first_end, second_end)
        if end > position:
            yield position, end - position, first, second
        position = end
        if first_end == end:
            first = next(left, None)
        if second_end == end:
            second = next(right, None)


def _cursors(image: Image, total: int) -> Iterator[_Cursor]:
    layers = image.layers()
    for extent in merged(chain_extents(image, 0, image.size)):
        yield _Cursor(extent, layers)
    if image.size < total:
        yield _Cursor(Extent(image.size, total - image.size, False, True, False, False, 0, None, None), layers)


def _first_difference(left: _Side, right: _Side, start: int, first: memoryview, second: memoryview) -> int | None:
    """Guest offset of the first sector that differs."""
    for side, view in ((left, first), (right, second)):
        if side.fill is not None:
            side.fill(view)
    if left.zero or right.zero:
        view = second if left.zero else first
        if is_zero(view):
            return None
        first, second = view, memoryview(bytes(len(view)))
    elif bytes(first).startswith(second):
        return None
    for position in range(0, len(first), SECTOR):
        if bytes(first[position : position + SECTOR]) != bytes(second[position : position + SECTOR]):
            return start + position
    return None
