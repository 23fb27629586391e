# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Where the bytes of a guest disk lie."""
from __future__ import annotations

from ..errors import UNUSABLE, OptionError
from ..formats.base import UNALLOCATED, Extent
from ..formats.chain import chain_extents, merged
from ..formats.driver import READ
from ..formats.opening import Opener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..formats.base import Image
    from ..references import Reference
    from .snapshot import SnapshotName


def map_image(
    reference: Reference,
    format: str | None = None,
    start: int = 0,
    length: int | None = None,
    limit: int | None = None,
    opener: Opener | None = None,
    snapshot: SnapshotName | None = None,
) -> list[Extent]:
    """The extents of a guest disk, its backing chain included.

    :param reference: the image
    :param format: its format; ``None``: detect it
    :param start: first guest byte
    :param length: guest bytes from there on; ``None``: to the end
    :param limit: stop after so many extents
    :param opener: which files may be opened, and how
    :param snapshot: the internal snapshot to look at: its id or its name, or a pair of an id and a name; ``None``: the
        disk as it is now
    :raises ImageError: the image cannot be opened, or its metadata are broken
    """
    with (opener or Opener()).open(reference, format, READ) as image:
        if snapshot is not None:
            from .snapshot import show_snapshot

            show_snapshot(image, snapshot)
        extents: list[Extent] = []
        for extent in extents_of(image, start, length):
            if limit is not None and len(extents) == limit:
                break
            extents.append(extent)
        return extents


def extents_of(image: Image, start: int = 0, length: int | None = None) -> Iterator[Extent]:
    """The extents of an open image; neighbours that say the same are one.

    :param image: what :func:`~qimg.formats.opening.open_image` gives
    :param start: first guest byte
    :param length: guest bytes from there on; ``None``: to the end
    :raises OptionError: one of them is negative
    :raises ImageError: the metadata of the range are broken, or cannot be read
    """
    if start < 0 or (length is not None and length < 0):
        raise OptionError("Neither the start nor the length of what is looked at can be negative", path=image.filename)
    end = image.size if length is None else min(image.size, start + length)
    if start >= end:
        yield Extent(start, 0, UNALLOCATED, None, None)
        return
    try:
        # What has no backing file may lie on another image.
        alone = image.backing is None
        runs = image.located_runs(start, end - start) if alone else chain_extents(image, start, end - start)
        yield from merged(runs)
    except UNUSABLE as error:
        error.reason = "Could not read file metadata: %s" % error.words
        raise
