# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parallels images as qemu-img writes them and we read and check them, and the other way round."""
from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

import qimg
from qimg.errors import CorruptImageError
from qimg.formats.driver import READ, RESIZE, WRITE
from qimg.formats.opening import Opener
from support import in_process, oracle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qimg.formats.base import Image
    from qimg.formats.driver import Purpose

pytestmark = pytest.mark.oracle

MIB = 1 << 20
SIZE = 10 * MIB + 512
CLUSTERS = (512, 1000, 64 << 10, MIB, 3 * MIB)
TABLE, IN_USE = 64, 0x746F6E59


def open_parallels(path: Path, purpose: Purpose = READ) -> Image:
    return Opener().open(str(path), "parallels", purpose)


def content() -> bytes:
    disk = bytearray(SIZE)
    disk[: 1 << 16] = b"\x01" * (1 << 16)
    disk[3 * MIB : 3 * MIB + 70000] = bytes(range(250)) * 280
    disk[-512:] = b"\x07" * 512
    return bytes(disk)


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("size", [0, 512, 1000, SIZE, (3 << 30) + 512])
def test_new_images_are_byte_for_byte_those_of_qemu_img(tmp_path: Path, size: int, cluster: int) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    qimg.create(str(ours), "parallels", size, {"cluster_size": cluster})
    oracle.qemu_img("create", "-q", "-f", "parallels", "-o", "cluster_size=%d" % cluster, theirs, str(size))
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_both_read_and_describe_what_the_other_copied(tmp_path: Path, cluster: int) -> None:
    (tmp_path / "disk.raw").write_bytes(content())
    options = "cluster_size=%d" % cluster
    oracle.qemu_img("convert", "-O", "parallels", "-o", options, "-f", "raw", "disk.raw", "theirs", cwd=tmp_path)
    qimg.convert(
        str(tmp_path / "disk.raw"), str(tmp_path / "ours"), "parallels", "raw", options={"cluster_size": cluster}
    )
    for name in ("theirs", "ours"):
        with open_parallels(tmp_path / name) as disk:
            assert disk.read(0, SIZE) == content()
        assert oracle.read_guest(tmp_path / name, tmp_path / "copy", "parallels") == content()
        for command in ("info", "map", "check"):
            for output in (["--output=json"], []):
                answers = [
                    ask(command, *output, "-f", "parallels", name, cwd=tmp_path)
                    for ask in (in_process.qimg, oracle.ask_qemu_img)
                ]
                assert answers[0] == answers[1]


@pytest.mark.parametrize("cluster", CLUSTERS[2:])
def test_both_programs_write_in_turn(tmp_path: Path, cluster: int) -> None:
    path = tmp_path / "disk"
    qimg.create(str(path), "parallels", SIZE, {"cluster_size": cluster})
    chance = random.Random(cluster)
    model = bytearray(SIZE)
    for turn in range(12):
        start = chance.randrange(SIZE // 512) * 512
        length = min(SIZE - start, chance.choice((512, 4096, 65536, MIB)))
        is_zero = chance.random() < 0.3
        value = 0 if is_zero else chance.randrange(1, 256)
        if turn % 2:
            command = "write -z %d %d" if is_zero else "write -P " + str(value) + " %d %d"
            oracle.qemu_io(path, command % (start, length), format="parallels")
        else:
            with open_parallels(path, WRITE) as disk:
                if is_zero:
                    disk.write_zeroes(start, length)
                else:
                    disk.write(start, bytes([value]) * length)
        model[start : start + length] = bytes([value]) * length
        with open_parallels(path) as disk:
            assert disk.read(0, SIZE) == bytes(model)
        assert oracle.is_clean(path, "-f", "parallels")
    assert oracle.read_guest(path, tmp_path / "copy", "parallels") == bytes(model)


def put(path: Path, position: int, *words: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        file.write(struct.pack("<%dI" % len(words), *words))


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(200_000))


#: What is wrong with an image of three clusters.
DAMAGE: dict[str, Callable[[Path], None]] = {
    "a cluster used twice": lambda path: put(path, TABLE + 4 * 5, 1),
    "space behind the last cluster": lengthen,
    "left in use": lambda path: put(path, 44, IN_USE),
    "a wrong place of the data": lambda path: put(path, 48, 3),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("repair", [[], ["-r", "leaks"], ["-r", "all"]], ids=str)
def test_a_check_finds_and_repairs_what_qemu_img_does(tmp_path: Path, damage: str, repair: list[str]) -> None:
    oracle.qemu_img("create", "-q", "-f", "parallels", "-o", "cluster_size=64k", "disk", "10M", cwd=tmp_path)
    oracle.qemu_io(
        tmp_path / "disk", "write -P 1 0 64k", "write -P 2 1M 64k", "write -P 3 2M 64k", format="parallels"
    )
    DAMAGE[damage](tmp_path / "disk")
    data = (tmp_path / "disk").read_bytes()
    answers, guests = [], []
    for ask in (in_process.qimg, oracle.ask_qemu_img):
        (tmp_path / "disk").write_bytes(data)
        found = []
        for output in (["--output=json"], []) if not repair else ([],):
            found.append(ask("check", *output, *repair, "-f", "parallels", "disk", cwd=tmp_path))
        answers.append(found)
        guests.append(oracle.read_guest(tmp_path / "disk", tmp_path / "copy", "parallels"))
        if repair == ["-r", "all"]:
            assert oracle.is_clean(tmp_path / "disk", "-f", "parallels")
    assert answers[0] == answers[1] and guests[0] == guests[1]


def test_clusters_outside_of_the_file_are_found_and_dropped(tmp_path: Path) -> None:
    """qemu-img 10 is stopped by an assertion where it only checks such an image."""
    path = tmp_path / "disk"
    qimg.create(str(path), "parallels", SIZE, {"cluster_size": 64 << 10})
    with open_parallels(path, WRITE) as disk:
        disk.write(0, b"a" * 65536)
    put(path, TABLE + 4 * 5, 500)
    answer = in_process.qimg("check", "-f", "parallels", "disk", cwd=tmp_path)
    assert answer.code == 2 and answer.stderr == "ERROR cluster 5 is outside image\n"
    assert in_process.qimg("check", "-r", "all", "-f", "parallels", "disk", cwd=tmp_path).code == 0
    assert oracle.is_clean(path, "-f", "parallels")
    with open_parallels(path) as disk:
        assert disk.read(0, SIZE) == b"a" * 65536 + bytes(SIZE - 65536)


def test_an_image_that_was_left_in_use_is_written_to_unless_it_has_errors(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    qimg.create(str(path), "parallels", SIZE, {"cluster_size": 64 << 10})
    put(path, 44, IN_USE)
    with open_parallels(path, WRITE) as disk:
        disk.write(0, b"a" * 512)
    assert oracle.is_clean(path, "-f", "parallels")
    put(path, 44, IN_USE)
    put(path, TABLE + 4 * 5, 1)
    with pytest.raises(CorruptImageError, match="has errors"):
        with open_parallels(path, WRITE) as disk:
            disk.write(0, b"b" * 512)


@pytest.mark.parametrize("cluster", [512, 64 << 10])
def test_a_disk_grows_beyond_the_room_of_its_table(tmp_path: Path, cluster: int) -> None:
    path = tmp_path / "disk"
    qimg.create(str(path), "parallels", MIB, {"cluster_size": cluster})
    with open_parallels(path, WRITE) as disk:
        disk.write(0, b"kept" * (MIB // 4))
    size = 200 * MIB if cluster == 512 else (3 << 40)
    with open_parallels(path, RESIZE) as disk:
        disk.resize(size)  # type: ignore[attr-defined]
    with open_parallels(path, WRITE) as disk:
        assert disk.read(0, MIB) == b"kept" * (MIB // 4)
        disk.write(size - 512, b"last" * 128)
    assert oracle.info(path, "-f", "parallels")["virtual-size"] == size
    assert oracle.is_clean(path, "-f", "parallels")
    read = oracle.qemu_io(path, "read -v 1000 4", "read -v %d 4" % (size - 512), format="parallels")
    assert "kept" in read and "last" in read


def test_images_of_the_older_kind_are_written_to(tmp_path: Path) -> None:
    """Their entries are sectors; no program of today makes them."""
    path = tmp_path / "disk"
    qimg.create(str(path), "parallels", SIZE, {"cluster_size": 64 << 10})
    with path.open("r+b") as file:
        file.write(b"WithoutFreeSpace")
    with open_parallels(path, WRITE) as disk:
        for offset in (0, 5 * MIB, 2 * MIB):
            disk.write(offset, b"data" * 20000)
    expected = bytearray(SIZE)
    for offset in (0, 5 * MIB, 2 * MIB):
        expected[offset : offset + 80000] = b"data" * 20000
    assert oracle.read_guest(path, tmp_path / "copy", "parallels") == bytes(expected)
    assert oracle.is_clean(path, "-f", "parallels")
