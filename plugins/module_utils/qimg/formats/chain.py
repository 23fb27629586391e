# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A guest disk as its whole backing chain has it."""
from __future__ import annotations

from itertools import chain

from ..errors import ImageError, LimitError
from .base import ABSENT, ABSENT_ALLOCATED, UNALLOCATED, ZERO, Extent, Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

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
    if image.backing is None or layers == 1:
        # As the image says it.
        return image.runs(offset, length)
    return _extents(image.layers()[:layers], offset, length)


def top_extents(image: Image, offset: int, length: int) -> Iterator[Extent]:
    """What the top image alone has for a range, for a disk that is to lie on a backing file: that answers for what is
    absent up to the end of the image's own backing file, and for what has no space behind it and nobody knows."""
    own_end = image.backing.size if image.backing is not None else 0
    for extent in image.runs(offset, length):
        start, run_length, kind, _storage, _host, _depth = extent
        if kind == UNALLOCATED:
            yield extent._replace(kind=ABSENT)
        elif extent.present or start + run_length <= own_end:
            yield extent
        else:
            inside = max(0, own_end - start)
            if inside:
                yield extent._replace(length=inside)
            yield Extent(start + inside, run_length - inside, ZERO, None, None)


def read_extents(image: Image, offset: int, length: int) -> Iterator[Extent]:
    """As :func:`chain_extents`, for who reads a disk whatever its map says: only where an image has metadata of its own
    that say so, something is zero."""
    layers = image.layers()
    for extent in chain_extents(image, offset, length):
        if extent.zero and layers[extent.depth].is_mapped_by_storage:
            extent = extent._replace(kind=UNALLOCATED, storage=None, offset=None)
        yield extent


def _extents(images: list[Image], offset: int, length: int) -> Iterator[Extent]:
    # Fragments of a deep chain are looked up in many layers: no generator for each, and none inside of another.
    lookups = [image.runs for image in images]
    ends = [image.size for image in images]
    lowest = len(images) - 1
    new = tuple.__new__
    #: Of the layers above, what comes after the run that is being looked up.
    waiting: list[Iterator[Extent]] = []
    depth = 0
    runs = lookups[0](offset, length)
    while True:
        for start, run_length, kind, storage, host, _depth in runs:
            if (kind == ABSENT or kind == ABSENT_ALLOCATED) and depth < lowest:
                inside = ends[depth + 1] - start
                if inside > 0:
                    if inside < run_length:
                        beyond = None if host is None else host + inside
                        rest = Extent(start + inside, run_length - inside, kind, storage, beyond)
                        runs = chain((rest,), runs)
                        run_length = inside
                    waiting.append(runs)
                    depth += 1
                    runs = lookups[depth](start, run_length)
                    break
            yield new(Extent, (start, run_length, kind, storage, host, depth))
        else:
            if not waiting:
                return
            runs = waiting.pop()
            depth -= 1


def merged(extents: Iterator[Extent], most: int | None = None) -> Iterator[Extent]:
    """Join neighbouring extents that say the same.

    :param most: join no more than so many, for who may not need the rest
    """
    current: Extent | None = None
    joined = 0
    for extent in extents:
        if (
            current is not None
            and current[2] == extent[2]
            and current.depth == extent.depth
            and joined != most
            and _continues(current, extent)
        ):
            current = current._replace(length=current.length + extent.length)
            joined += 1
        else:
            if current is not None:
                yield current
            current = extent
            joined = 1
    if current is not None:
        yield current


def _continues(first: Extent, second: Extent) -> bool:
    """Whether the host bytes of two neighbouring extents are neighbours too, or there are none."""
    if first.offset is None or second.offset is None:
        return first.offset is second.offset
    return first.storage is second.storage and bool(first.offset + first.length == second.offset)


def up_to_failure(extents: Iterator[Any], failures: list[ImageError]) -> Iterator[Any]:
    """The extents, or what is made of them, before the first that cannot be found out; why not is added to a list."""
    try:
        yield from extents
    except ImageError as error:
        failures.append(error)
