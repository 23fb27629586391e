# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``convert``: copy a guest disk into a new image."""

from __future__ import annotations

from ...errors import ImageError
from ...operations.conversion_request import ConvertRequest
from ...operations.convert import plan_convert
from ...storage.cache import WRITEBACK
from ...storage.zeros import DEFAULT_GRAIN
from .. import arguments as common
from ..format_options import print_help
from ..options import Command, Option, UsageError
from ..progress import ProgressMeter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ...formats.opening import Opener
    from ...storage.cache import CacheMode
    from ..console import Console
    from ..options import Arguments

_MAX_THREADS = 16
_MAX_SPARSE_GRAIN = 16 << 20
#: Percent between two lines of ``-p``.
_PROGRESS_STEP = 1.0


def _sparse_grain(text: str) -> int:
    value = common.size_argument("buffer size for sparse output")(text)
    if value % 512 or value > _MAX_SPARSE_GRAIN:
        raise UsageError(
            "Invalid buffer size for sparse output specified. Valid sizes are multiples of 512 up to %d. Select 0 to "
            "disable sparse detection (fully allocates output)." % _MAX_SPARSE_GRAIN
        )
    return value


COMMAND = Command(
    "convert",
    "Copy images into a new image",
    "FILENAME [FILENAME2 ...] OUTPUT_FILENAME",
    (
        Option("format", "f", ("source-format",), "FMT", "format of the source; without it, it is detected"),
        Option(
            "image_opts", "", ("image-opts", "source-image-opts"), "", "sources are complete specifications of images"
        ),
        Option(
            "snapshot",
            "ls",
            ("snapshot", "source-snapshot"),
            "SNAPSHOT",
            "read this snapshot of the source",
            common.snapshot_argument,
        ),
        Option("source_cache", "T", ("source-cache",), "CACHE", "cache mode of the source (default: writeback)"),
        Option("target_format", "O", ("target-format", "output-format"), "FMT", "format of the target (default: raw)"),
        Option(
            "target_image_opts", "", ("target-image-opts",), "", "the target is a complete specification (needs -n)"
        ),
        Option(
            "options",
            "o",
            ("target-format-options", "options", "target-options"),
            "OPTIONS",
            "options of the new image; -o help lists them",
            common.option_list,
            True,
        ),
        Option(
            "cache",
            "t",
            ("target-cache",),
            "CACHE",
            "cache mode of the target (default: only what replaces\nan old file is flushed; unsafe: nothing is)",
        ),
        Option("backing", "bB", ("backing",), "BACKING", "put the new image on top of this one"),
        Option("backing_format", "F", ("backing-format",), "FMT", "format of the backing image"),
        Option("compress", "c", ("compress",), "", "compress the new image"),
        Option("no_create", "n", ("no-create",), "", "write into the image that is there"),
        Option("target_is_zero", "", ("target-is-zero",), "", "the target reads as zeroes already (needs -n)"),
        Option(
            "sparse_grain",
            "S",
            ("sparse-size",),
            "SIZE",
            "so many zero bytes are not stored;\n0: store everything",
            _sparse_grain,
        ),
        common.RATE,
        Option(
            "threads",
            "m",
            ("parallel",),
            "NUMBER",
            "how many copy at once",
            common.count_argument("number of coroutines", 1, _MAX_THREADS),
        ),
        Option("out_of_order", "W", ("oob-writes",), "", "accepted; the target is always written from its start on"),
        Option("offload", "C", ("copy-range-offloading",), "", "have the kernel copy, without looking for zeroes"),
        Option("salvage", "", ("salvage",), "", "what cannot be read becomes zeroes"),
        Option("bitmaps", "", ("bitmaps",), "", "also copy the source's persistent bitmaps"),
        Option("skip_broken", "", ("skip-broken-bitmaps",), "", "leave out bitmaps that are inconsistent"),
        common.PROGRESS,
        common.QUIET,
        common.FORCE_SHARE,
        common.OBJECT,
    ),
)


def run(console: Console, arguments: Arguments) -> int:
    target_format = "raw" if arguments.target_format is None else arguments.target_format
    options = common.joined(arguments.options)
    _check(arguments)
    if common.wants_help(options):
        return print_help(console, target_format, arguments.operands[-1] if len(arguments.operands) > 1 else None)
    if len(arguments.operands) < 2:
        raise UsageError("Must specify image file name")
    source_cache = common.cache_argument(arguments.source_cache, "Invalid source cache option: %s")
    opener = common.opener_for(console, arguments, source_cache)
    try:
        with ProgressMeter(console, arguments.progress and not arguments.quiet, _PROGRESS_STEP) as progress:
            progress.begin()
            request = _request(console, arguments, target_format, options)
            _convert(request, arguments, opener, progress)
            progress(1.0)
    except ImageError as error:
        if error.while_creating is None:
            raise
        console.image_error(
            error, "%s: error while converting %s: " % (arguments.operands[-1], error.while_creating)
        )
        return 1
    return 0


def _convert(request: ConvertRequest, arguments: Arguments, opener: Opener, progress: ProgressMeter) -> None:
    """Do it; the words about the target are looked at when everything else is seen to be right.

    :raises UsageError: there is no such cache mode, or the target is described in two ways
    """
    wrong = None
    try:
        cache = common.cache_argument(arguments.cache)
    except UsageError as error:
        cache, wrong = WRITEBACK, error
    if arguments.target_image_opts and arguments.target_format is not None:
        wrong = wrong or UsageError("--image-opts and --format are mutually exclusive")
    plan = plan_convert(request._replace(sync=_waits(arguments, cache), cache=cache), opener=opener)
    if wrong is None:
        plan.apply(progress)
        return
    if not request.into_existing:
        try:
            plan.rehearse()
        except ImageError as error:
            # That the new image cannot be made comes first; what is to be written into it does not.
            if error.while_creating is not None:
                raise
    raise wrong


def _waits(arguments: Arguments, cache: CacheMode) -> bool:
    """Whether a new image must be on the medium.  By default only what takes an old one's place has to be."""
    return arguments.cache is not None and not cache.no_flush


def _request(console: Console, arguments: Arguments, target_format: str, options: str | None) -> ConvertRequest:
    *names, target = arguments.operands
    return ConvertRequest(
        tuple(common.source_of(console, arguments, source) for source in names),
        arguments.format,
        common.reference_for(console, target, arguments.target_image_opts),
        None if arguments.target_image_opts else target_format,
        _options(options),
        arguments.backing,
        arguments.backing_format,
        arguments.snapshot,
        arguments.compress,
        arguments.offload,
        DEFAULT_GRAIN if arguments.sparse_grain is None else arguments.sparse_grain,
        arguments.no_create,
        arguments.target_is_zero,
        arguments.rate or 0,
        _salvage(console, arguments),
        threads=arguments.threads,
        bitmaps=arguments.bitmaps,
        skip_broken_bitmaps=_skip_broken(console) if arguments.skip_broken else None,
    )


def _check(arguments: Arguments) -> None:
    """Refuse what contradicts itself.

    :raises UsageError: in qemu-img's words
    """
    for wrong, message in (
        (arguments.skip_broken and not arguments.bitmaps, "Use of --skip-broken-bitmaps requires --bitmaps"),
        (arguments.compress and arguments.offload, "Cannot enable copy offloading when -c is used"),
        (
            arguments.sparse_grain is not None and arguments.offload,
            "Cannot enable copy offloading when -S is used",
        ),
        (arguments.offload and arguments.salvage, "Cannot use copy offloading in salvaging mode"),
        (
            arguments.target_image_opts and not arguments.no_create,
            "--target-image-opts requires use of -n flag",
        ),
        (arguments.no_create and arguments.options, "-o has no effect when skipping image creation"),
        (arguments.target_is_zero and not arguments.no_create, "--target-is-zero requires use of -n flag"),
    ):
        if wrong:
            raise UsageError(message)


def _options(options: str | None) -> dict[str, Any]:
    """The options of the new image; its size is always that of the sources."""
    values: dict[str, Any] = common.option_values(options)
    if common.size_among(values) is not None:
        del values["size"]
    return values


def _salvage(console: Console, arguments: Arguments) -> Callable[[int, ImageError], None] | None:
    if not arguments.salvage:
        return None

    def warn(_offset: int, error: ImageError) -> None:
        if not arguments.quiet:
            console.warning(error.reason)

    return warn


def _skip_broken(console: Console) -> Callable[[str], None]:
    return lambda name: console.warning("Skipping inconsistent bitmap '%s'" % name)
