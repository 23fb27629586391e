# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""AES on whole buffers, block by block (ECB): the one thing that a library has to do for us.

All modes of :mod:`.sectors` are made of it, so that one call of the library handles a large buffer.  The package
``cryptography`` is used where it is installed, the system's libcrypto (OpenSSL) where it is not.
"""
from __future__ import annotations

from ..errors import MissingPackageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Function = Callable[[bytes], bytes]

BLOCK = 16
#: Bytes of AES keys.
KEY_BYTES = (16, 24, 32)

# FIPS 197, appendix C.1.
_TEST_KEY = bytes(range(16))
_TEST_PLAIN = bytes.fromhex("00112233445566778899aabbccddeeff")
_TEST_CIPHER = bytes.fromhex("69c4e0d86a7b0430d8cdb78070b4c55a")

_engine: Callable[[bytes, bool], Function] | None = None


def encryptor(key: bytes) -> Function:
    """A function that enciphers whole blocks; threads may call it at once.

    :param key: 16, 24 or 32 bytes
    :raises MissingPackageError: there is no library that has AES
    """
    return _find_engine()(key, True)


def decryptor(key: bytes) -> Function:
    """The reverse of :func:`encryptor`."""
    return _find_engine()(key, False)


def _find_engine() -> Callable[[bytes, bool], Function]:
    global _engine
    if _engine is None:
        for candidate in (_with_cryptography, _with_libcrypto):
            if _works(candidate):
                _engine = candidate
                break
        else:
            raise MissingPackageError(
                "Encrypted images need AES, and no library for it was found",
                remedy="install the Python package 'cryptography', or OpenSSL's libcrypto",
            )
    return _engine


def _works(candidate: Callable[[bytes, bool], Function]) -> bool:
    """Whether a library is there and gives right results."""
    try:
        encrypted = candidate(_TEST_KEY, True)(_TEST_PLAIN)
        return encrypted == _TEST_CIPHER and candidate(_TEST_KEY, False)(encrypted) == _TEST_PLAIN
    except Exception:
        # A broken or partial installation can fail in any way; then there is the next one.
        return False


def _with_cryptography(key: bytes, encrypts: bool) -> Function:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    cipher = Cipher(algorithms.AES(key), modes.ECB())

    def run(data: bytes) -> bytes:
        context = cipher.encryptor() if encrypts else cipher.decryptor()
        return bytes(context.update(data))

    return run


def _with_libcrypto(key: bytes, encrypts: bool) -> Function:
    import ctypes

    library = _load_libcrypto()
    cipher = getattr(library, "EVP_aes_%d_ecb" % (len(key) * 8))()

    def run(data: bytes) -> bytes:
        source = bytes(data)
        target = ctypes.create_string_buffer(max(1, len(source)))
        written = ctypes.c_int()
        context = library.EVP_CIPHER_CTX_new()
        try:
            done = (
                context
                and library.EVP_CipherInit_ex(context, cipher, None, key, None, int(encrypts))
                and library.EVP_CIPHER_CTX_set_padding(context, 0)
                and library.EVP_CipherUpdate(context, target, ctypes.byref(written), source, len(source))
            )
        finally:
            library.EVP_CIPHER_CTX_free(context)
        if not done or written.value != len(source):
            raise MissingPackageError(
                "The system's libcrypto refuses AES", remedy="install the Python package 'cryptography'"
            )
        return target.raw[: len(source)]

    return run


def _load_libcrypto() -> Any:
    import ctypes
    import ctypes.util

    library = ctypes.CDLL(ctypes.util.find_library("crypto") or "libcrypto.so.3")
    pointer, number = ctypes.c_void_p, ctypes.c_int
    for bits in (128, 192, 256):
        getattr(library, "EVP_aes_%d_ecb" % bits).restype = pointer
    library.EVP_CIPHER_CTX_new.restype = pointer
    library.EVP_CIPHER_CTX_free.argtypes = [pointer]
    library.EVP_CIPHER_CTX_free.restype = None
    library.EVP_CipherInit_ex.argtypes = [pointer, pointer, pointer, ctypes.c_char_p, ctypes.c_char_p, number]
    library.EVP_CIPHER_CTX_set_padding.argtypes = [pointer, number]
    library.EVP_CipherUpdate.argtypes = [pointer, ctypes.c_char_p, ctypes.POINTER(number), ctypes.c_char_p, number]
    return library
