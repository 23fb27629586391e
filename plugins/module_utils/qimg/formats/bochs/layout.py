# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Structures of growing disks of Bochs, little endian: a header, a catalog of extents, and the extents.

Each extent begins with a bitmap that says which of its sectors are there.
"""
from __future__ import annotations

import struct
import sys
from array import array
from collections import namedtuple

from ...errors import FormatError, NotThisFormatError
from ...limits import MAX_IMAGE_BYTES, SECTOR
from ...sizes import ceil_div

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...storage.base import Storage

_MAGIC, _TYPE, _SUBTYPE = b"Bochs Virtual HD Image", b"Redolog", b"Growing"
_VERSION_1, _VERSION_2 = 0x00010000, 0x00020000
#: Magic, type, subtype, version, header length, catalog entries, bytes of a bitmap, bytes of an extent.
_HEADER = struct.Struct("<32s16s16sIIIII")
_SIZE = struct.Struct("<Q")
#: Where the size of the disk stands; version 2 has a time before it.
_SIZE_OFFSETS = {_VERSION_1: 84, _VERSION_2: 88}

_MAX_CATALOG = 1 << 20
_MAX_EXTENT = 8 << 20
#: The catalog entry of an extent that is not there.
ABSENT_EXTENT = 0xFFFFFFFF


class Header(namedtuple("Header", ["size", "extent_size", "bitmap_sectors", "data_start", "catalog"])):
    """What a valid header says, with its catalog.

    ``size`` are guest bytes, ``extent_size`` bytes of data of an extent, ``bitmap_sectors`` those of its bitmap, and
    ``data_start`` the file offset of the first extent.
    """

    __slots__ = ()

    size: int
    extent_size: int
    bitmap_sectors: int
    data_start: int
    catalog: array[int]


def read_header(storage: Storage, path: str) -> Header:
    """Read and check the header and the catalog.

    :raises NotThisFormatError: it is no growing disk
    :raises FormatError: a field is outside of its rules
    """

    def refuse(reason: str) -> FormatError:
        return FormatError(reason, path=path, format="bochs")

    head = storage.read(0, SECTOR)
    magic, kind, subtype, version, length, entries, bitmap, extent = _HEADER.unpack_from(head)
    texts = tuple(text.partition(b"\0")[0] for text in (magic, kind, subtype))
    if texts != (_MAGIC, _TYPE, _SUBTYPE) or version not in _SIZE_OFFSETS:
        raise NotThisFormatError("Image not in Bochs format", path=path, format="bochs")
    (size,) = _SIZE.unpack_from(head, _SIZE_OFFSETS[version])
    size = size // SECTOR * SECTOR
    if size > MAX_IMAGE_BYTES:
        raise refuse("Image is too big")
    if entries > _MAX_CATALOG:
        raise refuse("Catalog size is too large")
    if extent < SECTOR:
        raise refuse("Extent size must be at least 512")
    if extent & extent - 1:
        raise refuse("Extent size %d is not a power of two" % extent)
    if extent > _MAX_EXTENT:
        raise refuse("Extent size %d is too large" % extent)
    if entries < ceil_div(size, extent):
        raise refuse("Catalog size is too small for this disk size")
    if bitmap * 8 < extent // SECTOR:
        raise refuse("The bitmap of an extent is too small for its sectors")
    if length + 4 * entries > storage.size:
        raise refuse("The catalog is longer than the file")
    catalog = array("I", storage.read(length, 4 * entries))
    if sys.byteorder == "big":
        catalog.byteswap()
    return Header(size, extent, ceil_div(bitmap, SECTOR), length + 4 * entries, catalog)
