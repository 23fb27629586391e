# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMDK as qemu-img writes it and we read and describe it, and the other way round."""
from __future__ import annotations

import os
import random
import re
import struct
from pathlib import Path

import pytest

import qimg
from qimg.errors import CorruptImageError, ImageError, ReferenceDeniedError, UnsupportedOperationError
from qimg.formats.base import DATA
from qimg.formats.capabilities import Resizable
from qimg.formats.driver import READ, RESIZE, WRITE
from qimg.formats.opening import Opener
from qimg.formats.vmdk import resizing
from qimg.formats.vmdk.grains import GrainMap
from qimg.policy import DENY, SAME_DIRECTORY, ReferencePolicy
from support import in_process, oracle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qimg.formats.base import Image
    from qimg.formats.driver import Purpose

pytestmark = pytest.mark.oracle

SUBFORMATS = (
    "monolithicSparse",
    "monolithicFlat",
    "twoGbMaxExtentSparse",
    "twoGbMaxExtentFlat",
    "streamOptimized",
)
SIZE = 10 << 20


def open_vmdk(path: Path, purpose: Purpose = READ) -> Image:
    return Opener(ReferencePolicy(SAME_DIRECTORY)).open(str(path), "vmdk", purpose)


def content() -> bytes:
    disk = bytearray(SIZE)
    disk[: 1 << 16] = b"\x01" * (1 << 16)
    disk[3 << 20 : (3 << 20) + 70000] = bytes(range(250)) * 280
    disk[-512:] = b"\x07" * 512
    return bytes(disk)


def make(folder: Path, subformat: str) -> Path:
    """An image of that kind by qemu-img, with :func:`content`."""
    raw, image = folder / "disk.raw", folder / "disk.vmdk"
    raw.write_bytes(content())
    oracle.qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=%s" % subformat, raw, image)
    return image


@pytest.mark.parametrize("subformat", SUBFORMATS)
def test_guest_reads_what_qemu_wrote(tmp_path: Path, subformat: str) -> None:
    image = make(tmp_path, subformat)
    with open_vmdk(image) as disk:
        assert disk.read(0, disk.size) == content()
        assert disk.read((3 << 20) + 65000, 3000) == content()[(3 << 20) + 65000 :][:3000]


@pytest.mark.parametrize("command", ["info", "map", "check"])
@pytest.mark.parametrize("subformat", SUBFORMATS)
def test_reports_are_those_of_qemu_img(tmp_path: Path, subformat: str, command: str) -> None:
    make(tmp_path, subformat)
    for options in (["--output=json"], []):
        ours = in_process.qimg(command, *options, "disk.vmdk", cwd=tmp_path)
        theirs = oracle.ask_qemu_img(command, *options, "disk.vmdk", cwd=tmp_path)
        assert (ours.code, ours.stdout) == (theirs.code, theirs.stdout)


def test_guest_reads_through_to_the_parent(tmp_path: Path) -> None:
    make(tmp_path, "monolithicSparse")
    top = tmp_path / "top.vmdk"
    oracle.qemu_img("create", "-q", "-f", "vmdk", "-b", "disk.vmdk", "-F", "vmdk", top)
    oracle.qemu_io(top, "write -P 9 1M 64k", format="vmdk")
    expected = bytearray(content())
    expected[1 << 20 : (1 << 20) + 65536] = b"\x09" * 65536
    with open_vmdk(top) as disk:
        assert disk.read(0, disk.size) == expected


@pytest.mark.parametrize("name", ["/etc/shadow", "/dev/zero", "../other/disk.raw"])
def test_descriptor_that_names_a_foreign_file_is_refused(tmp_path: Path, name: str) -> None:
    image = tmp_path / "disk.vmdk"
    lines = 'version=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 2 FLAT "%s" 0\n' % name
    image.write_text("# Disk DescriptorFile\n" + lines)
    for mode in (SAME_DIRECTORY, DENY):
        with pytest.raises(ReferenceDeniedError):
            Opener(ReferencePolicy(mode)).open(str(image), "vmdk", READ)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (4, struct.pack("<I", 9)),
        (12, struct.pack("<Q", 1 << 60)),
        (20, struct.pack("<Q", 0)),
        (20, struct.pack("<Q", 1 << 40)),
        (28, struct.pack("<Q", 1 << 50)),
        (44, struct.pack("<I", 0)),
        (44, struct.pack("<I", 1 << 30)),
        (56, struct.pack("<Q", 1 << 50)),
        (56, b"\xff" * 8),
    ],
)
def test_header_outside_its_rules_is_refused(tmp_path: Path, offset: int, value: bytes) -> None:
    image = make(tmp_path, "monolithicSparse")
    data = bytearray(image.read_bytes())
    data[offset : offset + len(value)] = value
    image.write_bytes(data)
    with pytest.raises(ImageError):
        open_vmdk(image)


# What we write

NEW_OPTIONS: list[dict[str, Any]] = [
    {},
    {"adapter_type": "lsilogic", "hwversion": "8", "toolsversion": "5"},
    {"compat6": True, "adapter_type": "buslogic"},
]


def without_identifier(data: bytes) -> bytes:
    """A descriptor, or the first sectors of an extent that has one, without its content identifier."""
    return re.sub(rb"(?m)^CID=[0-9a-f]+\n", b"", data.rstrip(b"\0"))


@pytest.mark.parametrize("options", NEW_OPTIONS, ids=str)
@pytest.mark.parametrize("size", [512, 1 << 20, 5 << 30, (300 << 30) + 512])
@pytest.mark.parametrize("subformat", SUBFORMATS[:4])
def test_new_images_are_byte_for_byte_those_of_qemu_img(
    tmp_path: Path, subformat: str, size: int, options: dict[str, Any]
) -> None:
    names = []
    for who in ("theirs", "ours"):
        folder = tmp_path / who
        folder.mkdir()
        for extent, zeroed in (("disk", False), ("zeroed", True)):
            if zeroed and "Flat" in subformat:
                continue
            given = {"subformat": subformat, **options, **({"zeroed_grain": True} if zeroed else {})}
            path = folder / (extent + ".vmdk")
            if who == "ours":
                qimg.create(str(path), "vmdk", size, given)
            else:
                words = ",".join("%s=%s" % (name, {True: "on"}.get(value, value)) for name, value in given.items())
                oracle.qemu_img("create", "-q", "-f", "vmdk", "-o", words, path, str(size))
        names.append(sorted(path.name for path in folder.iterdir()))
    assert names[0] == names[1]
    for name in names[0]:
        theirs, ours = tmp_path / "theirs" / name, tmp_path / "ours" / name
        if theirs.name.count("-") == 0 and "Sparse" in subformat and not subformat.startswith("two"):
            with theirs.open("rb") as one, ours.open("rb") as other:
                assert one.read(512) == other.read(512)
                assert without_identifier(one.read(20 * 512)) == without_identifier(other.read(20 * 512))
                assert one.read(1 << 20) == other.read(1 << 20)
        elif theirs.stat().st_size < 1 << 20 and theirs.suffix == ".vmdk" and "-" not in theirs.name:
            assert without_identifier(theirs.read_bytes()) == without_identifier(ours.read_bytes())
        elif "Flat" not in subformat:
            assert theirs.read_bytes() == ours.read_bytes()
        if "-" in name:
            assert theirs.stat().st_size == ours.stat().st_size


@pytest.mark.parametrize("subformat", SUBFORMATS)
def test_qemu_reads_what_is_converted(tmp_path: Path, subformat: str) -> None:
    raw, path = tmp_path / "disk.raw", tmp_path / "new.vmdk"
    raw.write_bytes(content())
    for _time in ("new", "replaced"):
        qimg.convert(str(raw), str(path), "vmdk", "raw", options={"subformat": subformat})
        assert oracle.is_clean(path, "-f", "vmdk")
        assert oracle.read_guest(path, tmp_path / "copy", "vmdk") == content()
        for command in ("info", "map"):
            ours = in_process.qimg(command, "--output=json", "new.vmdk", cwd=tmp_path)
            assert ours == oracle.ask_qemu_img(command, "--output=json", "new.vmdk", cwd=tmp_path)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
    qimg.plan_remove(str(path), "vmdk").apply()
    assert sorted(os.listdir(tmp_path)) == ["disk.raw"]


def test_a_stream_is_as_vmware_has_it(tmp_path: Path) -> None:
    """Header without directory, markers before every table, a footer, and the end: whoever reads it needs no seeks."""
    raw, path = tmp_path / "disk.raw", tmp_path / "new.vmdk"
    raw.write_bytes(content())
    qimg.convert(str(raw), str(path), "vmdk", "raw", options={"subformat": "streamOptimized"})
    data = path.read_bytes()
    header, footer = data[:512], data[-1024:-512]
    assert header[56:64] == b"\xff" * 8 and data[-512:] == bytes(512)
    assert footer[:56] + footer[64:] == header[:56] + header[64:]
    assert data[-1536:-1024] == struct.pack("<QII", 1, 0, 3).ljust(512, b"\0")
    position, kinds, grains = 128 * 512, [], []
    while position < len(data):
        first, size, kind = struct.unpack_from("<QII", data, position)
        if size:
            grains.append(first)
            position += -(-(12 + size) // 512) * 512
        else:
            kinds.append(kind)
            position += 512 + first * 512
    assert grains == sorted(grains) and kinds == [1, 2, 3, 0]
    directory = int.from_bytes(footer[56:64], "little") * 512
    (table,) = struct.unpack_from("<I", data, directory)
    assert struct.unpack_from("<QII", data, table * 512 - 512)[2] == 1
    hypervisor = pytest.importorskip("dissect.hypervisor.disk.vmdk")
    with path.open("rb") as file:
        assert hypervisor.VMDK(file).read(SIZE) == content()


@pytest.mark.parametrize("zeroed", [False, True])
@pytest.mark.parametrize("subformat", SUBFORMATS[:4])
def test_both_programs_write_in_turn(tmp_path: Path, subformat: str, zeroed: bool) -> None:
    if zeroed and "Flat" in subformat:
        return
    path = tmp_path / "disk.vmdk"
    options = {"subformat": subformat, **({"zeroed_grain": True} if zeroed else {})}
    qimg.create(str(path), "vmdk", SIZE, options)
    chance = random.Random(subformat)
    model = bytearray(SIZE)
    for turn in range(10):
        start = chance.randrange(SIZE // 512) * 512
        length = min(SIZE - start, chance.choice((512, 4096, 65536, 200_000 // 512 * 512)))
        is_zero = chance.random() < 0.3
        value = 0 if is_zero else chance.randrange(1, 256)
        if turn % 2:
            command = "write -z %d %d" if is_zero else "write -P " + str(value) + " %d %d"
            oracle.qemu_io(path, command % (start, length), format="vmdk")
        else:
            with open_vmdk(path, WRITE) as disk:
                if is_zero:
                    disk.write_zeroes(start, length)
                else:
                    disk.write(start, bytes([value]) * length)
        model[start : start + length] = bytes([value]) * length
        with open_vmdk(path) as disk:
            assert disk.read(0, SIZE) == bytes(model)
        assert oracle.is_clean(path, "-f", "vmdk")
    assert oracle.read_guest(path, tmp_path / "copy", "vmdk") == bytes(model)


def test_an_overlay_knows_its_parent_by_its_content(tmp_path: Path) -> None:
    base, overlay = tmp_path / "base.vmdk", tmp_path / "overlay.vmdk"
    qimg.create(str(base), "vmdk", SIZE)
    qimg.create(str(overlay), "vmdk", backing_file="base.vmdk", backing_format="vmdk")
    with open_vmdk(overlay, WRITE) as disk:
        disk.write(70000, b"x" * 512)
    oracle.qemu_io(overlay, "write -P 5 3M 1k", format="vmdk")
    expected = bytearray(SIZE)
    expected[70000:70512] = b"x" * 512
    expected[3 << 20 : (3 << 20) + 1024] = b"\5" * 1024
    assert oracle.read_guest(overlay, tmp_path / "copy", "vmdk") == bytes(expected)
    qimg.commit(str(overlay))
    assert oracle.read_guest(base, tmp_path / "copy", "vmdk") == bytes(expected)
    with open_vmdk(base) as disk, open_vmdk(overlay) as other:
        # The parent is another one now, and QEMU says so too.
        assert disk.format_specific()["cid"] != other.format_specific()["parent-cid"]  # type: ignore[index]


def test_a_guest_cannot_write_into_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "disk.vmdk"
    qimg.create(str(path), "vmdk", SIZE)
    with path.open("r+b") as file:
        file.seek(56)
        directory = int.from_bytes(file.read(8), "little") * 512
        file.seek(directory)
        table = int.from_bytes(file.read(4), "little")
        file.seek(table * 512)
        # The first grain is said to begin in the descriptor, the second one in the grain table.
        file.write(struct.pack("<2I", 1, table))
    before = path.read_bytes()
    for offset in (0, 1 << 16):
        for is_zero in (False, True):
            with pytest.raises(CorruptImageError, match="holds tables of the image"):
                with open_vmdk(path, WRITE) as disk:
                    if is_zero:
                        disk.write_zeroes(offset, 512)
                    else:
                        disk.write(offset, b"x" * 512)
    assert without_identifier(path.read_bytes()[512:10000]) == without_identifier(before[512:10000])
    assert path.read_bytes()[10752:] == before[10752:]


def test_what_cannot_be_written_in_place_says_so(tmp_path: Path) -> None:
    path = make(tmp_path, "streamOptimized")
    with pytest.raises(UnsupportedOperationError, match="cannot be written to"):
        open_vmdk(path, WRITE)


def resize(path: Path, size: int, preallocation: str = "off") -> None:
    with open_vmdk(path, RESIZE) as disk:
        assert isinstance(disk, Resizable)
        disk.check_resize()
        disk.resize(size, preallocation)


def redundant_tables_agree(extent: Path) -> bool:
    """Whether both grain directories of a sparse extent lead to the same tables."""
    data = extent.read_bytes()
    capacity, grain = struct.unpack_from("<QQ", data, 12)
    copies = []
    for place in struct.unpack_from("<QQ", data, 48):
        tables = struct.unpack_from("<%dI" % -(-capacity // (grain * 512)), data, place * 512)
        copies.append([data[table * 512 : table * 512 + 2048] for table in tables])
    return copies[0] == copies[1]


@pytest.mark.parametrize("subformat", SUBFORMATS[:4])
def test_qemu_uses_a_disk_that_was_resized(tmp_path: Path, subformat: str) -> None:
    """Beyond what the first grain directory had room for, and back."""
    path = make(tmp_path, subformat)
    large = 200 << 20
    resize(path, large)
    expected = content() + bytes(large - SIZE)
    assert oracle.read_guest(path, tmp_path / "copy", "vmdk") == expected
    oracle.qemu_io(path, "write -P 5 %d 65536" % (large - 65536), format="vmdk")
    with open_vmdk(path, WRITE) as disk:
        disk.write(150 << 20, b"mine" * 1024)
    assert oracle.is_clean(path, "-f", "vmdk")
    with open_vmdk(path) as disk:
        assert disk.read(large - 65536, 65536) == b"\5" * 65536
        assert disk.read(150 << 20, 4096) == b"mine" * 1024
        assert disk.read(0, SIZE) == content()
    extents = [file for file in tmp_path.iterdir() if file.read_bytes()[:4] == b"KDMV"]
    assert all(map(redundant_tables_agree, extents))
    small = (3 << 20) + 512
    resize(path, small)
    assert oracle.read_guest(path, tmp_path / "copy", "vmdk") == content()[:small]
    resize(path, large)
    assert oracle.read_guest(path, tmp_path / "copy", "vmdk") == content()[:small] + bytes(large - small)
    assert oracle.is_clean(path, "-f", "vmdk")
    for command in ("info", "map"):
        ours = in_process.qimg(command, "--output=json", "disk.vmdk", cwd=tmp_path)
        theirs = oracle.ask_qemu_img(command, "--output=json", "disk.vmdk", cwd=tmp_path)
        assert (ours.code, ours.stdout) == (theirs.code, theirs.stdout)


@pytest.mark.parametrize("subformat", SUBFORMATS[:4])
def test_the_descriptor_of_a_resized_disk_is_that_of_a_new_one(tmp_path: Path, subformat: str) -> None:
    (tmp_path / "new").mkdir()
    path, new = tmp_path / "disk.vmdk", tmp_path / "new/disk.vmdk"
    oracle.qemu_img("create", "-f", "vmdk", "-o", "subformat=%s" % subformat, path, SIZE)
    oracle.qemu_img("create", "-f", "vmdk", "-o", "subformat=%s" % subformat, new, 1 << 30)
    resize(path, 1 << 30)

    def descriptor(image: Path) -> bytes:
        data = image.read_bytes()
        text = data[512 : 21 * 512].rstrip(b"\0") if data.startswith(b"KDMV") else data
        return re.sub(rb"\nCID=[0-9a-f]+", b"", text)

    assert descriptor(path) == descriptor(new)


@pytest.mark.parametrize("subformat", SUBFORMATS[:4])
def test_a_shrunken_disk_gives_its_space_back(tmp_path: Path, subformat: str) -> None:
    path = tmp_path / "disk.vmdk"
    qimg.create(str(path), "vmdk", SIZE, {"subformat": subformat})
    with open_vmdk(path, WRITE) as disk:
        disk.write(SIZE - (4 << 20), b"x" * (4 << 20))
        disk.write(0, b"y" * 65536)
    before = sum(file.stat().st_blocks * 512 for file in tmp_path.iterdir())
    resize(path, 1 << 20)
    assert sum(file.stat().st_blocks * 512 for file in tmp_path.iterdir()) <= before - (4 << 20) + (1 << 16)
    with open_vmdk(path) as disk:
        assert disk.read(0, disk.size) == b"y" * 65536 + bytes((1 << 20) - 65536)


@pytest.mark.parametrize("subformat", ["monolithicSparse", "twoGbMaxExtentSparse"])
def test_data_behind_an_interrupted_shrinking_do_not_come_back(
    tmp_path: Path, subformat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "disk.vmdk"
    qimg.create(str(path), "vmdk", SIZE, {"subformat": subformat})
    with open_vmdk(path, WRITE) as disk:
        disk.write(0, b"x" * SIZE)

    def interrupt(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(resizing, "_clear_behind", interrupt)
        patch.setattr(GrainMap, "zero_behind", lambda *_arguments: None)
        with pytest.raises(KeyboardInterrupt):
            resize(path, (1 << 20) + 512)
    with open_vmdk(path) as disk:
        assert disk.size == (1 << 20) + 512
    resize(path, SIZE)
    assert oracle.read_guest(path, tmp_path / "copy", "vmdk") == b"x" * ((1 << 20) + 512) + bytes(
        SIZE - (1 << 20) - 512
    )


@pytest.mark.parametrize("mode", ["metadata", "falloc", "full"])
@pytest.mark.parametrize("subformat", ["monolithicSparse", "monolithicFlat"])
def test_what_is_added_can_be_allocated(tmp_path: Path, subformat: str, mode: str) -> None:
    path = make(tmp_path, subformat)
    resize(path, 64 << 20, mode)
    with open_vmdk(path) as disk:
        first = -(-SIZE // 65536) * 65536
        assert subformat == "monolithicFlat" or all(run.kind == DATA for run in disk.runs(first, disk.size - first))
    assert oracle.read_guest(path, tmp_path / "copy", "vmdk") == content() + bytes((64 << 20) - SIZE)


def test_what_cannot_be_resized_is_untouched(tmp_path: Path) -> None:
    base, top, split = tmp_path / "base.vmdk", tmp_path / "top.vmdk", tmp_path / "split.vmdk"
    qimg.create(str(base), "vmdk", SIZE)
    qimg.create(str(top), "vmdk", backing_file="base.vmdk", backing_format="vmdk")
    qimg.create(str(split), "vmdk", 5 << 30, {"subformat": "twoGbMaxExtentSparse"})
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    for path, size, reason in (
        (top, 2 * SIZE, "with a parent"),
        (split, 7 << 30, "another number of extents"),
        (split, 3 << 30, "another number of extents"),
    ):
        with pytest.raises(UnsupportedOperationError, match=reason):
            resize(path, size)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    resize(split, (5 << 30) + (1 << 29))
    assert oracle.is_clean(split, "-f", "vmdk")


def test_a_shrunken_disk_without_data_is_one_that_qemu_writes_to(tmp_path: Path) -> None:
    path = tmp_path / "disk.vmdk"
    qimg.create(str(path), "vmdk", SIZE)
    resize(path, 1 << 20)
    oracle.qemu_io(path, "write -P 9 4096 65536", format="vmdk")
    assert oracle.is_clean(path, "-f", "vmdk")
    with open_vmdk(path) as disk:
        assert disk.read(0, 1 << 20) == bytes(4096) + b"\x09" * 65536 + bytes((1 << 20) - 69632)


def test_shrinking_keeps_a_grain_that_two_entries_name(tmp_path: Path) -> None:
    path = tmp_path / "disk.vmdk"
    qimg.create(str(path), "vmdk", SIZE)
    with open_vmdk(path, WRITE) as disk:
        disk.write(0, b"x" * 65536)
    data = bytearray(path.read_bytes())
    for place in struct.unpack_from("<QQ", data, 48):
        table = int.from_bytes(data[place * 512 : place * 512 + 4], "little") * 512
        data[table + 4 * 100 : table + 4 * 101] = data[table : table + 4]
    path.write_bytes(data)
    resize(path, 1 << 20)
    with open_vmdk(path) as disk:
        assert disk.read(0, 1 << 20) == b"x" * 65536 + bytes((1 << 20) - 65536)


def test_the_command_resizes_all_files_of_an_image(tmp_path: Path) -> None:
    oracle.qemu_img("create", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentFlat", tmp_path / "disk.vmdk", "3G")
    for words in (("disk.vmdk", "4G"), ("--shrink", "disk.vmdk", "2560M")):
        answer = in_process.qimg("resize", *words, cwd=tmp_path)
        assert answer.code == 0, answer.stderr
    info = oracle.ask_qemu_img("info", "--output=json", "disk.vmdk", cwd=tmp_path)
    assert '"virtual-size": %d' % (2560 << 20) in info.stdout
    assert (tmp_path / "disk-f002.vmdk").stat().st_size == 512 << 20
