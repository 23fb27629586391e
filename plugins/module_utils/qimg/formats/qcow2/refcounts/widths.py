# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Refcount blocks of every width as arrays of plain integers, and back.

Section "Refcounts" of the specification: entries of 1, 2 and 4 bits start at the least significant bits of a byte;
wider ones are big-endian.
"""
from __future__ import annotations

import sys
from array import array

LITTLE_ENDIAN = sys.byteorder == "little"

#: Refcount order -> type code of the array that holds its entries in memory.
_TYPE_CODES = ("B", "B", "B", "B", "H", "I", "Q")

_unpack_tables: dict[int, list[bytes]] = {}


def zeroes(order: int, count: int) -> array[int]:
    """``count`` refcounts of zero."""
    return array(_TYPE_CODES[order], bytes(count * array(_TYPE_CODES[order]).itemsize))


def repeated(order: int, value: int, count: int) -> array[int]:
    """``count`` refcounts of ``value``."""
    return array(_TYPE_CODES[order], (value,)) * count


def unpack(order: int, data: bytes) -> array[int]:
    """The refcounts of a block, from the bytes of the file."""
    if order < 3:
        table = _unpack_table(order)
        return array("B", b"".join(map(table.__getitem__, data)))
    counts = array(_TYPE_CODES[order], data)
    if order > 3 and LITTLE_ENDIAN:
        counts.byteswap()
    return counts


def pack(order: int, counts: array[int]) -> bytes:
    """The bytes of the file, from the refcounts of a block."""
    if order < 3:
        width = 1 << order
        per_byte = 8 // width
        packed = bytearray(len(counts) // per_byte)
        raw = counts.tobytes()
        for position in range(per_byte):
            if any(lane := raw[position::per_byte]):
                _or_lane(packed, lane, position * width)
        return bytes(packed)
    if order > 3 and LITTLE_ENDIAN:
        counts = counts[:]
        counts.byteswap()
    return counts.tobytes()


def _or_lane(packed: bytearray, lane: bytes, shift: int) -> None:
    """Put one entry of every byte at its bits: as one big integer, because lanes never carry into each other."""
    merged = int.from_bytes(packed, "little") | int.from_bytes(lane, "little") << shift
    packed[:] = merged.to_bytes(len(packed), "little")


def _unpack_table(order: int) -> list[bytes]:
    """For every byte value, the entries in it."""
    if order not in _unpack_tables:
        width = 1 << order
        mask = (1 << width) - 1
        _unpack_tables[order] = [
            bytes(byte >> shift & mask for shift in range(0, 8, width)) for byte in range(256)
        ]
    return _unpack_tables[order]
