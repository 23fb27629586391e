# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A compressed loop image as a guest disk."""
from __future__ import annotations

import zlib

from ...errors import CorruptImageError
from ..decoded_blocks import DecodedBlocks
from ..encoded import EncodedImage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array

    from ...storage.base import Storage
    from ..base import Origin

_CACHE_BYTES = 4 << 20


class CloopImage(EncodedImage):
    """A compressed loop image.

    :param block_size: guest bytes of a block
    :param offsets: where each block begins in the file, and where the last one ends
    """

    def __init__(self, origin: Origin, storage: Storage, block_size: int, offsets: array[int]) -> None:
        self._block_size = block_size
        self._offsets = offsets
        self._blocks = DecodedBlocks(self._decode, _CACHE_BYTES)
        super().__init__(origin, storage, block_size * (len(offsets) - 1))

    def _decode(self, number: int) -> bytes:
        start, end = self._offsets[number], self._offsets[number + 1]
        try:
            content = zlib.decompressobj().decompress(self.storage.read(start, end - start), self._block_size)
        except zlib.error:
            content = b""
        if len(content) != self._block_size:
            raise CorruptImageError(
                "Block %d cannot be decompressed" % number, path=self.filename, format=self.format, offset=start
            )
        return content

    def read_guest(self, offset: int, view: memoryview) -> None:
        done = 0
        while done < len(view):
            number, inner = divmod(offset + done, self._block_size)
            length = min(len(view) - done, self._block_size - inner)
            view[done : done + length] = self._blocks.get(number)[inner : inner + length]
            done += length
