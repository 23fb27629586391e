# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``check``: look for errors in an image's metadata, and repair them."""

from __future__ import annotations

from ...errors import UnsupportedOperationError
from ...operations.check import REPAIRS, check
from .. import arguments as common
from ..options import Command, Option, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...formats.capabilities import CheckResult
    from ...operations.check import CheckReport
    from ..console import Console
    from ..options import Arguments

#: Exit codes.
_CORRUPT, _LEAKS, _UNSUPPORTED = 2, 3, 63


def _repair(text: str) -> str:
    if text not in REPAIRS:
        raise UsageError("--repair (-r) expects 'leaks' or 'all', not '%s'" % text, True)
    return text


COMMAND = Command(
    "check",
    "Check basic image integrity",
    "FILENAME",
    (
        common.FORMAT,
        Option("repair", "r", ("repair",), "leaks|all", "repair leaked clusters, or everything", _repair),
        common.OUTPUT,
        common.SOURCE_CACHE,
        common.FORCE_SHARE,
        common.QUIET,
        common.OBJECT,
        common.IMAGE_OPTS,
    ),
    "The exit code is 0 for an image without errors (or whose errors were all repaired), 1 if the check could not be\n"
    "made, 2 for a corrupt image, 3 for one with leaked clusters only, 63 if its format has no checks.",
)


def run(console: Console, arguments: Arguments) -> int:
    filename = common.one_filename(arguments)
    cache = common.cache_argument(arguments.source_cache, "Invalid source cache option: %s")
    opener = common.opener_for(console, arguments, cache)
    reference = common.source_of(console, arguments, filename)
    as_json = arguments.output == "json"

    def before_second(found: CheckReport) -> None:
        if not as_json and not arguments.quiet:
            console.write(_repaired_text(found.result))

    try:
        report = check(reference, arguments.format, arguments.repair, console.line, opener, before_second)
    except UnsupportedOperationError as error:
        if error.while_opening is not None:
            raise
        console.image_error(error)
        return _UNSUPPORTED
    if not arguments.quiet:
        if as_json:
            from ...json_writer import pretty

            console.write(pretty(dict(report.document(), filename=filename)))
        else:
            console.write(_result_text(report.result))
    result = report.result
    if result.check_errors:
        return 1
    if result.corruptions:
        return _CORRUPT
    return _LEAKS if result.leaks else 0


def _repaired_text(result: CheckResult) -> str:
    return (
        "The following inconsistencies were found and repaired:\n\n"
        "    %d leaked clusters\n"
        "    %d corruptions\n\n"
        "Double checking the fixed image now...\n"
    ) % (result.leaks_fixed, result.corruptions_fixed)


def _result_text(result: CheckResult) -> str:
    parts = []
    if result.clean:
        parts.append("No errors were found on the image.\n")
    if result.corruptions:
        parts.append(
            "\n%d errors were found on the image.\n"
            "Data may be corrupted, or further writes to the image may corrupt it.\n" % result.corruptions
        )
    if result.leaks:
        parts.append(
            "\n%d leaked clusters were found on the image.\n"
            "This means waste of disk space, but no harm to data.\n" % result.leaks
        )
    if result.check_errors:
        parts.append("\n%d internal errors have occurred during the check.\n" % result.check_errors)
    if result.total_clusters and result.allocated_clusters:
        allocated = float(result.allocated_clusters)
        parts.append(
            "%d/%d = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n"
            % (
                result.allocated_clusters,
                result.total_clusters,
                allocated * 100 / result.total_clusters,
                result.fragmented_clusters * 100.0 / allocated,
                result.compressed_clusters * 100.0 / allocated,
            )
        )
    if result.image_end_offset:
        parts.append("Image end offset: %d\n" % result.image_end_offset)
    return "".join(parts)
