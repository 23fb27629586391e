# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``info``: what an image says about itself."""

from __future__ import annotations

from ...operations.info import info, info_chain
from .. import arguments as common
from ..options import Command, Option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..console import Console
    from ..options import Arguments

COMMAND = Command(
    "info",
    "Display information about image",
    "FILENAME",
    (
        common.FORMAT,
        common.OUTPUT,
        Option("backing_chain", "b", ("backing-chain",), "", "tell about every image of the backing chain"),
        Option("limits", "", ("limits",), "", "tell the block limits of every node, too"),
        common.CACHE._replace(help="cache mode of the image, which limits depend on\n(default: writeback)"),
        common.FORCE_SHARE,
        common.OBJECT,
        common.IMAGE_OPTS,
    ),
)


def run(console: Console, arguments: Arguments) -> int:
    filename = common.one_filename(arguments)
    opener = common.opener_for(console, arguments, common.cache_argument(arguments.cache))
    reference = common.source_of(console, arguments, filename)
    if arguments.backing_chain:
        chain = info_chain(reference, arguments.format, opener, arguments.limits)
    else:
        chain = [info(reference, arguments.format, opener, arguments.limits)]
    if arguments.output == "json":
        from ...json_writer import pretty

        documents = [node.document() for node in chain]
        console.write(pretty(documents if arguments.backing_chain else documents[0]))
    else:
        from ..tables import info_text

        console.write("\n".join(info_text(node) for node in chain))
    return 0
