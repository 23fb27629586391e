# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What a VHD file consists of ("Virtual Hard Disk Image Format Specification", 1.0); all numbers are big-endian.

A footer ends each file.  A fixed disk has its data before it; a dynamic or differencing disk begins with a copy of the
footer, then has a header, the block allocation table (BAT), and blocks, each with a bitmap of its sectors before it.
"""
from __future__ import annotations

import struct
from collections import namedtuple

from ...errors import CorruptImageError, ImageError
from ...limits import SECTOR
from ...sizes import ceil_div, round_up

COOKIE = b"conectix"
HEADER_COOKIE = b"cxsparse"
FOOTER_BYTES = 512
HEADER_BYTES = 1024
#: What a footer names as the place of the header if there is none, and a header as what follows it: nothing.
NOWHERE = (1 << 64) - 1

#: Values of ``disk_type``.
FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4

#: The entry of a block that has no place.
UNUSED = 0xFFFFFFFF
ENTRY_BYTES = 4
DEFAULT_BLOCK = 2 << 20
#: The BAT of a new image.
TABLE_OFFSET = FOOTER_BYTES + HEADER_BYTES

#: Creators whose disks are as large as their geometry says: Virtual PC, and QEMU unless it is told the size.
GEOMETRY_CREATORS = (b"vpc ", b"qemu")
QEMU, QEMU_EXACT = b"qemu", b"qem2"
VERSION, FEATURES = 0x00010000, 2
#: Midnight of 2000-01-01 in UTC, in seconds since 1970.
EPOCH = 946684800

#: The largest disk, in sectors: 2040 GiB.
MAX_SECTORS = 0xFF000000
MAX_BYTES = MAX_SECTORS * SECTOR
MAX_ENTRIES = 0x1FFFFFFF
_MAX_CYLINDERS, _MAX_HEADS, _MAX_SECTORS_PER_TRACK = 65535, 16, 255
MAX_GEOMETRY = (_MAX_CYLINDERS, _MAX_HEADS, _MAX_SECTORS_PER_TRACK)
_MAX_GEOMETRY_SECTORS = _MAX_CYLINDERS * _MAX_HEADS * _MAX_SECTORS_PER_TRACK

_FOOTER = struct.Struct(">8sIIQI4sI4sQQHBBII16sB427x")
_HEADER = struct.Struct(">8sQQIIII16sII512s192s256x")
_LOCATOR = struct.Struct(">4sIIIQ")
#: Where the checksums are.
_FOOTER_CHECKSUM, _HEADER_CHECKSUM = 64, 36


class Footer(
    namedtuple(
        "Footer",
        [
            "cookie",
            "features",
            "version",
            "header_offset",
            "timestamp",
            "creator",
            "creator_version",
            "creator_os",
            "original_size",
            "current_size",
            "cylinders",
            "heads",
            "sectors_per_track",
            "disk_type",
            "checksum",
            "uuid",
            "saved_state",
        ],
    )
):
    """The fields of a footer; sizes are bytes of the guest disk."""

    __slots__ = ()

    header_offset: int
    creator: bytes
    current_size: int
    cylinders: int
    heads: int
    sectors_per_track: int
    disk_type: int
    uuid: bytes

    @property
    def geometry_size(self) -> int:
        """The bytes of all sectors that the geometry names."""
        return self.cylinders * self.heads * self.sectors_per_track * SECTOR

    def disk_size(self, calculation: str | None) -> int:
        """Guest bytes, as QEMU decides it.

        :param calculation: ``current_size``, ``chs`` (by the geometry), or ``None``: by who has made it
        """
        if calculation is None:
            calculation = "chs" if self.creator in GEOMETRY_CREATORS else "current_size"
        size = self.geometry_size
        if calculation == "current_size" or size == _MAX_GEOMETRY_SECTORS * SECTOR:
            size = self.current_size
        return size // SECTOR * SECTOR

    def pack(self) -> bytes:
        """The bytes of the footer, with their checksum."""
        return _with_checksum(_FOOTER.pack(*self), _FOOTER_CHECKSUM)


class Header(
    namedtuple(
        "Header",
        [
            "cookie",
            "data_offset",
            "table_offset",
            "version",
            "max_entries",
            "block_size",
            "checksum",
            "parent_uuid",
            "parent_timestamp",
            "reserved",
            "parent_name",
            "locators",
        ],
    )
):
    """The fields of the header of a dynamic or differencing disk."""

    __slots__ = ()

    table_offset: int
    max_entries: int
    block_size: int
    parent_uuid: bytes
    parent_name: bytes
    locators: bytes

    @property
    def bitmap_bytes(self) -> int:
        """The bytes of the bitmap before each block: one bit for each sector, in whole sectors."""
        return round_up(ceil_div(self.block_size // SECTOR, 8), SECTOR)

    @property
    def table_end(self) -> int:
        """Where the BAT ends in the file."""
        return self.table_offset + round_up(self.max_entries * ENTRY_BYTES, SECTOR)

    def pack(self) -> bytes:
        """The bytes of the header, with their checksum."""
        return _with_checksum(_HEADER.pack(*self), _HEADER_CHECKSUM)

    def parent_locators(self) -> list[tuple[bytes, int, int]]:
        """For each place where the header has a name of the parent: its kind, offset in the file, and length."""
        found = [_LOCATOR.unpack_from(self.locators, 24 * number) for number in range(8)]
        return [(code, offset, length) for code, _space, length, _reserved, offset in found if any(code)]


def checksum(data: bytes, position: int) -> int:
    """The checksum of a footer or a header, whose own four bytes at ``position`` count as zeroes."""
    return ~(sum(data) - sum(data[position : position + 4])) & 0xFFFFFFFF


def _with_checksum(data: bytes, position: int) -> bytes:
    return data[:position] + checksum(data, position).to_bytes(4, "big") + data[position + 4 :]


def parse_footer(data: bytes) -> Footer | None:
    """The footer that 512 bytes are; ``None``: they are none."""
    return Footer(*_FOOTER.unpack(data)) if data.startswith(COOKIE) and len(data) == FOOTER_BYTES else None


def is_intact_footer(data: bytes) -> bool:
    """Whether bytes are a footer with the right checksum."""
    footer = parse_footer(data)
    return footer is not None and footer.checksum == checksum(data, _FOOTER_CHECKSUM)


def parse_header(data: bytes) -> Header:
    """The header that 1024 bytes are."""
    return Header(*_HEADER.unpack(data))


def is_intact_header(data: bytes) -> bool:
    """Whether bytes are a header with the right checksum."""
    return bool(parse_header(data).checksum == checksum(data, _HEADER_CHECKSUM))


def geometry(sectors: int) -> tuple[int, int, int]:
    """Cylinders, heads and sectors per track for so many sectors ("CHS Calculation"); they may name fewer."""
    sectors = min(sectors, _MAX_GEOMETRY_SECTORS)
    if sectors > _MAX_CYLINDERS * 16 * 63:
        per_track, heads = 255, 16
        tracks = sectors // per_track
    else:
        per_track = 17
        tracks = sectors // per_track
        heads = max(4, ceil_div(tracks, 1024))
        if tracks >= heads * 1024 or heads > 16:
            per_track, heads = 31, 16
            tracks = sectors // per_track
        if tracks >= heads * 1024:
            per_track, heads = 63, 16
            tracks = sectors // per_track
    return tracks // heads, heads, per_track


def smallest_geometry(sectors: int) -> tuple[int, int, int]:
    """The smallest geometry with room for so many sectors; the largest there is, if none has."""
    if not sectors:
        return 0, 0, 0
    tried = sectors
    while True:
        found = geometry(tried)
        if found[0] * found[1] * found[2] >= min(sectors, _MAX_GEOMETRY_SECTORS):
            return found
        tried += 1


def rounded_size(size: int) -> int:
    """Guest bytes of a disk of at least ``size`` bytes that is as large as its geometry, if that is possible."""
    sectors = ceil_div(size, SECTOR)
    if sectors >= _MAX_GEOMETRY_SECTORS:
        return sectors * SECTOR
    cylinders, heads, per_track = smallest_geometry(sectors)
    return cylinders * heads * per_track * SECTOR


def new_footer(size: int, is_exact: bool, disk_type: int, timestamp: int, uuid: bytes) -> Footer:
    """The footer of a new image, as QEMU has it.

    :param size: guest bytes, a multiple of 512
    :param is_exact: the size counts whatever the geometry says
    :param timestamp: seconds since 1970
    """
    cylinders, heads, per_track = MAX_GEOMETRY if is_exact else smallest_geometry(size // SECTOR)
    return Footer(
        cookie=COOKIE,
        features=FEATURES,
        version=VERSION,
        header_offset=NOWHERE if disk_type == FIXED else FOOTER_BYTES,
        timestamp=max(0, timestamp - EPOCH) & 0xFFFFFFFF,
        creator=QEMU_EXACT if is_exact else QEMU,
        creator_version=0x00050003,
        creator_os=b"Wi2k",
        original_size=size,
        current_size=size,
        cylinders=cylinders,
        heads=heads,
        sectors_per_track=per_track,
        disk_type=disk_type,
        checksum=0,
        uuid=uuid,
        saved_state=0,
    )


def new_header(size: int) -> Header:
    """The header of a new dynamic image of ``size`` guest bytes."""
    return Header(
        cookie=HEADER_COOKIE,
        data_offset=NOWHERE,
        table_offset=TABLE_OFFSET,
        version=VERSION,
        max_entries=ceil_div(size, DEFAULT_BLOCK),
        block_size=DEFAULT_BLOCK,
        checksum=0,
        parent_uuid=bytes(16),
        parent_timestamp=0,
        reserved=0,
        parent_name=b"",
        locators=b"",
    )


def resized_footer(footer: Footer, size: int) -> Footer:
    """The footer of the same disk with another size, exactly.

    The original size, which is for information only, is changed as well: some programs go by it.
    """
    creator = footer.creator
    cylinders, heads, per_track = smallest_geometry(size // SECTOR)
    if creator in GEOMETRY_CREATORS and rounded_size(size) != size:
        creator = QEMU_EXACT
    if creator == QEMU_EXACT:
        cylinders, heads, per_track = MAX_GEOMETRY
    return footer._replace(
        creator=creator,
        original_size=size,
        current_size=size,
        cylinders=cylinders,
        heads=heads,
        sectors_per_track=per_track,
    )


def too_large(path: str) -> ImageError:
    """The error for a disk that is larger than a VHD can be."""
    return ImageError(
        "The image size is too large for file format 'vpc'",
        path=path,
        format="vpc",
        remedy="a VHD holds 2040 GiB at most; use vhdx for a larger disk",
    )


def corrupt(path: str, reason: str, remedy: str | None = None) -> CorruptImageError:
    """The error for a file that contradicts itself."""
    return CorruptImageError(
        reason,
        path=path,
        format="vpc",
        remedy=remedy or "the file may have been cut off: copy it again from its origin",
    )
