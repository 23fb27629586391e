# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faster deflate libraries are used where they are installed, and give what zlib gives."""
from __future__ import annotations

import importlib
import random
import sys
import types
import zlib
from pathlib import Path
from typing import Any

import pytest

import qimg
from qimg.formats import deflate
from qimg.formats.opening import Opener
from qimg.formats.qcow2 import compression
from qimg.formats.qcow2.layout import ZLIB

PACKAGES = {"isal": "isal_zlib", "zlib_ng": "zlib_ng"}
CLUSTER = 65536


class CountedCodec:
    """One of the libraries, or where it is not installed zlib in its place; counts what is asked of it."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self.error = library.error
        self.DEFLATED = library.DEFLATED
        self.asked: list[str] = []

    def compressobj(self, *arguments: int) -> Any:
        self.asked.append("compress")
        return self.library.compressobj(*arguments)

    def decompressobj(self, *arguments: int) -> Any:
        self.asked.append("decompress")
        return self.library.decompressobj(*arguments)


@pytest.fixture(params=PACKAGES)
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> CountedCodec:
    """The only library that can be imported."""
    try:
        library = importlib.import_module("%s.%s" % (request.param, PACKAGES[request.param]))
    except ImportError:
        library = zlib
    counted = CountedCodec(library)
    for package, module in PACKAGES.items():
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.setitem(sys.modules, "%s.%s" % (package, module), None)
    only = types.ModuleType(request.param)
    setattr(only, PACKAGES[request.param], counted)
    monkeypatch.setitem(sys.modules, request.param, only)
    monkeypatch.setitem(sys.modules, "%s.%s" % (request.param, PACKAGES[request.param]), counted)
    return counted


def clusters() -> list[bytes]:
    choose = random.Random(1)
    return [
        bytes(CLUSTER),
        choose.randbytes(CLUSTER),
        bytes(choose.choices(b"abc ", k=CLUSTER)),
        choose.randbytes(3000) * 21 + bytes(CLUSTER - 63000),
    ]


def test_it_is_used_and_what_it_packs_anybody_can_unpack(codec: CountedCodec) -> None:
    compress = compression.compressor(ZLIB)

    for plain in clusters():
        # QEMU reads with this window; it finds what follows in the sector, too.
        assert zlib.decompressobj(-12).decompress(compress(memoryview(plain)) + b"next", CLUSTER) == plain

    assert codec.asked == ["compress"] * 4


def test_it_unpacks_what_others_packed(codec: CountedCodec) -> None:
    decompress = compression.decompressor(ZLIB)

    for plain in clusters():
        for window in (-12, -15):
            stream = zlib.compressobj(9, zlib.DEFLATED, window)
            packed = stream.compress(plain) + stream.flush()
            assert decompress(packed + b"next", CLUSTER) == plain

    assert codec.asked == ["decompress"] * 8


def outcome(packed: bytes) -> bytes | str:
    try:
        return compression.decompressor(ZLIB)(packed, CLUSTER)
    except compression.DecompressionError as error:
        return str(error)


def test_damage_is_what_zlib_says_it_is(codec: CountedCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = random.Random(2)
    plain = clusters()[2]
    damaged = []
    for _number in range(100):
        # A zlib stream without its header and checksum is a raw deflate stream.
        packed = bytearray(zlib.compress(plain)[2:-4])
        packed[choose.randrange(len(packed))] ^= 1 << choose.randrange(8)
        damaged.append(bytes(packed[: choose.randrange(len(packed) // 2, len(packed))]))
    found = [outcome(packed) for packed in damaged]
    assert codec.asked == ["decompress"] * 100
    for package, module in PACKAGES.items():
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.setitem(sys.modules, "%s.%s" % (package, module), None)

    assert found == [outcome(packed) for packed in damaged]
    assert {type(result) for result in found} >= {str}


def test_streams_of_vmdk_use_it_and_are_zlib_streams(codec: CountedCodec) -> None:
    compress = deflate.deflater(15)

    for plain in clusters():
        assert zlib.decompress(compress(memoryview(plain))) == plain

    assert codec.asked == ["compress"] * 4


def test_a_stream_optimized_image_is_packed_by_it(codec: CountedCodec, tmp_path: Path) -> None:
    plain = b"".join(clusters())
    (tmp_path / "disk.raw").write_bytes(plain)
    qimg.convert(
        str(tmp_path / "disk.raw"), str(tmp_path / "disk.vmdk"), "vmdk", "raw", options={"subformat": "streamOptimized"}
    )
    assert "compress" in codec.asked
    with Opener().open(str(tmp_path / "disk.vmdk"), "vmdk") as image:
        assert image.read(0, image.size) == plain
