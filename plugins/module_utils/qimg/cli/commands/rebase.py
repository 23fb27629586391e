# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``rebase``: give an overlay another backing file."""

from __future__ import annotations

from ...operations.rebase import plan_rebase
from .. import arguments as common
from ..options import Command, Option, UsageError
from ..progress import ProgressMeter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..console import Console
    from ..options import Arguments

#: Percent between two lines of ``-p``.
_PROGRESS_STEP = 2.0

COMMAND = Command(
    "rebase",
    "Change the backing file of an image",
    "FILENAME",
    (
        common.FORMAT,
        Option("backing", "b", ("backing",), 'BACKING|""', "the new backing file, or none"),
        Option("backing_format", "BF", ("backing-format",), "FMT", "format of the new backing file"),
        Option("unsafe", "u", ("backing-unsafe",), "", "only change the name, and look at no backing file"),
        Option("compress", "c", ("compress",), "", "compress what has to be copied"),
        common.CACHE,
        Option(
            "source_cache", "T", ("backing-cache",), "CACHE", "cache mode of the backing files (default: writeback)"
        ),
        common.PROGRESS,
        common.QUIET,
        common.FORCE_SHARE,
        common.OBJECT,
        common.IMAGE_OPTS,
    ),
)


def run(console: Console, arguments: Arguments) -> int:
    if len(arguments.operands) != 1:
        raise UsageError("Expecting one image file name", True)
    if arguments.backing is None and not arguments.unsafe:
        raise UsageError("Must specify backing file (-b) or use unsafe mode (-u)", True)
    with ProgressMeter(console, arguments.progress and not arguments.quiet, _PROGRESS_STEP) as progress:
        progress.begin()
        cache = common.cache_argument(arguments.cache)
        source_cache = common.cache_argument(arguments.source_cache, "Invalid source cache option: %s")
        # Sharing is forced for the backing files only: the image itself is written.
        opener = common.opener_for(console, arguments, cache).variant(force_share=False)
        reference = common.source_of(console, arguments, arguments.operands[0])
        opener = common.try_to_write(opener, reference, arguments.format, backing=not arguments.unsafe)
        plan = plan_rebase(
            reference,
            arguments.backing,
            arguments.backing_format,
            arguments.format,
            arguments.unsafe,
            arguments.compress,
            opener=opener,
            backing_cache=source_cache,
            share_backing=arguments.force_share,
        )
        plan.apply(progress)
        progress(1.0)
    return 0
