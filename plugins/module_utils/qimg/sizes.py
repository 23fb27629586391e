# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Sizes as people write and read them: ``1.5G``, ``0x2000``, ``10 MiB``."""
from __future__ import annotations

from .errors import OptionError

#: Suffix letter -> power of 1024.
_SUFFIXES = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_DIGITS = "0123456789"
_HEX_DIGITS = "0123456789abcdefABCDEF"

MAX_UINT64 = (1 << 64) - 1
#: Longer numbers are all the same to us; Python may refuse to look at them.
MAX_DIGITS = 640


class SizeSyntaxError(OptionError):
    """The text is not a size at all."""


class SizeRangeError(OptionError):
    """The text is a size, but negative or larger than 64 bits hold."""


def decimal(digits: str) -> int:
    """The number that decimal digits are; of hundreds of them, only that it is far too large."""
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= MAX_DIGITS else 10**MAX_DIGITS


def _take(text: str, start: int, allowed: str) -> int:
    end = start
    while end < len(text) and text[end] in allowed:
        end += 1
    return end


def parse_size(text: str) -> int:
    """Parse a size in bytes, by qemu-img's grammar.

    ``[digits][.digits][suffix]`` with a suffix of ``b k m g t p e`` in either case (powers of 1024), or ``0x…`` with
    neither fraction nor suffix.  A fraction of a byte must be zero; any other is scaled and rounded half up with the
    precision of a C ``double``.

    :raises SizeSyntaxError: the text is not a size
    :raises SizeRangeError: the size is negative or over 2**64 - 1
    """
    stripped = text.lstrip(" \t\n\v\f\r")
    negative = stripped.startswith("-")
    if negative or stripped.startswith("+"):
        stripped = stripped[1:]
    if stripped[:2] in ("0x", "0X") and not negative:
        end = _take(stripped, 2, _HEX_DIGITS)
        if end == 2 or end != len(stripped):
            raise _not_a_size(text)
        return _in_range(int(stripped[2:], 16), text)
    whole_end = fraction_end = _take(stripped, 0, _DIGITS)
    if stripped[whole_end : whole_end + 1] == ".":
        fraction_end = _take(stripped, whole_end + 1, _DIGITS)
    whole, fraction, suffix = stripped[:whole_end], stripped[whole_end + 1 : fraction_end], stripped[fraction_end:]
    if not whole and not fraction:
        raise _not_a_size(text)
    number = decimal(whole)
    if negative or number > MAX_UINT64:
        # Only what is nothing but such a number is taken for one.
        if stripped not in (whole, "." + fraction):
            raise _not_a_size(text)
        raise SizeRangeError("Size '%s' is negative or over 2**64 - 1" % text)
    unit = _unit_of(suffix or "b", text)
    part = float("0." + fraction) if fraction else 0.0
    if part and unit == 1:
        raise _not_a_size(text)
    return _in_range(number * unit + int(part * unit + 0.5), text)


def _unit_of(suffix: str, text: str) -> int:
    if suffix.lower() not in _SUFFIXES:
        raise _not_a_size(text)
    return 1 << (10 * _SUFFIXES[suffix.lower()])


def _in_range(value: int, text: str) -> int:
    if value > MAX_UINT64:
        raise SizeRangeError("Size '%s' is over 2**64 - 1" % text)
    return value


def _not_a_size(text: str) -> SizeSyntaxError:
    return SizeSyntaxError("'%s' is not a size" % text)


def human_size(value: int) -> str:
    """``10485760`` -> ``10 MiB``: three significant digits, the next unit from 1000 on, as qemu-img prints sizes."""
    unit = 0
    scaled = float(value)
    while scaled >= 1000.0 and unit < len(_UNITS) - 1:
        scaled /= 1024.0
        unit += 1
    return "%0.3g %s" % (scaled, _UNITS[unit])


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is not below ``value``."""
    return -(-value // multiple) * multiple


def ceil_div(value: int, divisor: int) -> int:
    """``value / divisor``, rounded up."""
    return -(-value // divisor)
