# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Changes in one call: each function plans the change and makes it.

Who wants to know first what would be done calls the ``plan_…`` function that is named in each docstring, looks at
``plan.actions``, and calls ``plan.apply()``.  Everything is done completely or not at all, and raises an
:class:`~qimg.errors.ImageError` in the latter case.  ``reference`` is a file name, or a ``json:{…}`` one; ``format`` is
its format, ``None``: find out; sizes are bytes; ``opener`` says which files may be opened, and how; ``progress`` is
called with the fraction that is done.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .formats.base import Measurement
    from .formats.opening import Opener, Reference
    from .operations.plan import Progress


def amend(
    reference: Reference, options: dict[str, Any], format: str | None = None, opener: Opener | None = None
) -> None:
    """Change options of an image, for instance ``{"compat": "1.1"}`` (:func:`qimg.plan_amend`)."""
    from .operations.amend import plan_amend

    plan_amend(reference, options, format, opener).apply()


def bench(reference: Reference, format: str | None = None, opener: Opener | None = None, **arguments: Any) -> float:
    """Time simple requests to an image.

    :param arguments: ``count``, ``depth``, ``size``, … as in :class:`qimg.BenchRequest`
    :returns: how many seconds they took
    """
    from .operations.bench import BenchRequest
    from .operations.bench import bench as run

    return run(BenchRequest(reference, format, **arguments), opener)


def add_bitmap(
    reference: Reference,
    name: str,
    granularity: int | None = None,
    enabled: bool = True,
    format: str | None = None,
    opener: Opener | None = None,
) -> None:
    """Create a persistent dirty bitmap (:func:`qimg.plan_bitmap`).

    :param granularity: guest bytes per bit, a power of two from 512 on; ``None``: the format's default
    :param enabled: whether it records guest writes from now on
    """
    from .operations.bitmap import ADD, DISABLE, BitmapAction

    actions = [BitmapAction(ADD, granularity)]
    _bitmap(reference, name, actions if enabled else [*actions, BitmapAction(DISABLE)], format, opener)


def remove_bitmap(
    reference: Reference, name: str, format: str | None = None, opener: Opener | None = None
) -> None:
    """Delete a bitmap."""
    from .operations.bitmap import REMOVE, BitmapAction

    _bitmap(reference, name, [BitmapAction(REMOVE)], format, opener)


def clear_bitmap(reference: Reference, name: str, format: str | None = None, opener: Opener | None = None) -> None:
    """Have a bitmap mark nothing, as after a backup."""
    from .operations.bitmap import CLEAR, BitmapAction

    _bitmap(reference, name, [BitmapAction(CLEAR)], format, opener)


def enable_bitmap(
    reference: Reference, name: str, format: str | None = None, opener: Opener | None = None
) -> None:
    """Have a bitmap record guest writes from now on."""
    from .operations.bitmap import ENABLE, BitmapAction

    _bitmap(reference, name, [BitmapAction(ENABLE)], format, opener)


def disable_bitmap(
    reference: Reference, name: str, format: str | None = None, opener: Opener | None = None
) -> None:
    """Have a bitmap record nothing from now on."""
    from .operations.bitmap import DISABLE, BitmapAction

    _bitmap(reference, name, [BitmapAction(DISABLE)], format, opener)


def merge_bitmap(
    reference: Reference,
    name: str,
    source: str,
    source_image: Reference | None = None,
    source_format: str | None = None,
    format: str | None = None,
    opener: Opener | None = None,
) -> None:
    """Have a bitmap mark also what another one marks.

    :param source: name of the other bitmap
    :param source_image: the image that it belongs to; ``None``: the same image
    """
    from .operations.bitmap import MERGE, BitmapAction, plan_bitmap

    actions = [BitmapAction(MERGE, None, source)]
    plan_bitmap(reference, name, actions, format, source_image, source_format, opener).apply()


def _bitmap(
    reference: Reference, name: str, actions: list[Any], format: str | None, opener: Opener | None
) -> None:
    from .operations.bitmap import plan_bitmap

    plan_bitmap(reference, name, actions, format, opener=opener).apply()


def commit(
    reference: Reference,
    base: str | None = None,
    keep: bool = False,
    rate: int = 0,
    format: str | None = None,
    opener: Opener | None = None,
    progress: Progress | None = None,
) -> None:
    """Merge an overlay into an image below it (:func:`qimg.plan_commit`).

    :param base: file name of the image to write into; ``None``: the overlay's backing file
    :param keep: do not empty the overlay afterwards; implied by ``base``
    :param rate: bytes per second at the most; 0: no limit
    """
    from .operations.commit import plan_commit

    plan_commit(reference, format, base, keep, rate, opener=opener).apply(progress)


def dd(
    source: Reference,
    target: str,
    format: str = "raw",
    block_size: int = 512,
    count: int | None = None,
    skip: int = 0,
    source_format: str | None = None,
    opener: Opener | None = None,
) -> None:
    """Copy blocks of a guest disk into a new image (:func:`qimg.plan_dd`).

    :param format: of the new image
    :param count: how many blocks of the source matter, those that are skipped included; ``None``: all
    :param skip: how many of them to leave out at the beginning
    """
    from .operations.dd import DdRequest, plan_dd

    plan_dd(DdRequest(source, target, source_format, format, block_size, count, skip), opener).apply()


def measure(
    source: Reference | None = None,
    format: str = "raw",
    size: int | None = None,
    options: dict[str, Any] | None = None,
    source_format: str | None = None,
    snapshot: str | None = None,
    opener: Opener | None = None,
) -> Measurement:
    """How many bytes a new image would take: of the content of ``source``, or an empty one of ``size`` bytes.

    :param format: of the new image
    :param options: its creation options, by name
    :param snapshot: id or name of the snapshot of ``source`` that would be converted
    :returns: ``required``, ``fully_allocated`` and ``bitmaps``, all in bytes
    :raises OptionError: neither or both of ``source`` and ``size`` are given
    """
    from .errors import OptionError
    from .operations.measure import measure_image, measure_size

    if (source is None) == (size is None):
        raise OptionError("Either an image or a size can be measured", remedy="give one of source and size")
    if source is None:
        return measure_size(size or 0, format, options)
    return measure_image(source, format, options, source_format, snapshot, opener)


def rebase(
    reference: Reference,
    backing_file: str | None,
    backing_format: str | None = None,
    unsafe: bool = False,
    compress: bool = False,
    format: str | None = None,
    opener: Opener | None = None,
    progress: Progress | None = None,
) -> None:
    """Put an overlay on another backing file; the guest disk stays what it is (:func:`qimg.plan_rebase`).

    :param backing_file: as it is to stand in the overlay; an empty one: none any more
    :param unsafe: only change the name; the new backing file must have the same content as the old one
    :param compress: compress what has to be copied into the overlay
    """
    from .operations.rebase import plan_rebase

    plan_rebase(reference, backing_file, backing_format, format, unsafe, compress, opener).apply(progress)


def resize(
    reference: Reference,
    size: int,
    relative: int = 0,
    shrink: bool = False,
    preallocation: str = "off",
    format: str | None = None,
    opener: Opener | None = None,
) -> None:
    """Change the size of a guest disk (:func:`qimg.plan_resize`).

    :param size: bytes: the new size, or with ``relative`` by how much
    :param relative: 0: absolute; 1: larger by ``size``; -1: smaller by ``size``
    :param shrink: whether the disk may become smaller, which drops what lies behind its new end
    :param preallocation: of the new part: ``off``, ``metadata``, ``falloc`` or ``full``
    """
    from .operations.resize import plan_resize

    plan_resize(reference, size, format, relative, shrink, preallocation, opener=opener).apply()


def create_snapshot(
    reference: Reference, name: str, format: str | None = None, opener: Opener | None = None
) -> None:
    """Keep the present content as an internal snapshot (:func:`qimg.plan_create_snapshot`)."""
    from .operations.snapshot import plan_create

    plan_create(reference, name, format, opener=opener).apply()


def apply_snapshot(
    reference: Reference, wanted: str, format: str | None = None, opener: Opener | None = None
) -> None:
    """Make the guest disk what it was when a snapshot was taken (:func:`qimg.plan_apply_snapshot`).

    :param wanted: the snapshot's id or name
    :raises OptionError: there is none
    """
    from .operations.snapshot import plan_apply

    plan_apply(reference, wanted, format, opener=opener).apply()


def delete_snapshot(
    reference: Reference, wanted: str, format: str | None = None, opener: Opener | None = None
) -> None:
    """Delete an internal snapshot; nothing is done if there is none (:func:`qimg.plan_delete_snapshot`).

    :param wanted: the snapshot's id or name
    """
    from .operations.snapshot import plan_delete

    plan_delete(reference, wanted, format, opener=opener).apply()
