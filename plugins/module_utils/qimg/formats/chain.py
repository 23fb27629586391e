# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A guest disk as its whole backing chain has it."""
from __future__ import annotations

from .base import (
    ABSENT,
    ABSENT_ALLOCATED,
    COMPRESSED,
    DATA,
    DATA_ZERO,
    ENCODED,
    UNALLOCATED,
    ZERO_ALLOCATED,
    Extent,
    Image,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def chain_extents(image: Image, offset: int, length: int, layers: int | None = None) -> Iterator[Extent]:
    """What a guest disk has for a range, in order and without gaps; neighbouring extents may be alike.

    :param layers: look at so many images of the chain only; what is absent in all of them is not ``present``
    :raises CorruptImageError: the metadata of the range are broken
    """
    return _extents(image, offset, length, 0, -1 if layers is None else layers - 1)


def _extents(image: Image, offset: int, length: int, depth: int, layers_below: int) -> Iterator[Extent]:
    backing = image.backing if layers_below else None
    new = tuple.__new__
    for start, run_length, kind, storage, host in image.runs(offset, length):
        if kind == DATA:
            yield new(Extent, (start, run_length, True, False, True, False, depth, storage, host))
        elif kind == ABSENT or kind == ABSENT_ALLOCATED:
            inside = 0
            if backing is not None:
                inside = min(run_length, max(0, backing.size - start))
                if inside:
                    yield from _extents(backing, start, inside, depth + 1, layers_below - 1)
            if inside < run_length:
                place = None if host is None else host + inside
                yield new(
                    Extent, (start + inside, run_length - inside, False, True, False, False, depth, storage, place)
                )
        elif kind == COMPRESSED:
            yield new(Extent, (start, run_length, True, False, True, True, depth, None, None))
        elif kind == ENCODED:
            yield new(Extent, (start, run_length, True, False, True, False, depth, None, None))
        elif kind == DATA_ZERO:
            yield new(Extent, (start, run_length, True, True, True, False, depth, storage, host))
        elif kind == ZERO_ALLOCATED:
            yield new(Extent, (start, run_length, False, True, True, False, depth, storage, host))
        elif kind == UNALLOCATED:
            yield new(Extent, (start, run_length, False, False, False, False, depth, None, None))
        else:
            yield new(Extent, (start, run_length, False, True, True, False, depth, None, None))


def merged(extents: Iterator[Extent]) -> Iterator[Extent]:
    """Join neighbouring extents that say the same."""
    current: Extent | None = None
    for extent in extents:
        if current is None:
            current = extent
        elif current[2:8] == extent[2:8] and _continues(current, extent):
            current = Extent(current.start, current.length + extent.length, *current[2:])
        else:
            yield current
            current = extent
    if current is not None:
        yield current


def _continues(first: Extent, second: Extent) -> bool:
    """Whether the host bytes of two neighbouring extents are neighbours too, or there are none."""
    if first.offset is None or second.offset is None:
        return first.offset is second.offset
    return bool(first.offset + first.length == second.offset)
