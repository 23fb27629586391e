# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A disk image of Mac OS as a guest disk."""
from __future__ import annotations

from bisect import bisect_right

from ...errors import CorruptImageError, MissingPackageError
from ...limits import SECTOR
from ..decoded_blocks import DecodedBlocks
from ..encoded import EncodedImage
from .codecs import decompress
from .layout import RAW, ZERO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...storage.base import Storage
    from ..base import Origin
    from .chunks import Chunk

_CACHE_BYTES = 4 << 20


class DmgImage(EncodedImage):
    """A disk image.

    :param chunks: in the order of their sectors; what none of them has is zero
    """

    def __init__(self, origin: Origin, storage: Storage, chunks: list[Chunk]) -> None:
        self._chunks = chunks
        self._sectors = [chunk.sector for chunk in chunks]
        self._decoded = DecodedBlocks(self._decode, _CACHE_BYTES)
        end = chunks[-1].sector + chunks[-1].sectors if chunks else 0
        super().__init__(origin, storage, end * SECTOR)

    def _decode(self, number: int) -> bytes:
        chunk = self._chunks[number]
        size = chunk.sectors * SECTOR
        try:
            content = decompress(chunk.kind, self.storage.read(chunk.offset, chunk.length), size)
        except MissingPackageError as error:
            error.path = self.filename
            raise
        except ValueError as error:
            content = b""
            reason = " (%s)" % error
        else:
            reason = ""
        if len(content) != size:
            raise CorruptImageError(
                "The chunk of sector %d cannot be decompressed%s" % (chunk.sector, reason),
                path=self.filename,
                format=self.format,
                offset=chunk.offset,
            )
        return content

    def read_guest(self, offset: int, view: memoryview) -> None:
        end = offset + len(view)
        view[:] = bytes(len(view))
        number = max(0, bisect_right(self._sectors, offset // SECTOR) - 1)
        while number < len(self._chunks) and self._chunks[number].sector * SECTOR < end:
            chunk = self._chunks[number]
            start = chunk.sector * SECTOR
            low, high = max(offset, start), min(end, start + chunk.sectors * SECTOR)
            if low < high and chunk.kind != ZERO:
                piece = view[low - offset : high - offset]
                if chunk.kind == RAW:
                    # A chunk that is stored in fewer bytes ends in zeroes.
                    stored = max(0, min(len(piece), chunk.length - (low - start)))
                    self.storage.read_into(chunk.offset + low - start, piece[:stored])
                else:
                    piece[:] = self._decoded.get(number)[low - start : high - start]
            number += 1
