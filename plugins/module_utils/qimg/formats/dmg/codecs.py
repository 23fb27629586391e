# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Decompressing chunks; what is not in the standard library is asked for by its package."""
from __future__ import annotations

from ...errors import MissingPackageError
from .layout import ADC, BZIP2, LZFSE, LZMA, ZLIB


def decompress(kind: int, data: bytes, size: int) -> bytes:
    """The content of a chunk, of ``size`` bytes if it is whole; never more.

    :raises MissingPackageError: a package is needed for that type
    :raises ValueError: it cannot be decompressed
    """
    if kind == ADC:
        return _adc(data, size)
    if kind == ZLIB:
        import zlib

        try:
            return zlib.decompressobj().decompress(data, size)
        except zlib.error as error:
            raise ValueError(str(error)) from error
    if kind == BZIP2:
        import bz2

        return _whole(bz2.BZ2Decompressor(), data, size)
    if kind == LZMA:
        import lzma

        try:
            return _whole(lzma.LZMADecompressor(memlimit=256 << 20), data, size)
        except lzma.LZMAError as error:
            raise ValueError(str(error)) from error
    if kind == LZFSE:
        return _lzfse(data, size)
    raise ValueError("its compression is not known")


def _whole(decompressor: object, data: bytes, size: int) -> bytes:
    try:
        content: bytes = decompressor.decompress(data, size)  # type: ignore[attr-defined]
    except (OSError, EOFError) as error:
        raise ValueError(str(error)) from error
    return content


def _lzfse(data: bytes, size: int) -> bytes:
    try:
        import liblzfse
    except ImportError as error:
        raise MissingPackageError(
            "LZFSE needs the Python package 'pyliblzfse'", remedy="install it, or convert the image on a Mac"
        ) from error
    try:
        return bytes(liblzfse.decompress(data))[:size]
    except liblzfse.error as error:
        raise ValueError(str(error)) from error


def _adc(data: bytes, size: int) -> bytes:
    """Apple Data Compression: literals, and copies of what is at most 64 KiB back."""
    out = bytearray()
    position = 0
    while position < len(data) and len(out) < size:
        first = data[position]
        if first & 0x80:
            count = (first & 0x7F) + 1
            out += data[position + 1 : position + 1 + count]
            position += 1 + count
            continue
        if first & 0x40:
            count, back = (first & 0x3F) + 4, int.from_bytes(data[position + 1 : position + 3], "big")
            position += 3
        else:
            count, back = (first >> 2) + 3, (first & 3) << 8 | int.from_bytes(data[position + 1 : position + 2], "big")
            position += 2
        start = len(out) - back - 1
        if start < 0:
            raise ValueError("it refers to what is before its beginning")
        piece = bytes(out[start : start + count])
        # What is copied may overlap what it makes.
        out += (piece * (count // len(piece) + 1))[:count]
    return bytes(out[:size])
