# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Deflate for clusters and grains, by the fastest library that is installed: ``isal``, ``zlib-ng`` or ``zlib``."""
from __future__ import annotations

import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..storage.base import Buffer

    Compress = Callable[[Buffer], bytes]

_MEMORY_LEVEL = 9


def deflater(window_bits: int) -> Compress:
    """A function from plain bytes to one deflate stream, safe to call from several threads.

    :param window_bits: as for ``zlib.compressobj``: 15 for a stream with the header of zlib (RFC 1950) and the full
        window, negative for one without a header (RFC 1951)
    """
    try:
        from isal import isal_zlib
    except ImportError:
        pass
    else:

        def compress_isal(data: Buffer) -> bytes:
            stream = isal_zlib.compressobj(2, isal_zlib.DEFLATED, window_bits, _MEMORY_LEVEL)
            return bytes(stream.compress(data) + stream.flush())

        return compress_isal
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        pass
    else:

        def compress_zlib_ng(data: Buffer) -> bytes:
            stream = zlib_ng.compressobj(6, zlib_ng.DEFLATED, window_bits, _MEMORY_LEVEL)
            return bytes(stream.compress(data) + stream.flush())

        return compress_zlib_ng

    def compress(data: Buffer) -> bytes:
        stream = zlib.compressobj(-1, zlib.DEFLATED, window_bits, _MEMORY_LEVEL)
        return stream.compress(data) + stream.flush()

    return compress
