# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``resize``: change the size of a guest disk."""

from __future__ import annotations

from ...errors import ShrinkRefusedError
from ...formats.driver import RESIZE
from ...operations.resize import PREALLOCATIONS, SHRINK_WARNING, check_resize, plan_resize
from ...option_text import parse_size_option
from .. import arguments as common
from ..options import Command, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...operations.resize import Direction
    from ..console import Console
    from ..options import Arguments


def _preallocation(text: str) -> str:
    if text not in PREALLOCATIONS:
        raise UsageError("Invalid preallocation mode '%s'" % text)
    return text


COMMAND = Command(
    "resize",
    "Resize an image",
    "FILENAME [+ | -]SIZE",
    (
        common.FORMAT,
        Option(
            "preallocation",
            "",
            ("preallocation",),
            "MODE",
            "how to allocate new space:\noff, metadata, falloc or full",
            _preallocation,
        ),
        Option("shrink", "", ("shrink",), "", "the image may become smaller, and lose what is at its end"),
        common.QUIET,
        common.OBJECT,
        common.IMAGE_OPTS,
    ),
    "SIZE is in bytes, or with a suffix of k, M, G, T, P or E; with + or -, the image grows or shrinks by so much.",
)


def run(console: Console, arguments: Arguments) -> int:
    if len(arguments.operands) > 2:
        raise UsageError("Extra argument(s) in command line", True)
    if len(arguments.operands) < 2:
        raise UsageError("Expecting image file name and size", True)
    filename, size_text = arguments.operands
    relative: Direction = 1 if size_text.startswith("+") else -1 if size_text.startswith("-") else 0
    size = parse_size_option("size", size_text[1:] if relative else size_text)
    reference = common.source_of(console, arguments, filename)
    opener = common.try_to_write(common.opener_for(console, arguments), reference, arguments.format, RESIZE)
    if size > common.MAX_INT64:
        raise UsageError("New image size must be positive")
    try:
        plan = plan_resize(
            reference,
            size,
            arguments.format,
            relative,
            arguments.shrink,
            arguments.preallocation or "off",
            opener=opener,
        )
    except ShrinkRefusedError as error:
        console.error(error.reason)
        console.warning(SHRINK_WARNING)
        return 1
    if not plan.changed and (arguments.preallocation or "off") != "off":
        raise UsageError("Preallocation can only be used for growing images")
    if not plan.changed:
        check_resize(reference, arguments.format, opener=opener)
    plan.apply()
    if not arguments.quiet:
        console.write("Image resized.\n")
    return 0
