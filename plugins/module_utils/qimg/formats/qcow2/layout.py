# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The bytes of a qcow2 image: header, header extensions, table entries.

Follows "QCOW2 Image Format" of QEMU (docs/interop/qcow2).  All integers are big-endian.  This is the only module that
knows shifts, masks and struct formats of qcow2.
"""
from __future__ import annotations

import struct
import sys
from array import array
from collections import namedtuple

from ...errors import CorruptImageError, FormatError, NotThisFormatError, UnsupportedFeatureError
from ...limits import MIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ...storage.base import Storage

MAGIC = b"QFI\xfb"
MIN_CLUSTER_BITS, MAX_CLUSTER_BITS = 9, 21
MAX_L1_BYTES = 32 * MIB
MAX_REFCOUNT_TABLE_BYTES = 8 * MIB
MAX_REFCOUNT_ORDER = 6
#: Bits of a refcount, by its order.
REFCOUNT_WIDTHS = tuple(1 << order for order in range(MAX_REFCOUNT_ORDER + 1))
MAX_SNAPSHOTS = 65536
MAX_BACKING_NAME = 1023

# Incompatible features
DIRTY = 1 << 0
CORRUPT = 1 << 1
EXTERNAL_DATA_FILE = 1 << 2
COMPRESSION_TYPE = 1 << 3
EXTENDED_L2 = 1 << 4
KNOWN_INCOMPATIBLE = DIRTY | CORRUPT | EXTERNAL_DATA_FILE | COMPRESSION_TYPE | EXTENDED_L2
# Compatible features
LAZY_REFCOUNTS = 1 << 0
# Autoclear features
BITMAPS_VALID = 1 << 0
RAW_EXTERNAL_DATA = 1 << 1
KNOWN_AUTOCLEAR = BITMAPS_VALID | RAW_EXTERNAL_DATA

# Header extension types
EXT_END = 0x00000000
EXT_BACKING_FORMAT = 0xE2792ACA
EXT_FEATURE_NAMES = 0x6803F857
EXT_BITMAPS = 0x23852875
EXT_CRYPTO = 0x0537BE77
EXT_DATA_FILE = 0x44415441
#: QEMU looks at this many bytes of an L2 table at once, and reports no more in one go.
STATUS_TABLE_BYTES = 4096
#: Ours: fills the gap to a second copy of the extensions during a header change (see header_area.py).
EXT_PADDING = 0x71696D67
#: The types that say something about the image itself: one of each counts.
KNOWN_EXTENSIONS = (EXT_BACKING_FORMAT, EXT_FEATURE_NAMES, EXT_BITMAPS, EXT_CRYPTO, EXT_DATA_FILE)

# Encryption methods
CRYPT_NONE, CRYPT_AES, CRYPT_LUKS = 0, 1, 2

# Compression types
ZLIB, ZSTD = 0, 1
COMPRESSION_NAMES = ("zlib", "zstd")

# Table entries
OFFSET_MASK = 0x00FFFFFFFFFFFE00
COPIED = 1 << 63
COMPRESSED = 1 << 62
ZERO_FLAG = 1 << 0
L1_RESERVED = 0x7F000000000001FF
L2_RESERVED = 0x3F000000000001FE
REFCOUNT_BLOCK_OFFSET_MASK = 0xFFFFFFFFFFFFFE00
REFCOUNT_TABLE_RESERVED = 0x1FF

#: Subclusters of one cluster with extended L2 entries.
SUBCLUSTERS = 32
#: The bitmap of a cluster with all of them allocated.
ALL_SUBCLUSTERS = (1 << SUBCLUSTERS) - 1
MIN_EXTENDED_L2_CLUSTER_BITS = 14

V2_HEADER_LENGTH = 72
V3_MIN_HEADER_LENGTH = 104
#: The header length that we (and QEMU) write: with the compression type and its padding.
V3_HEADER_LENGTH = 112

#: So many bytes of tables may be looked at, however short the file is.
_LEAST_ROOM = 256 * MIB
#: One write of this many bytes either happens or does not.
ATOMIC_SECTOR = 512

_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
_EXTENSION = struct.Struct(">II")
_FEATURE_NAME = struct.Struct(">BB46s")

#: (type, bit, name): the feature name table that QEMU writes, in its order.
FEATURE_NAMES = (
    (0, 0, b"dirty bit"),
    (0, 1, b"corrupt bit"),
    (0, 2, b"external data file"),
    (0, 3, b"compression type"),
    (0, 4, b"extended L2 entries"),
    (1, 0, b"lazy refcounts"),
    (2, 0, b"bitmaps"),
    (2, 1, b"raw external data"),
)
#: The table is written only where it leaves room for other things.
MIN_FEATURE_NAMES_CLUSTER_SIZE = 4097


class Header(
    namedtuple(
        "Header",
        [
            "version",
            "backing_file_offset",
            "backing_file_size",
            "cluster_bits",
            "size",
            "crypt_method",
            "l1_size",
            "l1_table_offset",
            "refcount_table_offset",
            "refcount_table_clusters",
            "nb_snapshots",
            "snapshots_offset",
            "incompatible_features",
            "compatible_features",
            "autoclear_features",
            "refcount_order",
            "header_length",
            "compression_type",
            "unknown_fields",
        ],
    )
):
    """The fixed part of the header, each field named as in the specification (section "Header").

    ``size``, offsets: bytes; ``l1_size``: entries; ``unknown_fields``: what lies between the fields that we know and
    ``header_length``.
    """

    __slots__ = ()

    def pack(self) -> bytes:
        """The header as it stands in the file; ``header_length`` bytes."""
        fixed = _V2.pack(
            MAGIC,
            self.version,
            self.backing_file_offset,
            self.backing_file_size,
            self.cluster_bits,
            self.size,
            self.crypt_method,
            self.l1_size,
            self.l1_table_offset,
            self.refcount_table_offset,
            self.refcount_table_clusters,
            self.nb_snapshots,
            self.snapshots_offset,
        )
        if self.version == 2:
            return fixed
        features = _V3.pack(
            self.incompatible_features,
            self.compatible_features,
            self.autoclear_features,
            self.refcount_order,
            self.header_length,
        )
        tail = b""
        if self.header_length > V3_MIN_HEADER_LENGTH:
            tail = bytes((self.compression_type,)) + bytes(7) + self.unknown_fields
        return fixed + features + tail


def parse_header(data: bytes, path: str) -> Header:
    """Parse and validate what can be validated without the rest of the file.

    :param data: the beginning of the file, at least 512 bytes (zero padded)
    :raises NotThisFormatError: no qcow2 magic
    :raises FormatError: a field is out of its range
    """

    def refuse(reason: str) -> FormatError:
        return FormatError(reason, path=path, format="qcow2")

    fields = _V2.unpack_from(data)
    if fields[0] != MAGIC:
        raise NotThisFormatError(
            "Image is not in qcow2 format",
            path=path,
            format="qcow2",
            remedy="name the right format, or leave the format out to have it detected",
        )
    version = fields[1]
    if version not in (2, 3):
        raise UnsupportedFeatureError("Unsupported qcow2 version %d" % version, path=path, format="qcow2")
    cluster_bits = fields[4]
    if not MIN_CLUSTER_BITS <= cluster_bits <= MAX_CLUSTER_BITS:
        raise refuse("Unsupported cluster size: 2^%d" % cluster_bits)
    cluster_size = 1 << cluster_bits
    incompatible = compatible = autoclear = 0
    refcount_order, header_length, compression_type, unknown = 4, V2_HEADER_LENGTH, ZLIB, b""
    if version >= 3:
        incompatible, compatible, autoclear, refcount_order, header_length = _V3.unpack_from(data, _V2.size)
        if header_length < V3_MIN_HEADER_LENGTH:
            raise refuse("qcow2 header too short")
        if header_length > cluster_size:
            raise refuse("qcow2 header exceeds cluster size")
        if header_length > V3_MIN_HEADER_LENGTH:
            compression_type = data[V3_MIN_HEADER_LENGTH]
            unknown = data[V3_HEADER_LENGTH:header_length]
    if fields[2] > cluster_size:
        raise refuse("Invalid backing file offset")
    extra = (incompatible, compatible, autoclear, refcount_order, header_length, compression_type, unknown)
    return Header._make((version, *fields[2:], *extra))


def parse_extensions(data: bytes, header: Header, path: str) -> list[tuple[int, bytes]]:
    """The header extensions as ``(type, content)`` in file order (section "Header extensions").

    :param data: the whole first cluster
    """
    extensions = []
    offset = header.header_length
    end = header.backing_file_offset or (1 << header.cluster_bits)
    while offset + _EXTENSION.size <= end:
        kind, length = _EXTENSION.unpack_from(data, offset)
        offset += _EXTENSION.size
        if length > end - offset:
            raise FormatError("Header extension too large", path=path, format="qcow2")
        if kind == EXT_END:
            break
        extensions.append((kind, data[offset : offset + length]))
        offset += -(-length // 8) * 8
    return extensions


def without_repetitions(extensions: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """The extensions that count: of a known type that occurs several times, QEMU takes the last one."""
    last = {kind: number for number, (kind, _content) in enumerate(extensions)}
    return [
        (kind, content)
        for number, (kind, content) in enumerate(extensions)
        if kind not in KNOWN_EXTENSIONS or last[kind] == number
    ]


def pack_extensions(extensions: list[tuple[int, bytes]]) -> bytes:
    """Extensions and their end marker, each padded to a multiple of 8 bytes."""
    parts = []
    for kind, content in extensions:
        parts.append(_EXTENSION.pack(kind, len(content)))
        parts.append(content + bytes(-len(content) % 8))
    parts.append(_EXTENSION.pack(EXT_END, 0))
    return b"".join(parts)


def feature_name_table() -> bytes:
    """The content of the feature name table extension."""
    return b"".join(_FEATURE_NAME.pack(*record) for record in FEATURE_NAMES)


def check_features(header: Header, extensions: list[tuple[int, bytes]], path: str) -> None:
    """Refuse what this program does not know (sections "Feature bits", "Feature name table").

    :raises UnsupportedFeatureError: naming every unknown incompatible feature
    """
    unknown = header.incompatible_features & ~KNOWN_INCOMPATIBLE
    if unknown:
        names = {}
        content = dict(extensions).get(EXT_FEATURE_NAMES, b"")
        for record in range(0, len(content) - _FEATURE_NAME.size + 1, _FEATURE_NAME.size):
            feature_type, bit, name = _FEATURE_NAME.unpack_from(content, record)
            if feature_type == 0 and bit < 64:
                names[bit] = name.partition(b"\0")[0].decode("utf-8", "replace")
        said = [names[bit] for bit in sorted(names) if unknown >> bit & 1]
        nameless = unknown & ~sum(1 << bit for bit in names)
        if nameless:
            said.append("Unknown incompatible feature: %x" % nameless)
        raise UnsupportedFeatureError(
            "Unsupported qcow2 feature(s): %s" % ", ".join(said), path=path, format="qcow2"
        )
    has_bit = bool(header.incompatible_features & COMPRESSION_TYPE)
    if header.compression_type >= len(COMPRESSION_NAMES):
        raise UnsupportedFeatureError(
            "qcow2: unknown compression type: %u" % header.compression_type, path=path, format="qcow2"
        )
    if has_bit != (header.compression_type != ZLIB):
        raise FormatError(
            "qcow2: Compression type incompatible feature bit must %sbe set" % ("not " if has_bit else ""),
            path=path,
            format="qcow2",
        )


class Geometry:
    """Sizes that follow from the header and never change while an image is open."""

    def __init__(self, cluster_bits: int, extended_l2: bool = False) -> None:
        self.cluster_bits = cluster_bits
        self.cluster_size = 1 << cluster_bits
        self.extended_l2 = extended_l2
        #: 64-bit words of one L2 entry.
        self.entry_words = 2 if extended_l2 else 1
        #: Clusters that one L2 table maps.
        self.l2_entries = self.cluster_size // 8 // self.entry_words
        #: Guest bytes that one L2 table maps.
        self.l2_span = self.l2_entries << cluster_bits
        self.subcluster_size = self.cluster_size // SUBCLUSTERS if extended_l2 else self.cluster_size
        # Compressed Clusters Descriptor: x bits of host offset, then the number of further sectors.
        self._compressed_offset_bits = 62 - (cluster_bits - 8)
        self._compressed_sector_mask = (1 << (cluster_bits - 8)) - 1
        #: Host offsets of compressed clusters end here.
        self.compressed_limit = min(1 << self._compressed_offset_bits, 1 << 56)

    def l1_entries(self, size: int) -> int:
        """L1 entries that map ``size`` guest bytes."""
        return -(-size // self.l2_span)

    def compressed_range(self, entry: int) -> tuple[int, int]:
        """Host offset and number of bytes that a compressed entry allows to read."""
        offset = entry & ((1 << self._compressed_offset_bits) - 1)
        sectors = (entry >> self._compressed_offset_bits & self._compressed_sector_mask) + 1
        return offset, sectors * 512 - (offset & 511)

    def compressed_entry(self, offset: int, length: int) -> int:
        """The entry for ``length`` compressed bytes at host ``offset``."""
        sectors = (offset + length - 1 >> 9) - (offset >> 9)
        return COMPRESSED | sectors << self._compressed_offset_bits | offset

    def compressed_clusters(self, entry: int) -> tuple[int, int]:
        """First host cluster that a compressed entry touches, and how many."""
        offset, length = self.compressed_range(entry)
        first = offset >> self.cluster_bits
        return first, (offset + length - 1 >> self.cluster_bits) - first + 1


def words_from_bytes(data: bytes) -> array[int]:
    """A table of 64-bit entries, from the file's byte order."""
    words = array("Q", data)
    if sys.byteorder == "little":
        words.byteswap()
    return words


def words_to_bytes(words: array[int]) -> bytes:
    """A table of 64-bit entries in the file's byte order."""
    if sys.byteorder == "little":
        words = words[:]
        words.byteswap()
    return words.tobytes()


def check_room(table: array[int], storage: Storage, geometry: Geometry, offset: int, what: str) -> None:
    """Refuse a table whose entries refer to more clusters than there are: each would be looked at, even if all are one.

    :param offset: where the table is, for the message
    :raises CorruptImageError: there are too many
    """
    most = max(storage.size, _LEAST_ROOM) >> geometry.cluster_bits
    if len(table) > most and len(table) - table.count(0) > most:
        raise corrupt(storage.name, "%s than there can be in the file" % what, offset)


def check_l1_room(length: int, storage: Storage) -> None:
    """Refuse snapshots whose L1 tables are together longer than the file: each would be read, even if all are one.

    :param length: bytes of the tables
    :raises CorruptImageError: they cannot all be in the file
    """
    allocated = storage.allocated_size
    most = storage.size if allocated is None else min(allocated, storage.size)
    if length > max(most, 2 * MAX_L1_BYTES):
        raise corrupt(storage.name, "The L1 tables of its snapshots are together larger than the file")


def corrupt(path: str, reason: str, offset: int | None = None, **details: Any) -> CorruptImageError:
    """The error for metadata that contradicts itself."""
    return CorruptImageError(
        reason,
        path=path,
        format="qcow2",
        offset=offset,
        remedy="check the image, and repair it from a backup copy with a check that repairs",
        **details,
    )
