# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Marking the same places of a guest disk in coarser or finer granules.

Works on whole strings at once, by translation tables and big integers; a loop over bits would be hundreds of times
slower.
"""
from __future__ import annotations

from .bits import either, set_bits, set_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: byte -> 4 bits, each the disjunction of two neighbours: as the lower half of a byte, and as the upper half.
_HALVED_LOW = bytes(
    sum(((byte >> 2 * bit & 3) != 0) << bit for bit in range(4)) for byte in range(256)
)
_HALVED_HIGH = bytes(half << 4 for half in _HALVED_LOW)
#: byte -> its lower (upper) 4 bits, each twice.
_DOUBLED_LOW = bytes(sum((byte >> bit & 1) * 3 << 2 * bit for bit in range(4)) for byte in range(256))
_DOUBLED_HIGH = bytes(_DOUBLED_LOW[byte >> 4] for byte in range(256))


def scaled(first: int, bits: bytes, shift: int) -> Iterator[tuple[int, bytes]]:
    """The same granules marked in a string of coarser or finer granules.

    :param first: the number of the first bit
    :param shift: how many times the granules become twice as large; negative: half as large
    :returns: ``(first, bits)`` in the other granules
    """
    if shift <= 0:
        return _finer(first, bits, -shift)
    return _coarser(first, bits, shift)


def _coarser(first: int, bits: bytes, shift: int) -> Iterator[tuple[int, bytes]]:
    # Pairs must begin where the wanted granules begin; as far as they do, whole strings are halved.
    while shift and not first & 1:
        bits += bytes(len(bits) % 2)
        bits = either(bits[::2].translate(_HALVED_LOW), bits[1::2].translate(_HALVED_HIGH))
        first >>= 1
        shift -= 1
    if not shift:
        yield first, bits
        return
    for start, end in set_runs(first, bits):
        marked = bytearray(-(-((end - 1 >> shift) + 1 - (start >> shift)) // 8))
        set_bits(marked, 0, (end - 1 >> shift) + 1 - (start >> shift))
        yield start >> shift, bytes(marked)


def _finer(first: int, bits: bytes, shift: int) -> Iterator[tuple[int, bytes]]:
    for _step in range(shift):
        doubled = bytearray(2 * len(bits))
        doubled[::2] = bits.translate(_DOUBLED_LOW)
        doubled[1::2] = bits.translate(_DOUBLED_HIGH)
        bits = bytes(doubled)
    yield first << shift, bits
