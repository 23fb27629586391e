# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The header of a VDI file, version 1.1; all numbers are little-endian.

The format has no specification; VirtualBox is its only authority.  Behind the header lies the block map, one 32-bit
entry for each block of the guest disk, and behind that the blocks, which an entry counts from ``data_offset``.
"""
from __future__ import annotations

import struct
import sys
from collections import namedtuple

from ...errors import CorruptImageError, NotThisFormatError, UnsupportedFeatureError
from ...limits import SECTOR
from ...sizes import ceil_div, round_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array

    from ...storage.base import Storage

SIGNATURE = 0xBEDA107F
VERSION = 0x00010001
TEXT = b"<<< QEMU VM Virtual Disk Image >>>\n"
HEADER_BYTES = 0x180
#: Guest bytes of a block: VirtualBox can do others, and nothing has ever written one.
BLOCK = 1 << 20

#: Values of ``image_type``.
DYNAMIC, STATIC = 1, 2

#: Entries of the block map that name no block: never written to, and discarded.
UNALLOCATED, DISCARDED = 0xFFFFFFFF, 0xFFFFFFFE
ENTRY_BYTES = 4

#: QEMU's limit, from a table whose bytes fit a signed 32-bit number.
MAX_BLOCKS = 0x1FFFFF80
MAX_BYTES = MAX_BLOCKS * BLOCK

_NO_UUID = bytes(16)
_HEADER = struct.Struct("<64s5I256s7IQ4I16s16s16s16s")


class Header(
    namedtuple(
        "Header",
        [
            "text",
            "signature",
            "version",
            "header_size",
            "image_type",
            "flags",
            "description",
            "map_offset",
            "data_offset",
            "cylinders",
            "heads",
            "sectors",
            "sector_size",
            "unused",
            "disk_size",
            "block_size",
            "block_extra",
            "blocks",
            "allocated",
            "uuid",
            "snapshot_uuid",
            "link_uuid",
            "parent_uuid",
        ],
    )
):
    """The fields of a header; ``allocated`` is where the next new block goes, and how many there are."""

    __slots__ = ()

    image_type: int
    map_offset: int
    data_offset: int
    disk_size: int
    blocks: int
    allocated: int

    @property
    def map_entries(self) -> int:
        """How many entries there is room for between the beginning of the map and the blocks."""
        return (self.data_offset - self.map_offset) // ENTRY_BYTES

    def pack(self) -> bytes:
        """The bytes of the header, which one sector holds."""
        return _HEADER.pack(*self)


def new_header(size: int, is_static: bool, uuid: bytes, snapshot_uuid: bytes) -> Header:
    """The header of a new image, as QEMU lays it out.

    :param size: guest bytes, a multiple of 512
    """
    blocks = ceil_div(size, BLOCK)
    return Header(
        text=TEXT,
        signature=SIGNATURE,
        version=VERSION,
        header_size=HEADER_BYTES,
        image_type=STATIC if is_static else DYNAMIC,
        flags=0,
        description=b"",
        map_offset=SECTOR,
        data_offset=_data_offset(blocks),
        cylinders=0,
        heads=0,
        sectors=0,
        sector_size=SECTOR,
        unused=0,
        disk_size=size,
        block_size=BLOCK,
        block_extra=0,
        blocks=blocks,
        allocated=blocks if is_static else 0,
        uuid=uuid,
        snapshot_uuid=snapshot_uuid,
        link_uuid=_NO_UUID,
        parent_uuid=_NO_UUID,
    )


def _data_offset(blocks: int) -> int:
    return SECTOR + round_up(blocks * ENTRY_BYTES, SECTOR)


def full_size(size: int) -> int:
    """The bytes of a new file with all blocks of a disk of ``size`` bytes."""
    blocks = ceil_div(size, BLOCK)
    return _data_offset(blocks) + blocks * BLOCK


def check_size(size: int, path: str) -> None:
    """Refuse a disk that is too large.

    :param size: guest bytes
    :raises UnsupportedFeatureError: in QEMU's words
    """
    if size > MAX_BYTES:
        raise UnsupportedFeatureError(
            "Unsupported VDI image size (size is %#x, max supported is %#x)" % (size, MAX_BYTES),
            path=path,
            format="vdi",
            remedy="choose a smaller disk, or another format",
        )


def read_header(storage: Storage, path: str) -> Header:
    """The header of a file, with everything in it checked: what it names lies inside the file.

    :raises FormatError: it is not valid, in QEMU's words where it has some
    """
    header = Header(*_HEADER.unpack(storage.read(0, _HEADER.size)))
    check_size(header.disk_size, path)
    if header.signature != SIGNATURE:
        raise NotThisFormatError(
            "Image not in VDI format (bad signature %08x)" % header.signature, path=path, format="vdi"
        )
    # Images of odd sizes are as long as the sectors that hold them.
    header = header._replace(disk_size=round_up(header.disk_size, SECTOR))
    for reason in _unsupported(header):
        raise UnsupportedFeatureError("unsupported VDI image (%s)" % reason, path=path, format="vdi")
    _check_places(header, storage, path)
    return header


def _unsupported(header: Header) -> list[str]:
    """What QEMU does not support either, in its words and in the order in which it looks."""
    room = header.blocks * BLOCK
    found = (
        (header.version != VERSION, "version %d.%d" % (header.version >> 16, header.version & 0xFFFF)),
        (header.map_offset % SECTOR, "unaligned block map offset %#x" % header.map_offset),
        (header.data_offset % SECTOR, "unaligned data offset %#x" % header.data_offset),
        (header.sector_size != SECTOR, "sector size %d is not %d" % (header.sector_size, SECTOR)),
        (header.block_size != BLOCK, "block size %d is not %d" % (header.block_size, BLOCK)),
        (
            header.disk_size > room,
            "disk size %d, image bitmap has room for %d" % (header.disk_size, room),
        ),
        (header.link_uuid != _NO_UUID, "non-NULL link UUID"),
        (header.parent_uuid != _NO_UUID, "non-NULL parent UUID"),
        (header.blocks > MAX_BLOCKS, "too many blocks %d, max is %d" % (header.blocks, MAX_BLOCKS)),
        # QEMU reads such an image as if there were nothing between its blocks.
        (header.block_extra, "blocks with %d further bytes each" % header.block_extra),
    )
    return [reason for is_so, reason in found if is_so]


def _check_places(header: Header, storage: Storage, path: str) -> None:
    map_end = header.map_offset + header.blocks * ENTRY_BYTES
    wrong = None
    if header.map_offset < SECTOR:
        wrong = "The block map lies in the header"
    elif header.data_offset < map_end:
        wrong = "The blocks begin at offset %#x, inside the block map" % header.data_offset
    elif map_end > storage.size:
        wrong = "The block map ends at offset %#x, beyond the end of the file" % map_end
    if wrong:
        raise CorruptImageError(
            wrong, path=path, format="vdi", remedy="the file may have been cut off: copy it again from its origin"
        )


def write_entries(storage: Storage, offset: int, entries: array[int]) -> None:
    """Write entries of the block map (32-bit words) where nothing has read them yet."""
    if sys.byteorder == "big":
        entries.byteswap()
    storage.write(offset, entries.tobytes())


def corrupt(path: str, reason: str) -> CorruptImageError:
    """The error for a block map that contradicts itself or the header."""
    return CorruptImageError(
        reason, path=path, format="vdi", remedy="repair a copy of the image with a check that repairs all"
    )
