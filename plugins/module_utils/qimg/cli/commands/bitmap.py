# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``bitmap``: change the persistent dirty bitmaps of an image."""

from __future__ import annotations

from ...operations.bitmap import ADD, CLEAR, DISABLE, ENABLE, MERGE, REMOVE, REMOVE_ALL, BitmapAction, plan_bitmap
from .. import arguments as common
from ..options import Command, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..console import Console
    from ..options import Arguments


def _action(kind: str) -> Callable[[str], BitmapAction]:
    return lambda source: BitmapAction(kind, None, source if kind == MERGE else None)


COMMAND = Command(
    "bitmap",
    "Perform modifications of the persistent bitmap in the image",
    "FILENAME [BITMAP]",
    (
        common.FORMAT,
        # All of these are one attribute, because their order counts.
        Option("actions", "", ("add",), "", "create the bitmap; it records guest writes", _action(ADD), True),
        Option("actions", "", ("remove",), "", "delete the bitmap", _action(REMOVE), True),
        Option("actions", "", ("remove-all",), "", "delete all bitmaps", _action(REMOVE_ALL), True),
        Option("actions", "", ("clear",), "", "clear the bitmap", _action(CLEAR), True),
        Option("actions", "", ("enable",), "", "have the bitmap record guest writes", _action(ENABLE), True),
        Option("actions", "", ("disable",), "", "have the bitmap record nothing", _action(DISABLE), True),
        Option("actions", "", ("merge",), "SOURCE", "mark what bitmap SOURCE marks, too", _action(MERGE), True),
        Option(
            "granularity",
            "g",
            ("granularity",),
            "SIZE",
            "guest bytes per bit, for --add (0: the default)",
            common.size_argument("granularity"),
        ),
        Option("source_file", "b", ("source-file",), "FILE", "the image of SOURCE (without it, FILENAME itself)"),
        Option("source_format", "F", ("source-format",), "FMT", "its format"),
        common.OBJECT,
        common.IMAGE_OPTS,
    ),
    "What is to be done is done in the order in which it is given, and all of it or nothing.",
)


def run(console: Console, arguments: Arguments) -> int:
    _check(arguments)
    filename, name = arguments.operands if len(arguments.operands) == 2 else (arguments.operands[0], "")
    actions = [
        action._replace(granularity=arguments.granularity or None) if action.kind == ADD else action
        for action in arguments.actions
    ]
    plan_bitmap(
        common.source_of(console, arguments, filename),
        name,
        actions,
        arguments.format,
        arguments.source_file,
        arguments.source_format,
        common.opener_for(console, arguments),
    ).apply()
    return 0


def _check(arguments: Arguments) -> None:
    """Refuse what contradicts itself.

    :raises UsageError: in qemu-img's words
    """
    kinds = {action.kind for action in arguments.actions}
    for wrong, message in (
        (not kinds, "Need at least one of --add, --remove, --remove-all, --clear, --enable, --disable, or --merge"),
        (arguments.granularity is not None and ADD not in kinds, "granularity only supported with --add"),
        (arguments.source_format is not None and arguments.source_file is None, "-F only supported with -b"),
        (
            arguments.source_file is not None and MERGE not in kinds,
            "Merge bitmap source file only supported with --merge",
        ),
        (len(arguments.operands) != 1 and kinds == {REMOVE_ALL}, "Expecting filename"),
        (len(arguments.operands) != 2 and kinds != {REMOVE_ALL}, "Expecting filename and bitmap name"),
    ):
        if wrong:
            raise UsageError(message)
