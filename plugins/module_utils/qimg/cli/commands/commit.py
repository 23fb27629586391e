# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``commit``: merge an overlay into an image below it."""

from __future__ import annotations

from ...operations.commit import plan_commit
from .. import arguments as common
from ..options import Command, Option
from ..progress import ProgressMeter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..console import Console
    from ..options import Arguments

#: Percent between two lines of ``-p``.
_PROGRESS_STEP = 1.0

COMMAND = Command(
    "commit",
    "Commit an image to its backing file",
    "FILENAME",
    (
        common.FORMAT,
        common.CACHE,
        Option("base", "b", ("base",), "BASE", "merge into this image of the backing chain (implies -d)"),
        Option("drop", "d", ("drop",), "", "do not empty the image afterwards"),
        common.RATE,
        common.PROGRESS,
        common.QUIET,
        common.OBJECT,
        common.IMAGE_OPTS,
    ),
)


def run(console: Console, arguments: Arguments) -> int:
    filename = common.one_filename(arguments)
    cache = common.cache_argument(arguments.cache)
    opener = common.opener_for(console, arguments, cache).variant(discard="unmap")
    reference = common.source_of(console, arguments, filename)
    opener = common.try_to_write(opener, reference, arguments.format)
    with ProgressMeter(console, arguments.progress and not arguments.quiet, _PROGRESS_STEP) as progress:
        progress.begin()
        plan_commit(
            reference, arguments.format, arguments.base, arguments.drop, arguments.rate or 0, opener=opener
        ).apply(progress)
        progress(1.0)
    if not arguments.quiet:
        console.write("Image committed.\n")
    return 0
