# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""QED images as qemu-img writes them and we read and check them, and the other way round."""
from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

import qimg
from qimg.errors import CorruptImageError
from qimg.formats.driver import READ, RESIZE, WRITE
from qimg.formats.opening import Opener
from qimg.policy import FOLLOW, ReferencePolicy
from support import in_process, oracle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qimg.formats.base import Image
    from qimg.formats.driver import Purpose

pytestmark = pytest.mark.oracle

MIB = 1 << 20
SIZE = 10 * MIB + 512
CLUSTERS = [1 << bits for bits in range(12, 27)]
#: QEMU makes images with tables of one cluster, and cannot open them.
TABLES = [2, 4, 8, 16]


def open_qed(path: Path, purpose: Purpose = READ) -> Image:
    return Opener(ReferencePolicy(FOLLOW)).open(str(path), "qed", purpose)


def content() -> bytes:
    disk = bytearray(SIZE)
    disk[: 1 << 16] = b"\x01" * (1 << 16)
    disk[3 * MIB : 3 * MIB + 70000] = bytes(range(250)) * 280
    disk[-512:] = b"\x07" * 512
    return bytes(disk)


@pytest.mark.parametrize("table", [1, *TABLES])
def test_new_images_are_byte_for_byte_those_of_qemu_img(tmp_path: Path, table: int) -> None:
    for cluster in CLUSTERS[:9]:
        ours, theirs = tmp_path / "ours", tmp_path / "theirs"
        qimg.create(str(ours), "qed", MIB, {"cluster_size": cluster, "table_size": table}, existing="recreate")
        options = "cluster_size=%d,table_size=%d" % (cluster, table)
        oracle.qemu_img("create", "-q", "-f", "qed", "-o", options, theirs, "1M")
        assert ours.read_bytes() == theirs.read_bytes()
        ours.unlink()


@pytest.mark.parametrize("table", TABLES)
def test_the_whole_grid_of_tables_is_written_to(tmp_path: Path, table: int) -> None:
    for cluster in CLUSTERS:
        path = tmp_path / ("%d.qed" % cluster)
        if (table * cluster // 8) ** 2 * cluster >= 1 << 64:
            with pytest.raises(qimg.OptionError, match="more bytes than there are"):
                qimg.create(str(path), "qed", MIB, {"cluster_size": cluster, "table_size": table})
            continue
        size = min(cluster * (table * cluster // 8) * 3, 1 << 50)
        qimg.create(str(path), "qed", size, {"cluster_size": cluster, "table_size": table})
        places = [0, size // 2 // 512 * 512, size - 512]
        with open_qed(path, WRITE) as disk:
            for number, place in enumerate(places):
                disk.write(place, bytes([number + 1]) * 512)
        with open_qed(path, WRITE) as disk:
            disk.write(512, b"\x09" * 512)
        assert oracle.is_clean(path, "-f", "qed")
        read = ["read -P %d %d 512" % (number + 1, place) for number, place in enumerate(places)]
        assert "Pattern verification failed" not in oracle.qemu_io(path, *read, "read -P 9 512 512", format="qed")
        path.unlink()


@pytest.mark.parametrize("cluster", [4096, 65536, MIB])
def test_both_read_and_describe_what_the_other_copied(tmp_path: Path, cluster: int) -> None:
    (tmp_path / "disk.raw").write_bytes(content())
    options = "cluster_size=%d" % cluster
    oracle.qemu_img("convert", "-O", "qed", "-o", options, "-f", "raw", "disk.raw", "theirs", cwd=tmp_path)
    qimg.convert(str(tmp_path / "disk.raw"), str(tmp_path / "ours"), "qed", "raw", options={"cluster_size": cluster})
    for name in ("theirs", "ours"):
        with open_qed(tmp_path / name) as disk:
            assert disk.read(0, SIZE) == content()
        assert oracle.read_guest(tmp_path / name, tmp_path / "copy", "qed") == content()
        for command in ("info", "map", "check"):
            for output in (["--output=json"], []):
                answers = [
                    ask(command, *output, "-f", "qed", name, cwd=tmp_path)
                    for ask in (in_process.qimg, oracle.ask_qemu_img)
                ]
                assert answers[0] == answers[1]


@pytest.mark.parametrize("cluster", [4096, 65536])
def test_both_programs_write_in_turn_above_a_backing_file(tmp_path: Path, cluster: int) -> None:
    (tmp_path / "base.raw").write_bytes(content())
    path = tmp_path / "disk.qed"
    qimg.create(
        str(path), "qed", SIZE, {"cluster_size": cluster}, backing_file="base.raw", backing_format="raw"
    )
    chance = random.Random(cluster)
    model = bytearray(content())
    for turn in range(12):
        start = chance.randrange(SIZE // 512) * 512
        length = min(SIZE - start, chance.choice((512, 4096, 65536, MIB)))
        is_zero = chance.random() < 0.3
        value = 0 if is_zero else chance.randrange(1, 256)
        if turn % 2:
            command = "write -z %d %d" if is_zero else "write -P " + str(value) + " %d %d"
            oracle.qemu_io(path, command % (start, length), format="qed")
        else:
            with open_qed(path, WRITE) as disk:
                if is_zero:
                    disk.write_zeroes(start, length)
                else:
                    disk.write(start, bytes([value]) * length)
        model[start : start + length] = bytes([value]) * length
        with open_qed(path) as disk:
            assert disk.read(0, SIZE) == bytes(model)
        assert oracle.is_clean(path, "-f", "qed")
    assert oracle.read_guest(path, tmp_path / "copy", "qed") == bytes(model)
    qimg.commit(str(path))
    assert (tmp_path / "base.raw").read_bytes()[:SIZE] == bytes(model)


def test_an_overlay_moves_to_another_backing_file(tmp_path: Path) -> None:
    (tmp_path / "old.raw").write_bytes(content())
    qimg.create(str(tmp_path / "new.qed"), "qed", SIZE)
    path = tmp_path / "disk.qed"
    qimg.create(str(path), "qed", backing_file="old.raw", backing_format="raw")
    for backing, format in (("new.qed", "qed"), ("old.raw", "raw"), (None, None)):
        qimg.rebase(str(path), backing, format)
        assert oracle.read_guest(path, tmp_path / "copy", "qed") == content()
        assert oracle.info(path, "-f", "qed").get("backing-filename") == backing
    assert oracle.is_clean(path, "-f", "qed")


def put(path: Path, position: int, *words: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        file.write(struct.pack("<%dQ" % len(words), *words))


def damaged(path: Path) -> None:
    """Clusters 0 to 2 are there, the fourth is that of the first, and the fifth is not in the file."""
    oracle.qemu_img("create", "-q", "-f", "qed", path, "10M")
    oracle.qemu_io(path, "write -P 1 0 64k", "write -P 2 64k 64k", "write -P 3 128k 64k", format="qed")
    data = path.read_bytes()
    (table,) = struct.unpack_from("<Q", data, 65536)
    (first,) = struct.unpack_from("<Q", data, table)
    put(path, table + 3 * 8, first, 1 << 40)


def test_errors_are_counted_as_by_qemu_img_and_repaired_without_a_loss(tmp_path: Path) -> None:
    path = tmp_path / "disk.qed"
    damaged(path)
    answer = in_process.qimg("check", "--output=json", "-f", "qed", "disk.qed", cwd=tmp_path)
    theirs = oracle.ask_qemu_img("check", "--output=json", "-f", "qed", "disk.qed", cwd=tmp_path)
    assert answer.code == theirs.code == 2
    with open_qed(path) as disk:
        before = disk.read(0, 4 << 16)
    qimg.plan_repair(str(path), "all").apply()
    assert qimg.check(str(path)).clean and oracle.is_clean(path, "-f", "qed")
    with open_qed(path) as disk:
        assert disk.read(0, 5 << 16) == before + bytes(1 << 16)


def test_leaks_are_given_back(tmp_path: Path) -> None:
    path = tmp_path / "disk.qed"
    qimg.create(str(path), "qed", SIZE)
    with open_qed(path, WRITE) as disk:
        for offset in range(0, 10 * MIB, MIB):
            disk.write(offset, bytes([offset // MIB + 1]) * 65536)
    data = path.read_bytes()
    (table,) = struct.unpack_from("<Q", data, 65536)
    put(path, table, 0)
    assert oracle.ask_qemu_img("check", "-q", "-f", "qed", path).code == 3
    assert qimg.check(str(path)).result.leaks == 1
    qimg.plan_repair(str(path), "leaks").apply()
    assert qimg.check(str(path)).clean and oracle.is_clean(path, "-f", "qed")
    assert path.stat().st_size == len(data) - 65536
    expected = bytearray(SIZE)
    for offset in range(MIB, 10 * MIB, MIB):
        expected[offset : offset + 65536] = bytes([offset // MIB + 1]) * 65536
    assert oracle.read_guest(path, tmp_path / "copy", "qed") == bytes(expected)


def test_an_image_that_asks_to_be_checked_is_written_to_unless_it_has_errors(tmp_path: Path) -> None:
    path = tmp_path / "disk.qed"
    qimg.create(str(path), "qed", SIZE)
    put(path, 16, 2)
    assert in_process.qimg("info", "--output=json", "disk.qed", cwd=tmp_path) == oracle.ask_qemu_img(
        "info", "--output=json", "disk.qed", cwd=tmp_path
    )
    with open_qed(path, WRITE) as disk:
        disk.write(0, b"a" * 512)
    assert path.read_bytes()[16] == 0 and oracle.is_clean(path, "-f", "qed")
    path.unlink()
    damaged(path)
    put(path, 16, 2)
    with pytest.raises(CorruptImageError, match="has errors"):
        with open_qed(path, WRITE) as disk:
            disk.write(0, b"b" * 512)


def test_a_disk_shrinks_which_qemu_img_refuses(tmp_path: Path) -> None:
    path = tmp_path / "disk.qed"
    qimg.create(str(path), "qed", SIZE)
    with open_qed(path, WRITE) as disk:
        disk.write(0, content())
    with open_qed(path, RESIZE) as disk:
        disk.resize(4 * MIB + 512)  # type: ignore[attr-defined]
    assert oracle.is_clean(path, "-f", "qed")
    assert oracle.read_guest(path, tmp_path / "copy", "qed") == content()[: 4 * MIB + 512]
    oracle.qemu_img("resize", "-q", "-f", "qed", path, str(SIZE))
    assert oracle.read_guest(path, tmp_path / "copy", "qed") == content()[: 4 * MIB + 512].ljust(SIZE, b"\0")
