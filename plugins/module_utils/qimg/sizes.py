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


class SizeSyntaxError(OptionError):
    """The text is not a size at all."""


class SizeRangeError(OptionError):
    """The text is a size, but negative or larger than 64 bits hold."""


def _take(text: str, start: int, allowed: str) -> int:
    end = start
    while end < len(text) and text[end] in allowed:
        end += 1
    return end


def parse_size(text: str, default_suffix: str = "b") -> int:
    """Parse a size in bytes, by qemu-img's grammar.

    ``[digits][.digits][suffix]`` with a suffix of ``b k m g t p e`` in either case (powers of 1024), or ``0x…`` with
    neither fraction nor suffix.  A fraction needs a suffix above bytes and is rounded half up.

    :param default_suffix: the unit of a number without a suffix
    :raises SizeSyntaxError: the text is not a size
    :raises SizeRangeError: the size is negative or over 2**64 - 1
    """
    stripped = text.lstrip(" \t\n\v\f\r")
    if stripped.startswith("-"):
        if stripped[1:2] and stripped[1] in _DIGITS + ".":
            raise SizeRangeError("Size '%s' is negative" % text)
        raise SizeSyntaxError("'%s' is not a size" % text)
    if stripped.startswith("+"):
        stripped = stripped[1:]

    if stripped[:2] in ("0x", "0X"):
        end = _take(stripped, 2, _HEX_DIGITS)
        if end == 2 or end != len(stripped):
            raise SizeSyntaxError("'%s' is not a size" % text)
        value = int(stripped[2:], 16)
    else:
        whole_end = _take(stripped, 0, _DIGITS)
        fraction_end = whole_end
        if stripped[whole_end : whole_end + 1] == ".":
            fraction_end = _take(stripped, whole_end + 1, _DIGITS)
        whole = stripped[:whole_end]
        fraction = stripped[whole_end + 1 : fraction_end]
        suffix = stripped[fraction_end:]
        if not whole and not fraction:
            raise SizeSyntaxError("'%s' is not a size" % text)
        if suffix == "":
            suffix = default_suffix
        if suffix.lower() not in _SUFFIXES:
            raise SizeSyntaxError("'%s' is not a size" % text)
        unit = 1 << (10 * _SUFFIXES[suffix.lower()])
        if fraction and unit == 1:
            raise SizeSyntaxError("'%s' is not a size" % text)
        value = int(whole or "0") * unit
        if fraction:
            scale = 10 ** len(fraction)
            value += (int(fraction) * unit * 2 + scale) // (2 * scale)
    if value > MAX_UINT64:
        raise SizeRangeError("Size '%s' is over 2**64 - 1" % text)
    return value


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
