# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``measure``: say how large a new image would become."""

from __future__ import annotations

from ...errors import OptionError
from ...operations.measure import measure_image, measure_size
from .. import arguments as common
from ..options import Command, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..console import Console
    from ..options import Arguments

COMMAND = Command(
    "measure",
    "Calculate file size required for a new image",
    "(--size SIZE | FILENAME)",
    (
        Option("target_format", "O", ("target-format",), "FMT", "format of the new image (default: raw)"),
        common.FORMAT_OPTIONS._replace(long=("options", "target-format-options")),
        Option("size", "s", ("size",), "SIZE", "bytes of an empty new image", common.size_argument("image size")),
        common.FORMAT._replace(long=("format", "source-format")),
        Option("snapshot", "l", ("snapshot",), "SNAPSHOT", "read this snapshot of FILENAME", common.snapshot_argument),
        common.OUTPUT,
        common.FORCE_SHARE,
        common.OBJECT,
        common.IMAGE_OPTS._replace(long=("image-opts", "source-image-opts")),
    ),
    "FILENAME is an image that would be converted; what it has decides how much is required.",
)


def run(console: Console, arguments: Arguments) -> int:
    _check(arguments)
    target_format = "raw" if arguments.target_format is None else arguments.target_format
    values = common.option_values(common.joined(arguments.options))
    try:
        if arguments.size is not None:
            measurement = measure_size(arguments.size, target_format, values)
        else:
            measurement = measure_image(
                common.source_of(console, arguments, arguments.operands[0]),
                target_format,
                values,
                arguments.format,
                arguments.snapshot,
                common.opener_for(console, arguments),
            )
    except OptionError as error:
        console.image_error(error)
        if error.while_creating is not None:
            console.error("Invalid options for file format '%s'" % error.while_creating)
        return 1
    if arguments.output == "json":
        from ...json_writer import pretty

        console.write(pretty(measurement.document()))
        return 0
    console.write("required size: %d\n" % measurement.required)
    console.write("fully allocated size: %d\n" % measurement.fully_allocated)
    if measurement.bitmaps is not None:
        console.write("bitmaps size: %d\n" % measurement.bitmaps)
    return 0


def _check(arguments: Arguments) -> None:
    """Refuse what contradicts itself.

    :raises UsageError: in qemu-img's words
    """
    count = len(arguments.operands)
    of_a_file = arguments.image_opts or arguments.format is not None or arguments.snapshot is not None
    for wrong, message in (
        (count > 1, "At most one filename argument is allowed."),
        (not count and of_a_file, "--image-opts, -f, and -l require a filename argument."),
        (not count and arguments.size is None, "Either --size N or one filename must be specified."),
        (count and arguments.size is not None, "--size N cannot be used together with a filename."),
    ):
        if wrong:
            raise UsageError(message)
