# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The headers of sparse VMDK extents: hosted (KDMV), COWD, and seSparse; all that is in them is checked here."""
from __future__ import annotations

import struct
from collections import namedtuple

from ...errors import CorruptImageError, UnsupportedFeatureError
from ...limits import MAX_IMAGE_BYTES, SECTOR
from ...sizes import ceil_div, round_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...storage.base import Storage

HOSTED, COWD, SESPARSE = "hosted", "cowd", "sesparse"

HOSTED_MAGIC, COWD_MAGIC = b"KDMV", b"COWD"
_SESPARSE_MAGIC, _SESPARSE_VERSION = 0xCAFEBABE, 0x0000000200000001

_LINE_ENDS, _REDUNDANT, _ZERO_GRAINS, _COMPRESSED, _MARKERS = 0x1, 0x2, 0x4, 0x10000, 0x20000
_DIRECTORY_AT_END = (1 << 64) - 1
_FOOTER_BYTES = 1536
_FOOTER_MARKER = 3
_DEFLATE = 1

#: Fields from the version on; one byte and four of line ends lie between the grain offset and the compression.
_HOSTED = struct.Struct("<4sIIQQQQIQQQB4sH")
_CAPACITY, _CAPACITY_PLACE = struct.Struct("<Q"), 12
_DIRECTORIES, _DIRECTORIES_PLACE = struct.Struct("<QQ"), 48
_COWD = struct.Struct("<4sIIIIII")
_SESPARSE = struct.Struct("<26Q")

#: Sectors of an embedded descriptor, and bytes of a grain, in new extents.
DESCRIPTOR_SECTORS = 20
_NEW_GRAIN = 1 << 16
#: The largest grain is one gibibyte.
_MAX_GRAIN_SECTORS = 1 << 21
_MAX_HOSTED_ENTRIES = 512
_COWD_ENTRIES = 4096


class Header(
    namedtuple(
        "Header",
        [
            "kind",
            "capacity",
            "grain",
            "table_entries",
            "directory",
            "zero_grains",
            "compressed",
            "markers",
            "tables",
            "grains",
            "version",
            "redundant",
            "descriptor_end",
        ],
        defaults=(1, 0, 0),
    )
):
    """A sparse extent.

    ``capacity`` and ``grain`` are guest bytes; ``table_entries`` counts the grains of one grain table; ``directory`` is
    the offset of the grain directory in the file, ``redundant`` that of its copy (0: there is none), ``tables`` and
    ``grains`` (of seSparse) those of what its indexes count from, bytes; of a hosted extent, ``grains`` is where the
    first grain may be.  An embedded descriptor ends at ``descriptor_end`` (0: there is none).
    """

    __slots__ = ()

    kind: str
    capacity: int
    grain: int
    table_entries: int
    directory: int
    zero_grains: bool
    compressed: bool
    markers: bool
    tables: int
    grains: int
    version: int
    redundant: int
    descriptor_end: int

    def pack(self, directory: int | None = None) -> bytes:
        """The bytes of the header of a hosted extent.

        :param directory: what it says of where the grain directory is, bytes; ``None``: that it is at the end
        """
        flags = _LINE_ENDS | (_REDUNDANT if self.redundant else 0) | (_ZERO_GRAINS if self.zero_grains else 0)
        flags |= (_COMPRESSED if self.compressed else 0) | (_MARKERS if self.markers else 0)
        place = directory or self.directory
        return _HOSTED.pack(
            HOSTED_MAGIC,
            self.version,
            flags,
            self.capacity // SECTOR,
            self.grain // SECTOR,
            1 if self.descriptor_end else 0,
            DESCRIPTOR_SECTORS if self.descriptor_end else 0,
            self.table_entries,
            self.redundant // SECTOR,
            place // SECTOR if place else _DIRECTORY_AT_END,
            self.grains // SECTOR,
            0,
            b"\n \r\n",
            _DEFLATE if self.compressed else 0,
        )

    @property
    def entry_bytes(self) -> int:
        """Bytes of an entry of the directory and of a table."""
        return 8 if self.kind == SESPARSE else 4

    @property
    def blocks(self) -> int:
        """How many grains the disk has."""
        return ceil_div(self.capacity, self.grain)

    @property
    def directory_entries(self) -> int:
        """How many grain tables the disk has."""
        return ceil_div(self.blocks, self.table_entries)


def new_header(size: int, zero_grains: bool, is_stream: bool = False) -> Header:
    """The header of a new hosted extent: two directories with their tables, and then the grains, from ``grains`` on.

    :param size: guest bytes
    :param zero_grains: whether grains can be zero by their entries
    :param is_stream: whether grains are compressed, with the directory and all tables behind them
    """
    end = (1 + DESCRIPTOR_SECTORS) * SECTOR
    header = Header(HOSTED, size, _NEW_GRAIN, _MAX_HOSTED_ENTRIES, 0, False, True, True, 0, 0, 3, 0, end)
    if is_stream:
        return header._replace(grains=round_up(end, _NEW_GRAIN))
    room = round_up(header.directory_entries * 4, SECTOR) + header.directory_entries * header.table_entries * 4
    return header._replace(
        directory=end + room,
        zero_grains=zero_grains,
        compressed=False,
        markers=False,
        grains=round_up(end + 2 * room, _NEW_GRAIN),
        version=2 if zero_grains else 1,
        redundant=end,
    )


def read_header(storage: Storage, path: str) -> Header:
    """The header of a sparse extent, whose grain directory lies inside the file.

    :raises CorruptImageError: a field is outside its rules
    :raises UnsupportedFeatureError: its version or its compression is not known
    """
    head = storage.read(0, min(SECTOR, storage.size)).ljust(SECTOR, b"\0")
    if head.startswith(HOSTED_MAGIC):
        header = _hosted(storage, head, path)
    elif head.startswith(COWD_MAGIC):
        header = _cowd(head, path)
    elif int.from_bytes(head[:8], "little") == _SESPARSE_MAGIC:
        header = _sesparse(head, path)
    else:
        raise corrupt(path, "The extent has no header of a sparse VMDK")
    return _checked(header, storage, path)


def write_resized_header(storage: Storage, header: Header) -> None:
    """Change what the header of a hosted extent says of its size and its directories, and wait until that is on the
    medium."""
    head = bytearray(storage.read(0, SECTOR))
    _CAPACITY.pack_into(head, _CAPACITY_PLACE, header.capacity // SECTOR)
    _DIRECTORIES.pack_into(head, _DIRECTORIES_PLACE, header.redundant // SECTOR, header.directory // SECTOR)
    storage.write(0, head)
    storage.flush()


def has_directory_at_end(storage: Storage) -> bool:
    """Whether a hosted extent has its grain directory where a footer says."""
    return storage.read(0, SECTOR)[_DIRECTORIES_PLACE + 8 :].startswith(b"\xff" * 8)


def embedded_descriptor(storage: Storage) -> tuple[int, int] | None:
    """Where the descriptor lies in a hosted sparse extent: offset and length in bytes; ``None``: there is none."""
    head = storage.read(0, min(SECTOR, storage.size))
    return descriptor_place(head) if head.startswith(HOSTED_MAGIC) else None


def descriptor_place(head: bytes) -> tuple[int, int] | None:
    """The same by the first sector of the file."""
    fields = _HOSTED.unpack_from(head.ljust(SECTOR, b"\0"))
    offset, length = fields[5:7]
    return (offset * SECTOR, length * SECTOR) if offset and length else None


def is_only_descriptor(storage: Storage) -> bool:
    """Whether a file with the header of a hosted sparse extent has a descriptor and no data."""
    head = storage.read(0, min(SECTOR, storage.size)).ljust(SECTOR, b"\0")
    return head.startswith(HOSTED_MAGIC) and not int.from_bytes(head[12:20], "little") and (
        embedded_descriptor(storage) is not None
    )


def _hosted(storage: Storage, head: bytes, path: str) -> Header:
    fields = _HOSTED.unpack_from(head)
    if fields[9] == _DIRECTORY_AT_END:
        fields = _HOSTED.unpack_from(_footer(storage, path))
    _magic, version, flags, capacity, grain, at, length, entries, redundant, directory, grains, *_rest, method = fields
    if not 1 <= version <= 3:
        raise UnsupportedFeatureError("Unsupported VMDK version %d" % version, path=path, format="vmdk")
    if not 0 < entries <= _MAX_HOSTED_ENTRIES:
        raise corrupt(path, "L2 table size too big" if entries else "The grain tables have no entries")
    compressed = bool(flags & _COMPRESSED)
    if compressed and method != _DEFLATE:
        raise UnsupportedFeatureError("Unsupported compression method %d" % method, path=path, format="vmdk")
    return Header(
        HOSTED,
        capacity * SECTOR,
        grain * SECTOR,
        entries,
        directory * SECTOR,
        bool(flags & _ZERO_GRAINS),
        compressed,
        bool(flags & _MARKERS),
        0,
        grains * SECTOR,
        version,
        redundant * SECTOR if flags & _REDUNDANT else 0,
        (at + length) * SECTOR if at and length else 0,
    )


def _footer(storage: Storage, path: str) -> bytes:
    """The copy of the header at the end of a stream, which knows where the grain directory is."""
    data = storage.read(storage.size - _FOOTER_BYTES, _FOOTER_BYTES) if storage.size >= _FOOTER_BYTES else b""
    footer = data[SECTOR : 2 * SECTOR]
    if not footer.startswith(HOSTED_MAGIC) or int.from_bytes(data[12:16], "little") != _FOOTER_MARKER:
        raise corrupt(path, "Invalid footer")
    if _HOSTED.unpack_from(footer)[9] == _DIRECTORY_AT_END:
        raise corrupt(path, "Invalid footer")
    return footer


def _cowd(head: bytes, path: str) -> Header:
    _magic, version, _flags, capacity, grain, directory, entries = _COWD.unpack_from(head)
    if version != 1:
        raise UnsupportedFeatureError("Unsupported VMDK version %d" % version, path=path, format="vmdk")
    header = Header(
        COWD, capacity * SECTOR, grain * SECTOR, _COWD_ENTRIES, directory * SECTOR, False, False, False, 0, 0
    )
    if grain and entries < header.directory_entries:
        raise corrupt(path, "The grain directory has %d entries, too few for the disk" % entries)
    return header


def _sesparse(head: bytes, path: str) -> Header:
    fields = _SESPARSE.unpack_from(head)
    version, capacity, grain, table_sectors = fields[1:5]
    if version != _SESPARSE_VERSION:
        raise UnsupportedFeatureError("Unsupported seSparse version %#x" % version, path=path, format="vmdk")
    if grain != 8 or table_sectors != 64:
        raise UnsupportedFeatureError(
            "Unsupported seSparse grain of %d sectors, or grain table of %d" % (grain, table_sectors),
            path=path,
            format="vmdk",
        )
    directory, tables, grains = fields[16], fields[18], fields[24]
    return Header(
        SESPARSE,
        capacity * SECTOR,
        grain * SECTOR,
        table_sectors * SECTOR // 8,
        directory * SECTOR,
        True,
        False,
        False,
        tables * SECTOR,
        grains * SECTOR,
    )


def _checked(header: Header, storage: Storage, path: str) -> Header:
    sectors = header.grain // SECTOR
    if not 0 < sectors <= _MAX_GRAIN_SECTORS:
        raise corrupt(path, "Invalid granularity, image may be corrupt")
    if header.capacity > MAX_IMAGE_BYTES:
        raise corrupt(path, "The extent has %d bytes, more than any disk" % header.capacity)
    end = max(header.directory, header.redundant) + header.directory_entries * header.entry_bytes
    if not header.directory or end > storage.size:
        raise corrupt(path, "File truncated, expecting at least %d bytes" % end)
    return header


def corrupt(path: str, reason: str) -> CorruptImageError:
    """The error for an image that contradicts itself."""
    return CorruptImageError(
        reason, path=path, format="vmdk", remedy="if the file was cut off, copy it again from where it comes from"
    )
