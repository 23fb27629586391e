# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""From a passphrase to a key: PBKDF2, and the anti-forensic splitter of LUKS1 (specification, section 2.4)."""
from __future__ import annotations

import hashlib
import os
import time

from ..errors import UnsupportedFeatureError

#: Bytes of the digests of the hashes that QEMU has, by their names.
HASHES = {
    "md5": 16, "sha1": 20, "sha224": 28, "sha256": 32, "sha384": 48, "sha512": 64, "ripemd160": 20, "sm3": 32,
}  # fmt: skip
#: Fewer are never used.
LEAST_ITERATIONS = 1000
#: A measurement that takes less time says too little.
_SECONDS = 0.01


def check_hash(name: str) -> None:
    """See that the system's library has a hash.

    :raises UnsupportedFeatureError: it has not
    """
    try:
        hashlib.pbkdf2_hmac(name, b"", b"", 1)
    except ValueError as error:
        raise UnsupportedFeatureError(
            "The hash '%s' is not in this system's OpenSSL" % name, remedy="choose another one, for instance sha256"
        ) from error


def derive_key(hash_name: str, passphrase: bytes, salt: bytes, iterations: int, length: int) -> bytes:
    """PBKDF2 with HMAC (RFC 8018)."""
    return hashlib.pbkdf2_hmac(hash_name, passphrase, salt, iterations, length)


def iterations_for(hash_name: str, length: int, milliseconds: int) -> int:
    """How many iterations take so much time on this machine, for a key of ``length`` bytes."""
    iterations = LEAST_ITERATIONS
    while True:
        start = time.perf_counter()
        derive_key(hash_name, b"passphrase", bytes(32), iterations, length)
        taken = time.perf_counter() - start
        if taken >= _SECONDS:
            return max(LEAST_ITERATIONS, int(iterations * milliseconds / 1000 / taken))
        iterations *= 4


def split_key(hash_name: str, key: bytes, stripes: int) -> bytes:
    """Stripes from which :func:`merge_key` makes the key, if it has all of them."""
    block = bytes(len(key))
    random = []
    for _stripe in range(stripes - 1):
        random.append(os.urandom(len(key)))
        block = _diffuse(hash_name, _xor(block, random[-1]))
    return b"".join([*random, _xor(block, key)])


def merge_key(hash_name: str, material: bytes, stripes: int) -> bytes:
    """The key whose stripes these are."""
    length = len(material) // stripes
    block = bytes(length)
    for start in range(0, length * (stripes - 1), length):
        block = _diffuse(hash_name, _xor(block, material[start : start + length]))
    return _xor(block, material[length * (stripes - 1) :])


def _diffuse(hash_name: str, block: bytes) -> bytes:
    size = HASHES[hash_name]
    digests = [
        hashlib.new(hash_name, index.to_bytes(4, "big") + block[start : start + size]).digest()
        for index, start in enumerate(range(0, len(block), size))
    ]
    return b"".join(digests)[: len(block)]


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")
