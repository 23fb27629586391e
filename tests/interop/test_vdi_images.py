# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VDI as qemu-img and we read, write, create, describe and check it."""
from __future__ import annotations

import json
import struct

import pytest

import qimg
from qimg.errors import ImageError
from qimg.formats.base import DATA
from qimg.formats.driver import CHECK, READ, RESIZE, WRITE
from qimg.formats.opening import Opener
from qimg.policy import DENY, ReferencePolicy
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
#: Where the random UUIDs are in the header.
UUIDS = slice(392, 424)


def open_vdi(path: Path, purpose: Purpose = READ) -> Image:
    return Opener(ReferencePolicy(DENY)).open(str(path), "vdi", purpose)


def make_by_qemu(path: Path, size: str = "10M", options: str = "static=off") -> None:
    oracle.qemu_img("create", "-q", "-f", "vdi", "-o", options, path, size)
    oracle.qemu_io(path, "write -P 1 0 64k", "write -P 2 3M 64k", "write -P 3 9M 1M", format="vdi")


def word(value: int) -> bytes:
    return struct.pack("<I", value)


def patch(path: Path, *changes: tuple[int, bytes]) -> None:
    content = bytearray(path.read_bytes())
    for offset, data in changes:
        content[offset : offset + len(data)] = data
    path.write_bytes(content)


def without_uuids(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[UUIDS] = bytes(32)
    return bytes(changed)


@pytest.mark.parametrize("static", ["off", "on"])
@pytest.mark.parametrize("size", ["0", "1", "1023k", "1M", "3000k", "10M", "200M"])
def test_a_new_image_is_byte_for_byte_qemus_but_for_its_uuids(size: str, static: str, tmp_path: Path) -> None:
    words = ("create", "-f", "vdi", "-o", "static=" + static)
    answer = oracle.ask_qemu_img(*words, "theirs", size, cwd=tmp_path)
    assert in_process.qimg(*words, "ours", size, cwd=tmp_path).stdout == answer.stdout.replace("theirs", "ours")
    assert without_uuids((tmp_path / "ours").read_bytes()) == without_uuids((tmp_path / "theirs").read_bytes())


@pytest.mark.parametrize("options", ["static=off", "static=on"])
def test_info_and_map_are_qemus(options: str, tmp_path: Path) -> None:
    make_by_qemu(tmp_path / "i", options=options)
    for line in (
        "info i", "info --output=json i", "info -f vdi --output=json i", "map i", "map --output=json i", "check i",
        "check --output=json i", "snapshot -l i", "commit i", "amend -f vdi -o static=on i", "create -f vdi -o help",
        "measure -O vdi --size 1M", "convert -c -O vdi i o", "create -f vdi -o preallocation=metadata o 1M",
        "create -f vdi -b i -F vdi o", "create -f vdi -o static=x o 1M", "create -f vdi o 0x1fffff8000001",
    ):  # fmt: skip
        words = line.split()
        assert in_process.qimg(*words, cwd=tmp_path) == oracle.ask_qemu_img(*words, cwd=tmp_path), line


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("size", [0, 512, MIB - 512, 5 * MIB + 1024])
def test_conversions_keep_content_in_both_directions(size: int, static: bool, tmp_path: Path) -> None:
    content = bytearray(size)
    for offset in range(0, size, 700_000):
        content[offset : offset + 5000] = bytes([offset // 700_000 + 1]) * min(5000, size - offset)
    (tmp_path / "raw").write_bytes(content)
    qimg.convert(str(tmp_path / "raw"), str(tmp_path / "ours"), "vdi", source_format="raw", options={"static": static})
    assert oracle.read_guest(tmp_path / "ours", tmp_path / "back", "vdi") == content
    assert oracle.is_clean(tmp_path / "ours", "-f", "vdi")
    vdi = pytest.importorskip("dissect.hypervisor.disk.vdi")
    with vdi.VDI(tmp_path / "ours") as disk, disk.open() as stream:
        assert stream.read(size) == content
    oracle.qemu_img("convert", "-f", "raw", "-O", "vdi", tmp_path / "raw", tmp_path / "theirs")
    qimg.convert(str(tmp_path / "theirs"), str(tmp_path / "back"), "raw", source_format="vdi")
    assert (tmp_path / "back").read_bytes() == content


@pytest.mark.parametrize("options", [{}, {"static": True}])
def test_an_image_that_is_there_is_what_was_asked_for(options: dict[str, Any], tmp_path: Path) -> None:
    for is_new in (True, False):
        plan = qimg.plan_create(str(tmp_path / "i"), "vdi", 3000 * 1024, options)
        assert bool(plan.actions) is is_new
        plan.apply()


def test_both_write_in_turn(tmp_path: Path) -> None:
    path = tmp_path / "i"
    qimg.create(str(path), "vdi", 20 * MIB)
    expected = bytearray(20 * MIB)
    for turn in range(12):
        offset = turn * 7_340_032 % (19 * MIB) + turn * 512
        data = bytes([turn + 1]) * 70_144
        expected[offset : offset + len(data)] = data
        if turn % 2:
            oracle.qemu_io(path, "write -P %d %d %d" % (turn + 1, offset, len(data)), format="vdi")
        else:
            with open_vdi(path, WRITE) as image:
                image.write(offset, data)
        assert oracle.is_clean(path, "-f", "vdi")
    assert oracle.read_guest(path, tmp_path / "back", "vdi") == expected
    with open_vdi(path) as image:
        assert image.read(0, image.size) == expected


@pytest.mark.parametrize(
    "change",
    [
        (368, struct.pack("<Q", 1 << 60)), (64, word(5)), (68, word(0x10002)), (340, word(513)), (344, word(1000)),
        (360, word(4096)), (376, word(4096)), (368, struct.pack("<Q", 20 * MIB)), (424, b"\1"), (440, b"\1"),
        (384, word(0x1FFFFF81)),
    ],
)  # fmt: skip
def test_a_header_that_qemu_refuses_is_refused_with_its_words(change: tuple[int, bytes], tmp_path: Path) -> None:
    make_by_qemu(tmp_path / "i")
    patch(tmp_path / "i", change)
    words = ("info", "-f", "vdi", "i")
    theirs = oracle.ask_qemu_img(*words, cwd=tmp_path)
    ours = in_process.qimg(*words, cwd=tmp_path)
    assert theirs.code == ours.code == 1
    assert ours.stderr == theirs.stderr


@pytest.mark.parametrize(
    "changes",
    [
        [(340, word(0))], [(344, word(0))], [(344, word(512))], [(380, word(4))], [(384, word(0x1FFFFF80))],
    ],
)  # fmt: skip
def test_a_map_that_is_not_in_the_file_or_in_the_way_is_refused(
    changes: list[tuple[int, bytes]], tmp_path: Path
) -> None:
    make_by_qemu(tmp_path / "i")
    patch(tmp_path / "i", *changes)
    with pytest.raises(ImageError):
        open_vdi(tmp_path / "i")


@pytest.mark.parametrize(
    "changes",
    [
        [], [(516, word(0))], [(516, word(10))], [(388, word(1))], [(516, word(0)), (520, word(1)), (524, word(1))],
    ],
)  # fmt: skip
def test_a_check_finds_what_qemu_finds_and_a_repair_satisfies_it(
    changes: list[tuple[int, bytes]], tmp_path: Path
) -> None:
    path = tmp_path / "i"
    make_by_qemu(path)
    patch(path, *changes)
    for words in (["check", "i"], ["check", "--output=json", "i"]):
        assert in_process.qimg(*words, cwd=tmp_path) == oracle.ask_qemu_img(*words, cwd=tmp_path)
    if not changes:
        return
    lost = changes == [(516, word(10))]
    before = None if lost else oracle.read_guest(path, tmp_path / "back", "vdi")
    assert in_process.qimg("check", "-r", "all", "i", cwd=tmp_path).code == 0
    assert oracle.is_clean(path, "-f", "vdi")
    after = oracle.read_guest(path, tmp_path / "back", "vdi")
    assert before in (None, after)
    oracle.qemu_io(path, "write -P 9 2M 64k", "write -P 9 5M 64k", format="vdi")
    assert oracle.is_clean(path, "-f", "vdi")


def test_a_place_beyond_the_end_of_the_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "i"
    make_by_qemu(path)
    patch(path, (516, word(5)))
    with open_vdi(path) as image:
        assert image.read(0, 4) == b"\1" * 4
        with pytest.raises(ImageError, match="beyond the end of the file"):
            image.read(MIB, 4)
    # qemu-img has no words for it, but counts one block too many.
    assert oracle.check(path)[0] == 2
    answer = in_process.qimg("check", "i", cwd=tmp_path)
    assert answer.code == 2 and "beyond the end" in answer.stderr


def test_space_that_no_entry_names_is_a_leak_that_can_be_given_back(tmp_path: Path) -> None:
    path = tmp_path / "i"
    make_by_qemu(path)
    before = oracle.read_guest(path, tmp_path / "back", "vdi")
    # The first block is not used any more.
    patch(path, (512, word(0xFFFFFFFF)))
    answer = in_process.qimg("check", "--output=json", "i", cwd=tmp_path)
    assert answer.code == 3 and json.loads(answer.stdout)["leaks"] == 1
    assert in_process.qimg("check", "-r", "leaks", "i", cwd=tmp_path).code == 0
    assert oracle.is_clean(path) and path.stat().st_size == 1024 + 2 * MIB
    assert oracle.read_guest(path, tmp_path / "back", "vdi") == bytes(MIB) + before[MIB:]


def test_a_header_that_counts_too_few_blocks_has_none_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "i"
    make_by_qemu(path)
    patch(path, (388, word(1)))
    content = path.read_bytes()
    with open_vdi(path, WRITE) as image:
        with pytest.raises(ImageError, match="would overwrite others"):
            image.write(5 * MIB, b"x")
        image.abandon()
    assert path.read_bytes() == content


def grown_content(path: Path) -> bytes:
    """What the first test of growing has: the size, and the blocks that hold something."""
    with open_vdi(path) as image:
        size = image.size
        runs = [run for run in image.runs(0, size) if run.kind == DATA]
        found: list[Any] = [size, *((run.start, run.length, image.read(run.start, 600)) for run in runs)]
        return repr(found).encode()


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("written", [(), (0,), (5, 3), (3, 0, 2, 7)])
def test_a_disk_grows_beyond_the_room_of_its_block_map(written: tuple[int, ...], static: bool, tmp_path: Path) -> None:
    path = tmp_path / "i"
    size = 10 * MIB - 512
    qimg.create(str(path), "vdi", size, {"static": static})
    expected = bytearray(size)
    with open_vdi(path, WRITE) as image:
        for number in written:
            image.write(number * MIB + 512, b"%d" % number * 600)
            expected[number * MIB + 512 : number * MIB + 1112] = b"%d" % number * 600
    for larger in (150 * MIB, 151 * MIB + 512, 300 * MIB):
        qimg.resize(str(path), larger, "vdi")
        assert oracle.is_clean(path, "-f", "vdi")
        assert oracle.info(path)["virtual-size"] == larger
        oracle.qemu_img("convert", "-O", "raw", path, tmp_path / "back")
        with (tmp_path / "back").open("rb") as back:
            assert back.read(size) == expected
        with open_vdi(path, CHECK) as image:
            assert image.check().clean  # type: ignore[attr-defined]
    assert (path.stat().st_size < 12 * MIB) is not static
    qimg.resize(str(path), 4 * MIB, "vdi", shrink=True)
    assert oracle.is_clean(path, "-f", "vdi")
    assert oracle.read_guest(path, tmp_path / "back", "vdi") == expected[: 4 * MIB]


@pytest.mark.parametrize("size", [150 * MIB, 2 * MIB + 512])
def test_an_interrupted_resize_leaves_the_old_disk_or_the_new_one(size: int, tmp_path: Path) -> None:
    path = tmp_path / "i"
    qimg.create(str(path), "vdi", 10 * MIB)
    with open_vdi(path, WRITE) as image:
        for number in (7, 0, 3):
            image.write(number * MIB + 512, b"%d" % number * 600)
    before = path.read_bytes()
    old = grown_content(path)
    with Recorder([path]) as recorder:
        with open_vdi(path, RESIZE) as image:
            image.resize(size)  # type: ignore[attr-defined]
    new = grown_content(path)
    assert old != new
    events = recorder.events
    for what, files in (*prefixes({path: before}, events), *power_losses({path: before}, events, 5, 40)):
        path.write_bytes(files[path])
        assert grown_content(path) in (old, new), what
        with open_vdi(path, CHECK) as image:
            result = image.check()  # type: ignore[attr-defined]
            assert not result.corruptions and not result.check_errors, what


@pytest.mark.parametrize("preallocation", ["metadata", "falloc", "full"])
def test_the_new_part_of_a_disk_can_be_allocated(preallocation: str, tmp_path: Path) -> None:
    path = tmp_path / "i"
    qimg.create(str(path), "vdi", 2 * MIB + 512)
    qimg.resize(str(path), 6 * MIB, "vdi", preallocation=preallocation)  # type: ignore[arg-type]
    assert oracle.is_clean(path)
    assert [extent["data"] for extent in oracle.map_(path)] == [False, True]
    assert oracle.read_guest(path, tmp_path / "back", "vdi") == bytes(6 * MIB)
