# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Taking dirty bitmaps along when a guest disk is copied into another image."""
from __future__ import annotations

from ..errors import CorruptImageError, ImageError, OptionError, UnsupportedOperationError
from ..formats import RICHEST
from ..formats.capabilities import HasBitmaps
from .bitmap import check_sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..formats.base import Image
    from ..formats.capabilities import BitmapInfo


def bitmaps_to_copy(sources: Sequence[Image], skip_broken: Callable[[str], None] | None) -> list[BitmapInfo]:
    """The bitmaps that a copy of some sources takes along.

    :param skip_broken: called with the name of each inconsistent bitmap, which is then left out; ``None``: such a
        bitmap is an error
    :raises OptionError: there are several sources
    :raises UnsupportedOperationError: the source cannot have bitmaps
    """
    if len(sources) != 1:
        raise OptionError("Copying bitmaps only possible with single source", path=sources[0].filename)
    source = sources[0]
    if not isinstance(source, HasBitmaps) or not source.can_hold_bitmaps:
        raise UnsupportedOperationError(
            "Source lacks bitmap support",
            path=source.filename,
            format=source.format,
            remedy="convert it without bitmaps: it has none",
        )
    # From the last to the first, as qemu-img does: so both name the same one first.
    for bitmap in reversed(source.bitmaps):
        if bitmap.inconsistent:
            if skip_broken is None:
                raise CorruptImageError(
                    "Cannot copy inconsistent bitmap '%s'" % bitmap.name,
                    path=source.filename,
                    format=source.format,
                    hint="Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it",
                    remedy="leave out inconsistent bitmaps, or remove them first",
                )
            skip_broken(bitmap.name)
    return [bitmap for bitmap in source.bitmaps if not bitmap.inconsistent]


def check_holder(target: Image) -> HasBitmaps:
    """The target as something that can have bitmaps.

    :raises UnsupportedOperationError: its format has none
    """
    if not isinstance(target, HasBitmaps) or not target.can_hold_bitmaps:
        raise UnsupportedOperationError(
            "Format driver '%s' does not support bitmaps" % target.format,
            path=target.filename,
            format=target.format,
            remedy="convert to %s with compat=1.1, or without bitmaps" % RICHEST,
        )
    return target


def check_target(source: Image, target: Image, bitmaps: Sequence[BitmapInfo]) -> None:
    """Find out, before any guest data is copied, whether the target can take bitmaps of the source.

    :raises UnsupportedOperationError: its format has no bitmaps
    :raises OptionError: it has another size, or one of the same name
    """
    existing = {bitmap.name for bitmap in check_holder(target).bitmaps}
    for bitmap in reversed(bitmaps):
        if bitmap.name in existing:
            raise OptionError(
                "Failed to create bitmap %s: Bitmap already exists: %s" % (bitmap.name, bitmap.name),
                path=target.filename,
                remedy="remove it from the target first",
            )
        try:
            check_sizes(target, source)
        except ImageError as error:
            error.reason = "Failed to populate bitmap %s: %s" % (bitmap.name, error.reason)
            raise


def copy_bitmaps(source: Image, target: Image, bitmaps: Sequence[BitmapInfo]) -> None:
    """Make bitmaps of the source again in the target: name, granularity, whether they record, and what they mark.

    To be called after the copying of guest data, which they are not to record.
    """
    if isinstance(source, HasBitmaps) and isinstance(target, HasBitmaps):
        for bitmap in bitmaps:
            try:
                target.add_bitmap(bitmap.name, bitmap.granularity, bitmap.enabled)
            except ImageError as error:
                error.reason = "Failed to create bitmap %s: %s" % (bitmap.name, error.reason)
                raise
            target.merge_into_bitmap(bitmap.name, bitmap.granularity, source.dirty_pieces(bitmap.name))
