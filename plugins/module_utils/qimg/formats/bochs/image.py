# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A growing disk of Bochs as a guest disk."""
from __future__ import annotations

from ...errors import CorruptImageError
from ...limits import SECTOR
from ..encoded import EncodedImage
from .layout import ABSENT_EXTENT, Header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...storage.base import Storage
    from ..base import Origin


class BochsImage(EncodedImage):
    """A growing disk.

    :param header: checked
    """

    def __init__(self, origin: Origin, storage: Storage, header: Header) -> None:
        self._header = header
        super().__init__(origin, storage, header.size)

    def read_guest(self, offset: int, view: memoryview) -> None:
        extent_size = self._header.extent_size
        done = 0
        while done < len(view):
            index, inner = divmod(offset + done, extent_size)
            length = min(len(view) - done, extent_size - inner)
            self._read_extent(index, inner, view[done : done + length])
            done += length

    def _read_extent(self, index: int, inner: int, view: memoryview) -> None:
        """Fill ``view`` from byte ``inner`` of an extent."""
        header = self._header
        entry = header.catalog[index]
        view[:] = bytes(len(view))
        if entry == ABSENT_EXTENT:
            return
        start = header.data_start + entry * (header.bitmap_sectors * SECTOR + header.extent_size)
        if start + header.bitmap_sectors * SECTOR > self.storage.size:
            raise CorruptImageError(
                "Extent %d lies beyond the end of the file" % index,
                path=self.filename,
                format=self.format,
                offset=start,
            )
        first, end = inner // SECTOR, (inner + len(view) - 1) // SECTOR + 1
        bits = self.storage.read(start + first // 8, end // 8 - first // 8 + 1)
        data = start + header.bitmap_sectors * SECTOR
        sector = first
        while sector < end:
            stop = sector
            while stop < end and bits[stop // 8 - first // 8] >> stop % 8 & 1:
                stop += 1
            if stop > sector:
                low = max(inner, sector * SECTOR)
                high = min(inner + len(view), stop * SECTOR)
                self.storage.read_into(data + low, view[low - inner : high - inner])
            sector = stop + 1
