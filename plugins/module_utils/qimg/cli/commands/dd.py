# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``dd``: copy blocks of a guest disk into a new image."""

from __future__ import annotations

from ...errors import ImageError
from ...formats.driver_names import is_driver
from ...operations.dd import MAX_BLOCK_SIZE, DdRequest, plan_dd
from .. import arguments as common
from ..options import Command, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..console import Console
    from ..options import Arguments

COMMAND = Command(
    "dd",
    "Copy input to output with optional format conversion",
    "[bs=BLOCK_SIZE] [count=BLOCKS] [skip=BLOCKS] if=INPUT of=OUTPUT",
    (
        Option("format", "f", ("format",), "FMT", "format of INPUT; without it, it is detected"),
        Option("output_format", "O", ("output-format",), "FMT", "format of OUTPUT (default: raw)"),
        common.FORCE_SHARE,
        common.OBJECT,
        Option("image_opts", "", ("image-opts",), "", "INPUT is a complete specification of an image"),
    ),
    "bs is the size of a block (default: 512); count is how many blocks of INPUT matter (default: all), skip how many\n"
    "of these are left out at the beginning.",
)

_NUMBERS = {
    "bs": common.size_argument("bs", 1, MAX_BLOCK_SIZE),
    "count": common.size_argument("count"),
    "skip": common.size_argument("skip"),
}


def run(console: Console, arguments: Arguments) -> int:
    names: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for operand in arguments.operands:
        name, equals, value = operand.partition("=")
        if equals and name in ("if", "of"):
            names[name] = value
        elif equals and name in _NUMBERS:
            numbers[name] = _NUMBERS[name](value)
        else:
            raise UsageError("unrecognized operand %s" % name)
    if len(names) != 2:
        raise UsageError("Must specify both input and output files")
    request = DdRequest(
        common.source_of(console, arguments, names["if"]),
        names["of"],
        arguments.format,
        "raw" if arguments.output_format is None else arguments.output_format,
        numbers.get("bs", 512),
        numbers.get("count"),
        numbers.get("skip", 0),
    )
    opener = common.opener_for(console, arguments)
    try:
        if not is_driver(request.format):
            # After the input, as with qemu-img.
            opener.open(request.source, request.source_format).abandon()
            raise UsageError("Unknown file format")
        plan = plan_dd(request, opener)
        if plan.past_end:
            console.error("%s: cannot skip to specified offset" % names["if"])
        plan.apply()
    except ImageError as error:
        is_new = error.while_creating is not None
        console.image_error(error, "%s: error while creating output image: " % request.target if is_new else "")
        return 1
    return 0
