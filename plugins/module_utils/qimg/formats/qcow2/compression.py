# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Compressed clusters: raw deflate with a 4 KiB window, or Zstandard frames.

Faster libraries are used where they are installed: ``isal`` or ``zlib-ng`` for deflate; ``compression.zstd`` (Python
3.14), ``backports.zstd`` or ``zstandard`` for Zstandard, which the standard library of older Pythons lacks.
"""
from __future__ import annotations

import zlib

from ...errors import MissingPackageError
from ..deflate import deflater
from .layout import ZLIB, corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ...storage.base import Buffer, Storage
    from ..deflate import Compress

    Decompress = Callable[[bytes, int], bytes]

#: The window of the deflate streams that QEMU writes: it reads no larger one.
_WRITE_WINDOW_BITS = -12
#: Other writers use the full window; reading that costs nothing.
_READ_WINDOW_BITS = -15
#: How frames begin that hold nothing to be unpacked: after a byte from 0x50 to 0x5f.
_SKIPPABLE = b"\x2a\x4d\x18"
#: Frames that do not say how long they are are unpacked by so many bytes, each four of which may become 128 KiB.
_UNSIZED_STEP = 64


class DecompressionError(ValueError):
    """The bytes are not a compressed cluster."""


def compressor(kind: int) -> Compress:
    """A function from one cluster's bytes to its compressed bytes, safe to call from several threads.

    :param kind: the header's compression type
    :raises MissingPackageError: no Zstandard library is installed
    """
    return deflater(_WRITE_WINDOW_BITS) if kind == ZLIB else _zstd_compressor()


def decompressor(kind: int) -> Decompress:
    """A function from compressed bytes (and possibly more after them) and a length to that many plain bytes.

    :raises MissingPackageError: no Zstandard library is installed
    """
    return _inflater() if kind == ZLIB else _zstd_decompressor()


def _inflater() -> Decompress:
    module: Any
    try:
        from isal import isal_zlib

        module = isal_zlib
    except ImportError:
        try:
            from zlib_ng import zlib_ng
        except ImportError:
            return _inflate
        module = zlib_ng
    error_type = module.error

    def inflate(data: bytes, length: int) -> bytes:
        try:
            plain = bytes(module.decompressobj(_READ_WINDOW_BITS).decompress(data, length))
        except error_type:
            plain = b""
        # What is broken, and whether it matters for so many bytes, is for zlib to say.
        return plain if len(plain) == length else _inflate(data, length)

    return inflate


def _inflate(data: bytes, length: int) -> bytes:
    try:
        plain = zlib.decompressobj(_READ_WINDOW_BITS).decompress(data, length)
    except zlib.error as error:
        raise DecompressionError(str(error)) from error
    if len(plain) != length:
        raise DecompressionError("it holds %d bytes instead of %d" % (len(plain), length))
    return plain


def _zstd_compressor() -> Compress:
    module = _zstd_module()
    if module.__name__ == "zstandard":

        def compress_zstandard(data: Buffer) -> bytes:
            return bytes(module.ZstdCompressor(level=3).compress(data))

        return compress_zstandard

    def compress(data: Buffer) -> bytes:
        return bytes(module.compress(data))

    return compress


def _zstd_decompressor() -> Decompress:
    module = _zstd_module()
    read_frame = _zstandard_frame if module.__name__ == "zstandard" else _zstd_frame
    error_type = module.ZstdError

    def decompress(data: bytes, length: int) -> bytes:
        # A cluster may be several frames (section "Compressed Clusters"); it ends where a frame ends.
        parts = []
        have = 0
        while have < length:
            if data[1:4] == _SKIPPABLE and data[0] >> 4 == 5:
                data = data[8 + int.from_bytes(data[4:8], "little") :]
                continue
            try:
                part, data = read_frame(module, data, length - have)
            except error_type as error:
                raise DecompressionError(str(error)) from error
            # Frames may be empty, but each of them takes some bytes.
            parts.append(part)
            have += len(part)
        return b"".join(parts)

    return decompress


# A frame of a few bytes may stand for gigabytes: no more of it is unpacked than there can be.


def _zstd_frame(module: Any, data: bytes, limit: int) -> tuple[bytes, bytes]:
    """The content of a frame, and what follows it; by the interface of the standard library."""
    stream = module.ZstdDecompressor()
    part = stream.decompress(data, limit + 1)
    if not stream.eof or len(part) > limit:
        raise _not_whole(len(part), limit)
    return part, stream.unused_data


def _zstandard_frame(module: Any, data: bytes, limit: int) -> tuple[bytes, bytes]:
    """The same, by that of the package ``zstandard``, which knows no bound."""
    size = module.get_frame_parameters(data).content_size
    if size == module.CONTENTSIZE_UNKNOWN:
        step = _UNSIZED_STEP
    elif size <= limit:
        step = len(data)
    else:
        raise _not_whole(size, limit)
    stream = module.ZstdDecompressor().decompressobj()
    parts: list[bytes] = []
    have = 0
    for position in range(0, len(data), step):
        parts.append(stream.decompress(data[position : position + step]))
        have += len(parts[-1])
        if have > limit:
            break
        if stream.eof:
            return b"".join(parts), stream.unused_data + data[position + step :]
    raise _not_whole(have, limit)


def _not_whole(length: int, limit: int) -> DecompressionError:
    return DecompressionError(
        "a Zstandard frame holds more than a cluster" if length > limit else "a Zstandard frame is cut off"
    )


def _zstd_module() -> Any:
    try:
        from compression import zstd

        return zstd
    except ImportError:
        pass
    try:
        from backports import zstd as backported

        return backported
    except ImportError:
        pass
    try:
        import zstandard

        return zstandard
    except ImportError:
        raise MissingPackageError(
            "Zstandard compression needs a Python package that is not installed",
            remedy="install 'zstandard' or 'backports.zstd' (or use Python 3.14 or later)",
        ) from None


class CompressedReader:
    """Reads a run of compressed clusters; holds no reference to tables that may change."""

    def __init__(
        self,
        storage: Storage,
        jobs: list[tuple[int, int, int, int, int]],
        cluster_size: int,
        decompress: Decompress,
    ) -> None:
        self._storage = storage
        #: (position in the buffer, offset within the cluster, length, host offset, readable bytes)
        self._jobs = jobs
        self._cluster_size = cluster_size
        self._decompress = decompress

    def __call__(self, buffer: Buffer) -> None:
        view = memoryview(buffer)
        for position, inner, length, host, readable in self._jobs:
            packed = self._storage.read(host, readable)
            try:
                plain = self._decompress(packed, self._cluster_size)
            except DecompressionError as error:
                raise corrupt(
                    self._storage.name, "A compressed cluster cannot be decompressed: %s" % error, host
                ) from error
            view[position : position + length] = plain[inner : inner + length]
