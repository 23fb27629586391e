# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Internal snapshots: listing, taking, reverting to and deleting them."""
from __future__ import annotations

import time

from ..errors import OptionError, UnknownContentError, UnsupportedOperationError
from ..formats import RICHEST
from ..formats.capabilities import HasSnapshots
from ..formats.driver import READ, WRITE
from ..formats.naming import without_backing_options
from ..formats.nested import with_snapshots
from ..formats.opening import Opener
from .compare import compare_images
from .plan import Altered, Plan, nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Optional, Union

    from ..formats.base import Image
    from ..formats.capabilities import SnapshotInfo
    from ..references import Reference
    from .plan import Progress

    #: An id or a name, or a pair of an id and a name, which both have to match unless ``None``.
    SnapshotName = Union[str, tuple[Optional[str], Optional[str]]]
    Finder = Callable[[list[SnapshotInfo], str], Optional[SnapshotInfo]]


def list_snapshots(
    reference: Reference, format: str | None = None, opener: Opener | None = None
) -> list[SnapshotInfo]:
    """The snapshots of an image, in the order of its table; none for a format without snapshots."""
    with (opener or Opener()).open(reference, format, READ) as image:
        holder = with_snapshots(image)
        return holder.snapshots if holder is not None else []


def find_snapshot(snapshots: list[SnapshotInfo], wanted: str) -> SnapshotInfo | None:
    """The snapshot with this id, or else the first with this name."""
    return find_by_id(snapshots, wanted) or find_by_name(snapshots, wanted)


def find_by_id(snapshots: list[SnapshotInfo], id: str) -> SnapshotInfo | None:
    """The snapshot with this id."""
    return next((snapshot for snapshot in snapshots if snapshot.id == id), None)


def find_exact(
    snapshots: list[SnapshotInfo], id: str | None = None, name: str | None = None
) -> SnapshotInfo | None:
    """The first snapshot of this id, of this name, or of both."""
    for snapshot in snapshots:
        if id in (None, snapshot.id) and name in (None, snapshot.name):
            return snapshot
    return None


def find_by_name(snapshots: list[SnapshotInfo], name: str) -> SnapshotInfo | None:
    """The first snapshot with this name."""
    return next((snapshot for snapshot in snapshots if snapshot.name == name), None)


def find_by_unique_name(snapshots: list[SnapshotInfo], name: str) -> SnapshotInfo | None:
    """The only snapshot with this name.

    :raises OptionError: there are several
    """
    found = [snapshot for snapshot in snapshots if snapshot.name == name]
    if len(found) > 1:
        raise OptionError(
            "There are %d snapshots named '%s'" % (len(found), name),
            remedy="say which by its id: %s" % ", ".join(snapshot.id for snapshot in found),
        )
    return found[0] if found else None


def show_snapshot(image: Image, wanted: SnapshotName) -> None:
    """Have an image that is only read show a snapshot.

    :param wanted: its id or else its name, or a pair of an id and a name, which both have to match unless ``None``
    :raises OptionError: there is no such snapshot
    """
    if not isinstance(image, HasSnapshots):
        raise UnsupportedOperationError(
            "Failed to load snapshot: Block format '%s' used by device '' does not support temporarily loading "
            "internal snapshots" % image.format,
            path=image.filename,
            format=image.format,
            remedy="an image of this format has no snapshots",
        )
    if isinstance(wanted, str):
        snapshot = find_snapshot(image.snapshots, wanted)
    else:
        snapshot = find_exact(image.snapshots, *wanted)
    if snapshot is None:
        raise OptionError(
            "Failed to load snapshot: Can't find snapshot",
            path=image.filename,
            remedy="list the snapshots of the image to see which there are",
        )
    image.view_snapshot(snapshot)


def open_snapshot(
    reference: Reference, wanted: SnapshotName, format: str | None = None, *, opener: Opener | None = None
) -> Image:
    """Open an image for reading what its guest disk held when an internal snapshot was taken.

    As for ``convert -l``, the disk has its present size.

    :param wanted: the snapshot: its id or its name, or a pair of an id and a name, which both have to match unless
        ``None``
    :returns: the guest disk, to be used in a ``with`` block
    :raises OptionError: there is no such snapshot
    :raises ImageError: the image cannot be opened
    """
    image = (opener or Opener()).open(reference, format, READ)
    try:
        show_snapshot(image, wanted)
    except BaseException:
        image.abandon()
        raise
    return image


class CreateSnapshotPlan(Plan):
    """A plan that makes a snapshot."""

    def apply(self, progress: Progress | None = None) -> SnapshotInfo | None:
        """Make it.

        :returns: the new snapshot; ``None`` for an empty plan
        """
        taken: SnapshotInfo | None = super().apply(progress)
        return taken


def plan_create_snapshot(
    reference: Reference,
    name: str,
    format: str | None = None,
    only_if_missing: bool = False,
    opener: Opener | None = None,
) -> CreateSnapshotPlan:
    """Plan to keep the present content as a snapshot.

    :param reference: the image
    :param name: of the snapshot; names need not be unique
    :param format: of the image; ``None``: detect it
    :param only_if_missing: do nothing if there is one of that name
    :param opener: which files may be opened, and how
    :raises OptionError: there can be no snapshot of that name
    :raises UnsupportedOperationError: the format has no snapshots
    """
    opener = opener or Opener()
    path, names = _names(reference, format, opener)
    if "\0" in name:
        raise OptionError("A snapshot's name cannot have a zero byte in it", path=path)
    if only_if_missing and find_by_name(names, name) is not None:
        return CreateSnapshotPlan(path, [], _document(names), _document(names), nothing, opener)

    def run(opener: Opener, _progress: Progress) -> SnapshotInfo:
        with opener.open(reference, format, WRITE) as image:
            now = time.time_ns()
            return _snapshots(image).create_snapshot(name, now // 1000000000, now % 1000000000)

    after = _document(names)
    after["snapshots"].append(name)
    return CreateSnapshotPlan(path, ["take snapshot '%s'" % name], _document(names), after, run, opener)


def plan_delete_snapshot(
    reference: Reference,
    wanted: str,
    format: str | None = None,
    find: Finder = find_snapshot,
    opener: Opener | None = None,
) -> Plan:
    """Plan to delete a snapshot; an empty plan if there is none.

    :param reference: the image
    :param wanted: its id or its name
    :param format: of the image; ``None``: detect it
    :param find: which one that is: gets all snapshots and ``wanted``; by default the one with that id, or else the
        first with that name
    :param opener: which files may be opened, and how
    :raises UnsupportedOperationError: the format has no snapshots
    """
    opener = opener or Opener()
    path, snapshots = _names(reference, format, opener)
    found = _find(path, snapshots, wanted, find)
    if found is None:
        return Plan(path, [], _document(snapshots), _document(snapshots), nothing, opener)

    def run(opener: Opener, _progress: Progress) -> None:
        with opener.open(reference, format, WRITE) as image:
            target = find(_snapshots(image).snapshots, wanted)
            if target is not None:
                _snapshots(image).delete_snapshot(target)

    rest = [snapshot for snapshot in snapshots if snapshot is not found]
    action = "delete snapshot '%s' (id %s)" % (found.name, found.id)
    return Plan(path, [action], _document(snapshots), _document(rest), run, opener)


def plan_apply_snapshot(
    reference: Reference,
    wanted: str,
    format: str | None = None,
    find: Finder = find_snapshot,
    unless_same: bool = False,
    opener: Opener | None = None,
) -> Plan:
    """Plan to make the guest disk what it was when a snapshot was taken.

    :param reference: the image
    :param wanted: its id or its name
    :param format: of the image; ``None``: detect it
    :param find: which one that is, as for :func:`plan_delete_snapshot`
    :param unless_same: do nothing if the guest disk reads like the snapshot already; what both share is not read
    :param opener: which files may be opened, and how
    :raises OptionError: there is no such snapshot
    :raises UnsupportedOperationError: the format has no snapshots
    """
    opener = opener or Opener()
    path, snapshots = _names(reference, format, opener)
    found = _find(path, snapshots, wanted, find)
    if found is None:
        with opener.open(without_backing_options(reference), format, READ, backing=False) as image:
            _snapshots(image).check_apply()
        raise OptionError(
            "Failed to load snapshot: No such file or directory",
            path=path,
            remedy="there is no snapshot '%s'; there are: %s"
            % (wanted, ", ".join("'%s'" % snapshot.name for snapshot in snapshots) or "none"),
        )
    difference = _difference(reference, found, format, opener) if unless_same else "not compared"
    if difference is None:
        return Plan(path, [], _document(snapshots), _document(snapshots), nothing, opener)

    def run(opener: Opener, _progress: Progress) -> None:
        with opener.open(reference, format, WRITE) as image:
            target = find(_snapshots(image).snapshots, wanted)
            if target is not None:
                _snapshots(image).apply_snapshot(target)

    action = "revert to snapshot '%s' (id %s)" % (found.name, found.id)
    before = {"content": difference, **_document(snapshots)}
    after = {"content": "that of snapshot '%s' (id %s)" % (found.name, found.id), **_document(snapshots)}
    plan = Plan(path, [action], before, after, run, opener)
    plan.altered = (Altered(path),)
    return plan


def create_snapshot(
    reference: Reference, name: str, format: str | None = None, opener: Opener | None = None
) -> SnapshotInfo:
    """Keep the present content as an internal snapshot; arguments and errors as for :func:`plan_create_snapshot`.

    :returns: the new snapshot
    """
    # Such a plan is never empty.
    return plan_create_snapshot(reference, name, format, opener=opener).apply()  # type: ignore[return-value]


def apply_snapshot(
    reference: Reference,
    wanted: str,
    format: str | None = None,
    *,
    find: Finder = find_snapshot,
    unless_same: bool = False,
    opener: Opener | None = None,
) -> None:
    """Make the guest disk what it was when a snapshot was taken; see :func:`plan_apply_snapshot`."""
    plan_apply_snapshot(reference, wanted, format, find, unless_same, opener).apply()


def delete_snapshot(
    reference: Reference,
    wanted: str,
    format: str | None = None,
    *,
    find: Finder = find_snapshot,
    opener: Opener | None = None,
) -> None:
    """Delete an internal snapshot; nothing is done if there is none; see :func:`plan_delete_snapshot`."""
    plan_delete_snapshot(reference, wanted, format, find, opener).apply()


def _difference(reference: Reference, snapshot: SnapshotInfo, format: str | None, opener: Opener) -> str | None:
    """In what the guest disk differs from a snapshot of it; ``None``: in nothing."""
    with opener.open(reference, format, READ) as now:
        if now.size != snapshot.disk_size:
            return "%d bytes, not %d" % (now.size, snapshot.disk_size)
        with opener.open(reference, format, READ) as then:
            _snapshots(then).view_snapshot(snapshot)
            try:
                result = compare_images(now, then)
            except UnknownContentError:
                return "not known before it has been made"
    return None if result.identical else "differs at offset %s" % result.offset


def _find(path: str, snapshots: list[SnapshotInfo], wanted: str, find: Finder) -> SnapshotInfo | None:
    try:
        return find(snapshots, wanted)
    except OptionError as error:
        error.path = path
        raise


def _names(reference: Reference, format: str | None, opener: Opener) -> tuple[str, list[SnapshotInfo]]:
    """The image's name and its snapshots."""
    with opener.open(without_backing_options(reference), format, READ, backing=False) as image:
        return image.filename, _snapshots(image).snapshots


def _snapshots(image: Image) -> HasSnapshots:
    holder = with_snapshots(image)
    if holder is None:
        raise UnsupportedOperationError(
            "Format driver '%s' does not support internal snapshots" % image.format,
            path=image.filename,
            format=image.format,
            remedy="convert the image to %s, or use an overlay instead" % RICHEST,
        )
    return holder


def _document(snapshots: list[SnapshotInfo]) -> dict[str, Any]:
    return {"snapshots": [snapshot.name for snapshot in snapshots]}
