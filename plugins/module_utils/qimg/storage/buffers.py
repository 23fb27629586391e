# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Buffers for bulk data."""
from __future__ import annotations

import mmap


def aligned_buffer(length: int) -> memoryview:
    """A writable, zeroed buffer that begins on a page.

    The kernel copies into page aligned memory two to three times as fast as into a ``bytearray``, and direct I/O needs
    it.  Make few, and use them again.
    """
    return memoryview(mmap.mmap(-1, length))


class ComparableBuffer:
    """A buffer for bulk data that can be compared with another one.

    Memoryviews compare byte by byte, fifty times slower than a ``bytearray``.
    """

    #: A large ``bytearray`` begins 16 bytes into a page (glibc keeps the length there): its second page is aligned.
    _SKIP = 4096 - 16

    def __init__(self, length: int) -> None:
        self._bytes = bytearray(self._SKIP + length)
        self.view = memoryview(self._bytes)[self._SKIP :]

    def holds(self, other: memoryview, offset: int = 0) -> bool:
        """Whether ``other`` is the same as the bytes of this buffer from ``offset`` on."""
        return self._bytes.startswith(other, self._SKIP + offset)
