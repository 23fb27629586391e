# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Structures of UDIF, big endian: the trailer ("koly"), block tables ("mish"), and chunks."""
from __future__ import annotations

import struct
from collections import namedtuple

from ...errors import FormatError, NotThisFormatError, UnsupportedFeatureError
from ...limits import MIB, SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...storage.base import Storage

# Types of chunks.
ZERO, RAW, IGNORE = 0x00000000, 0x00000001, 0x00000002
ADC, ZLIB, BZIP2, LZFSE, LZMA = 0x80000004, 0x80000005, 0x80000006, 0x80000007, 0x80000008
#: Data of these types are in the file.
STORED = (RAW, ADC, ZLIB, BZIP2, LZFSE, LZMA)

TABLE_MAGIC = b"mish"
#: Magic, version, first sector, sectors, offset of the data, buffers, number; checksum and padding; chunks.
TABLE = struct.Struct(">4sIQQQII24x136xI")
#: Type, comment, first sector, sectors, offset, length.
CHUNK = struct.Struct(">IIQQQQ")
#: A chunk is decoded as a whole.
MAX_CHUNK = 64 * MIB

_TRAILER_MAGIC = b"koly"
#: Offset and length of the data fork, of the resource fork, of the property list; the segment, and how many there are.
_TRAILER_FIELDS = struct.Struct(">QQQQII")
_TRAILER_FIELDS_OFFSET = 24
_PROPERTIES = struct.Struct(">QQ")
_PROPERTIES_OFFSET = 216
_ENCRYPTED_MAGICS = (b"encrcdsa", b"cdsaencr")
#: Longer descriptions are refused.
_MAX_DESCRIPTION = 16 * MIB


class Trailer(namedtuple("Trailer", ["data_start", "resources", "properties"])):
    """Where the parts of an image lie.

    ``data_start`` is the file offset of the data fork; ``resources`` and ``properties`` are offset and length of the
    resource fork and of the XML property list, of which one may be missing.
    """

    __slots__ = ()

    data_start: int
    resources: tuple[int, int]
    properties: tuple[int, int]


def read_trailer(storage: Storage, path: str) -> Trailer:
    """Read and check the trailer at the end of the file.

    :raises NotThisFormatError: there is none
    :raises UnsupportedFeatureError: the image is encrypted, or has several segments
    :raises FormatError: a field is outside of its rules
    """
    size = storage.size
    if storage.read(0, 8) in _ENCRYPTED_MAGICS or (size > 8 and storage.read(size - 8, 8) in _ENCRYPTED_MAGICS):
        raise UnsupportedFeatureError(
            "The image is encrypted, which is not supported",
            path=path,
            format="dmg",
            remedy="convert it on a Mac: hdiutil convert -format UDZO",
        )
    tail_start = max(0, size - 2 * SECTOR + 1)
    tail = storage.read(tail_start, size - tail_start)
    place = tail.rfind(_TRAILER_MAGIC, 0, max(0, len(tail) - SECTOR) + len(_TRAILER_MAGIC))
    if place < 0:
        raise NotThisFormatError("Could not locate UDIF trailer in dmg file", path=path, format="dmg")
    trailer = tail[place : place + SECTOR]
    data_start, _length, *rest = _TRAILER_FIELDS.unpack_from(trailer, _TRAILER_FIELDS_OFFSET)
    resources, (_segment, segments) = (rest[0], rest[1]), rest[2:]
    properties = _PROPERTIES.unpack_from(trailer, _PROPERTIES_OFFSET)
    if segments > 1:
        raise UnsupportedFeatureError(
            "It is one of %d segments, which is not supported" % segments,
            path=path,
            format="dmg",
            remedy="join them on a Mac: hdiutil convert",
        )
    if data_start > size:
        raise FormatError("The data fork lies beyond the end of the file", path=path, format="dmg")
    for offset, length in (resources, properties):
        if length > _MAX_DESCRIPTION or offset + length > size:
            raise FormatError("The description of its blocks is not inside the file", path=path, format="dmg")
    if not resources[1] and not properties[1]:
        raise FormatError("It has no description of its blocks", path=path, format="dmg")
    return Trailer(data_start, resources, properties)
