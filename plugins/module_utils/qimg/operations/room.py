# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Whether a new image fits where it cannot grow: on a device, in the export of a server."""
from __future__ import annotations

from ..errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..formats.base import Image
    from ..formats.driver import Driver
    from ..formats.new_files import NewFiles


def surely_fits(
    driver: Driver,
    options: dict[str, Any],
    files: NewFiles,
    sources: Sequence[Image] | None,
    bitmaps: bool = False,
) -> bool:
    """Whether counting is enough to see that a new image fits, without a look at any data.

    If not, the way to find out without harm is to make it on what :meth:`NewFiles.trial` gives.

    :param driver: the format of the new image
    :param options: all options of the new image
    :param sources: what is going to be copied into it, but for zeroes; ``None``: every byte may be
    :param bitmaps: whether the sources' bitmaps are copied as well
    """
    if files.room is None:
        return True
    try:
        full = driver.main_file_size(options, options["size"])
        if full is None or (full <= files.room and not bitmaps):
            return True
        if driver.further_files(files.path, options):
            return False
        empty = driver.measure(options, options["size"], None)
        if sources is None or empty is None:
            return False
        # What is shared with a backing file need not be stored: without one, it is counted too.
        alone = {name: value for name, value in options.items() if name != "backing_file"}
        parts = [driver.measure(alone, source.size, source) for source in sources]
    except ImageError:
        # It cannot be measured, for a reason that making it will tell.
        return False
    # Each has tables of its own in this sum, which is more than the tables of all together.
    needed = [part.required + (part.bitmaps or 0) for part in (empty, *parts) if part is not None]
    return sum(needed) <= files.room
