# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VHD as qemu-img and we read, write, create, describe and check it; and what qemu-img cannot do with it."""
from __future__ import annotations

import json
import shutil
import struct

import pytest

import qimg
from qimg.errors import ImageError, ReferenceDeniedError
from qimg.formats.driver import CHECK, READ, RESIZE, WRITE
from qimg.formats.opening import Opener
from qimg.formats.vpc.layout import checksum
from qimg.policy import DENY, SAME_DIRECTORY, ReferencePolicy
from support import in_process, oracle
from support.recording import Recorder, power_losses, prefixes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from qimg.formats.base import Image
    from qimg.formats.driver import Purpose

pytestmark = pytest.mark.oracle

MIB = 1 << 20
BLOCK = 2 * MIB


def open_vhd(path: Path, purpose: Purpose = READ, allowed: bool = True) -> Image:
    return Opener(ReferencePolicy(SAME_DIRECTORY if allowed else DENY)).open(str(path), "vpc", purpose)


def big(value: int) -> bytes:
    return struct.pack(">I", value)


def make_by_qemu(path: Path, options: str = "subformat=dynamic") -> None:
    oracle.qemu_img("create", "-q", "-f", "vpc", "-o", options, path, "10M")
    oracle.qemu_io(path, "write -P 1 0 64k", "write -P 2 5M 64k", format="vpc")


def patch(path: Path, *changes: tuple[int, bytes], sums: bool = True) -> None:
    """Change bytes at the beginning of a dynamic image, and make its checksums right again."""
    content = bytearray(path.read_bytes())
    for offset, data in changes:
        content[offset : offset + len(data)] = data
    if sums:
        content[64:68] = big(checksum(bytes(content[:512]), 64))
        content[548:552] = big(checksum(bytes(content[512:1536]), 36))
        content[-512:] = content[:512]
    path.write_bytes(content)


def without_chance(content: bytes) -> bytes:
    """An image without times, checksums of footers, and random identifiers."""
    changed = bytearray(content)
    for start in {0, len(content) - 512}:
        if changed[start : start + 8] == b"conectix":
            changed[start + 24 : start + 28] = bytes(4)
            changed[start + 64 : start + 84] = bytes(20)
    return bytes(changed)


@pytest.mark.parametrize(
    "options", ["subformat=dynamic", "force_size=on", "subformat=fixed", "subformat=fixed,force_size=on"]
)
@pytest.mark.parametrize("size", ["0", "1", "100k", "1023k", "1M", "3000k", "127G", "136899993600", "2040G"])
def test_a_new_image_is_qemus_but_for_time_and_identifier(size: str, options: str, tmp_path: Path) -> None:
    if "fixed" in options and size.endswith(("G", "0")) and size != "0":
        size = "33M"
    words = ("create", "-f", "vpc", "-o", options)
    answer = oracle.ask_qemu_img(*words, "theirs", size, cwd=tmp_path)
    assert in_process.qimg(*words, "ours", size, cwd=tmp_path).stdout == answer.stdout.replace("theirs", "ours")
    ours, theirs = (tmp_path / "ours").read_bytes(), (tmp_path / "theirs").read_bytes()
    assert without_chance(ours) == without_chance(theirs)
    assert ours[-448:-444] == big(checksum(ours[-512:], 64))


@pytest.mark.parametrize("options", ["subformat=dynamic", "subformat=fixed"])
def test_info_and_map_are_qemus(options: str, tmp_path: Path) -> None:
    make_by_qemu(tmp_path / "i", options)
    for line in (
        "info -f vpc i", "info --output=json -f vpc i", "map -f vpc i", "map --output=json -f vpc i",
        "create -f vpc -o help", "create -f vpc -o subformat=foo o 1M", "create -f vpc -o subformat= o 1M",
        "create -f vpc o 2041G", "create -f vpc -b i -F vpc o", "create -f vpc -o force_size=x o 1M",
        "measure -O vpc --size 1M", "convert -c -f vpc -O vpc i o", "amend -f vpc -o force_size=on i",
        "info --image-opts driver=vpc,file.filename=i,force_size_calc=current_size",
        "info --image-opts driver=vpc,file.filename=i,force_size_calc=foo",
    ):  # fmt: skip
        words = line.split()
        assert in_process.qimg(*words, cwd=tmp_path) == oracle.ask_qemu_img(*words, cwd=tmp_path), line


@pytest.mark.parametrize(
    "changes",
    [
        [(0, b"c0nectix")], [(16, struct.pack(">Q", 513))], [(512, b"xxxxxxxx")], [(540, big(1))], [(540, big(0))],
        [(540, big(0x40000000))], [(540, big(0xFFFFFFFF))], [(544, big(0))], [(544, big(3 << 20))], [(544, big(256))],
        [(544, big(512))], [(1540, big(0x100000))],
    ],
)  # fmt: skip
def test_a_header_that_qemu_refuses_is_refused_with_its_words(
    changes: list[tuple[int, bytes]], tmp_path: Path
) -> None:
    make_by_qemu(tmp_path / "i")
    patch(tmp_path / "i", *changes)
    words = ("info", "-f", "vpc", "i")
    theirs = oracle.ask_qemu_img(*words, cwd=tmp_path)
    assert theirs.code == 1
    assert in_process.qimg(*words, cwd=tmp_path) == theirs


@pytest.mark.parametrize("length", [0, 100, 511, 512, 1024, 1536, 1 << 20])
def test_a_file_that_was_cut_off_is_refused_with_qemus_words(length: int, tmp_path: Path) -> None:
    make_by_qemu(tmp_path / "i")
    (tmp_path / "i").write_bytes((tmp_path / "i").read_bytes()[:length])
    words = ("info", "-f", "vpc", "i")
    assert in_process.qimg(*words, cwd=tmp_path) == oracle.ask_qemu_img(*words, cwd=tmp_path)


def test_a_wrong_checksum_is_refused_with_qemus_words(tmp_path: Path) -> None:
    make_by_qemu(tmp_path / "i")
    patch(tmp_path / "i", (8, b"\1"), sums=False)
    words = ("info", "-f", "vpc", "i")
    assert in_process.qimg(*words, cwd=tmp_path) == oracle.ask_qemu_img(*words, cwd=tmp_path)


@pytest.mark.parametrize("creator", [b"win ", b"vpc ", b"qemu", b"qem2", b"vs  ", b"tap\0", b"CTXS", b"\0\0\0\0"])
def test_the_size_is_found_as_qemu_finds_it(creator: bytes, tmp_path: Path) -> None:
    make_by_qemu(tmp_path / "i")
    patch(tmp_path / "i", (28, creator), (48, struct.pack(">Q", 9 * MIB + 5)))
    for words in (("info", "-f", "vpc", "i"), ("map", "--output=json", "-f", "vpc", "i")):
        assert in_process.qimg(*words, cwd=tmp_path) == oracle.ask_qemu_img(*words, cwd=tmp_path)


@pytest.mark.parametrize("options", [{}, {"force_size": True}, {"subformat": "fixed"}, {"subformat": "azure"}])
@pytest.mark.parametrize("size", [512, 5 * MIB + 1024])
def test_conversions_keep_content_in_both_directions(size: int, options: dict[str, Any], tmp_path: Path) -> None:
    content = bytearray(size)
    for offset in range(0, size, 700_000):
        content[offset : offset + 5000] = bytes([offset // 700_000 + 1]) * min(5000, size - offset)
    (tmp_path / "raw").write_bytes(content)
    ours = tmp_path / "ours"
    qimg.convert(str(tmp_path / "raw"), str(ours), "vpc", source_format="raw", options=options)
    read = oracle.read_guest(ours, tmp_path / "back", "vpc")
    assert read[:size] == content and not any(read[size:])
    vhd = pytest.importorskip("dissect.hypervisor.disk.vhd")
    with ours.open("rb") as file:
        assert vhd.VHD(file).read(size) == content
    if shutil.which("vhdiinfo"):
        answer = oracle.run("vhdiinfo", ours)
        assert answer.code == 0 and "(%d bytes)" % len(read) in answer.stdout
    oracle.qemu_img("convert", "-f", "raw", "-O", "vpc", tmp_path / "raw", tmp_path / "theirs")
    qimg.convert(str(tmp_path / "theirs"), str(tmp_path / "back"), "raw", source_format="vpc")
    assert (tmp_path / "back").read_bytes()[:size] == content


def test_an_image_for_azure_is_fixed_and_of_whole_mebibytes(tmp_path: Path) -> None:
    path = tmp_path / "i"
    assert in_process.qimg("create", "-q", "-f", "vpc", "-o", "subformat=azure", "i", "3000k", cwd=tmp_path).code == 0
    content = path.read_bytes()
    assert len(content) == 3 * MIB + 512
    footer = content[-512:]
    assert struct.unpack(">QQ", footer[40:56]) == (3 * MIB, 3 * MIB)
    assert struct.unpack(">I", footer[60:64]) == (2,) and footer[16:24] == b"\xff" * 8
    assert oracle.info(path, "-f", "vpc")["virtual-size"] == 3 * MIB


@pytest.mark.parametrize("options", [{}, {"force_size": True}, {"subformat": "fixed"}, {"subformat": "azure"}])
def test_an_image_that_is_there_is_what_was_asked_for(options: dict[str, Any], tmp_path: Path) -> None:
    for is_new in (True, False):
        plan = qimg.plan_create(str(tmp_path / "i"), "vpc", 3000 * 1024, options)
        assert bool(plan.actions) is is_new
        plan.apply()
    (tmp_path / "raw").write_bytes(b"data" * 4096)
    for is_new in (True, False):
        request = qimg.ConvertRequest((str(tmp_path / "raw"),), "raw", str(tmp_path / "i"), "vpc", options)
        conversion = qimg.plan_convert(request, "if_different")
        assert bool(conversion.actions) is is_new
        conversion.apply()


def test_both_write_in_turn(tmp_path: Path) -> None:
    path = tmp_path / "i"
    qimg.create(str(path), "vpc", 20 * MIB, {"force_size": True})
    expected = bytearray(20 * MIB)
    for turn in range(12):
        offset = turn * 7_340_032 % (19 * MIB) + turn * 512
        data = bytes([turn + 1]) * 70_144
        expected[offset : offset + len(data)] = data
        if turn % 2:
            oracle.qemu_io(path, "write -P %d %d %d" % (turn + 1, offset, len(data)), format="vpc")
        else:
            with open_vhd(path, WRITE) as image:
                image.write(offset, data)
        with open_vhd(path, CHECK) as image:
            assert image.check().clean  # type: ignore[attr-defined]
    assert oracle.read_guest(path, tmp_path / "back", "vpc") == expected


@pytest.mark.parametrize("size", [2 * BLOCK, 600 * MIB])
def test_an_interrupted_resize_leaves_the_old_disk_or_the_new_one(size: int, tmp_path: Path) -> None:
    path = tmp_path / "i"
    qimg.create(str(path), "vpc", 10 * MIB, {"force_size": True})
    with open_vhd(path, WRITE) as image:
        for number in (4, 0, 1):
            image.write(number * BLOCK + 512, b"%d" % number * 600)

    def content() -> Any:
        with open_vhd(path) as image:
            return image.size, [
                image.read(number * BLOCK + 512, 600) for number in (0, 1, 4) if number * BLOCK < image.size
            ]

    before, old = path.read_bytes(), content()
    with Recorder([path]) as recorder:
        with open_vhd(path, RESIZE) as image:
            image.resize(size)  # type: ignore[attr-defined]
    new = content()
    assert new[0] == size == oracle.info(path)["virtual-size"]
    events = recorder.events
    for what, files in (*prefixes({path: before}, events), *power_losses({path: before}, events, 5, 40)):
        path.write_bytes(files[path])
        assert content() in (old, new), what
        with open_vhd(path, CHECK) as image:
            assert not image.check().corruptions, what  # type: ignore[attr-defined]


@pytest.mark.parametrize("options", [{}, {"subformat": "fixed"}])
def test_a_disk_grows_and_shrinks_to_the_byte(options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "i"
    qimg.create(str(path), "vpc", 10 * MIB, options)
    with open_vhd(path, WRITE) as image:
        image.write(image.size - 1024, b"end!" * 256)
        image.write(0, b"data" * 256)
        size = image.size
    for wanted in (600 * MIB, 601 * MIB + 512, 5 * MIB):
        qimg.resize(str(path), wanted, "vpc", shrink=True)
        assert oracle.info(path, "-f", "vpc")["virtual-size"] == wanted
        with open_vhd(path, CHECK) as image:
            assert image.size == wanted and image.check().clean  # type: ignore[attr-defined]
            assert image.read(0, 1024) == b"data" * 256
            if wanted > size:
                assert image.read(size - 1024, 2048) == b"end!" * 256 + bytes(1024)
    assert path.stat().st_size < 6 * MIB


@pytest.mark.parametrize(
    "changes", [[(1540, big(4))], [(1536, big(0x1FFFFF))], [(1536, big(2))], [(1556, big(5))]]
)  # fmt: skip
def test_wrong_entries_are_found_and_repaired(changes: list[tuple[int, bytes]], tmp_path: Path) -> None:
    path = tmp_path / "i"
    make_by_qemu(path)
    patch(path, *changes)
    answer = in_process.qimg("check", "--output=json", "-f", "vpc", "i", cwd=tmp_path)
    assert answer.code == 2 and json.loads(answer.stdout)["corruptions"]
    assert in_process.qimg("check", "-r", "all", "-f", "vpc", "i", cwd=tmp_path).code == 0
    assert in_process.qimg("check", "-f", "vpc", "i", cwd=tmp_path).code == 0
    oracle.qemu_io(path, "write -P 9 2M 64k", format="vpc")
    assert in_process.qimg("check", "-f", "vpc", "i", cwd=tmp_path).code == 0


def test_a_lost_footer_is_found_and_written_again(tmp_path: Path) -> None:
    path = tmp_path / "i"
    make_by_qemu(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-512])
    assert in_process.qimg("check", "i", cwd=tmp_path).code == 2
    assert in_process.qimg("check", "-r", "all", "i", cwd=tmp_path).code == 0
    assert path.read_bytes() == whole


def test_leaked_blocks_are_given_back(tmp_path: Path) -> None:
    path = tmp_path / "i"
    make_by_qemu(path)
    before = oracle.read_guest(path, tmp_path / "back", "vpc")
    patch(path, (1536, b"\xff" * 4))
    answer = in_process.qimg("check", "--output=json", "i", cwd=tmp_path)
    assert answer.code == 3 and json.loads(answer.stdout)["leaks"] == 1
    assert in_process.qimg("check", "-r", "leaks", "i", cwd=tmp_path).code == 0
    assert path.stat().st_size < 5 * MIB
    assert oracle.read_guest(path, tmp_path / "back", "vpc") == bytes(BLOCK) + before[BLOCK:]


# Differencing disks


def make_differencing(directory: Path, name: str = ".\\parent", mixed: bool = True) -> tuple[Path, bytes]:
    """A differencing disk on a dynamic one, and what it holds; in its first block, every third sector is its own."""
    parent = directory / "parent"
    make_by_qemu(parent)
    content = bytearray(oracle.read_guest(parent, directory / "back", "vpc"))
    uuid = parent.read_bytes()[68:84]
    header = bytearray(parent.read_bytes()[512:1536])
    footer = bytearray(parent.read_bytes()[:512])
    text = name.encode("utf-16-le")
    header[16:24] = struct.pack(">Q", 3072)
    header[40:56] = uuid
    header[576:600] = struct.pack(">4sIIIQ", b"W2ru", 512, len(text), 0, 2048)
    header[36:40] = big(checksum(bytes(header), 36))
    footer[60:64] = big(4)
    footer[68:84] = b"child's identity"
    footer[64:68] = big(checksum(bytes(footer), 64))
    table = b"\xff" * 512
    block = b""
    if mixed:
        bitmap = bytes(int("".join("1" if sector % 3 == 1 else "0" for sector in range(n, n + 8)), 2)
                       for n in range(0, 4096, 8))  # fmt: skip
        table = big(7) + table[4:]
        block = bitmap + b"own!" * (BLOCK // 4)
        for sector in range(1, 4096, 3):
            content[sector * 512 : sector * 512 + 512] = b"own!" * 128
    path = directory / "child"
    path.write_bytes(footer + header + bytes(512) + text.ljust(1024, b"\0") + table + block + footer)
    return path, bytes(content)


def test_a_differencing_disk_is_read_through_its_bitmaps_and_its_parent(tmp_path: Path) -> None:
    path, content = make_differencing(tmp_path)
    with open_vhd(path) as image:
        assert image.backing_file == "parent" and image.backing_format == "vpc"
        assert image.read(0, image.size) == content
        assert image.read(700, 3000) == content[700:3700]
        assert sum(run.length for run in image.runs(0, image.size)) == image.size
    document = qimg.info(str(path), "vpc").document()
    assert document["backing-filename"] == "parent" and document["backing-filename-format"] == "vpc"


def test_a_differencing_disk_is_written_to_and_its_parent_is_not(tmp_path: Path) -> None:
    path, content = make_differencing(tmp_path)
    expected = bytearray(content)
    parent = (tmp_path / "parent").read_bytes()
    before = path.read_bytes()
    with Recorder([path]) as recorder:
        with open_vhd(path, WRITE) as image:
            for offset, length in ((512, 100), (5 * MIB + 300, 70_000), (BLOCK + 5, 3)):
                image.write(offset, b"\x77" * length)
                expected[offset : offset + length] = b"\x77" * length
            image.flush()
            image.write_zeroes(4 * BLOCK, 4096)
            image.write_zeroes(8192, 4096)
            expected[8192:12288] = bytes(4096)
    assert (tmp_path / "parent").read_bytes() == parent
    with open_vhd(path, CHECK) as image:
        assert image.read(0, image.size) == expected
        assert not image.check().corruptions  # type: ignore[attr-defined]
    events = recorder.events
    # Each state takes a tenth of a second to look at.
    states = [*list(prefixes({path: before}, events))[::3], *power_losses({path: before}, events, 9, 8)]
    for what, files in states:
        path.write_bytes(files[path])
        with open_vhd(path, CHECK) as image:
            found = image.read(0, image.size)
            assert not image.check().corruptions, what  # type: ignore[attr-defined]
        for start in (*range(0, BLOCK, 65536), 5 * MIB, 5 * MIB + 65536):
            if found[start : start + 65536] in (content[start : start + 65536], expected[start : start + 65536]):
                continue
            for offset in range(start, start + 65536, 512):
                sector = found[offset : offset + 512]
                assert sector in (content[offset : offset + 512], expected[offset : offset + 512]), (what, offset)


def test_a_parent_passes_the_policy_and_must_be_the_right_one(tmp_path: Path) -> None:
    path, _content = make_differencing(tmp_path)
    with pytest.raises(ReferenceDeniedError, match="parent"):
        open_vhd(path, allowed=False)
    oracle.qemu_img("create", "-q", "-f", "vpc", tmp_path / "parent", "10M")
    with pytest.raises(ImageError, match="identifier"):
        open_vhd(path)
    (tmp_path / "parent").unlink()
    with pytest.raises(ImageError, match="No such file"):
        open_vhd(path)
    (tmp_path / "sub").mkdir()
    path, _content = make_differencing(tmp_path / "sub", "..\\..\\etc\\parent")
    with pytest.raises(ReferenceDeniedError, match="etc/parent"):
        open_vhd(path)
    path, _content = make_differencing(tmp_path / "sub", "D:\\images\\parent")
    with pytest.raises(ImageError):
        # Not relative, and there is no other name.
        open_vhd(path)


def test_a_differencing_disk_is_not_resized(tmp_path: Path) -> None:
    path, _content = make_differencing(tmp_path)
    content = path.read_bytes()
    with pytest.raises(ImageError, match="differencing"):
        qimg.resize(str(path), 20 * MIB, "vpc")
    assert path.read_bytes() == content
