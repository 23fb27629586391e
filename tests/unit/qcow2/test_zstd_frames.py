# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A compressed cluster may be several Zstandard frames; a simple library plays the real one, which may be missing."""
from __future__ import annotations

import types

import pytest

from qimg.formats.qcow2 import compression
from qimg.formats.qcow2.layout import ZSTD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class PlayedError(Exception):
    """What is no frame."""


class PlayedDecompressor:
    """Its frames are the letter F, the length as one byte, and so many plain bytes."""

    def __init__(self) -> None:
        self.eof = False
        self.unused_data = b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if data and data[:1] != b"F":
            raise PlayedError("no frame")
        if len(data) < 2 or len(data) < 2 + data[1] or data[1] > max_length:
            return data[2:][:max_length]
        self.eof = True
        self.unused_data = data[2 + data[1] :]
        return data[2 : 2 + data[1]]


@pytest.fixture
def decompress(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes, int], bytes]:
    module = types.SimpleNamespace(
        __name__="played", ZstdDecompressor=PlayedDecompressor, ZstdError=PlayedError
    )
    monkeypatch.setattr(compression, "_zstd_module", lambda: module)
    return compression.decompressor(ZSTD)


def frame(data: bytes) -> bytes:
    return b"F" + bytes((len(data),)) + data


@pytest.mark.parametrize(
    "packed",
    [
        frame(b"abcdef"), frame(b"abc") + frame(b"def"), frame(b"") + frame(b"abcdef"), frame(b"abcdef") + b"rest",
        frame(b"abc") + frame(b"") + frame(b"") + frame(b"def") + bytes(9),
        b"\x50\x2a\x4d\x18\x04\0\0\0skip" + frame(b"abcdef"),
        frame(b"abc") + b"\x5f\x2a\x4d\x18\0\0\0\0" + frame(b"def"),
    ],
)  # fmt: skip
def test_frames_are_put_together(decompress: Callable[[bytes, int], bytes], packed: bytes) -> None:
    assert decompress(packed, 6) == b"abcdef"


@pytest.mark.parametrize(
    "packed", [b"", frame(b"abcdef")[:5], frame(b"abc"), frame(b"abc") + b"x", frame(b"abcdefg"), frame(b"") * 9]
)
def test_what_does_not_end_with_a_frame_at_the_right_length_is_an_error(
    decompress: Callable[[bytes, int], bytes], packed: bytes
) -> None:
    with pytest.raises(compression.DecompressionError):
        decompress(packed, 6)
