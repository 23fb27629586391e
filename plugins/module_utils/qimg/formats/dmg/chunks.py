# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Finding the chunks of a disk image: its block tables stand in a resource fork, or in a property list."""
from __future__ import annotations

from collections import namedtuple

from ...errors import FormatError
from ...limits import MAX_IMAGE_BYTES, SECTOR
from .layout import CHUNK, IGNORE, MAX_CHUNK, RAW, STORED, TABLE, TABLE_MAGIC, ZERO, Trailer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...storage.base import Storage


class Chunk(namedtuple("Chunk", ["sector", "sectors", "kind", "offset", "length"])):
    """A run of sectors of the guest disk: ``offset`` and ``length`` say where its data lie in the file."""

    __slots__ = ()

    sector: int
    sectors: int
    kind: int
    offset: int
    length: int


def read_chunks(storage: Storage, trailer: Trailer, path: str) -> list[Chunk]:
    """All chunks, in the order of their sectors.

    :raises FormatError: they overlap, are too large or not inside the file
    """
    chunks: list[Chunk] = []
    for table in _tables(storage, trailer, path):
        chunks.extend(_chunks_of(table, trailer.data_start, storage.size, path))
    chunks.sort()
    end = 0
    for chunk in chunks:
        if chunk.sector < end:
            raise _refuse("Two chunks have the sector %d" % chunk.sector, path)
        end = chunk.sector + chunk.sectors
    return chunks


def _refuse(reason: str, path: str) -> FormatError:
    return FormatError(reason, path=path, format="dmg")


def _tables(storage: Storage, trailer: Trailer, path: str) -> Iterator[bytes]:
    """The block tables of all partitions."""
    offset, length = trailer.properties
    if length:
        yield from _tables_in_properties(storage.read(offset, length), path)
        return
    offset, length = trailer.resources
    fork = storage.read(offset, length)
    # A resource fork begins with the offsets and lengths of its data and of its map.
    position = int.from_bytes(fork[0:4], "big")
    end = min(len(fork), position + int.from_bytes(fork[8:12], "big"))
    while position + 4 <= end:
        size = int.from_bytes(fork[position : position + 4], "big")
        content = fork[position + 4 : min(end, position + 4 + size)]
        if content.startswith(TABLE_MAGIC):
            yield content
        position += 4 + size


def _tables_in_properties(content: bytes, path: str) -> Iterator[bytes]:
    import plistlib

    try:
        document = plistlib.loads(content, fmt=plistlib.FMT_XML)
        tables = [entry["Data"] for entry in document["resource-fork"]["blkx"]]
    except Exception as error:
        raise _refuse("Its property list cannot be read (%s)" % error, path) from error
    for table in tables:
        if isinstance(table, bytes) and table.startswith(TABLE_MAGIC):
            yield table


def _chunks_of(table: bytes, data_start: int, file_size: int, path: str) -> Iterator[Chunk]:
    """The chunks of one block table."""
    if len(table) < TABLE.size:
        raise _refuse("A block table is too short", path)
    _magic, _version, first_sector, _sectors, data_offset, _buffers, _number, count = TABLE.unpack_from(table)
    if TABLE.size + count * CHUNK.size > len(table):
        raise _refuse("A block table has more chunks than it has room for", path)
    for index in range(count):
        kind, _comment, sector, sectors, offset, length = CHUNK.unpack_from(table, TABLE.size + index * CHUNK.size)
        if kind not in STORED and kind not in (ZERO, IGNORE):
            # Comments, and the end of the table.
            continue
        if not sectors:
            continue
        sector += first_sector
        if (sector + sectors) * SECTOR > MAX_IMAGE_BYTES:
            raise _refuse("Chunk %d lies beyond the end of any disk" % index, path)
        if kind not in STORED:
            yield Chunk(sector, sectors, ZERO, 0, 0)
            continue
        offset += data_start + data_offset
        if offset + length > file_size:
            raise _refuse("Chunk %d is not inside the file" % index, path)
        if kind != RAW and max(sectors * SECTOR, length) > MAX_CHUNK:
            raise _refuse("Chunk %d is larger than 64 MiB" % index, path)
        yield Chunk(sector, sectors, kind, offset, length)
