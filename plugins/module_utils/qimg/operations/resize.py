# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Changing the size of a guest disk."""
from __future__ import annotations

from ..errors import OptionError, ShrinkRefusedError, UnsupportedOperationError
from ..formats.capabilities import Resizable
from ..formats.driver import READ, RESIZE
from ..formats.naming import without_backing_options
from ..formats.opening import Opener
from ..option_text import check_choice
from .plan import Altered, Plan, nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from ..references import Reference
    from .plan import Progress

    Direction = Literal[-1, 0, 1]
    Preallocation = Literal["off", "metadata", "falloc", "full"]

#: How the new part of a disk can be allocated.
PREALLOCATIONS: tuple[Preallocation, ...] = ("off", "metadata", "falloc", "full")

SHRINK_WARNING = (
    "Shrinking an image will delete all data beyond the shrunken image's end. Before performing such an "
    "operation, make sure there is no important data there."
)


def plan_resize(
    reference: Reference,
    size: int,
    format: str | None = None,
    relative: Direction = 0,
    shrink: bool = False,
    preallocation: Preallocation = "off",
    grow_only: bool = False,
    opener: Opener | None = None,
) -> Plan:
    """Plan to change the guest size.

    :param reference: the image
    :param size: bytes: the new size, or with ``relative`` by how much
    :param format: of the image; ``None``: detect it
    :param relative: 0: absolute; 1: larger by ``size``; -1: smaller by ``size``
    :param shrink: whether the disk may become smaller, which drops what lies beyond its new end
    :param preallocation: for the new part: ``off``, ``metadata``, ``falloc`` or ``full``
    :param grow_only: a disk that is larger already is fine
    :param opener: which files may be opened, and how
    :raises ShrinkRefusedError: it would become smaller, and ``shrink`` is not set
    :raises UnsupportedOperationError: the format cannot be resized
    :raises ImageError: the image cannot be opened
    """
    opener = opener or Opener()
    check_choice("preallocation", preallocation, PREALLOCATIONS)
    if relative not in (-1, 0, 1):
        raise OptionError("A size is relative in direction 1 or -1, or not at all (0), not %s" % relative)
    with opener.open(without_backing_options(reference), format, READ, backing=False) as image:
        path, current, image_format = image.filename, image.size, image.format
        resizable = isinstance(image, Resizable)
        total = size if not relative else current + relative * size
    if not 0 < total < 1 << 63:
        raise OptionError("New image size must be positive", path=path)
    before, after = {"size": current}, {"size": total}
    if (grow_only and current >= total) or current == total:
        return Plan(path, [], before, before, nothing, opener)
    if total <= current and preallocation != "off":
        raise OptionError("Preallocation can only be used for growing images", path=path)
    if total < current:
        if not shrink:
            raise ShrinkRefusedError(
                "Use the --shrink option to perform a shrink operation.",
                path=path,
                hint=SHRINK_WARNING,
                remedy="the disk has %d bytes, and what lies beyond byte %d would be lost; allow shrinking if that is "
                "meant" % (current, total),
            )
    if not resizable:
        raise UnsupportedOperationError(
            "Image format driver does not support resize", path=path, format=image_format
        )

    def run(opener: Opener, _progress: Progress) -> None:
        with opener.open(reference, format, RESIZE) as image:
            if isinstance(image, Resizable):
                image.resize(total, preallocation)

    action = "%s the disk from %d to %d bytes" % ("grow" if total > current else "shrink", current, total)
    plan = Plan(path, [action], before, after, run, opener)
    if total < current:
        # Behind a backing file that grows, there are zeroes as before.
        plan.altered = (Altered(path),)
    return plan


def check_resize(reference: Reference, format: str | None = None, *, opener: Opener | None = None) -> None:
    """Whether the size of a guest disk could be changed, for who wants to know it where there is nothing to change.

    :raises ImageError: it could not
    """
    opener = opener or Opener()
    with opener.open(without_backing_options(reference), format, READ, backing=False) as image:
        if isinstance(image, Resizable):
            image.check_resize()


def resize(
    reference: Reference,
    size: int,
    format: str | None = None,
    *,
    relative: Direction = 0,
    shrink: bool = False,
    preallocation: Preallocation = "off",
    grow_only: bool = False,
    opener: Opener | None = None,
) -> None:
    """Change the size of a guest disk; arguments and errors as for :func:`plan_resize`."""
    plan_resize(reference, size, format, relative, shrink, preallocation, grow_only, opener).apply()
