# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Making a new VHD, in the layout that QEMU gives it."""
from __future__ import annotations

import os
import time

from ...errors import OptionError
from ...limits import MIB, SECTOR
from ...sizes import round_up
from .image import DynamicVhd, FixedVhd
from .layout import (
    DYNAMIC,
    ENTRY_BYTES,
    FIXED,
    FOOTER_BYTES,
    MAX_BYTES,
    new_footer,
    new_header,
    rounded_size,
    too_large,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..driver import NewImage

#: What ``subformat`` may be; the last one is ours: as Azure wants it, a fixed disk of whole mebibytes, of exactly that
#: size.
SUBFORMATS = ("dynamic", "fixed", "azure")
_PIECE = 1 << 20


def disk_size(size: int, options: dict[str, Any]) -> int:
    """The guest bytes that a new disk gets."""
    if options.get("subformat") == "azure":
        return round_up(size, MIB)
    return round_up(size, SECTOR) if options.get("force_size") else rounded_size(size)


def create(new: NewImage) -> DynamicVhd | FixedVhd:
    """An empty image.

    :raises OptionError: there is no such subformat
    :raises ImageError: the disk is too large
    """
    subformat = new.options.get("subformat")
    if subformat is None:
        subformat = "dynamic"
    if subformat not in SUBFORMATS:
        raise OptionError(
            "Parameter 'subformat' does not accept value '%s'" % subformat,
            remedy="the subformats are %s" % ", ".join(SUBFORMATS),
        )
    size = disk_size(new.options["size"], new.options)
    if size > MAX_BYTES:
        raise too_large(new.filename)
    is_exact = bool(new.options.get("force_size")) or subformat == "azure"
    is_dynamic = subformat == "dynamic"
    footer = new_footer(size, is_exact, DYNAMIC if is_dynamic else FIXED, int(time.time()), os.urandom(16))
    if not is_dynamic:
        storage = new.main(size + FOOTER_BYTES)
        storage.truncate(size + FOOTER_BYTES)
        storage.write(_footer_place(new, size, storage.size), footer.pack())
        return FixedVhd(new, storage, footer, size)
    header = new_header(size)
    end = header.table_end
    storage = new.main(end + FOOTER_BYTES)
    storage.write(0, footer.pack() + header.pack())
    room = round_up(header.max_entries * ENTRY_BYTES, SECTOR)
    for position in range(0, room, _PIECE):
        storage.write(header.table_offset + position, b"\xff" * min(_PIECE, room - position))
    storage.write(end, footer.pack())
    return DynamicVhd(new, storage, footer, header, size, is_new=True)


def _footer_place(new: NewImage, size: int, length: int) -> int:
    """Where a fixed disk has its footer: at the very end of the file, or of a device that is longer."""
    return length - FOOTER_BYTES if new.is_device else size
