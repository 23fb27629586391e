# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Whether two guest disks have the same content."""
from __future__ import annotations

import threading
from collections import namedtuple

from ..errors import UNUSABLE, UnknownContentError
from ..formats.base import ABSENT, Extent
from ..formats.chain import chain_extents, merged, up_to_failure
from ..formats.driver import READ
from ..formats.naming import shown_reference
from ..formats.opening import Opener
from ..limits import BUFFER_BYTES, SECTOR
from ..sizes import round_up
from ..storage.buffers import ComparableBuffer, aligned_buffer
from ..storage.zeros import is_zero
from .parallel import ordered_results, useful_threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Literal, NoReturn

    from ..errors import ImageError
    from ..formats.base import Image
    from ..references import Reference

    Reason = Literal["content", "size", "status"]
    #: Offset in the disks, length, and how to read it from each.
    _Stretch = tuple[int, int, "_Side", "_Side"]

#: This many stretches are handed to a thread at once: handing over costs as much as comparing a hundred kilobytes.
_BATCH = 16

#: This many extents become one at most: a difference in the first must not wait for the look-up of all others.
_JOINED = 4096

# Why two disks are not the same.
CONTENT: Reason = "content"
SIZE: Reason = "size"
STATUS: Reason = "status"


class CompareResult(namedtuple("CompareResult", ["identical", "sizes_differ", "reason", "offset", "common_size"])):
    """What a comparison found.

    ``sizes_differ`` alone does not make disks different: the longer one may end in zeroes.  ``reason`` is ``content``,
    ``size`` or ``status`` (the last two in strict mode only), or ``None``; ``offset`` is that of the first sector, or
    extent, that differs; ``common_size`` is the size of the smaller one, in bytes.
    """

    __slots__ = ()

    identical: bool
    sizes_differ: bool
    reason: Reason | None
    offset: int | None
    common_size: int

    def document(self) -> dict[str, Any]:
        """The result as plain data."""
        document: dict[str, Any] = {"identical": self.identical, "sizes-differ": self.sizes_differ}
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

    :param first: an image
    :param second: another one
    :param first_format: format of the first; ``None``: detect it
    :param second_format: that of the second
    :param strict: also demand equal sizes and equal allocation
    :param opener: which files may be opened, and how
    :param progress: called with the fraction that is done, 0.0 to 1.0; what it raises ends the comparison
    :raises ImageError: one of them cannot be opened or read
    """
    opener = opener or Opener()
    with opener.open(first, first_format, READ) as one:
        with opener.open(second, second_format, READ) as other:
            names = (shown_reference(first), shown_reference(second))
            return _compare(_Disk([one], names[0]), _Disk([other], names[1]), strict, progress)


def compare_images(
    one: Image, other: Image, strict: bool = False, progress: Callable[[float], None] | None = None
) -> CompareResult:
    """Compare two open images."""
    return _compare(_Disk([one]), _Disk([other]), strict, progress)


def compare_joined(parts: list[Image], other: Image, length: int) -> CompareResult:
    """Compare several open images, put one after another as ``convert`` does, with the first bytes of one."""
    beginning = _Disk([other])
    beginning.size = length
    return _compare(_Disk(parts), beginning, False, None)


def _compare(one: _Disk, other: _Disk, strict: bool, progress: Callable[[float], None] | None) -> CompareResult:
    for part in (*one.parts, *other.parts):
        for layer in part.layers():
            if layer.storage.lacks_data:
                raise UnknownContentError("What it will hold is not known before it has been made", path=layer.filename)
    if progress is not None:
        progress(0.0)
    sizes_differ = one.size != other.size
    common_size = min(one.size, other.size)
    if strict and sizes_differ:
        return CompareResult(False, True, SIZE, None, common_size)
    total = max(one.size, other.size, 1)
    for jobs_end, mismatch in _mismatches(one, other, strict):
        if mismatch is not None:
            return CompareResult(False, sizes_differ, mismatch[0], mismatch[1], common_size)
        if progress is not None:
            progress(min(1.0, jobs_end / total))
    return CompareResult(True, sizes_differ, None, None, common_size)


class _Disk:
    """Images put one after another.

    :param name: how messages call it; ``None``: by the name of the image that they are about
    """

    def __init__(self, parts: list[Image], name: str | None = None) -> None:
        self.parts = parts
        self.name = name
        # A single disk has its own size; where another follows, a disk ends with a whole sector.
        self.size = sum(round_up(part.size, SECTOR) for part in parts[:-1]) + parts[-1].size

    def cursors(self, total: int, strict: bool) -> Iterator[_Cursor]:
        """All extents, and zeroes from the end up to ``total``.

        :param strict: cut extents where QEMU begins a new look-up
        """
        shift = 0
        for part in self.parts:
            layers = part.layers()
            name = self.name or part.filename
            failures: list[ImageError] = []
            extents = merged(up_to_failure(chain_extents(part, 0, part.size), failures), _JOINED)
            for extent in _windows(extents, layers) if strict else extents:
                yield _Cursor(extent, layers, shift, name)
            if failures:
                raise _unmapped(failures[0], name)
            shift += part.size
            if shift % SECTOR and part is not self.parts[-1]:
                yield _zeroes(shift, round_up(shift, SECTOR))
                shift = round_up(shift, SECTOR)
        if shift < total:
            yield _zeroes(shift, total)


def _unmapped(error: ImageError, name: str) -> ImageError:
    # Of the system's words, qemu-img says none.
    what = "Sector allocation test failed for %s" % name
    error.reason = what if error.errno else "%s: %s" % (what, error.reason)
    error.while_mapping = name
    return error


def _windows(extents: Iterator[Extent], layers: list[Image]) -> Iterator[Extent]:
    """Extents that are not longer than what QEMU looks up at once in any layer that was asked."""
    for extent in extents:
        end = extent.start + extent.length
        position = extent.start
        while position < end:
            stop = end
            for layer in layers[: extent.depth + 1]:
                if position < layer.size:
                    stop = min(stop, layer.lookup_end(position))
            offset = None if extent.offset is None else extent.offset + position - extent.start
            yield extent._replace(start=position, length=stop - position, offset=offset)
            position = stop


def _zeroes(start: int, end: int) -> _Cursor:
    return _Cursor(Extent(start, end - start, ABSENT, None, None), [], 0, "")


def _mismatches(
    one: _Disk, other: _Disk, strict: bool
) -> Iterator[tuple[int, tuple[Reason, int] | None]]:
    """For each stretch, its end and what differs in it first."""
    yield from ordered_results(_jobs(one, other, strict), useful_threads())


def _jobs(
    one: _Disk, other: _Disk, strict: bool
) -> Iterator[Callable[[], tuple[int, tuple[Reason, int] | None]]]:
    buffers = threading.local()
    piece = BUFFER_BYTES // 2

    def job_for(stretches: list[_Stretch], end: int) -> Callable[[], tuple[int, tuple[Reason, int] | None]]:
        def job() -> tuple[int, tuple[Reason, int] | None]:
            if not hasattr(buffers, "pair"):
                buffers.pair = (ComparableBuffer(piece), aligned_buffer(piece))
            first, second = buffers.pair
            for start, length, left, right in stretches:
                offset = _first_difference(left, right, start, first, second[:length])
                if offset is not None:
                    return start + length, (CONTENT, offset)
            return end, None

        return job

    failures: list[ImageError] = []
    batch: list[_Stretch] = []
    skipped = 0
    for start, length, left, right in up_to_failure(_common_runs(one, other, strict), failures):
        if strict and _status(left) != _status(right):
            if batch:
                yield job_for(batch, start)
            yield lambda start=start: (start, (STATUS, start))  # type: ignore[misc]
            return
        if (left.zero and right.zero) or left.is_at_same_place(right):
            skipped += 1
            if skipped == _JOINED:
                # A difference that was found before may spare the rest.
                yield job_for(batch, start + length)
                batch, skipped = [], 0
            continue
        position = start
        end = start + length
        step = min(piece, left.step or piece, right.step or piece)
        while position < end:
            size = min(step - position % step, end - position)
            batch.append((position, size, left.reader(position, size), right.reader(position, size)))
            position += size
            if len(batch) == _BATCH:
                yield job_for(batch, position)
                batch = []
    if batch:
        yield job_for(batch, position)
    if failures:
        # What differs before that is found first.
        yield lambda: _fail(failures[0])


def _fail(error: ImageError) -> NoReturn:
    raise error


class _Side:
    """How to read one stretch of one disk in any thread."""

    __slots__ = ("_read", "_name", "zero")

    def __init__(self, zero: bool, read: Callable[[memoryview], None] | None, name: str) -> None:
        self.zero = zero
        self._read = read
        self._name = name

    def fill(self, view: memoryview, start: int) -> None:
        """Read it, unless it is known to be zero.

        :raises ImageError: naming the image and the offset
        """
        if self._read is None:
            return
        try:
            self._read(view)
        except UNUSABLE as error:
            error.reason = "Error while reading offset %d of %s: %s" % (start, self._name, error.words)
            raise


class _Cursor:
    """One extent of one disk.

    :param extent: as its image has it
    :param shift: where the image begins in the disk, bytes
    :param name: how messages call the image
    """

    __slots__ = ("end", "extent", "layers", "name", "shift", "zero")

    def __init__(self, extent: Extent, layers: list[Image], shift: int, name: str) -> None:
        self.extent = extent
        self.layers = layers
        self.shift = shift
        self.name = name
        self.end = extent.start + extent.length + shift
        #: Where nothing is allocated, QEMU looks at nothing, whatever it may read as.
        self.zero = extent.zero or not extent.data

    def is_at_same_place(self, other: _Cursor) -> bool:
        """Whether both have the very same bytes of one file, as an overlay and its backing file do."""
        one, two = self.extent, other.extent
        if one.storage is None or two.storage is None or one.storage.identity is None:
            return False
        if one.offset is None or two.offset is None:
            return False
        delta = one.start + self.shift - two.start - other.shift
        return one.offset - two.offset == delta and bool(one.storage.identity == two.storage.identity)

    @property
    def step(self) -> int | None:
        """How much to read at once; ``None``: as much as wanted.

        A compressed cluster may be damaged, and then what lies before it is looked at all the same.
        """
        extent = self.extent
        if extent.zero or extent.storage is not None:
            return None
        return self.layers[extent.depth].cluster_size

    def reader(self, start: int, length: int) -> _Side:
        """How to read a part of it.

        :param start: in the disk, bytes
        """
        extent = self.extent
        start -= self.shift
        if self.zero:
            return _Side(True, None, "")
        if extent.storage is None or extent.offset is None:
            return _Side(False, self.layers[extent.depth].encoded_reader(start, length), self.name)
        storage, offset = extent.storage, extent.offset + start - extent.start
        return _Side(False, lambda view: storage.read_into(offset, view), self.name)


def _status(cursor: _Cursor) -> tuple[Any, ...]:
    """What strict mode compares: QEMU's flags of a block's status, one of which says that the disk ends there."""
    extent = cursor.extent
    at_end = bool(cursor.layers) and extent.start + extent.length == cursor.layers[0].size
    return (*extent.state, extent.offset is not None, at_end)


def _common_runs(one: _Disk, other: _Disk, strict: bool) -> Iterator[tuple[int, int, _Cursor, _Cursor]]:
    """Runs in which neither disk changes its extent; beyond its end a disk is zero."""
    total = max(one.size, other.size)
    left, right = one.cursors(total, strict), other.cursors(total, strict)
    first, second = next(left, None), next(right, None)
    position = 0
    while first is not None and second is not None:
        end = min(first.end, second.end)
        if end > position:
            yield position, end - position, first, second
        position = end
        if first.end == end:
            first = next(left, None)
        if second.end == end:
            second = next(right, None)


def _first_difference(
    left: _Side, right: _Side, start: int, buffer: ComparableBuffer, second: memoryview
) -> int | None:
    """Guest offset of the first sector that differs.

    :param buffer: for the bytes of one side
    :param second: for those of the other, as long as the stretch
    """
    first = buffer.view[: len(second)]
    for side, view in ((left, first), (right, second)):
        side.fill(view, start)
    if left.zero or right.zero:
        view = second if left.zero else first
        if is_zero(view):
            return None
        first, second = view, memoryview(bytes(len(view)))
    elif buffer.holds(second):
        return None
    for position in range(0, len(first), SECTOR):
        if bytes(first[position : position + SECTOR]) != bytes(second[position : position + SECTOR]):
            return start + position
    return None
