# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``map``: where the bytes of a guest disk lie.

The text is built and written piece by piece: a map can have millions of lines.
"""

from __future__ import annotations

from ...formats.opening import READ
from ...operations.map import extents_of
from .. import arguments as common
from ..options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...formats.base import Extent
    from ..console import Console
    from ..options import Arguments

COMMAND = Command(
    "map",
    "Dump image metadata",
    "FILENAME",
    (
        common.FORMAT,
        common.OUTPUT,
        Option(
            "start",
            "s",
            ("start-offset",),
            "OFFSET",
            "first guest byte to tell about",
            common.size_argument("start offset"),
        ),
        Option(
            "length",
            "l",
            ("max-length",),
            "LENGTH",
            "how many guest bytes to tell about",
            common.size_argument("max length"),
        ),
        common.FORCE_SHARE,
        common.OBJECT,
        common.IMAGE_OPTS,
    ),
)

_BOOL = ("false", "true")
#: So many lines are joined before they are written.
_LINES = 2000


def run(console: Console, arguments: Arguments) -> int:
    filename = common.one_filename(arguments)
    common.check_format_and_image_opts(arguments)
    opener = common.opener_for(console, arguments)
    reference = common.reference_for(console, filename, arguments.image_opts)
    with opener.open(reference, arguments.format, READ) as image:
        extents = extents_of(image, arguments.start or 0, arguments.length)
        if arguments.output == "json":
            _write_json(console, extents)
            return 0
        return _write_table(console, extents)


def _write_json(console: Console, extents: Iterator[Extent]) -> None:
    template = '{ "start": %d, "length": %d, "depth": %d, "present": %s, "zero": %s, "data": %s, "compressed": %s'
    with_offset = template + ', "offset": %d}'
    without_offset = template + "}"
    true_or_false = _BOOL
    lines: list[str] = []
    separator = "["
    for start, length, data, zero, present, compressed, depth, _storage, offset in extents:
        values = (
            start,
            length,
            depth,
            true_or_false[present],
            true_or_false[zero],
            true_or_false[data],
            true_or_false[compressed],
        )
        lines.append(without_offset % values if offset is None else with_offset % (*values, offset))
        if len(lines) == _LINES:
            console.write(separator + ",\n".join(lines))
            if console.closed:
                return
            separator = ",\n"
            lines.clear()
    console.write((separator if lines else "") + ",\n".join(lines) + "]\n")


def _write_table(console: Console, extents: Iterator[Extent]) -> int:
    console.write("%-16s%-16s%-16s%s\n" % ("Offset", "Length", "Mapped to", "File"))
    lines: list[str] = []
    for extent in extents:
        if not extent.data or extent.zero:
            continue
        if extent.offset is None:
            console.write("".join(lines))
            console.error("File contains external, encrypted or compressed clusters.")
            return 1
        columns = (_hex(extent.start), _hex(extent.length), _hex(extent.offset), extent.storage.name)
        lines.append("%-16s%-16s%-16s%s\n" % columns)
        if len(lines) == _LINES:
            console.write("".join(lines))
            if console.closed:
                return 0
            lines.clear()
    console.write("".join(lines))
    return 0


def _hex(value: int) -> str:
    """As C's ``%#x``: no prefix for 0."""
    return "%#x" % value if value else "0"
