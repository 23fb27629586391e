# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Encryption of disks: every sector of 512 bytes by itself, with an initialization vector made of its number."""
from __future__ import annotations

import hashlib

from ..limits import SECTOR
from .blocks import BLOCK, decryptor, encryptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_BLOCKS = SECTOR // BLOCK
#: So many bytes are handled at once: they, the tweaks and the result should fit into a processor's cache.
_PIECE = 256 << 10


class SectorCipher:
    """AES in one of the modes that LUKS has.

    :param mode: ``xts``, ``cbc``, ``ctr`` or ``ecb``
    :param ivgen: ``plain64``, ``plain`` or ``essiv``
    :param ivgen_hash: the hash of ``essiv``
    :param key: for ``xts`` two AES keys, else one
    :raises MissingPackageError: there is no library that has AES
    """

    def __init__(self, mode: str, ivgen: str, ivgen_hash: str | None, key: bytes) -> None:
        half = len(key) // 2
        data_key = key[:half] if mode == "xts" else key
        self._encrypt = encryptor(data_key)
        self._decrypt = decryptor(data_key)
        self._tweak_encrypt = encryptor(key[half:]) if mode == "xts" else self._encrypt
        self._number_bytes = 4 if ivgen == "plain" else 8
        self._essiv = encryptor(hashlib.new(ivgen_hash or "sha256", key).digest()) if ivgen == "essiv" else None
        self._forward, self._backward = {
            "xts": (self._xts_encrypt, self._xts_decrypt),
            "cbc": (self._cbc_encrypt, self._cbc_decrypt),
            "ctr": (self._ctr, self._ctr),
            "ecb": (self._ecb_encrypt, self._ecb_decrypt),
        }[mode]

    def encrypt(self, sector: int, data: bytes) -> bytes:
        """Encipher whole sectors.

        :param sector: the number of the first one
        """
        return _in_pieces(self._forward, sector, data)

    def decrypt(self, sector: int, data: bytes) -> bytes:
        """The reverse of :meth:`encrypt`."""
        return _in_pieces(self._backward, sector, data)

    def _vectors(self, sector: int, count: int) -> bytes:
        """The initialization vectors of sectors, one after the other."""
        size = self._number_bytes
        mask = (1 << (8 * size)) - 1
        plain = b"".join([(number & mask).to_bytes(BLOCK, "little") for number in range(sector, sector + count)])
        return self._essiv(plain) if self._essiv is not None else plain

    def _xts_encrypt(self, sector: int, data: bytes) -> bytes:
        tweaks = self._tweaks(sector, len(data) // SECTOR)
        return _xor(self._encrypt(_xor(data, tweaks)), tweaks)

    def _xts_decrypt(self, sector: int, data: bytes) -> bytes:
        tweaks = self._tweaks(sector, len(data) // SECTOR)
        return _xor(self._decrypt(_xor(data, tweaks)), tweaks)

    def _tweaks(self, sector: int, count: int) -> bytes:
        first = self._tweak_encrypt(self._vectors(sector, count))
        numpy = _numpy()
        return _tweaks_by_numpy(numpy, first) if numpy is not None else _tweaks_by_integers(first)

    def _cbc_encrypt(self, sector: int, data: bytes) -> bytes:
        """Each block needs the one before it: the same block of all sectors is enciphered in one call."""
        count = len(data) // SECTOR
        before = self._vectors(sector, count)
        columns = []
        for block in range(_BLOCKS):
            start = block * BLOCK
            column = b"".join([data[place : place + BLOCK] for place in range(start, len(data), SECTOR)])
            before = self._encrypt(_xor(column, before))
            columns.append(before)
        return b"".join(
            [column[place : place + BLOCK] for place in range(0, count * BLOCK, BLOCK) for column in columns]
        )

    def _cbc_decrypt(self, sector: int, data: bytes) -> bytes:
        vectors = self._vectors(sector, len(data) // SECTOR)
        before = bytearray(BLOCK)
        before += data[:-BLOCK]
        for index, place in enumerate(range(0, len(data), SECTOR)):
            before[place : place + BLOCK] = vectors[index * BLOCK : (index + 1) * BLOCK]
        return _xor(self._decrypt(data), bytes(before))

    def _ctr(self, sector: int, data: bytes) -> bytes:
        vectors = self._vectors(sector, len(data) // SECTOR)
        counters = []
        for place in range(0, len(vectors), BLOCK):
            first = int.from_bytes(vectors[place : place + BLOCK], "big")
            counters += [((first + block) % (1 << 128)).to_bytes(BLOCK, "big") for block in range(_BLOCKS)]
        return _xor(self._encrypt(b"".join(counters)), data)

    def _ecb_encrypt(self, sector: int, data: bytes) -> bytes:
        return self._encrypt(data)

    def _ecb_decrypt(self, sector: int, data: bytes) -> bytes:
        return self._decrypt(data)


def _in_pieces(function: Callable[[int, bytes], bytes], sector: int, data: bytes) -> bytes:
    if len(data) % SECTOR:
        raise ValueError("only whole sectors can be enciphered")
    if len(data) <= _PIECE:
        return function(sector, data) if data else b""
    return b"".join(
        [function(sector + start // SECTOR, data[start : start + _PIECE]) for start in range(0, len(data), _PIECE)]
    )


def _numpy() -> Any:
    """The package numpy, if it is installed."""
    try:
        import numpy
    except ImportError:
        return None
    return numpy


def _xor(one: bytes, other: bytes) -> bytes:
    numpy = _numpy()
    if numpy is not None:
        return bytes((numpy.frombuffer(one, numpy.uint64) ^ numpy.frombuffer(other, numpy.uint64)).tobytes())
    number = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return number.to_bytes(len(one), "little")


def _tweaks_by_numpy(numpy: Any, first: bytes) -> bytes:
    """The tweaks of all blocks: that of the first one times x**j in GF(2**128), for all sectors at once.

    The bits that a shift by j < 32 pushes out come back by x**128 = x**7 + x**2 + x + 1.
    """
    start = numpy.frombuffer(first, "<u8").reshape(-1, 1, 2)
    low, high = start[:, :, 0], start[:, :, 1]
    shift = numpy.arange(_BLOCKS, dtype=numpy.uint64).reshape(1, -1)
    rest = numpy.uint64(63) - shift
    one = numpy.uint64(1)
    # In two steps, because a shift by 64 bits is not defined.
    over = (high >> one) >> rest
    result = numpy.empty((len(start), _BLOCKS, 2), dtype="<u8")
    result[:, :, 1] = (high << shift) | ((low >> one) >> rest)
    result[:, :, 0] = (low << shift) ^ over ^ (over << one) ^ (over << numpy.uint64(2)) ^ (over << numpy.uint64(7))
    return bytes(result.tobytes())


#: Spread a tweak over its even blocks: times x**j at block j, with a free block behind each for what overflows.
_EVEN = sum(1 << (256 * half + 2 * half) for half in range(_BLOCKS // 2))
_LOW = ((1 << 128) - 1).to_bytes(2 * BLOCK, "little")


def _tweaks_by_integers(first: bytes) -> bytes:
    """The same with the integers of Python: the even blocks of all sectors in one number, and the odd ones."""
    count = len(first) // BLOCK
    spread = [int.from_bytes(first[place : place + BLOCK], "little") * _EVEN for place in range(0, len(first), BLOCK)]
    even = int.from_bytes(b"".join([number.to_bytes(SECTOR, "little") for number in spread]), "little")
    low = int.from_bytes(_LOW * (count * _BLOCKS // 2), "little")
    tweaks = _fold(even, low) | (_fold(even << 1, low) << 128)
    return tweaks.to_bytes(count * SECTOR, "little")


def _fold(number: int, low: int) -> int:
    over = (number >> 128) & low
    return (number & low) ^ over ^ (over << 1) ^ (over << 2) ^ (over << 7)
