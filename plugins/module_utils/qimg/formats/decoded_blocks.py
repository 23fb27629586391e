# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Blocks that were decompressed lately: guests read them in parts."""
from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class DecodedBlocks:
    """A few decoded blocks, for several threads.

    :param decode: gives the content of a block by its number
    :param room: bytes of blocks that are kept, but for the last one
    """

    def __init__(self, decode: Callable[[int], bytes], room: int) -> None:
        self._decode = decode
        self._room = room
        self._mutex = threading.Lock()
        self._blocks: dict[int, bytes] = {}

    def get(self, number: int) -> bytes:
        """The content of a block.

        :raises ImageError: it cannot be decoded
        """
        with self._mutex:
            found = self._blocks.pop(number, None)
            if found is not None:
                # Last in the dictionary: the most recently used.
                self._blocks[number] = found
                return found
        content = self._decode(number)
        with self._mutex:
            self._blocks[number] = content
            while len(self._blocks) > 1 and sum(map(len, self._blocks.values())) > self._room:
                del self._blocks[next(iter(self._blocks))]
        return content
