# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""CRC-32C (Castagnoli, RFC 3720 appendix B.4), by which VHDX protects its structures."""
from __future__ import annotations

_POLYNOMIAL = 0x82F63B78


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _bit in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()
#: For 1, 2, 4, … zero bytes: what each bit of the register becomes by them.
_ZEROES = [[_TABLE[1 << bit] if bit < 8 else 1 << bit - 8 for bit in range(32)]]


def crc32c(data: bytes) -> int:
    """The checksum of some bytes; most structures end in zeroes, which cost nothing."""
    kept = data.rstrip(b"\0")
    crc, table = 0xFFFFFFFF, _TABLE
    for byte in kept:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return _behind_zeroes(crc, len(data) - len(kept)) ^ 0xFFFFFFFF


def crc32c_without(data: bytes, position: int) -> int:
    """The checksum of a structure that holds it at ``position``, where four zero bytes count instead."""
    return crc32c(data[:position] + bytes(4) + data[position + 4 :])


def _behind_zeroes(crc: int, count: int) -> int:
    """The register after ``count`` zero bytes."""
    power = 0
    while count >> power:
        if power == len(_ZEROES):
            last = _ZEROES[-1]
            _ZEROES.append([_combined(last, image) for image in last])
        if count >> power & 1:
            crc = _combined(_ZEROES[power], crc)
        power += 1
    return crc


def _combined(images: list[int], register: int) -> int:
    result = 0
    while register:
        lowest = register & -register
        result ^= images[lowest.bit_length() - 1]
        register ^= lowest
    return result
