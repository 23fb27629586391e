# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``snapshot``: list, take, delete internal snapshots, and revert to them."""

from __future__ import annotations

from ...errors import ImageError, UnsupportedOperationError
from ...operations.snapshot import (
    find_by_name,
    list_snapshots,
    plan_apply_snapshot,
    plan_create_snapshot,
    plan_delete_snapshot,
)
from .. import arguments as common
from ..options import Command, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ...formats.opening import Opener
    from ...references import Reference
    from ..console import Console
    from ..options import Arguments

#: Bytes of a name that are kept.
_MAX_NAME = 255
#: What qemu-img says where there can be no snapshots.
_UNSUPPORTED = {
    "create": "Operation not supported",
    "apply": "Block driver does not support snapshots",
    "delete": "snapshot not found",
}


def _action(kind: str) -> Callable[[tuple[str, str] | None, str], tuple[str, str]]:
    """What is to be done, and to which snapshot; only one thing can be."""

    def choose(before: tuple[str, str] | None, name: str) -> tuple[str, str]:
        if before is not None:
            raise UsageError("Cannot mix '-l', '-a', '-c', '-d'", True)
        return kind, name

    return choose


COMMAND = Command(
    "snapshot",
    "List or manipulate internal snapshots",
    "FILENAME",
    (
        common.FORMAT,
        Option("action", "l", ("list",), "", "list the snapshots (without any of these, too)", collect=_action("list")),
        Option("action", "c", ("create",), "SNAPSHOT", "take a snapshot", collect=_action("create")),
        Option("action", "a", ("apply",), "SNAPSHOT", "revert to a snapshot", collect=_action("apply")),
        Option("action", "d", ("delete",), "SNAPSHOT", "delete a snapshot", collect=_action("delete")),
        common.QUIET,
        common.FORCE_SHARE,
        common.OBJECT,
        common.IMAGE_OPTS,
    ),
)


def run(console: Console, arguments: Arguments) -> int:
    filename = common.one_filename(arguments)
    opener = common.opener_for(console, arguments)
    reference = common.source_of(console, arguments, filename)
    action, name = arguments.action or ("list", "")
    if action == "list":
        return _list(console, arguments, opener, reference)
    opener = common.try_to_write(opener, reference, arguments.format)
    try:
        if action == "create":
            plan_create_snapshot(reference, _truncated(name), arguments.format, opener=opener).apply()
        elif action == "apply":
            plan_apply_snapshot(reference, name, arguments.format, opener=opener).apply()
        else:
            plan = plan_delete_snapshot(reference, name, arguments.format, find_by_name, opener)
            if not plan.changed:
                console.error("Could not delete snapshot '%s': snapshot not found" % name)
                return 1
            plan.apply()
    except ImageError as error:
        if error.while_opening is not None:
            raise
        if isinstance(error, UnsupportedOperationError):
            if action == "apply":
                # qemu-img opens the image twice for this, and warns twice if it has to guess the format.
                common.try_to_write(common.opener_for(console, arguments), reference, arguments.format)
            error.reason = _UNSUPPORTED[action]
        console.image_error(error, "Could not %s snapshot '%s': " % (action, name))
        return 1
    return 0


def _list(console: Console, arguments: Arguments, opener: Opener, reference: Reference) -> int:
    snapshots = list_snapshots(reference, arguments.format, opener)
    if snapshots:
        from ..tables import snapshot_rows

        console.write("Snapshot list:\n")
        for row in snapshot_rows(snapshots):
            console.write(row + "\n")
    return 0


def _truncated(name: str) -> str:
    import os

    return os.fsdecode(os.fsencode(name)[:_MAX_NAME])
