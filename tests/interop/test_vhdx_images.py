# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VHDX as qemu-img writes it and we read it, and the other way round."""
from __future__ import annotations

import random
from pathlib import Path

import pytest

import qimg
from qimg.errors import CorruptImageError, ReferenceDeniedError
from qimg.formats.driver import READ, RESIZE, WRITE
from qimg.formats.opening import Opener
from qimg.policy import DENY, SAME_DIRECTORY, ReferencePolicy
from support import in_process, oracle
from support.recording import Recorder, prefixes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qimg.formats.base import Image
    from qimg.formats.driver import Purpose

pytestmark = pytest.mark.oracle

MIB = 1 << 20
SIZE = 20 * MIB + 512


def open_vhdx(path: Path, purpose: Purpose = READ) -> Image:
    return Opener(ReferencePolicy(SAME_DIRECTORY)).open(str(path), "vhdx", purpose)


def content() -> bytes:
    disk = bytearray(SIZE)
    disk[: 1 << 16] = b"\x01" * (1 << 16)
    disk[9 * MIB : 9 * MIB + 70000] = bytes(range(250)) * 280
    disk[-512:] = b"\x07" * 512
    return bytes(disk)


def words(options: dict[str, Any]) -> list[str]:
    text = ",".join("%s=%s" % (name, {True: "on", False: "off"}.get(value, value)) for name, value in options.items())
    return ["-o", text] if text else []


OPTIONS: list[dict[str, Any]] = [
    {},
    {"subformat": "fixed"},
    {"block_size": MIB, "block_state_zero": False},
    {"block_size": 256 * MIB},
    {"log_size": 3 * MIB, "block_size": 4 * MIB},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_guest_reads_what_qemu_wrote(tmp_path: Path, options: dict[str, Any]) -> None:
    raw, image = tmp_path / "disk.raw", tmp_path / "disk.vhdx"
    raw.write_bytes(content())
    oracle.qemu_img("convert", "-f", "raw", "-O", "vhdx", *words(options), raw, image)
    with open_vhdx(image) as disk:
        assert disk.size == SIZE and disk.read(0, SIZE) == content()
    for command in ("info", "check"):
        for output in (["--output=json"], []):
            ours = in_process.qimg(command, *output, "disk.vhdx", cwd=tmp_path)
            theirs = oracle.ask_qemu_img(command, *output, "disk.vhdx", cwd=tmp_path)
            assert (ours.code, ours.stdout) == (theirs.code, theirs.stdout)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_qemu_reads_what_is_converted(tmp_path: Path, options: dict[str, Any]) -> None:
    raw, image = tmp_path / "disk.raw", tmp_path / "disk.vhdx"
    raw.write_bytes(content())
    qimg.convert(str(raw), str(image), "vhdx", "raw", options=options)
    assert oracle.read_guest(image, tmp_path / "copy", "vhdx") == content()
    assert oracle.is_clean(image, "-f", "vhdx")
    hypervisor = pytest.importorskip("dissect.hypervisor.disk.vhdx")
    with image.open("rb") as file:
        assert hypervisor.VHDX(file).read(SIZE) == content()


@pytest.mark.parametrize("size", [512, MIB, 2 << 30, 100 << 30, (100 << 30) + 512, 33 << 40, 64 << 40])
def test_new_images_have_the_layout_of_qemu_img(tmp_path: Path, size: int) -> None:
    for number, options in enumerate(({}, {"block_size": 2 * MIB, "log_size": 2 * MIB}, {"block_size": 64 * MIB})):
        paths = tmp_path / ("theirs%d.vhdx" % number), tmp_path / ("ours%d.vhdx" % number)
        oracle.qemu_img("create", "-q", "-f", "vhdx", *words(options), paths[0], str(size))
        qimg.create(str(paths[1]), "vhdx", size, options)
        assert paths[0].stat().st_size == paths[1].stat().st_size
        one, other = (oracle.info(path, "-f", "vhdx") for path in paths)
        assert (one["virtual-size"], one["cluster-size"]) == (other["virtual-size"], other["cluster-size"])
        with paths[0].open("rb") as theirs, paths[1].open("rb") as ours:
            # Headers, regions and metadata have random identifiers; the table has none.
            start = MIB + options.get("log_size", MIB)
            for file in (theirs, ours):
                file.seek(start)
            assert theirs.read(MIB) == ours.read(MIB)


@pytest.mark.parametrize("options", OPTIONS[1:3], ids=str)
def test_both_programs_write_in_turn(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "disk.vhdx"
    qimg.create(str(path), "vhdx", SIZE, options)
    chance = random.Random(str(options))
    model = bytearray(SIZE)
    for turn in range(12):
        start = chance.randrange(SIZE // 512) * 512
        length = min(SIZE - start, chance.choice((512, 4096, 65536, 3 * MIB)))
        is_zero = chance.random() < 0.3
        value = 0 if is_zero else chance.randrange(1, 256)
        if turn % 2:
            # QEMU cannot write zeroes into a block of its own making otherwise.
            oracle.qemu_io(path, "write -P %d %d %d" % (value, start, length), format="vhdx")
        else:
            with open_vhdx(path, WRITE) as disk:
                if is_zero:
                    disk.write_zeroes(start, length)
                else:
                    disk.write(start, bytes([value]) * length)
        model[start : start + length] = bytes([value]) * length
        with open_vhdx(path) as disk:
            assert disk.read(0, SIZE) == bytes(model)
        assert oracle.is_clean(path, "-f", "vhdx")
    assert oracle.read_guest(path, tmp_path / "copy", "vhdx") == bytes(model)


def test_qemu_replays_the_log_that_a_killed_process_leaves(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhdx"
    qimg.create(str(path), "vhdx", 4 * MIB, {"block_size": MIB})
    with open_vhdx(path, WRITE) as disk:
        disk.write(0, b"old" * 1024)
    before = path.read_bytes()
    with Recorder([path]) as recorder:
        with open_vhdx(path, WRITE) as disk:
            disk.write(2 * MIB, b"new" * 1024)
    found = set()
    for what, files in prefixes({path: before}, recorder.events):
        path.write_bytes(files[path])
        oracle.ask_qemu_img("check", "-q", "-r", "all", "-f", "vhdx", path)
        guest = oracle.read_guest(path, tmp_path / "copy", "vhdx")
        assert guest[:3072] == b"old" * 1024, what
        assert guest[2 * MIB : 2 * MIB + 3072] in (b"new" * 1024, bytes(3072)), what
        found.add(guest[2 * MIB])
    assert found == {0, ord("n")}


def test_a_log_is_replayed_without_a_change_of_the_file(tmp_path: Path) -> None:
    """The states in which the log is in use read as the change that is in it, and stay as they are."""
    path = tmp_path / "disk.vhdx"
    qimg.create(str(path), "vhdx", 4 * MIB, {"block_size": MIB})
    before = path.read_bytes()
    with Recorder([path]) as recorder:
        with open_vhdx(path, WRITE) as disk:
            disk.write(0, b"new" * 1024)
    replayed = 0
    for _what, files in prefixes({path: before}, recorder.events):
        data = files[path]
        path.write_bytes(data)
        headers = [data[place : place + 4096] for place in (64 << 10, 128 << 10)]
        current = max(headers, key=lambda header: int.from_bytes(header[8:16], "little"))
        with open_vhdx(path) as disk:
            if current[48:64] != bytes(16):
                replayed += 1
                assert disk.read(0, 3072) == b"new" * 1024
        assert path.read_bytes() == data
    assert replayed


def test_a_disk_grows_beyond_its_table(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhdx"
    qimg.create(str(path), "vhdx", MIB, {"block_size": MIB})
    with open_vhdx(path, WRITE) as disk:
        disk.write(1000, b"kept")
    size = (150_000 << 20) + 512
    with open_vhdx(path, RESIZE) as disk:
        disk.resize(size)  # type: ignore[attr-defined]
    with open_vhdx(path, WRITE) as disk:
        disk.write(size - 512, b"last" * 128)
    assert oracle.info(path, "-f", "vhdx")["virtual-size"] == size
    assert oracle.is_clean(path, "-f", "vhdx")
    read = oracle.qemu_io(path, "read -v 1000 4", "read -v %d 4" % (size - 512), format="vhdx")
    assert "kept" in read and "last" in read


def test_blocks_that_share_a_place_get_places_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhdx"
    qimg.create(str(path), "vhdx", 4 * MIB, {"block_size": MIB})
    with open_vhdx(path, WRITE) as disk:
        disk.write(0, b"a" * MIB)
    with path.open("r+b") as file:
        file.seek(2 * MIB)
        entry = int.from_bytes(file.read(8), "little")
        # The second block where the first one is, the third in the log, the fourth beyond the file.
        for wrong in (entry, MIB | 6, 1 << 40 | 6):
            file.write(wrong.to_bytes(8, "little"))
    report = qimg.check(str(path))
    assert report.result.corruptions == 3
    with pytest.raises(CorruptImageError):
        with open_vhdx(path, WRITE) as disk:
            disk.write(2 * MIB, b"x" * 512)
    qimg.plan_repair(str(path), "all").apply()
    assert qimg.check(str(path)).clean and oracle.is_clean(path, "-f", "vhdx")
    assert oracle.read_guest(path, tmp_path / "copy", "vhdx") == b"a" * (2 * MIB) + bytes(2 * MIB)


def differencing(folder: Path) -> Path:
    """A differencing disk as Hyper-V makes it, of an image of ours: some sectors of its first block are there."""
    import struct
    import uuid

    from qimg.formats.vhdx import layout
    parent, path = folder / "parent.vhdx", folder / "child.vhdx"
    qimg.create(str(parent), "vhdx", 4 * MIB, {"block_size": MIB})
    with open_vhdx(parent, WRITE) as disk:
        disk.write(0, b"p" * (2 * MIB))
    with open_vhdx(parent) as disk:
        linkage = uuid.UUID(bytes_le=disk.data_guid)  # type: ignore[attr-defined]
    qimg.create(str(path), "vhdx", 4 * MIB, {"block_size": MIB, "block_state_zero": False})
    pairs = {"parent_linkage": "{%s}" % linkage, "relative_path": ".\\parent.vhdx"}
    entries, texts = b"", b""
    start = 20 + 12 * len(pairs)
    for pair in pairs.items():
        key, value = (text.encode("utf-16-le") for text in pair)
        entries += struct.pack("<IIHH", start + len(texts), start + len(texts) + len(key), len(key), len(value))
        texts += key + value
    locator = bytes(18) + struct.pack("<H", len(pairs)) + entries + texts
    metadata = 3 * MIB
    with path.open("r+b") as file:
        file.seek(metadata + 10)
        file.write(struct.pack("<H", 6))
        file.seek(metadata + 32 + 5 * 32)
        file.write(layout.ITEM.pack(layout.PARENT_LOCATOR, 66000, len(locator), layout.REQUIRED))
        file.seek(metadata + 66000)
        file.write(locator)
        file.seek(metadata + 65536 + 4)
        file.write(struct.pack("<I", layout.PARENT_FLAG))
        # The bitmap's entry is the last one of the chunk.
        chunk = layout.chunk_blocks(MIB)
        file.seek(2 * MIB)
        file.write(struct.pack("<Q", 8 * MIB | layout.PARTIAL))
        file.seek(2 * MIB + chunk * 8)
        file.write(struct.pack("<Q", 9 * MIB | layout.BITMAP_PRESENT))
        file.seek(8 * MIB + 512)
        file.write(b"c" * 1024)
        file.seek(9 * MIB)
        # Sectors 1 and 2 of the first block.
        file.write(b"\6")
        file.truncate(10 * MIB)
    return path


def test_a_differencing_disk_shows_its_parent_and_is_written_to(tmp_path: Path) -> None:
    path = differencing(tmp_path)
    expected = bytearray(b"p" * (2 * MIB) + bytes(2 * MIB))
    expected[512:1536] = b"c" * 1024
    with open_vhdx(path) as disk:
        assert disk.read(0, 4 * MIB) == bytes(expected)
    assert [each.path for each in qimg.dependants(str(tmp_path / "parent.vhdx"))] == [str(path)]
    with open_vhdx(path, WRITE) as disk:
        disk.write(4096, b"new!" * 128)
        disk.write(MIB + 512, b"more" * 128)
        disk.write_zeroes(3 * MIB, 4096)
    expected[4096:4608] = b"new!" * 128
    expected[MIB + 512 : MIB + 1024] = b"more" * 128
    with open_vhdx(path) as disk:
        assert disk.read(0, 4 * MIB) == bytes(expected)
    with pytest.raises(ReferenceDeniedError):
        Opener(ReferencePolicy(DENY)).open(str(path), "vhdx", READ)
    with open_vhdx(tmp_path / "parent.vhdx", WRITE) as disk:
        disk.write(0, b"x" * 512)
    with pytest.raises(CorruptImageError, match="has the identifier"):
        open_vhdx(path)
