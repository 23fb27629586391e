# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The numbers that protect this process from an image that was made to hurt it."""
from __future__ import annotations

from collections import namedtuple

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40

#: Images are read and written in 512-byte sectors by every consumer; sizes are multiples of it.
SECTOR = 512

#: The largest guest disk or file that the block layer handles: 2**63 less one gibibyte of rounding room.
MAX_IMAGE_BYTES = (1 << 63) - GIB


class Limits(
    namedtuple("Limits", ["max_chain", "max_reference_bytes", "table_cache_bytes", "buffer_bytes", "threads"])
):
    """What one operation may use, whatever the image says.

    :param max_chain: images in a backing chain, the top one included
    :param max_reference_bytes: length of a file name that an image stores
    :param table_cache_bytes: mapping and refcount tables held in memory per image
    :param buffer_bytes: size of one data buffer
    :param threads: workers of one copy
    """

    __slots__ = ()

    max_chain: int
    max_reference_bytes: int
    table_cache_bytes: int
    buffer_bytes: int
    threads: int


DEFAULT_LIMITS = Limits(
    max_chain=200,
    max_reference_bytes=1023,
    table_cache_bytes=16 * MIB,
    buffer_bytes=1 * MIB,
    threads=4,
)
