# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""bochs, cloop and dmg: read as qemu-img reads them, never written, and hostile ones answered with little work."""
from __future__ import annotations

import random
from pathlib import Path

import pytest
from contract import ABSURD, Work

import qimg
from qimg.errors import ImageError, UnsupportedFeatureError, UnsupportedOperationError
from support import made_images, oracle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CONTENT = b"".join(bytes(4096) if number % 3 == 1 else b"%08d" % number * 512 for number in range(48))
IMAGES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "bochs": ("i", lambda: made_images.bochs(CONTENT)),
    "bochs 1": ("i", lambda: made_images.bochs(CONTENT, 512, 0x10000)),
    "bochs, large extents": ("i", lambda: made_images.bochs(CONTENT[:-512], 65536)),
    "cloop": ("i", lambda: made_images.cloop(CONTENT)),
    "cloop, large blocks": ("i", lambda: made_images.cloop(CONTENT, 65536)),
    "dmg raw": ("i.dmg", lambda: made_images.dmg(CONTENT, "raw")),
    "dmg adc": ("i.dmg", lambda: made_images.dmg(CONTENT, "adc")),
    "dmg zlib": ("i.dmg", lambda: made_images.dmg(CONTENT, "zlib")),
    "dmg zlib in resources": ("i.dmg", lambda: made_images.dmg(CONTENT, "zlib", 4096, True)),
    "dmg bzip2": ("i.dmg", lambda: made_images.dmg(CONTENT, "bzip2")),
    "dmg lzma": ("i.dmg", lambda: made_images.dmg(CONTENT, "lzma")),
}
#: What Debian's qemu-img does not decompress, or takes for zeroes.
NOT_FOR_QEMU = {"dmg adc", "dmg bzip2", "dmg lzma"}


def image(name: str, directory: Path) -> Path:
    file, make = IMAGES[name]
    path = directory / file
    path.write_bytes(make())
    return path


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_reads_as_what_was_put_into_it(name: str, tmp_path: Path) -> None:
    path = image(name, tmp_path)
    expected = CONTENT[:-512] if name == "bochs, large extents" else CONTENT
    with qimg.open_image(path) as disk:
        assert disk.format == name.split()[0].rstrip(",") and disk.size == len(expected)
        assert disk.read(0, disk.size) == expected
        for offset, length in ((1, 3), (4095, 4098), (disk.size - 700, 700), (60_000, 20_000)):
            assert disk.read(offset, length) == expected[offset : offset + length]
    qimg.convert(path, tmp_path / "raw", "raw")
    assert (tmp_path / "raw").read_bytes() == expected
    if name not in NOT_FOR_QEMU:
        assert oracle.read_guest(path, tmp_path / "theirs") == expected


@pytest.mark.parametrize("name", [name for name in IMAGES if name not in NOT_FOR_QEMU])
def test_documents_are_those_of_qemu_img(name: str, tmp_path: Path) -> None:
    path = image(name, tmp_path)
    assert qimg.info(path).document() == oracle.info(path)
    assert [extent.document() for extent in qimg.map_image(path)] == oracle.map_(path)


@pytest.mark.parametrize("name", ["bochs", "cloop", "dmg zlib"])
def test_an_image_is_never_written(name: str, tmp_path: Path) -> None:
    path = image(name, tmp_path)
    before = path.read_bytes()
    for change in (
        lambda: qimg.resize(path, 1 << 20),
        lambda: qimg.create_snapshot(path, "s"),
        lambda: qimg.open_image(path, purpose="write"),
    ):
        with pytest.raises(UnsupportedOperationError):
            change()
    with pytest.raises(UnsupportedOperationError, match="does not support image creation"):
        qimg.create(tmp_path / "new", name.split()[0], 1 << 20)
    assert path.read_bytes() == before


def test_a_segment_of_a_disk_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "i.dmg"
    path.write_bytes(made_images.dmg(CONTENT, segments=3))
    with pytest.raises(UnsupportedFeatureError, match="one of 3 segments"):
        qimg.info(path)


def test_an_encrypted_disk_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "i.dmg"
    path.write_bytes(b"encrcdsa".ljust(4096, b"\0"))
    with pytest.raises(UnsupportedFeatureError, match="The image is encrypted"):
        qimg.info(path)


@pytest.mark.parametrize("name", ["bochs", "cloop", "dmg zlib", "dmg zlib in resources"])
def test_hostile_images_are_answered_with_little_work(name: str, tmp_path: Path) -> None:
    path = image(name, tmp_path)
    whole = path.read_bytes()
    chance = random.Random(3)
    described = range(64, 160, 4) if "dmg" not in name else range(len(whole) - 4000, len(whole) - 8, 4)
    for _time in range(150):
        content = bytearray(whole)
        position, value = chance.choice(described), chance.choice(ABSURD)
        width = 4 if value < 1 << 32 else 8
        order = "little" if "bochs" in name else "big"
        content[position : position + width] = value.to_bytes(width, order)  # type: ignore[arg-type]
        ask(path, bytes(content))
    for length in (0, 1, 100, 511, 513, len(whole) // 2, len(whole) - 1):
        ask(path, whole[:length])


def ask(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    format = {"i": None, "i.dmg": "dmg"}[path.name]
    with Work():
        try:
            with qimg.open_image(path, format) as disk:
                disk.read(0, min(disk.size, 1 << 18))
        except ImageError:
            pass
