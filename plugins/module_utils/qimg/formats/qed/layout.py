# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The header of a QED image (QEMU's "QED Image File Format"); all numbers are little-endian."""
from __future__ import annotations

import struct
from collections import namedtuple

from ...errors import CorruptImageError, NotThisFormatError, OptionError, UnsupportedFeatureError
from ...limits import SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...storage.base import Storage

MAGIC = b"QED\0"
#: Incompatible features.
BACKING, NEED_CHECK, RAW_BACKING = 1, 2, 4
ENTRY_BYTES = 8
MIN_CLUSTER, MAX_CLUSTER = 4096, 1 << 26
DEFAULT_CLUSTER, DEFAULT_TABLE = 1 << 16, 4
MAX_TABLE = 16
MAX_BACKING_NAME = 1023
#: Where names of backing files go: the one that the header does not name at the moment.
_NAME_PLACES = (64, 64 + 1024)

_HEADER = struct.Struct("<4sIIIQQQQQII")
HEADER_BYTES = _HEADER.size


class Header(
    namedtuple(
        "Header",
        [
            "magic",
            "cluster",
            "table_clusters",
            "header_clusters",
            "features",
            "compatible",
            "autoclear",
            "l1_offset",
            "size",
            "name_offset",
            "name_length",
        ],
    )
):
    """The fields of a header: ``cluster`` bytes, ``table_clusters`` clusters of every table, ``size`` guest bytes."""

    __slots__ = ()

    cluster: int
    table_clusters: int
    header_clusters: int
    features: int
    autoclear: int
    l1_offset: int
    size: int
    name_offset: int
    name_length: int

    @property
    def table_entries(self) -> int:
        """Entries of every table."""
        return self.table_clusters * self.cluster // ENTRY_BYTES

    @property
    def data_start(self) -> int:
        """Where the header ends in the file."""
        return self.header_clusters * self.cluster

    @property
    def max_size(self) -> int:
        """Guest bytes that the tables can name."""
        return self.table_entries * self.table_entries * self.cluster

    def pack(self) -> bytes:
        """The bytes of the header, which one sector holds."""
        return _HEADER.pack(*self)

    def free_name_place(self) -> int:
        """Where another name of a backing file can be put while the header names this one."""
        return _NAME_PLACES[1] if self.name_length and self.name_offset < _NAME_PLACES[1] else _NAME_PLACES[0]


def new_header(size: int, cluster: int, table_clusters: int) -> Header:
    """The header of a new image.

    :param size: guest bytes, a multiple of 512
    :raises OptionError: in QEMU's words
    """
    if not MIN_CLUSTER <= cluster <= MAX_CLUSTER or cluster & (cluster - 1):
        raise OptionError(
            "QED cluster size must be within range [%d, %d] and power of 2" % (MIN_CLUSTER, MAX_CLUSTER),
            remedy="choose a power of two in that range",
        )
    if not 1 <= table_clusters <= MAX_TABLE or table_clusters & (table_clusters - 1):
        raise OptionError(
            "QED table size must be within range [1, %d] and power of 2" % MAX_TABLE, remedy="choose 1, 2, 4, 8 or 16"
        )
    header = Header(MAGIC, cluster, table_clusters, 1, 0, 0, 0, cluster, size, 0, 0)
    if header.max_size >= 1 << 64:
        raise OptionError(
            "Clusters of %d bytes with tables of %d of them name more bytes than there are" % (cluster, table_clusters),
            remedy="choose smaller ones: QEMU cannot open such an image",
        )
    if size > header.max_size:
        raise too_large(header)
    return header


def too_large(header: Header) -> OptionError:
    """The disk is larger than its tables can say."""
    return OptionError(
        "QED image size must be a non-zero multiple of cluster size and less than %d bytes" % header.max_size,
        remedy="choose a smaller disk, or larger clusters or tables",
    )


def read_header(storage: Storage, path: str) -> Header:
    """The header of a file, whose first-level table lies inside of it.

    :raises FormatError: it is not valid, in QEMU's words
    """
    header = Header(*_HEADER.unpack(storage.read(0, HEADER_BYTES)))
    if not storage.read(0, 4) == MAGIC:
        raise NotThisFormatError("Image not in QED format", path=path, format="qed")
    unknown = header.features & ~(BACKING | NEED_CHECK | RAW_BACKING)
    if unknown:
        raise UnsupportedFeatureError("Unsupported QED features: %x" % unknown, path=path, format="qed")
    cluster, tables = header.cluster, header.table_clusters
    if not MIN_CLUSTER <= cluster <= MAX_CLUSTER or cluster & (cluster - 1):
        raise corrupt(path, "QED cluster size is invalid")
    if not 1 <= tables <= MAX_TABLE or tables & (tables - 1):
        raise corrupt(path, "QED table size is invalid")
    if header.size % SECTOR or header.size > min(header.max_size, (1 << 63) - 1):
        raise corrupt(path, "QED image size is invalid")
    if not header.header_clusters or header.data_start > storage.size:
        raise corrupt(path, "QED header size is too large")
    end = header.l1_offset + tables * cluster
    if header.l1_offset % cluster or header.l1_offset < header.data_start or end > storage.size:
        raise corrupt(path, "QED table offset is invalid")
    if header.features & BACKING and (
        header.name_offset < HEADER_BYTES or header.name_offset + header.name_length > header.data_start
    ):
        raise corrupt(path, "QED backing filename offset is invalid")
    if header.name_length > MAX_BACKING_NAME:
        raise corrupt(path, "The name of the backing file has %d bytes" % header.name_length)
    return header


def backing_name(storage: Storage, header: Header) -> str | None:
    """The name of the backing file, as it is stored."""
    if not header.features & BACKING:
        return None
    name = storage.read(header.name_offset, header.name_length).partition(b"\0")[0]
    return name.decode("utf-8", "surrogateescape") or None


def corrupt(path: str, reason: str) -> CorruptImageError:
    """The error for an image that contradicts itself."""
    return CorruptImageError(
        reason, path=path, format="qed", remedy="if the file was cut off, copy it again from where it comes from"
    )
