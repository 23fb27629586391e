# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Writing a stream-optimized image, as VMware's "Virtual Disk Format 5.0" has it.

The file is written from its beginning to its end: header, descriptor, and then the compressed grains, each behind a
marker with its sector and its length.  Grain tables, grain directory and footer follow, each behind a marker of its
own, and a marker of the end of the stream.  The header says that the directory is at the end; the footer, a copy of
the header, says where.
"""
from __future__ import annotations

import struct
import sys
import zlib
from array import array

from ...errors import CorruptImageError, UnsupportedOperationError
from ...limits import SECTOR
from ...sizes import round_up
from ..base import ABSENT, COMPRESSED, Extent
from ..deflate import deflater
from .extents import Part
from .grains import MARKER_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...storage.base import Buffer, Storage
    from ..base import Pieces
    from .layout import Header

_GRAIN = struct.Struct("<QI")
#: A marker of metadata: how many sectors follow, no bytes of data, and what it is.
_MARKER = struct.Struct("<QII")
_END, _TABLE, _DIRECTORY, _FOOTER = 0, 1, 2, 3
#: Of a stream with the header of zlib (RFC 1950).
_WINDOW_BITS = 15


class StreamPart(Part):
    """The only extent of a new stream-optimized image; its grains are written once, and read back meanwhile.

    :param header: of the new file, whose ``grains`` is where the first grain goes
    """

    compressed = True

    def __init__(self, size: int, storage: Storage, name: str, header: Header) -> None:
        super().__init__(0, size, storage, name, "SPARSE")
        self._header = header
        self.grain = header.grain
        #: Number of a grain table -> its entries, in sectors.
        self._tables: dict[int, array[int]] = {}
        self._end = header.grains
        self._is_complete = False
        self._deflate = deflater(_WINDOW_BITS)

    def _entry(self, grain: int) -> int:
        number, index = divmod(grain, self._header.table_entries)
        table = self._tables.get(number)
        return 0 if table is None else table[index]

    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        end, size = offset + length, self._header.grain
        while offset < end:
            stop = min(end, (offset // size + 1) * size)
            kind = COMPRESSED if self._entry(offset // size) else ABSENT
            yield Extent(offset, stop - offset, kind, None, None)
            offset = stop

    def encoded_reader(self, offset: int, length: int) -> Callable[[Buffer], None]:
        size = self._header.grain
        grains = [(grain, self._entry(grain)) for grain in range(offset // size, (offset + length - 1) // size + 1)]

        def read(buffer: Buffer) -> None:
            view = memoryview(buffer)
            for grain, sector in grains:
                low, high = max(offset, grain * size), min(offset + length, (grain + 1) * size)
                content = self._content(sector * SECTOR) if sector else bytes(size)
                view[low - offset : high - offset] = content[low - grain * size : high - grain * size]

        return read

    def _content(self, host: int) -> bytes:
        _sector, length = _GRAIN.unpack(self.storage.read(host, MARKER_BYTES))
        try:
            return zlib.decompress(self.storage.read(host + MARKER_BYTES, length))
        except zlib.error:
            raise CorruptImageError(
                "The compressed grain at offset %#x cannot be decompressed" % host, path=self.storage.name
            ) from None

    # Writing

    def compress(self, plain: memoryview) -> bytes:
        """One grain as a zlib stream (RFC 1950); what does not shrink is stored in it as it is."""
        data = self._deflate(plain)
        return data if len(data) < len(plain) else zlib.compress(plain, 0)

    def store(self, offset: int, data: bytes) -> None:
        """Write one grain.

        :param offset: of the guest disk, that of a whole grain
        :raises UnsupportedOperationError: the grain has been written
        """
        grain = offset // self._header.grain
        number, index = divmod(grain, self._header.table_entries)
        if number not in self._tables:
            self._tables[number] = array("I", bytes(4 * self._header.table_entries))
        if self._tables[number][index]:
            raise self._written_once()
        self._tables[number][index] = self._end // SECTOR
        self._append(_GRAIN.pack(offset // SECTOR, len(data)) + data)
        self._is_complete = False

    def _append(self, data: bytes) -> None:
        self.storage.write(self._end, data.ljust(round_up(len(data), SECTOR), b"\0"))
        self._end += round_up(len(data), SECTOR)

    def _append_marked(self, kind: int, data: bytes) -> int:
        """Write metadata behind their marker; where they begin, in sectors."""
        self._append(_MARKER.pack(len(data) // SECTOR, 0, kind))
        start = self._end // SECTOR
        if data:
            self._append(data)
        return start

    def place(self, offset: int, length: int) -> Pieces:
        raise self._written_once()

    def write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        if any(extent.kind != ABSENT for extent in self.runs(offset, length)):
            raise self._written_once()

    def discard(self, offset: int, length: int) -> None:
        """What was written stays."""

    def _written_once(self) -> UnsupportedOperationError:
        return UnsupportedOperationError(
            "Could not write to allocated cluster for streamOptimized: its grains are written once, and whole",
            path=self.storage.name,
            format="vmdk",
            remedy="convert a disk into a new image of this subformat",
        )

    def flush(self) -> None:
        """Complete the stream; grains that come later take the place of what is written here."""
        if not self._is_complete:
            grains_end = self._end
            self._complete()
            if not self.storage.is_device:
                self.storage.truncate(self._end)
            self._end = grains_end
            self._is_complete = True
        self.storage.flush()

    def _complete(self) -> None:
        header = self._header
        directory = array("I", bytes(4 * header.directory_entries))
        for number, table in sorted(self._tables.items()):
            directory[number] = self._append_marked(_TABLE, _packed(table))
        place = self._append_marked(_DIRECTORY, _packed(directory))
        self._append_marked(_FOOTER, header.pack(place * SECTOR).ljust(SECTOR, b"\0"))
        self._append(_MARKER.pack(0, 0, _END))


def _packed(entries: array[int]) -> bytes:
    """Entries in the byte order of the file, up to a whole sector."""
    if sys.byteorder == "big":
        entries = entries[:]
        entries.byteswap()
    data = entries.tobytes()
    return data.ljust(round_up(len(data), SECTOR), b"\0")
