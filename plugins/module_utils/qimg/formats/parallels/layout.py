# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The header of a Parallels image (QEMU's "Parallels Expandable Image File Format"); all numbers are little-endian.

Behind the header lies the block allocation table, one 32-bit entry for each cluster of the guest disk: where the
cluster lies in the file, counted in clusters, or in sectors by the older of the two kinds.
"""
from __future__ import annotations

import struct
from collections import namedtuple

from ...errors import CorruptImageError, NotThisFormatError, OptionError
from ...limits import MAX_IMAGE_BYTES, SECTOR
from ...sizes import ceil_div, round_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...storage.base import Storage

OLD, NEW = b"WithoutFreeSpace", b"WithouFreSpacExt"
VERSION = 2
HEADER_BYTES = 64
ENTRY_BYTES = 4
#: The value of ``in_use`` while somebody writes.
IN_USE = 0x746F6E59
DEFAULT_CLUSTER = 1 << 20
#: Clusters of a new image are smaller.
_MAX_CLUSTER = 1 << 32
_MAX_TABLE_BYTES = (1 << 31) - 1
_HEADS, _TRACK_SECTORS = 16, 32

_HEADER = struct.Struct("<16s5IQIIIQ")


class Header(
    namedtuple(
        "Header",
        [
            "magic",
            "version",
            "heads",
            "cylinders",
            "cluster_sectors",
            "entries",
            "sectors",
            "in_use",
            "data_sector",
            "flags",
            "extension",
        ],
    )
):
    """The fields of a header; ``data_sector`` is where clusters may begin (0: right behind the table)."""

    __slots__ = ()

    magic: bytes
    cluster_sectors: int
    entries: int
    sectors: int
    in_use: int
    data_sector: int
    extension: int

    @property
    def cluster(self) -> int:
        """Bytes of a cluster."""
        return self.cluster_sectors * SECTOR

    @property
    def unit(self) -> int:
        """The bytes that an entry counts."""
        return self.cluster if self.magic == NEW else SECTOR

    @property
    def size(self) -> int:
        """Guest bytes."""
        return (self.sectors if self.magic == NEW else self.sectors & 0xFFFFFFFF) * SECTOR

    @property
    def table_end(self) -> int:
        """Where the table ends in the file."""
        return HEADER_BYTES + self.entries * ENTRY_BYTES

    @property
    def data_start(self) -> int:
        """Where clusters may begin in the file."""
        return max(self.data_sector * SECTOR, round_up(self.table_end, SECTOR))

    def pack(self) -> bytes:
        """The bytes of the header, which one sector holds."""
        return _HEADER.pack(*self)


def new_header(size: int, cluster: int) -> Header:
    """The header of a new image, as QEMU lays it out.

    :param size: guest bytes, a multiple of 512
    :param cluster: bytes of a cluster, a multiple of 512
    :raises OptionError: the disk needs too large a table, or the cluster is too large
    """
    if cluster >= _MAX_CLUSTER:
        raise OptionError("Cluster size is too large", remedy="choose one below 4 GiB")
    entries = ceil_div(size, cluster)
    if entries * ENTRY_BYTES > _MAX_TABLE_BYTES:
        raise OptionError("Image size is too large for this cluster size", remedy="choose larger clusters")
    data = round_up(HEADER_BYTES + entries * ENTRY_BYTES, cluster) // SECTOR
    cylinders = size // SECTOR // (_HEADS * _TRACK_SECTORS)
    return Header(
        NEW, VERSION, _HEADS, cylinders & 0xFFFFFFFF, cluster // SECTOR, entries, size // SECTOR, 0, data, 0, 0
    )


def resized(header: Header, size: int) -> Header:
    """A header for another size; where clusters begin is not changed."""
    if header.magic == OLD and size // SECTOR > 0xFFFFFFFF:
        raise OptionError("An image of this older kind has less than 2 TiB", remedy="convert it to a new image")
    new = new_header(size, header.cluster)
    return header._replace(cylinders=new.cylinders, entries=new.entries, sectors=new.sectors)


def read_header(storage: Storage, path: str) -> Header:
    """The header of a file, whose table lies inside of it.

    :raises FormatError: it is not valid, in QEMU's words where it has some
    """
    header = Header(*_HEADER.unpack(storage.read(0, HEADER_BYTES)))
    if header.magic not in (OLD, NEW) or header.version != VERSION:
        raise NotThisFormatError("Image not in Parallels format", path=path, format="parallels")
    if not header.cluster_sectors:
        raise corrupt(path, "Invalid image: Zero sectors per track")
    if header.magic == NEW and header.cluster_sectors > 0x7FFFFFFF // 513:
        raise corrupt(path, "Invalid image: Too big cluster")
    if header.entries * ENTRY_BYTES > _MAX_TABLE_BYTES:
        raise corrupt(path, "Catalog too large")
    if header.table_end > storage.size:
        raise corrupt(path, "The table ends at offset %#x, beyond the end of the file" % header.table_end)
    if header.size > MAX_IMAGE_BYTES or header.size > header.entries * header.cluster:
        raise corrupt(path, "The disk has %d bytes, and the table names %d clusters" % (header.size, header.entries))
    return header


def corrupt(path: str, reason: str) -> CorruptImageError:
    """The error for an image that contradicts itself."""
    return CorruptImageError(
        reason, path=path, format="parallels", remedy="if the file was cut off, copy it again from its origin"
    )
