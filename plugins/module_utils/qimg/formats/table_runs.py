# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Finding runs in tables by comparing whole slices, because a loop over entries is ten times slower."""
from __future__ import annotations

import sys
from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_SHORT_GAP = 64
#: To find a run and do something with it takes as long as looking at so many entries without anything in them.
_LONG_RUN = 64
#: So many runs tell how it goes on in a table: that many times as far as they reach.
_MANY_RUNS = 8
_FURTHER = 16

#: (bytes of a lane, step) -> (powers of two n) -> (n lanes of 0, step, 2·step …; n lanes of 1), as integers.
_progressions: dict[tuple[int, int], dict[int, tuple[int, int]]] = {}


def equal_run_end(values: array[int], position: int, end: int) -> int:
    """The first index after ``position`` (and up to ``end``) whose value differs from that at ``position``."""
    stop = position + 1
    if stop >= end or values[stop] != values[position]:
        return min(stop, end)
    stop += 1
    step = 2
    if not values[position]:
        # Most gaps of a fragmented table are short: their end is found at once, without trying lengths.
        data = values[stop : min(end, stop + _SHORT_GAP)].tobytes()
        rest = len(data.lstrip(b"\0"))
        stop += (len(data) - rest) // values.itemsize
        if rest:
            return stop
        step = _SHORT_GAP
    while stop < end:
        piece = min(step, end - stop)
        if values[stop : stop + piece] == values[position : position + piece]:
            stop += piece
            step *= 2
        elif piece == 1:
            break
        else:
            step = piece // 2
            if step > stop - position:
                step = stop - position
    return stop


def first_nonzero(values: array[int], start: int, limit: int) -> int:
    """The first index from ``start`` on with a value that is not 0, or ``limit``."""
    return start if values[start] else equal_run_end(values, start, limit)


def first_zero(values: array[int], start: int) -> int:
    """The first index from ``start`` on with a value of 0, or the end."""
    while start < len(values) and values[start]:
        start = equal_run_end(values, start, len(values))
    return start


def allocated_entries(entries: array[int] | None, least_special: int) -> Iterator[tuple[int, int]]:
    """Index and value of each entry below ``least_special``; the others name no place, and come in long runs."""
    index, end = 0, len(entries) if entries is not None else 0
    while entries is not None and index < end:
        entry = entries[index]
        if entry < least_special:
            yield index, entry
            index += 1
        else:
            index = equal_run_end(entries, index, end)


def progression_run_end(values: array[int], position: int, end: int, step: int) -> int:
    """The first index after ``position`` (and up to ``end``) where the values stop growing by exactly ``step``."""
    value = values[position]
    stop = position + 1
    # Most runs of a fragmented table end at once: look at single values before building anything.
    limit = min(end, position + 4)
    while stop < limit:
        if values[stop] != value + (stop - position) * step:
            return stop
        stop += 1
    piece = 4
    while stop < end:
        if piece > end - stop:
            piece = 1 << (end - stop).bit_length() - 1
        wanted = value + (stop - position) * step
        if values[stop + piece - 1] == wanted + (piece - 1) * step and _is_progression(
            values, stop, piece, wanted, step
        ):
            stop += piece
            piece *= 2
        elif piece == 1:
            break
        else:
            piece //= 2
    return stop


def progression(first: int, count: int, step: int, typecode: str = "Q") -> array[int]:
    """``count`` values that grow by ``step``, all of which fit the type."""
    values = array(typecode)
    lanes = 1 << (count - 1).bit_length()
    if first + (lanes - 1) * step >= 1 << 8 * values.itemsize:
        # The next power of two of them would not fit.
        return array(typecode, [first + number * step for number in range(count)])
    values.frombytes(_progression_bytes(first, lanes, step, values.itemsize))
    if sys.byteorder == "big":
        values.byteswap()
    return values[:count]


def lanes(value: int, count: int) -> int:
    """``count`` (a power of two) 64-bit lanes of one value, as an integer."""
    return _lanes(count, 0, 8)[1] * value


def as_lanes(values: array[int]) -> int:
    """Values as an integer of 64-bit lanes, the first one or the last one lowest; for all arrays the same."""
    return int.from_bytes(values.tobytes(), sys.byteorder)


def any_has(values: array[int], bit: int) -> bool:
    """Whether any of the values (a power of two of them) has a bit."""
    return bool(as_lanes(values) & lanes(bit, len(values)))


def scattered_entries(runs: int, entries: int) -> int:
    """How many entries of a table to look at one by one, because the last ``entries`` of it were so many runs.

    :returns: 0: looking for runs takes less time
    """
    return entries * _FURTHER if runs == _MANY_RUNS and entries < _MANY_RUNS * _LONG_RUN else 0


def _is_progression(values: array[int], start: int, count: int, first: int, step: int) -> bool:
    """Whether ``count`` (a power of two) values are ``first, first + step, …``."""
    if first + (count - 1) * step >= 1 << 8 * values.itemsize:
        return False
    found = values[start : start + count]
    if sys.byteorder == "big":
        found.byteswap()
    return found.tobytes() == _progression_bytes(first, count, step, found.itemsize)


def _progression_bytes(first: int, count: int, step: int, width: int) -> bytes:
    """``count`` (a power of two) growing values as little-endian words of ``width`` bytes: by one addition of big
    integers."""
    steps, ones = _lanes(count, step, width)
    return (steps + first * ones).to_bytes(width * count, "little")


def _lanes(count: int, step: int, width: int) -> tuple[int, int]:
    """``count`` lanes of 0, step, 2·step …, and as many of 1; those of half as many make them."""
    known = _progressions.setdefault((width, step), {1: (0, 1)})
    if count not in known:
        half = count // 2
        steps, ones = _lanes(half, step, width)
        bits = 8 * width * half
        known[count] = (steps | (steps + half * step * ones) << bits, ones | ones << bits)
    return known[count]
