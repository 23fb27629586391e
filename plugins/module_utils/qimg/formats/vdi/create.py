# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Making a new VDI image, in the layout that QEMU gives it."""
from __future__ import annotations

import os
from array import array

from ..table_runs import progression
from .image import VdiImage
from .layout import ENTRY_BYTES, UNALLOCATED, check_size, full_size, new_header, write_entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..driver import NewImage

#: Entries that are written at once.
_PIECE = 1 << 16


def create(new: NewImage, size: int) -> VdiImage:
    """An empty image.

    :param size: guest bytes, a multiple of 512
    :raises UnsupportedFeatureError: the disk is too large
    """
    check_size(size, new.filename)
    is_static = new.options.get("static", False)
    header = new_header(size, is_static, _random_uuid(), _random_uuid())
    end = full_size(size) if is_static else header.data_offset
    storage = new.main(end)
    storage.write(0, header.pack().ljust(header.map_offset, b"\0"))
    for first in range(0, header.blocks, _PIECE):
        count = min(_PIECE, header.blocks - first)
        entries = progression(first, count, 1, "I") if is_static else array("I", [UNALLOCATED]) * count
        write_entries(storage, header.map_offset + first * ENTRY_BYTES, entries)
    if not storage.is_device:
        storage.truncate(end)
    return VdiImage(new, storage, header, is_new=True)


def _random_uuid() -> bytes:
    """A random UUID (RFC 9562, version 4), its first three fields in little-endian order."""
    value = bytearray(os.urandom(16))
    value[7] = value[7] & 0x0F | 0x40
    value[8] = value[8] & 0x3F | 0x80
    return bytes(value)
