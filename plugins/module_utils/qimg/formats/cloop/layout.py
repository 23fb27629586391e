# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Structures of compressed loop images, big endian: 128 bytes of a shell script, two numbers, and block offsets."""
from __future__ import annotations

import struct
import sys
from array import array

from ...errors import FormatError
from ...limits import SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...storage.base import Storage

#: Bytes of a block, blocks.
_NUMBERS = struct.Struct(">II")
_NUMBERS_OFFSET = 128
_OFFSETS_OFFSET = _NUMBERS_OFFSET + _NUMBERS.size
_MAX_BLOCK = 64 << 20
#: zlib makes no data longer by more than this.
_MAX_GROWTH = 1 << 20


def read_header(storage: Storage, path: str) -> tuple[int, array[int]]:
    """Bytes of a block, and the offsets of all blocks and of the end of the last one.

    :raises FormatError: a field is outside of its rules
    """

    def refuse(reason: str) -> FormatError:
        return FormatError(reason, path=path, format="cloop")

    block_size, blocks = _NUMBERS.unpack(storage.read(_NUMBERS_OFFSET, _NUMBERS.size))
    if not block_size:
        raise refuse("block_size cannot be zero")
    if block_size % SECTOR:
        raise refuse("block_size %d must be a multiple of 512" % block_size)
    if block_size > _MAX_BLOCK:
        raise refuse("block_size %d must be 64 MB or less" % block_size)
    length = 8 * (blocks + 1)
    if _OFFSETS_OFFSET + length > storage.size:
        raise refuse("n_blocks %d is more than the file has offsets for" % blocks)
    offsets = array("Q", storage.read(_OFFSETS_OFFSET, length))
    if sys.byteorder == "little":
        offsets.byteswap()
    for low, high in zip(offsets, offsets[1:]):
        if high < low:
            raise refuse("offsets not monotonically increasing; image file is corrupt")
        if high - low > block_size + _MAX_GROWTH:
            raise refuse("invalid compressed block size; image file is corrupt")
    return block_size, offsets
