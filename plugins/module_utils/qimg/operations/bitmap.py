# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Persistent dirty bitmaps: listing, adding, removing, clearing, enabling, disabling and merging them."""
from __future__ import annotations

from collections import namedtuple

from ..errors import ImageError, MismatchError, OptionError, UnsupportedOperationError
from ..formats import RICHEST
from ..formats.bits import byte_ranges
from ..formats.capabilities import MIN_GRANULARITY, BitmapInfo, HasBitmaps, check_new_bitmap
from ..formats.driver import READ, WRITE
from ..formats.naming import shown_reference
from ..formats.opening import Opener
from ..intervals import IntervalSet
from ..option_text import check_choice
from .plan import Plan, nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Literal

    from ..formats.base import Image
    from ..references import Reference
    from .plan import Progress

    BitmapChange = Literal["add", "remove", "remove-all", "clear", "enable", "disable", "merge"]

# What can be done to a bitmap.
ADD: BitmapChange = "add"
REMOVE: BitmapChange = "remove"
REMOVE_ALL: BitmapChange = "remove-all"
CLEAR: BitmapChange = "clear"
ENABLE: BitmapChange = "enable"
DISABLE: BitmapChange = "disable"
MERGE: BitmapChange = "merge"
CHANGES = (ADD, REMOVE, REMOVE_ALL, CLEAR, ENABLE, DISABLE, MERGE)


class BitmapAction(namedtuple("BitmapAction", ["kind", "granularity", "source"], defaults=(None, None))):
    """One thing to be done to a bitmap.

    :param kind: one of the constants above; ``REMOVE_ALL`` needs no name of a bitmap
    :param granularity: for ``ADD``, guest bytes per bit, ``None`` for the format's default
    :param source: for ``MERGE``, the name of the bitmap whose bits are added
    """

    __slots__ = ()

    kind: BitmapChange
    granularity: int | None
    source: str | None


def list_bitmaps(reference: Reference, format: str | None = None, opener: Opener | None = None) -> list[BitmapInfo]:
    """The bitmaps of an image, in the order of its directory; none for a format without bitmaps."""
    with (opener or Opener()).open(reference, format, READ, backing=False) as image:
        return image.bitmaps if isinstance(image, HasBitmaps) else []


def dirty_ranges(
    reference: Reference, name: str, format: str | None = None, opener: Opener | None = None
) -> list[tuple[int, int]]:
    """The guest ranges that a bitmap marks.

    :param name: of the bitmap
    :returns: ``(offset, length)`` in bytes, in order and as long as they can be
    :raises OptionError: there is no such bitmap, or it is inconsistent
    """
    with (opener or Opener()).open(reference, format, READ, backing=False) as image:
        return list(_ranges(image, name))


def plan_bitmap(
    reference: Reference,
    name: str,
    actions: Sequence[BitmapAction],
    format: str | None = None,
    source: Reference | None = None,
    source_format: str | None = None,
    opener: Opener | None = None,
) -> Plan:
    """Plan to do things to one bitmap, in order, and all of them or none.

    Whether they can be done is found when the plan is applied.

    :param reference: the image
    :param name: of the bitmap
    :param actions: what is done
    :param format: of the image; ``None``: detect it
    :param source: the image whose bitmaps are merged; ``None``: the same image
    :param source_format: its format
    :param opener: which files may be opened, and how
    :raises OptionError: there is no such kind of action
    """
    for action in actions:
        check_choice("kind", action.kind, CHANGES)
    path = shown_reference(reference)
    return _plan(path, reference, name, actions, {}, {}, format, source, source_format, opener or Opener())


def _plan(
    path: str,
    reference: Reference,
    name: str,
    actions: Sequence[BitmapAction],
    before: dict[str, Any],
    after: dict[str, Any],
    format: str | None,
    source: Reference | None,
    source_format: str | None,
    opener: Opener,
) -> Plan:
    def run(opener: Opener, _progress: Progress) -> None:
        with opener.open(reference, format, WRITE, backing=False) as image:
            if source is None:
                _do_all(image, name, actions, image)
                return
            with opener.open(source, source_format, READ, backing=False) as other:
                _do_all(image, name, actions, other)

    sentences = [_sentence(action, name) for action in actions]
    return Plan(path, sentences, before, after, run if actions else nothing, opener)


def _sentence(action: BitmapAction, name: str) -> str:
    if action.kind == MERGE:
        return "merge bitmap '%s' into bitmap '%s'" % (action.source, name)
    if action.kind == REMOVE_ALL:
        return "remove all bitmaps"
    return "%s bitmap '%s'" % (action.kind, name)


def _do_all(image: Image, name: str, actions: Sequence[BitmapAction], other: Image) -> None:
    for action in actions:
        try:
            _do(image, name, action, other)
        except ImageError as error:
            error.reason = "Operation %s on bitmap %s failed: %s" % (action.kind, name, error.reason)
            error.path = error.path or image.filename
            raise


def _do(image: Image, name: str, action: BitmapAction, other: Image) -> None:
    if action.kind == ADD:
        check_new_bitmap(name, MIN_GRANULARITY if action.granularity is None else action.granularity)
        _capable(image).add_bitmap(name, action.granularity)
    elif action.kind == REMOVE_ALL:
        for bitmap in list(image.bitmaps) if isinstance(image, HasBitmaps) else ():
            _capable(image).remove_bitmap(bitmap.name)
    elif not isinstance(image, HasBitmaps):
        raise _not_found(image, name)
    elif action.kind == REMOVE:
        image.remove_bitmap(name)
    elif action.kind == CLEAR:
        image.clear_bitmap(name)
    elif action.kind == ENABLE:
        image.enable_bitmap(name)
    elif action.kind == DISABLE:
        image.disable_bitmap(name)
    else:
        _merge(image, name, other, action.source)


def _merge(image: Image, name: str, other: Image, source: str | None) -> None:
    """Add the bits of ``source``, a bitmap of ``other`` (which may be the same image), to a bitmap of ``image``."""
    if source is None:
        raise OptionError("It is not said which bitmap is to be merged into it")
    if not isinstance(image, HasBitmaps):
        raise _not_found(image, name)
    find_bitmap(image, name)
    found = find_bitmap(other, source)
    # That nobody can use it is said of the target first.
    image.dirty_pieces(name)
    pieces = _holder(other, source).dirty_pieces(source)
    check_sizes(image, other)
    if other is image and source == name:
        pieces = iter(())
    image.merge_into_bitmap(name, found.granularity, pieces)


def check_sizes(image: Image, other: Image) -> None:
    """Bits of ``other`` can be merged into a bitmap of ``image`` only if both are of one size.

    :raises OptionError: they are not
    """
    if other.size != image.size:
        raise OptionError(
            "Bitmaps are of different sizes (destination size is %d, source size is %d) and can't be merged"
            % (image.size, other.size),
            path=image.filename,
            remedy="resize one of the images first",
        )


def _capable(image: Image) -> HasBitmaps:
    if not isinstance(image, HasBitmaps):
        raise UnsupportedOperationError(
            "Can't store persistent bitmaps to %s: Operation not supported" % image.filename,
            path=image.filename,
            format=image.format,
            remedy="convert the image to %s" % RICHEST,
        )
    return image


def _holder(image: Image, name: str) -> HasBitmaps:
    if not isinstance(image, HasBitmaps):
        raise _not_found(image, name)
    return image


def find_bitmap(image: Image, name: str) -> BitmapInfo:
    """The bitmap of that name.

    :raises OptionError: there is none
    """
    if isinstance(image, HasBitmaps):
        for bitmap in image.bitmaps:
            if bitmap.name == name:
                return bitmap
    raise _not_found(image, name)


def _not_found(image: Image, name: str) -> OptionError:
    names = [bitmap.name for bitmap in image.bitmaps] if isinstance(image, HasBitmaps) else []
    return OptionError(
        "Dirty bitmap '%s' not found" % name,
        path=image.filename,
        format=image.format,
        remedy="the image has %s" % (", ".join("'%s'" % each for each in names) or "no bitmaps"),
    )


def _ranges(image: Image, name: str) -> Iterator[tuple[int, int]]:
    found = find_bitmap(image, name)
    return byte_ranges(_holder(image, name).dirty_pieces(name), found.granularity, image.size)


# One thing done to one bitmap.


def add_bitmap(
    reference: Reference,
    name: str,
    granularity: int | None = None,
    enabled: bool = True,
    format: str | None = None,
    opener: Opener | None = None,
) -> None:
    """Add a persistent dirty bitmap.

    :param name: its name
    :param granularity: guest bytes per bit, a power of two from 512 on; ``None``: the format's default
    :param enabled: whether it records guest writes from now on
    :raises OptionError: the name is taken, or the image cannot have such a bitmap
    :raises UnsupportedOperationError: the format has no bitmaps
    """
    actions = [BitmapAction(ADD, granularity)]
    if not enabled:
        actions.append(BitmapAction(DISABLE))
    plan_bitmap(reference, name, actions, format, opener=opener).apply()


def remove_bitmap(reference: Reference, name: str, format: str | None = None, opener: Opener | None = None) -> None:
    """Remove a bitmap, even an inconsistent one.

    :param name: of the bitmap
    :raises OptionError: there is no such bitmap
    """
    plan_bitmap(reference, name, [BitmapAction(REMOVE)], format, opener=opener).apply()


def clear_bitmap(reference: Reference, name: str, format: str | None = None, opener: Opener | None = None) -> None:
    """Clear all bits, as after a backup.

    :param name: of the bitmap
    :raises OptionError: there is no such bitmap, or it is inconsistent
    """
    plan_bitmap(reference, name, [BitmapAction(CLEAR)], format, opener=opener).apply()


def enable_bitmap(reference: Reference, name: str, format: str | None = None, opener: Opener | None = None) -> None:
    """Have a bitmap record guest writes from now on.

    :param name: of the bitmap
    :raises OptionError: there is no such bitmap, or it is inconsistent
    """
    plan_bitmap(reference, name, [BitmapAction(ENABLE)], format, opener=opener).apply()


def disable_bitmap(reference: Reference, name: str, format: str | None = None, opener: Opener | None = None) -> None:
    """Have a bitmap record nothing from now on.

    :param name: of the bitmap
    :raises OptionError: there is no such bitmap, or it is inconsistent
    """
    plan_bitmap(reference, name, [BitmapAction(DISABLE)], format, opener=opener).apply()


def merge_bitmap(
    reference: Reference,
    name: str,
    source: str,
    source_image: Reference | None = None,
    source_format: str | None = None,
    format: str | None = None,
    opener: Opener | None = None,
) -> None:
    """Set in a bitmap every bit that is set in another one; granularities may differ.

    :param name: of the bitmap that changes
    :param source: name of the other bitmap
    :param source_image: the image that it belongs to; ``None``: the same image
    :param source_format: format of that
    :raises OptionError: one of them does not exist or is inconsistent, or the images are of different sizes
    """
    actions = [BitmapAction(MERGE, None, source)]
    plan_bitmap(reference, name, actions, format, source_image, source_format, opener).apply()


# Plans to have a bitmap in some state, which do nothing when it is already.


def plan_present(
    reference: Reference,
    name: str,
    granularity: int | None = None,
    enabled: bool | None = None,
    format: str | None = None,
    opener: Opener | None = None,
) -> Plan:
    """Plan to have a bitmap.

    :param granularity: guest bytes per bit; ``None``: the format's default for a new one, any for one that is there
    :param enabled: whether it records guest writes; ``None``: a new one does, one that is there is left alone
    :raises MismatchError: there is one of another granularity, or an inconsistent one
    """
    opener = opener or Opener()
    with opener.open(reference, format, READ, backing=False) as image:
        path, before = image.filename, _document(image, name)
        holder = _capable(image)
        found = next((bitmap for bitmap in holder.bitmaps if bitmap.name == name), None)
        default = holder.default_granularity
    actions = []
    if found is None:
        actions.append(BitmapAction(ADD, granularity))
        if enabled is False:
            actions.append(BitmapAction(DISABLE))
    else:
        if found.inconsistent:
            raise _inconsistent(path, name)
        if granularity is not None and granularity != found.granularity:
            raise MismatchError(
                "Bitmap '%s' has a granularity of %d bytes, not %d" % (name, found.granularity, granularity),
                path=path,
                remedy="a granularity cannot be changed: remove the bitmap first",
            )
        if enabled is not None and enabled != found.enabled:
            actions.append(BitmapAction(ENABLE if enabled else DISABLE))
    after = {**before, "state": "present"}
    if found is None:
        after.update(
            granularity=granularity or default, enabled=enabled is not False, inconsistent=False, dirty_bytes=0
        )
    elif enabled is not None:
        after["enabled"] = enabled
    return _plan(path, reference, name, actions, before, after, format, None, None, opener)


def _inconsistent(path: str, name: str) -> MismatchError:
    return MismatchError(
        "Bitmap '%s' is inconsistent and cannot be used" % name,
        path=path,
        remedy="remove it: a program died while it was in use, and nobody knows what it missed",
    )


def plan_absent(reference: Reference, name: str, format: str | None = None, opener: Opener | None = None) -> Plan:
    """Plan to have no bitmap of that name."""
    opener = opener or Opener()
    with opener.open(reference, format, READ, backing=False) as image:
        path, before = image.filename, _document(image, name)
    actions = [] if before["state"] == "absent" else [BitmapAction(REMOVE)]
    return _plan(path, reference, name, actions, before, _absent(name), format, None, None, opener)


def plan_cleared(reference: Reference, name: str, format: str | None = None, opener: Opener | None = None) -> Plan:
    """Plan to have a bitmap without a bit set.

    :raises OptionError: there is no such bitmap, or it is inconsistent
    """
    return _plan_change(reference, name, CLEAR, {"dirty_bytes": 0}, format, opener)


def plan_enabled(reference: Reference, name: str, format: str | None = None, opener: Opener | None = None) -> Plan:
    """Plan to have a bitmap record guest writes; errors as for :func:`plan_cleared`."""
    return _plan_change(reference, name, ENABLE, {"enabled": True}, format, opener)


def plan_disabled(reference: Reference, name: str, format: str | None = None, opener: Opener | None = None) -> Plan:
    """Plan to have a bitmap record nothing; errors as for :func:`plan_cleared`."""
    return _plan_change(reference, name, DISABLE, {"enabled": False}, format, opener)


def _plan_change(
    reference: Reference,
    name: str,
    kind: BitmapChange,
    wanted: dict[str, Any],
    format: str | None,
    opener: Opener | None,
) -> Plan:
    opener = opener or Opener()
    with opener.open(reference, format, READ, backing=False) as image:
        path = image.filename
        if find_bitmap(image, name).inconsistent:
            raise _inconsistent(path, name)
        before = _document(image, name)
    after = {**before, **wanted}
    actions = [] if after == before else [BitmapAction(kind)]
    return _plan(path, reference, name, actions, before, after, format, None, None, opener)


def plan_merged(
    reference: Reference,
    name: str,
    sources: Sequence[str],
    format: str | None = None,
    source: Reference | None = None,
    source_format: str | None = None,
    opener: Opener | None = None,
) -> Plan:
    """Plan to have every bit of some bitmaps set in another one.

    :param sources: names of bitmaps of ``source``
    :param source: the image that they are in; ``None``: the same image
    :raises OptionError: one of the bitmaps does not exist or is inconsistent
    """
    opener = opener or Opener()
    with opener.open(reference, format, READ, backing=False) as image:
        path = image.filename
        found = find_bitmap(image, name)
        if found.inconsistent:
            raise _inconsistent(path, name)
        before = _document(image, name)
        marked = _granules(_ranges(image, name), found.granularity)
        if source is None:
            missing = [each for each in sources if _mark(marked, found.granularity, image, each)]
        else:
            with opener.open(source, source_format, READ, backing=False) as other:
                check_sizes(image, other)
                missing = [each for each in sources if _mark(marked, found.granularity, other, each)]
        after = {**before, "dirty_bytes": _dirty_bytes(marked, found.granularity, image.size)}
    actions = [BitmapAction(MERGE, None, each) for each in missing]
    return _plan(path, reference, name, actions, before, after, format, source, source_format, opener)


def _granules(ranges: Iterator[tuple[int, int]], granularity: int) -> IntervalSet:
    marked = IntervalSet()
    for offset, length in ranges:
        marked.add(offset // granularity, -(-(offset + length) // granularity))
    return marked


def _mark(marked: IntervalSet, granularity: int, other: Image, source: str) -> bool:
    """Mark what another bitmap marks; whether anything was missing."""
    before = marked.total
    for start, end in _granules(_ranges(other, source), granularity):
        marked.add(start, end)
    return marked.total != before


def _dirty_bytes(marked: IntervalSet, granularity: int, size: int) -> int:
    return sum(min(end * granularity, size) - min(start * granularity, size) for start, end in marked)


def _document(image: Image, name: str) -> dict[str, Any]:
    """What a difference shows of a bitmap."""
    for bitmap in image.bitmaps if isinstance(image, HasBitmaps) else []:
        if bitmap.name == name:
            document = {
                "name": name,
                "state": "present",
                "granularity": bitmap.granularity,
                "enabled": bitmap.enabled,
                "inconsistent": bitmap.inconsistent,
            }
            if not bitmap.inconsistent:
                document["dirty_bytes"] = sum(length for _offset, length in _ranges(image, name))
            return document
    return _absent(name)


def _absent(name: str) -> dict[str, Any]:
    return {"name": name, "state": "absent"}
