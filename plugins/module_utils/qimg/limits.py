# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The numbers that protect this process from an image that was made to hurt it."""
from __future__ import annotations

from collections import namedtuple

MIB = 1 << 20
GIB = 1 << 30

#: Images are read and written in 512-byte sectors by every consumer; sizes are multiples of it.
SECTOR = 512

#: The largest guest disk or file that the block layer handles: 2**63 less one gibibyte of rounding room.
MAX_IMAGE_BYTES = (1 << 63) - GIB

#: Size of one data buffer.
BUFFER_BYTES = 1 * MIB


class Limits(namedtuple("Limits", ["max_chain", "table_cache_bytes"])):
    """What one operation may use, whatever the image says.

    :param max_chain: images in a backing chain, the top one included
    :param table_cache_bytes: mapping and refcount tables held in memory per image
    """

    __slots__ = ()

    max_chain: int
    table_cache_bytes: int


DEFAULT_LIMITS = Limits(max_chain=200, table_cache_bytes=16 * MIB)
