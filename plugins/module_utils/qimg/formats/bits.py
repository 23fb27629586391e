# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Strings of bits, least significant first in each byte, as dirty bitmaps have them.

One bit stands for a *granule* of the guest disk.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def set_bits(bits: bytearray, first: int, end: int) -> bool:
    """Set bits ``[first, end)``; whether any was clear."""
    changed = False
    head_byte, head_bit = divmod(first, 8)
    tail_byte, tail_bit = divmod(end, 8)
    if head_byte == tail_byte:
        mask = (1 << tail_bit) - (1 << head_bit)
        changed = bits[head_byte] & mask != mask
        bits[head_byte] |= mask
        return changed
    if head_bit:
        mask = 0x100 - (1 << head_bit)
        changed = bits[head_byte] & mask != mask
        bits[head_byte] |= mask
        head_byte += 1
    full = b"\xff" * (tail_byte - head_byte)
    if bits[head_byte:tail_byte] != full:
        bits[head_byte:tail_byte] = full
        changed = True
    if tail_bit:
        mask = (1 << tail_bit) - 1
        changed = changed or bits[tail_byte] & mask != mask
        bits[tail_byte] |= mask
    return changed


def or_into(bits: bytearray, position: int, other: bytes) -> bool:
    """Set every bit that is set in ``other``, which begins at byte ``position``; the end of ``bits`` cuts it off.

    :returns: whether any was clear
    """
    old = bits[position : position + len(other)]
    new = either(bytes(old), other[: len(old)])
    if new == old:
        return False
    bits[position : position + len(old)] = new
    return True


def either(left: bytes, right: bytes) -> bytes:
    """The bits that are set in one or the other of two equally long strings."""
    return (int.from_bytes(left, "little") | int.from_bytes(right, "little")).to_bytes(len(left), "little")


def set_runs(first: int, bits: bytes) -> Iterator[tuple[int, int]]:
    """Runs ``[start, end)`` of set bits in ``bits``, whose first bit has the number ``first``."""
    import re

    start = end = -1
    for match in re.finditer(b"\xff+|[^\\0\xff]", bits):
        position = first + match.start() * 8
        byte = bits[match.start()]
        runs = [(0, 8 * (match.end() - match.start()))] if byte == 255 else _runs_of_byte(byte)
        for run_start, run_end in runs:
            if position + run_start == end:
                end = position + run_end
                continue
            if end >= 0:
                yield start, end
            start, end = position + run_start, position + run_end
    if end >= 0:
        yield start, end


def _runs_of_byte(byte: int) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for bit in range(8):
        if byte >> bit & 1:
            if runs and runs[-1][1] == bit:
                runs[-1] = (runs[-1][0], bit + 1)
            else:
                runs.append((bit, bit + 1))
    return runs


def byte_ranges(pieces: Iterable[tuple[int, bytes]], granularity: int, size: int) -> Iterator[tuple[int, int]]:
    """The guest ranges ``(offset, length)`` that pieces of a bitmap mark, as long as they can be.

    :param pieces: ``(offset of the first granule, bits)`` in order
    :param granularity: bytes of one granule
    :param size: where the guest disk ends
    """
    offset = length = 0
    for piece_offset, bits in pieces:
        for start, end in set_runs(piece_offset // granularity, bits):
            stop = min(end * granularity, size)
            if length and offset + length == start * granularity:
                length = stop - offset
                continue
            if length:
                yield offset, length
            offset, length = start * granularity, stop - start * granularity
    if length:
        yield offset, length
