# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of formats that are only read here, made from their descriptions; qemu-img can read them, and make none."""
from __future__ import annotations

import bz2
import lzma
import plistlib
import struct
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SECTOR = 512


def cloop(content: bytes, block_size: int = 4096) -> bytes:
    """A compressed loop image."""
    script = b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n"
    blocks = [zlib.compress(content[at : at + block_size]) for at in range(0, len(content), block_size)]
    offsets = [136 + 8 * (len(blocks) + 1)]
    for block in blocks:
        offsets.append(offsets[-1] + len(block))
    head = script.ljust(128, b"\0") + struct.pack(">II", block_size, len(blocks))
    return head + struct.pack(">%dQ" % len(offsets), *offsets) + b"".join(blocks)


def bochs(content: bytes, extent: int = 8192, version: int = 0x20000) -> bytes:
    """A growing disk; sectors of zeroes are not stored, and extents stand in reverse order."""
    texts = (b"Bochs Virtual HD Image".ljust(32, b"\0"), b"Redolog".ljust(16, b"\0"), b"Growing".ljust(16, b"\0"))
    bitmap = max(1, extent // SECTOR // 8)
    count = -(-len(content) // extent)
    catalog, extents = [0xFFFFFFFF] * count, b""
    for number in reversed(range(count)):
        data = content[number * extent : (number + 1) * extent].ljust(extent, b"\0")
        bits = bytearray(-(-bitmap // SECTOR) * SECTOR)
        for sector in range(extent // SECTOR):
            if any(data[sector * SECTOR : (sector + 1) * SECTOR]):
                bits[sector // 8] |= 1 << sector % 8
        if any(bits):
            catalog[number] = len(extents) // (len(bits) + extent)
            extents += bytes(bits) + data
    size = struct.pack("<Q", len(content))
    tail = struct.pack("<III", count, bitmap, extent) + (bytes(4) if version == 0x20000 else b"") + size
    header = b"".join(texts) + struct.pack("<II", version, SECTOR) + tail
    return header.ljust(SECTOR, b"\0") + struct.pack("<%dI" % count, *catalog) + extents


def _adc(data: bytes) -> bytes:
    """Literals, and nothing else."""
    pieces = [data[at : at + 128] for at in range(0, len(data), 128)]
    return b"".join(bytes([len(piece) - 1 | 0x80]) + piece for piece in pieces)


#: Name -> type of chunks, and what makes their data.
DMG_CODECS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "raw": (0x00000001, bytes),
    "adc": (0x80000004, _adc),
    "zlib": (0x80000005, zlib.compress),
    "bzip2": (0x80000006, bz2.compress),
    "lzma": (0x80000008, lzma.compress),
}


def dmg(
    content: bytes, codec: str = "zlib", chunk: int = 16384, in_resources: bool = False, segments: int = 1
) -> bytes:
    """A disk image of Mac OS with two partitions; chunks of zeroes are not stored."""
    kind, encode = DMG_CODECS[codec]
    data = b""
    tables = []
    half = len(content) // 2 // chunk * chunk
    for start, end in ((0, half), (half, len(content))):
        chunks = []
        for at in range(start, end, chunk):
            piece = content[at : min(end, at + chunk)]
            sector, sectors = (at - start) // SECTOR, len(piece) // SECTOR
            if any(piece):
                packed = encode(piece)
                chunks.append((kind, 0, sector, sectors, len(data), len(packed)))
                data += packed
            else:
                chunks.append((2, 0, sector, sectors, 0, 0))
        chunks.append((0xFFFFFFFF, 0, (end - start) // SECTOR, 0, 0, 0))
        head = struct.pack(">4sIQQQII", b"mish", 1, start // SECTOR, (end - start) // SECTOR, 0, 0, 0)
        table = head.ljust(200, b"\0") + struct.pack(">I", len(chunks))
        tables.append(table + b"".join(struct.pack(">IIQQQQ", *values) for values in chunks))
    if in_resources:
        entries = b"".join(struct.pack(">I", len(table)) + table for table in tables)
        description = struct.pack(">IIII", 256, 256 + len(entries), len(entries), 0).ljust(256, b"\0") + entries
    else:
        blkx = [{"ID": str(number), "Data": table} for number, table in enumerate(tables)]
        description = plistlib.dumps({"resource-fork": {"blkx": blkx}})
    place = (len(data), len(description))
    fields = (0, len(data), *(place if in_resources else (0, 0)), 1, segments)
    trailer = bytearray(SECTOR)
    trailer[:12] = struct.pack(">4sII", b"koly", 4, SECTOR)
    struct.pack_into(">QQQQII", trailer, 24, *fields)
    struct.pack_into(">QQ", trailer, 216, *((0, 0) if in_resources else place))
    struct.pack_into(">Q", trailer, 492, len(content) // SECTOR)
    return data + description + bytes(trailer)
