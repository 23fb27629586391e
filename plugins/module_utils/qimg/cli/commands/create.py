# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``create``: make a new image."""

from __future__ import annotations

from ...errors import ImageError
from ...operations.create import OVERWRITE, plan_create
from ...sizes import MAX_UINT64
from .. import arguments as common
from ..format_options import formatting_line, print_help
from ..options import Command, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..console import Console
    from ..options import Arguments

COMMAND = Command(
    "create",
    "Create and format a new image",
    "FILENAME [SIZE]",
    (
        Option("format", "f", ("format",), "FMT", "format of the new image (default: raw)"),
        common.FORMAT_OPTIONS,
        Option("backing", "b", ("backing",), "BACKING", "put the new image on top of this one"),
        Option("backing_format", "BF", ("backing-format",), "FMT", "format of the backing image"),
        Option("unsafe", "u", ("backing-unsafe",), "", "do not look at the backing image"),
        common.QUIET,
        common.OBJECT,
    ),
    "SIZE is in bytes, or with a suffix of k, M, G, T, P or E; without it, the image is as large as its backing image.",
)


def run(console: Console, arguments: Arguments) -> int:
    operands = arguments.operands
    format_name = "raw" if arguments.format is None else arguments.format
    options = common.joined(arguments.options)
    if common.wants_help(options):
        return print_help(console, format_name, operands[0] if operands else None)
    if not operands:
        raise UsageError("Expecting image file name", True)
    filename = operands[0]
    size = common.size_argument("image size")(operands[1]) if len(operands) > 1 else None
    if len(operands) > 2:
        raise UsageError("Unexpected argument: %s" % operands[2], True)
    opener = common.opener_for(console, arguments)
    values = common.option_values(options)
    if size is None and common.size_among(values) == MAX_UINT64:
        # As C has it, this is -1, which stands for no size.
        del values["size"]
    try:
        plan = plan_create(
            filename,
            format_name,
            size,
            values,
            arguments.backing,
            arguments.backing_format,
            open_backing=not arguments.unsafe,
            existing=OVERWRITE,
            opener=opener,
        )
        if not arguments.quiet:
            console.write(formatting_line(filename, format_name, plan.options, values))
        plan.apply()
    except ImageError as error:
        console.image_error(error, filename + ": ")
        return 1
    return 0
