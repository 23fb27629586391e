# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The structures of a VHDX file (MS-VHDX, section 2); all numbers are little-endian.

Whatever an image says of places and lengths is checked here, before anything is read or allocated by it.
"""
from __future__ import annotations

import struct
from collections import namedtuple

from ...errors import CorruptImageError, NotThisFormatError, UnsupportedFeatureError
from ...limits import MIB, SECTOR
from ...sizes import ceil_div
from .crc32c import crc32c, crc32c_without

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...storage.base import Storage

SIGNATURE = b"vhdxfile"
HEADER_PLACES = (64 << 10, 128 << 10)
HEADER_BYTES = 4096
REGION_PLACES = (192 << 10, 256 << 10)
REGION_BYTES = 64 << 10
#: Where the area ends that holds these structures.
AREA_END = MIB
#: Structures are written in units of that many bytes, and so is the log.
PAGE = 4096
NO_GUID = bytes(16)

#: Sizes of blocks, of the disk, and of a log.
MIN_BLOCK, MAX_BLOCK = MIB, 256 * MIB
MAX_BYTES = 64 << 40
MAX_LOG_BYTES = 64 * MIB
#: Sectors whose presence one bitmap block of a differencing disk holds.
_CHUNK_SECTORS = 1 << 23

#: States of a payload block: the low bits of its entry.
NOT_PRESENT, UNDEFINED, ZEROED, UNMAPPED, PRESENT, PARTIAL = 0, 1, 2, 3, 6, 7
BITMAP_PRESENT = 6
STATE_MASK = 7
OFFSET_MASK = ~(MIB - 1) & (1 << 64) - 1
ENTRY_BYTES = 8

BAT = bytes.fromhex("6677c22d23f600429d64115e9bfd4a08")
METADATA = bytes.fromhex("06a27c8b90479a4bb8fe575f050f886e")
FILE_PARAMETERS = bytes.fromhex("3767a1ca36fa434db3b633f0aa44e76b")
DISK_SIZE = bytes.fromhex("2442a52f1bcd7648b2115dbed83bf4b8")
DISK_ID = bytes.fromhex("ab12cabee6b2234593efc309e000c746")
LOGICAL_SECTOR = bytes.fromhex("1dbf41816fa90947ba47f233a8faab5f")
PHYSICAL_SECTOR = bytes.fromhex("c748a3cd5d4471449cc9e9885251c556")
PARENT_LOCATOR = bytes.fromhex("2d5fd3a80bb34d45abf7d3d84834ab0c")
_KNOWN_ITEMS = (FILE_PARAMETERS, DISK_SIZE, DISK_ID, LOGICAL_SECTOR, PHYSICAL_SECTOR, PARENT_LOCATOR)

FIXED_FLAG, PARENT_FLAG = 1, 2
REQUIRED = 4

_HEADER = struct.Struct("<4sIQ16s16s16sHHIQ")
REGION = struct.Struct("<16sQII")
ITEM = struct.Struct("<16sIII4x")
_MOST_REGIONS = 2047
_MOST_ITEMS = 2047
#: The metadata region is read as a whole.
_MAX_METADATA = 2 * MIB


class Header(
    namedtuple(
        "Header",
        ["sequence", "file_guid", "data_guid", "log_guid", "log_version", "version", "log_length", "log_offset"],
    )
):
    """One of the two headers; the one with the higher sequence number counts."""

    __slots__ = ()

    sequence: int
    data_guid: bytes
    log_guid: bytes
    log_length: int
    log_offset: int

    def pack(self) -> bytes:
        """The bytes of the header, with its checksum."""
        data = _HEADER.pack(b"head", 0, *self).ljust(HEADER_BYTES, b"\0")
        return data[:4] + struct.pack("<I", crc32c(data)) + data[8:]


class Parameters(
    namedtuple(
        "Parameters",
        ["block_size", "flags", "size", "sector", "bat_offset", "bat_length", "size_offset", "locator", "metadata"],
    )
):
    """What regions and metadata say of the disk.

    ``block_size`` and ``size`` are guest bytes, ``sector`` bytes of a logical sector; ``bat_offset`` and
    ``bat_length`` place the block allocation table in the file, bytes; ``size_offset`` is where the size of the disk is
    stored; ``locator`` is the parent locator (empty: there is none); ``metadata`` is where their region begins.
    """

    __slots__ = ()

    block_size: int
    flags: int
    size: int
    sector: int
    bat_offset: int
    bat_length: int
    size_offset: int
    locator: bytes
    metadata: int

    @property
    def has_parent(self) -> bool:
        """Whether it is a differencing disk."""
        return bool(self.flags & PARENT_FLAG)

    @property
    def is_fixed(self) -> bool:
        """Whether all blocks were allocated when it was made."""
        return bool(self.flags & FIXED_FLAG)

    @property
    def blocks(self) -> int:
        """How many payload blocks the disk has."""
        return ceil_div(self.size, self.block_size)

    @property
    def chunk(self) -> int:
        """Payload blocks between two entries of bitmap blocks."""
        return _CHUNK_SECTORS * self.sector // self.block_size

    @property
    def bat_entries(self) -> int:
        """How many entries the table needs."""
        return bat_entries(self.blocks, self.chunk, self.has_parent)


def bat_entries(blocks: int, chunk: int, has_parent: bool) -> int:
    """The entries of a table: those of the bitmap blocks too."""
    if has_parent:
        return ceil_div(blocks, chunk) * (chunk + 1)
    return blocks + max(0, blocks - 1) // chunk


def chunk_blocks(block_size: int, sector: int = SECTOR) -> int:
    """Payload blocks between two entries of bitmap blocks."""
    return _CHUNK_SECTORS * sector // block_size


def read_headers(storage: Storage, path: str) -> tuple[Header, int]:
    """The header that counts, and which of the two it is.

    :raises FormatError: there is no valid one
    """
    if storage.read(0, len(SIGNATURE)) != SIGNATURE:
        raise NotThisFormatError("Image not in VHDX format", path=path, format="vhdx")
    found = []
    for number, place in enumerate(HEADER_PLACES):
        data = storage.read(place, HEADER_BYTES)
        _signature, checksum, *fields = _HEADER.unpack_from(data)
        if data.startswith(b"head") and checksum == crc32c_without(data, 4):
            found.append((Header(*fields), number))
    if not found:
        raise corrupt(path, "No valid VHDX header found")
    header, number = max(found, key=lambda each: each[0].sequence)
    if header.version != 1 or header.log_version != 0:
        raise UnsupportedFeatureError(
            "Unsupported VHDX version %d, with a log of version %d" % (header.version, header.log_version),
            path=path,
            format="vhdx",
        )
    wrong = header.log_offset % MIB or header.log_length % MIB or header.log_offset < AREA_END
    if wrong or header.log_length > MAX_LOG_BYTES or (header.log_guid != NO_GUID and not header.log_length):
        raise corrupt(
            path, "The log has %d bytes at offset %#x" % (header.log_length, header.log_offset)
        )
    return header, number


def read_regions(storage: Storage, path: str) -> dict[bytes, tuple[int, int]]:
    """Where the regions are: offset and length in bytes, by their identifiers.

    :raises FormatError: neither table is valid, or one names a region that nobody knows
    """
    for place in REGION_PLACES:
        data = storage.read(place, REGION_BYTES)
        checksum, count = struct.unpack_from("<II", data, 4)
        if not data.startswith(b"regi") or count > _MOST_REGIONS or checksum != crc32c_without(data, 4):
            continue
        regions = {}
        for index in range(count):
            guid, offset, length, required = REGION.unpack_from(data, 16 + index * REGION.size)
            if guid in (BAT, METADATA):
                if offset % MIB or length % MIB or offset < AREA_END or not length or guid in regions:
                    raise corrupt(path, "A region has %d bytes at offset %#x" % (length, offset))
                regions[guid] = (offset, length)
            elif required & 1:
                raise UnsupportedFeatureError("An unknown region is required", path=path, format="vhdx")
        if len(regions) < 2:
            raise corrupt(path, "The region table lacks the block allocation table or the metadata")
        return regions
    raise corrupt(path, "No valid region table found")


def region_table(bat_offset: int, bat_length: int, metadata: int) -> bytes:
    """The bytes of a region table."""
    entries = REGION.pack(BAT, bat_offset, bat_length, 1) + REGION.pack(METADATA, metadata, MIB, 1)
    data = (b"regi" + struct.pack("<III", 0, 2, 0) + entries).ljust(REGION_BYTES, b"\0")
    return data[:4] + struct.pack("<I", crc32c(data)) + data[8:]


def read_parameters(storage: Storage, regions: dict[bytes, tuple[int, int]], path: str) -> Parameters:
    """What the metadata say of the disk.

    :param storage: with the log replayed
    :raises FormatError: they are not valid
    """
    start, length = regions[METADATA]
    items = _items(storage, start, length, path)
    missing = [guid for guid in _KNOWN_ITEMS[:5] if guid not in items]
    if missing:
        raise corrupt(path, "The metadata lack an item that each image must have")
    block_size, flags = struct.unpack("<II", _item(storage, start, items, FILE_PARAMETERS, 8, path))
    (size,) = struct.unpack("<Q", _item(storage, start, items, DISK_SIZE, 8, path))
    (sector,) = struct.unpack("<I", _item(storage, start, items, LOGICAL_SECTOR, 4, path))
    if not MIN_BLOCK <= block_size <= MAX_BLOCK or block_size & (block_size - 1):
        raise corrupt(path, "Invalid block size %d" % block_size)
    if sector not in (SECTOR, 4096):
        raise UnsupportedFeatureError("Unsupported logical sector size %d" % sector, path=path, format="vhdx")
    if size > MAX_BYTES or size % sector:
        raise corrupt(path, "The disk has %d bytes, which no VHDX has" % size)
    locator = b""
    if flags & PARENT_FLAG:
        if PARENT_LOCATOR not in items:
            raise corrupt(path, "It is a differencing disk, and has no parent locator")
        locator = _item(storage, start, items, PARENT_LOCATOR, None, path)
    parameters = Parameters(
        block_size, flags, size, sector, *regions[BAT], start + items[DISK_SIZE][0], locator, start
    )
    if parameters.bat_entries * ENTRY_BYTES > parameters.bat_length:
        raise corrupt(path, "The block allocation table is too small for the disk")
    return parameters


def _items(storage: Storage, start: int, length: int, path: str) -> dict[bytes, tuple[int, int]]:
    """Offset in the region and length of the metadata items, by their identifiers."""
    table = storage.read(start, min(length, REGION_BYTES))
    (count,) = struct.unpack_from("<H", table, 10)
    if not table.startswith(b"metadata") or count > _MOST_ITEMS:
        raise corrupt(path, "The metadata table is not valid")
    items = {}
    for index in range(count):
        guid, offset, size, flags = ITEM.unpack_from(table, 32 + index * 32)
        if guid not in _KNOWN_ITEMS:
            if flags & REQUIRED:
                raise UnsupportedFeatureError("An unknown metadata item is required", path=path, format="vhdx")
            continue
        if offset < REGION_BYTES or offset + size > min(length, _MAX_METADATA):
            raise corrupt(path, "A metadata item has %d bytes at offset %#x of their region" % (size, offset))
        items[guid] = (offset, size)
    return items


def _item(
    storage: Storage, start: int, items: dict[bytes, tuple[int, int]], guid: bytes, length: int | None, path: str
) -> bytes:
    offset, size = items[guid]
    if length is not None and size < length:
        raise corrupt(path, "A metadata item has %d bytes, too few" % size)
    return storage.read(start + offset, size if length is None else length)


def corrupt(path: str, reason: str, remedy: str | None = None) -> CorruptImageError:
    """The error for an image that contradicts itself."""
    return CorruptImageError(
        reason,
        path=path,
        format="vhdx",
        remedy=remedy or "if the file was cut off, copy it again from where it comes from; else restore it",
    )
