# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``amend``: change options of an image."""

from __future__ import annotations

from ...formats.driver import WRITE
from ...operations.amend import amendable_options, plan_amend
from .. import arguments as common
from ..format_options import help_lines
from ..options import Command, Option, UsageError
from ..progress import ProgressMeter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..console import Console
    from ..options import Arguments

#: Percent between two lines of ``-p``.
_PROGRESS_STEP = 1.0

COMMAND = Command(
    "amend",
    "Change format options of an image",
    "FILENAME",
    (
        common.FORMAT,
        common.FORMAT_OPTIONS,
        common.CACHE,
        Option("force", "", ("force",), "", "allow unsafe changes (of encrypted images)"),
        common.PROGRESS,
        common.QUIET,
        common.OBJECT,
        common.IMAGE_OPTS,
    ),
)


def run(console: Console, arguments: Arguments) -> int:
    options = common.joined(arguments.options)
    if options is None:
        raise UsageError("Must specify options (-o)", True)
    with ProgressMeter(console, arguments.progress and not arguments.quiet, _PROGRESS_STEP) as progress:
        return _amend(console, arguments, options, progress)


def _amend(console: Console, arguments: Arguments, options: str, progress: ProgressMeter) -> int:
    if arguments.format is not None and common.wants_help(options):
        return _print_help(console, arguments.format)
    if len(arguments.operands) != 1:
        raise UsageError("Expecting one image file name")
    cache = common.cache_argument(arguments.cache)
    opener = common.opener_for(console, arguments, cache)
    reference = common.source_of(console, arguments, arguments.operands[0])
    if common.wants_help(options):
        with opener.open(reference, arguments.format, WRITE) as image:
            return _print_help(console, image.format)
    opener = common.try_to_write(opener, reference, arguments.format)
    plan_amend(reference, _values(options), arguments.format, opener=opener).apply(progress)
    progress(1.0)
    return 0


def _values(options: str) -> dict[str, str]:
    """The options; a size of 0 stands for the present one."""
    values = common.option_values(options)
    if common.size_among(values) == 0:
        del values["size"]
    return values


def _print_help(console: Console, format_name: str) -> int:
    console.write("Amend options for '%s':\n%s" % (format_name, help_lines(amendable_options(format_name))))
    return 0
