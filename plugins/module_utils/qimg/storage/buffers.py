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
