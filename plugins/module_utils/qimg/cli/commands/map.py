# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``map``: where the bytes of a guest disk lie.

The text is built and written piece by piece: a map can have millions of lines.
"""

from __future__ import annotations

from itertools import islice

from ...formats.base import Extent
from ...formats.chain import up_to_failure
from ...formats.driver import READ
from ...operations.map import extents_of
from .. import arguments as common
from ..options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...errors import ImageError
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

_COMMON = '"length": %d, "depth": %d, "present": %s, "zero": %s, "data": %s, "compressed": %s'
#: So many lines are joined before they are written.
_LINES = 2000


def run(console: Console, arguments: Arguments) -> int:
    filename = common.one_filename(arguments)
    opener = common.opener_for(console, arguments)
    reference = common.source_of(console, arguments, filename)
    with opener.open(reference, arguments.format, READ) as image:
        extents = extents_of(image, arguments.start or 0, arguments.length)
        if arguments.output == "json":
            _write_json(console, extents)
            return 0
        return _write_table(console, extents)


def _write_json(console: Console, extents: Iterator[Extent]) -> None:
    console.write("[")
    separator = ""
    failures: list[ImageError] = []
    extents = up_to_failure(extents, failures)
    while True:
        # Extents of the same length and state are many: that part of a line is made once in so many lines.
        texts = _CommonTexts()
        lines = [
            f'{{ "start": {start}, {texts[length, kind, depth]}}}'
            if offset is None
            else f'{{ "start": {start}, {texts[length, kind, depth]}, "offset": {offset}}}'
            for start, length, kind, _storage, offset, depth in islice(extents, _LINES)
        ]
        if not lines or console.closed:
            break
        console.write(separator + ",\n".join(lines))
        separator = ",\n"
    if failures:
        console.write(separator)
        raise failures[0]
    console.write("]\n")


class _CommonTexts(dict):  # type: ignore[type-arg]
    """The middle part of a line; keys: length, kind and depth of an extent."""

    def __missing__(self, key: tuple[int, int, int]) -> str:
        length, kind, depth = key
        data, zero, present, compressed = (
            "true" if answer else "false" for answer in Extent(0, length, kind, None, None).state
        )
        text = self[key] = _COMMON % (length, depth, present, zero, data, compressed)
        return text


def _write_table(console: Console, extents: Iterator[Extent]) -> int:
    console.write("%-16s%-16s%-16s%s\n" % ("Offset", "Length", "Mapped to", "File"))
    lines: list[str] = []
    failures: list[ImageError] = []
    for extent in up_to_failure(extents, failures):
        if not extent.data or extent.zero:
            continue
        if extent.offset is None or extent.storage is None:
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
    if failures:
        raise failures[0]
    return 0


def _hex(value: int) -> str:
    """As C's ``%#x``: no prefix for 0."""
    return "%#x" % value if value else "0"
