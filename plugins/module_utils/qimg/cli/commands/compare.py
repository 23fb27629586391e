# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``compare``: whether two images have the same content."""

from __future__ import annotations

from ...errors import ImageError
from ...operations.compare import CONTENT, SIZE, compare
from .. import arguments as common
from ..options import Command, Option, UsageError
from ..progress import ProgressMeter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...formats.opening import Opener
    from ...operations.compare import CompareResult
    from ...references import Reference
    from ..console import Console
    from ..options import Arguments

#: Exit codes.
_DIFFERENT, _CANNOT_OPEN, _CANNOT_MAP, _CANNOT_READ = 1, 2, 3, 4
#: Percent between two lines of ``-p``.
_PROGRESS_STEP = 2.0

COMMAND = Command(
    "compare",
    "Check if two images have the same content",
    "FILENAME1 FILENAME2",
    (
        Option("format", "f", ("a-format",), "FMT", "format of the first image; without it, it is detected"),
        Option("second_format", "F", ("b-format",), "FMT", "format of the second image"),
        Option("strict", "s", ("strict",), "", "also compare sizes and allocation"),
        common.SOURCE_CACHE,
        common.PROGRESS,
        common.QUIET,
        common.FORCE_SHARE,
        common.OBJECT,
        Option("image_opts", "", ("image-opts",), "", "FILENAMEs are complete specifications of images"),
    ),
    "The exit code is 0 for images of the same content, 1 for others, 2 if one cannot be opened, 3 if its map and 4\n"
    "if its content cannot be read.",
    _CANNOT_OPEN,
)


def run(console: Console, arguments: Arguments) -> int:
    if len(arguments.operands) != 2:
        raise UsageError("Expecting two image file names", True)
    try:
        cache = common.cache_argument(arguments.source_cache, "Invalid source cache option: %s")
        opener = common.opener_for(console, arguments, cache)
        first, second = _images(console, arguments, opener)
    except ImageError as error:
        console.image_error(error)
        return _CANNOT_OPEN
    except UsageError as error:
        console.error(error.message)
        return _CANNOT_OPEN
    quiet = arguments.quiet
    try:
        with ProgressMeter(console, arguments.progress and not quiet, _PROGRESS_STEP) as progress:
            result = compare(
                first, second, arguments.format, arguments.second_format, arguments.strict, opener, progress
            )
            if result.identical and (result.common_size or result.sizes_differ):
                progress(1.0)
            if not quiet:
                for line in _lines(result):
                    console.write(line + "\n")
    except ImageError as error:
        console.image_error(error)
        if error.while_opening is not None:
            return _CANNOT_OPEN
        return _CANNOT_READ if error.while_mapping is None else _CANNOT_MAP
    console.flush()
    if console.failure is not None:
        # Nobody has heard whether they differ.
        return _CANNOT_OPEN
    return 0 if result.identical else _DIFFERENT


def _images(console: Console, arguments: Arguments, opener: Opener) -> tuple[Reference, Reference]:
    """What the operands name; the second one is looked at when the first one could be opened.

    :raises UsageError: one of them is described in two ways
    """
    first, second = arguments.operands
    reference = common.source_of(console, arguments, first)
    try:
        if arguments.image_opts and arguments.second_format is not None:
            raise UsageError("--image-opts and --format are mutually exclusive")
        return reference, common.reference_for(console, second, arguments.image_opts)
    except (ImageError, UsageError):
        opener.open(reference, arguments.format).abandon()
        raise


def _lines(result: CompareResult) -> list[str]:
    if result.reason == SIZE:
        return ["Strict mode: Image size mismatch!"]
    in_tail = result.offset is None or result.offset >= result.common_size
    lines = ["Warning: Image size mismatch!"] if result.sizes_differ and in_tail else []
    if result.reason is None:
        lines.append("Images are identical.")
    elif result.reason == CONTENT:
        lines.append("Content mismatch at offset %s!" % result.offset)
    else:
        lines.append("Strict mode: Offset %s block status mismatch!" % result.offset)
    return lines
