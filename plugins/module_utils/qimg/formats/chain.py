# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A guest disk as its whole backing chain has it."""
from __future__ import annotations

from ..errors import ImageError, LimitError
from .base import ABSENT, ABSENT_ALLOCATED, Extent, Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..limits import Limits


def infinite_loop(filename: str) -> ImageError:
    """The error for an image that is met again below itself."""
    return ImageError(
        "Backing file '%s' creates an infinite loop." % filename,
        path=filename,
        remedy="rebase one of the images to another backing file",
    )


def chain_too_long(filename: str, limits: Limits) -> LimitError:
    """The error for a backing chain of more images than we open."""
    return LimitError(
        "The backing chain has more than %d images" % limits.max_chain,
        path=filename,
        remedy="commit or rebase some of its images, or raise the limit max_chain",
    )


def chain_extents(image: Image, offset: int, length: int, layers: int | None = None) -> Iterator[Extent]:
    """What a guest disk has for a range, in order and without gaps; neighbouring extents may be alike.

    :param layers: look at so many images of the chain only; what is absent in all of them is not ``present``
    :raises CorruptImageError: the metadata of the range are broken
    """
    return _extents(image, offset, length, 0, -1 if layers is None else layers - 1)


def _extents(image: Image, offset: int, length: int, depth: int, layers_below: int) -> Iterator[Extent]:
    backing = image.backing if layers_below else None
    if backing is None and not depth:
        # As the image says it.
        yield from image.runs(offset, length)
        return
    new = tuple.__new__
    for start, run_length, kind, storage, host, _depth in image.runs(offset, length):
        inside = 0
        if backing is not None and (kind == ABSENT or kind == ABSENT_ALLOCATED):
            inside = min(run_length, max(0, backing.size - start))
            if inside:
                yield from _extents(backing, start, inside, depth + 1, layers_below - 1)
                start += inside
                run_length -= inside
                host = None if host is None else host + inside
        if run_length:
            yield new(Extent, (start, run_length, kind, storage, host, depth))


def merged(extents: Iterator[Extent]) -> Iterator[Extent]:
    """Join neighbouring extents that say the same."""
    current: Extent | None = None
    for extent in extents:
        if current is None:
            current = extent
        elif current[2] == extent[2] and current.depth == extent.depth and _continues(current, extent):
            current = current._replace(length=current.length + extent.length)
        else:
            yield current
            current = extent
    if current is not None:
        yield current


def _continues(first: Extent, second: Extent) -> bool:
    """Whether the host bytes of two neighbouring extents are neighbours too, or there are none."""
    if first.offset is None or second.offset is None:
        return first.offset is second.offset
    return first.storage is second.storage and bool(first.offset + first.length == second.offset)
