# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Internal snapshots: listing, taking, reverting to and deleting them."""
from __future__ import annotations

import time

from ..errors import OptionError, UnsupportedOperationError
from ..formats.base import HasSnapshots
from ..formats.opening import READ, WRITE, Opener
from .plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..formats.base import Image, SnapshotInfo
    from ..formats.opening import Reference
    from .plan import Progress


def list_snapshots(
    reference: Reference, format: str | None = None, opener: Opener | None = None
) -> list[SnapshotInfo]:
    """The snapshots of an image, in the order of its table; none for a format without snapshots."""
    with (opener or Opener()).open(reference, format, READ) as image:
        return image.snapshots if isinstance(image, HasSnapshots) else []


def find_snapshot(snapshots: list[SnapshotInfo], wanted: str) -> SnapshotInfo | None:
    """The snapshot with this id, or else the first with this name."""
    for snapshot in snapshots:
        if snapshot.id == wanted:
            return snapshot
    return find_by_name(snapshots, wanted)


def find_by_name(snapshots: list[SnapshotInfo], name: str) -> SnapshotInfo | None:
    """The first snapshot with this name."""
    for snapshot in snapshots:
        if snapshot.name == name:
            return snapshot
    return None


def plan_create(
    reference: Reference,
    name: str,
    format: str | None = None,
    only_if_missing: bool = False,
    opener: Opener | None = None,
) -> Plan:
    """Plan to keep the present content as a snapshot.

    :param only_if_missing: do nothing if there is one of that name or id
    :raises UnsupportedOperationError: the format has no snapshots
    """
    opener = opener or Opener()
    path, names = _names(reference, format, opener)
    if only_if_missing and find_snapshot(names, name) is not None:
        return Plan(path, [], _document(names), _document(names), _nothing)

    def run(_progress: Progress) -> SnapshotInfo:
        with opener.open(reference, format, WRITE) as image:
            now = time.time_ns()
            return _snapshots(image).create_snapshot(name, now // 1000000000, now % 1000000000)

    after = _document(names)
    after["snapshots"].append(name)
    return Plan(path, ["take snapshot '%s'" % name], _document(names), after, run)


def plan_delete(
    reference: Reference,
    name: str,
    format: str | None = None,
    by_name_only: bool = False,
    opener: Opener | None = None,
) -> Plan:
    """Plan to delete a snapshot; an empty plan if there is none.

    :param by_name_only: do not take ``name`` for an id
    """
    opener = opener or Opener()
    path, snapshots = _names(reference, format, opener)
    find = find_by_name if by_name_only else find_snapshot
    found = find(snapshots, name)
    if found is None:
        return Plan(path, [], _document(snapshots), _document(snapshots), _nothing)

    def run(_progress: Progress) -> None:
        with opener.open(reference, format, WRITE) as image:
            target = find(_snapshots(image).snapshots, name)
            if target is not None:
                _snapshots(image).delete_snapshot(target)

    rest = [snapshot for snapshot in snapshots if snapshot is not found]
    action = "delete snapshot '%s' (id %s)" % (found.name, found.id)
    return Plan(path, [action], _document(snapshots), _document(rest), run)


def plan_apply(
    reference: Reference, name: str, format: str | None = None, opener: Opener | None = None
) -> Plan:
    """Plan to make the guest disk what it was when a snapshot was taken.

    :param name: id or name
    :raises OptionError: there is no such snapshot
    """
    opener = opener or Opener()
    path, snapshots = _names(reference, format, opener)
    found = find_snapshot(snapshots, name)
    if found is None:
        raise OptionError(
            "Failed to load snapshot: No such file or directory",
            path=path,
            remedy="there is no snapshot '%s'; there are: %s"
            % (name, ", ".join("'%s'" % snapshot.name for snapshot in snapshots) or "none"),
        )

    def run(_progress: Progress) -> None:
        with opener.open(reference, format, WRITE) as image:
            target = find_snapshot(_snapshots(image).snapshots, name)
            if target is not None:
                _snapshots(image).apply_snapshot(target)

    action = "revert to snapshot '%s' (id %s)" % (found.name, found.id)
    return Plan(path, [action], _document(snapshots), _document(snapshots), run)


def _names(reference: Reference, format: str | None, opener: Opener) -> tuple[str, list[SnapshotInfo]]:
    """The image's name and its snapshots."""
    with opener.open(reference, format, READ, backing=False) as image:
        return image.filename, _snapshots(image).snapshots


def _snapshots(image: Image) -> HasSnapshots:
    if not isinstance(image, HasSnapshots):
        raise UnsupportedOperationError(
            "Format driver '%s' does not support internal snapshots" % image.format,
            path=image.filename,
            format=image.format,
            remedy="convert the image to qcow2, or use an overlay instead",
        )
    return image


def _document(snapshots: list[SnapshotInfo]) -> dict[str, Any]:
    return {"snapshots": [snapshot.name for snapshot in snapshots]}


def _nothing(_progress: Progress) -> None:
    """There is nothing to do."""
