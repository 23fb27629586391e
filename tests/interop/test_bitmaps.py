# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dirty bitmaps beside real qemu-img, qemu-io and qemu-nbd: what they write we read, and the other way round."""
from __future__ import annotations

import random
import re
import shutil
import struct

import pytest

from qimg.errors import ImageError
from qimg.formats.driver import CHECK, RESIZE, WRITE
from qimg.formats.opening import Opener
from qimg.operations import amend, bitmap, commit, rebase, snapshot
from qimg.operations.bitmap import BitmapAction
from support import oracle
from support.dirty import KIB, MIB, listed, make, marked, said, set_flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

pytestmark = pytest.mark.oracle


def copy(path: Path, name: str) -> Path:
    other = path.with_name(name)
    shutil.copy(path, other)
    return other


def act(path: Path, name: str, *actions: BitmapAction, **arguments: Any) -> None:
    bitmap.plan_bitmap(str(path), name, actions, **arguments).apply()


# The same actions by either


ACTIONS = [
    (["--add"], [BitmapAction(bitmap.ADD)]),
    (["--add", "-g", "512"], [BitmapAction(bitmap.ADD, 512)]),
    (["--add", "-g", "2G"], [BitmapAction(bitmap.ADD, 2 << 30)]),
    (["--add", "--disable"], [BitmapAction(bitmap.ADD), BitmapAction(bitmap.DISABLE)]),
    (["--add", "--merge", "fine"], [BitmapAction(bitmap.ADD), BitmapAction(bitmap.MERGE, None, "fine")]),
    (
        ["--add", "--merge", "coarse", "-g", "1k"],
        [BitmapAction(bitmap.ADD, 1024), BitmapAction(bitmap.MERGE, None, "coarse")],
    ),
    (["--add", "--remove"], [BitmapAction(bitmap.ADD), BitmapAction(bitmap.REMOVE)]),
]


@pytest.mark.parametrize("cluster_size", [512, 65536, 2 * MIB])
@pytest.mark.parametrize("number", range(len(ACTIONS)))
def test_actions_on_a_new_bitmap_give_what_qemu_img_gives(tmp_path: Path, number: int, cluster_size: int) -> None:
    theirs = make(tmp_path / "theirs.qcow2", 10 * MIB + 1536, "-o", "cluster_size=%d" % cluster_size)
    oracle.qemu_img("bitmap", "--add", "-g", "512", theirs, "fine")
    oracle.qemu_img("bitmap", "--add", "-g", "128k", theirs, "coarse")
    oracle.qemu_io(theirs, "write 1M 300k", "write 10M 1536")
    ours = copy(theirs, "ours.qcow2")
    words, actions = ACTIONS[number]
    oracle.qemu_img("bitmap", *words, theirs, "new")
    act(ours, "new", *actions)
    assert listed(ours) == listed(theirs)
    assert marked(ours) == marked(theirs)


@pytest.mark.parametrize("word", ["clear", "enable", "disable", "remove"])
def test_actions_on_a_bitmap_with_marks_give_what_qemu_img_gives(tmp_path: Path, word: str) -> None:
    theirs = make(tmp_path / "theirs.qcow2")
    oracle.qemu_img("bitmap", "--add", theirs, "b")
    oracle.qemu_img("bitmap", "--add", "-g", "512", theirs, "other")
    oracle.qemu_io(theirs, "write 1M 300k")
    if word == "enable":
        oracle.qemu_img("bitmap", "--disable", theirs, "b")
    ours = copy(theirs, "ours.qcow2")
    oracle.qemu_img("bitmap", "--" + word, theirs, "b")
    act(ours, "b", BitmapAction(word))
    assert listed(ours) == listed(theirs)
    assert marked(ours) == marked(theirs)


@pytest.mark.parametrize(
    ("granularity", "other"), [("512", "64k"), ("64k", "512"), ("4k", "4k"), ("2G", "512"), ("1M", "2k")]
)
def test_merge_from_another_image_gives_what_qemu_img_gives(tmp_path: Path, granularity: str, other: str) -> None:
    source = make(tmp_path / "source.qcow2", 50 * MIB, "-o", "cluster_size=4k")
    oracle.qemu_img("bitmap", "--add", "-g", other, source, "from")
    oracle.qemu_io(source, "write 0 1k", "write 5M 300k", "write -z 33M 7M", "write 52428288 512")
    theirs = make(tmp_path / "theirs.qcow2", 50 * MIB)
    oracle.qemu_img("bitmap", "--add", "-g", granularity, theirs, "to")
    oracle.qemu_io(theirs, "write 20M 3k")
    ours = copy(theirs, "ours.qcow2")
    oracle.qemu_img("bitmap", "--merge", "from", "-b", source, "-F", "qcow2", theirs, "to")
    act(ours, "to", BitmapAction(bitmap.MERGE, None, "from"), source=str(source), source_format="qcow2")
    assert listed(ours) == listed(theirs)
    assert marked(ours) == marked(theirs)


# Refusals, in the same words


NODE = re.compile(r"'?#block\d+'?")


def compare_refusals(tmp_path: Path, path: Path, name: str, words: list[str], *actions: BitmapAction) -> None:
    """Both refuse with the same words, but for the node name, and change nothing."""
    ours = copy(path, "ours-" + path.name)
    before = ours.read_bytes()
    answer = oracle.ask_qemu_img("bitmap", *words, path, name)
    with pytest.raises(ImageError) as caught:
        act(ours, name, *actions)
    assert answer.code == 1
    theirs = NODE.sub("NODE", answer.stderr.replace("qemu-img: ", "").strip())
    assert re.sub(r"'?%s'?" % re.escape(str(ours)), "NODE", said(caught.value)) == theirs
    assert ours.read_bytes() == before


REFUSALS = [
    ("b", ["--add"], [BitmapAction(bitmap.ADD)]),
    ("new", ["--add", "-g", "1000"], [BitmapAction(bitmap.ADD, 1000)]),
    ("new", ["--add", "-g", "256"], [BitmapAction(bitmap.ADD, 256)]),
    ("b", ["--add", "-g", "256"], [BitmapAction(bitmap.ADD, 256)]),
    ("", ["--add"], [BitmapAction(bitmap.ADD)]),
    ("n" * 1024, ["--add"], [BitmapAction(bitmap.ADD)]),
    ("none", ["--remove"], [BitmapAction(bitmap.REMOVE)]),
    ("none", ["--clear"], [BitmapAction(bitmap.CLEAR)]),
    ("none", ["--enable"], [BitmapAction(bitmap.ENABLE)]),
    ("none", ["--disable"], [BitmapAction(bitmap.DISABLE)]),
    ("none", ["--merge", "b"], [BitmapAction(bitmap.MERGE, None, "b")]),
    ("b", ["--merge", "none"], [BitmapAction(bitmap.MERGE, None, "none")]),
]


@pytest.mark.parametrize("number", range(len(REFUSALS)))
def test_refused_actions_have_the_words_of_qemu_img(tmp_path: Path, number: int) -> None:
    path = make(tmp_path / "i.qcow2")
    oracle.qemu_img("bitmap", "--add", path, "b")
    name, words, actions = REFUSALS[number]
    compare_refusals(tmp_path, path, name, words, *actions)


@pytest.mark.parametrize("word", ["clear", "enable", "disable"])
def test_inconsistent_bitmaps_are_refused_with_the_words_of_qemu_img(tmp_path: Path, word: str) -> None:
    path = make(tmp_path / "i.qcow2")
    oracle.qemu_img("bitmap", "--add", path, "b")
    set_flags(path, 3)
    compare_refusals(tmp_path, path, "b", ["--" + word], BitmapAction(word))


@pytest.mark.parametrize(("name", "source"), [("b", "good"), ("good", "b"), ("b", "b")])
def test_inconsistent_bitmaps_are_not_merged(tmp_path: Path, name: str, source: str) -> None:
    path = make(tmp_path / "i.qcow2")
    oracle.qemu_img("bitmap", "--add", path, "b")
    oracle.qemu_img("bitmap", "--add", path, "good")
    set_flags(path, 3)
    compare_refusals(tmp_path, path, name, ["--merge", source], BitmapAction(bitmap.MERGE, None, source))


def test_inconsistent_bitmaps_can_be_removed(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2")
    oracle.qemu_img("bitmap", "--add", path, "b")
    oracle.qemu_img("bitmap", "--add", path, "good")
    set_flags(path, 3)
    assert listed(path)[0]["flags"] == ["in-use", "auto"]
    act(path, "b", BitmapAction(bitmap.REMOVE))
    assert [each["name"] for each in listed(path)] == ["good"]
    assert marked(path) == {"good": []}


def test_images_of_version_2_have_no_bitmaps(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2", 10 * MIB, "-o", "compat=0.10")
    compare_refusals(tmp_path, path, "b", ["--add"], BitmapAction(bitmap.ADD))
    compare_refusals(tmp_path, path, "b", ["--clear"], BitmapAction(bitmap.CLEAR))


def test_other_formats_have_no_bitmaps(tmp_path: Path) -> None:
    path = tmp_path / "i.raw"
    path.write_bytes(bytes(MIB))
    for words, action in ((["--add"], bitmap.ADD), (["--remove"], bitmap.REMOVE)):
        ours = copy(path, "ours.raw")
        answer = oracle.ask_qemu_img("bitmap", "-f", "raw", *words, path, "b")
        with pytest.raises(ImageError) as caught:
            bitmap.plan_bitmap(str(ours), "b", [BitmapAction(action)], format="raw").apply()
        theirs = NODE.sub("NODE", answer.stderr.replace("qemu-img: ", "").strip())
        assert said(caught.value).replace(str(ours), "NODE") == theirs


def test_a_bitmap_that_is_too_fine_for_the_disk_is_refused_with_the_words_of_qemu_img(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2", 4 << 40)
    compare_refusals(tmp_path, path, "b", ["--add", "-g", "512"], BitmapAction(bitmap.ADD, 512))


def test_images_of_different_sizes_do_not_merge(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2")
    source = make(tmp_path / "source.qcow2", 11 * MIB)
    for each in (path, source):
        oracle.qemu_img("bitmap", "--add", each, "b")
    answer = oracle.ask_qemu_img("bitmap", "--merge", "b", "-b", source, "-F", "qcow2", path, "b")
    with pytest.raises(ImageError) as caught:
        act(path, "b", BitmapAction(bitmap.MERGE, None, "b"), source=str(source))
    assert "qemu-img: %s\n" % caught.value.reason == answer.stderr


def test_snapshots_are_not_reverted_to_above_bitmaps(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2")
    oracle.qemu_img("snapshot", "-c", "s", path)
    oracle.qemu_img("bitmap", "--add", "--disable", path, "b")
    answer = oracle.ask_qemu_img("snapshot", "-a", "s", path)
    with pytest.raises(ImageError) as caught:
        snapshot.apply_snapshot(str(path), "s")
    assert answer.stderr == "qemu-img: Could not apply snapshot 's': %s\n" % caught.value.reason


# Guest writes by either


def commands(seed: int, size: int) -> list[tuple[str, int, int]]:
    chance = random.Random(seed)
    found = []
    for _ in range(12):
        length = chance.choice([512, 1024, 3 * KIB, 4 * KIB, 65 * KIB, 128 * KIB, 700 * KIB])
        offset = chance.randrange(0, size - length) // 512 * 512
        found.append((chance.choice(["write", "zero", "discard"]), offset, length))
    return found


@pytest.mark.parametrize(
    "options",
    ["cluster_size=512", "cluster_size=64k", "cluster_size=16k,extended_l2=on", "cluster_size=2M", "refcount_bits=1"],
)
@pytest.mark.parametrize("with_backing", [False, True])
def test_guest_writes_are_marked_as_qemu_marks_them(tmp_path: Path, options: str, with_backing: bool) -> None:
    size = 3 * MIB + 1024
    words = ["-o", options]
    if with_backing:
        (tmp_path / "base.raw").write_bytes(b"base" * (512 * KIB))
        words += ["-b", str(tmp_path / "base.raw"), "-F", "raw"]
    theirs = make(tmp_path / "theirs.qcow2", size, *words)
    for name, granularity in (("fine", "512"), ("middle", "4k"), ("coarse", "1M"), ("off", "512")):
        oracle.qemu_img("bitmap", "--add", "-g", granularity, theirs, name)
    oracle.qemu_img("bitmap", "--disable", theirs, "off")
    ours = copy(theirs, "ours.qcow2")
    todo = commands(len(options) + with_backing, size)
    names = {"write": "write", "zero": "write -z", "discard": "discard"}
    oracle.qemu_io(theirs, *("%s %d %d" % (names[kind], offset, length) for kind, offset, length in todo))
    with Opener().open(str(ours), purpose=WRITE) as image:
        for number, (kind, offset, length) in enumerate(todo):
            if kind == "write":
                image.write(offset, b"\xcd" * length)
            elif kind == "zero":
                image.write_zeroes(offset, length)
            else:
                image.discard(offset, length)
            if number % 5 == 4:
                image.flush()
    assert listed(ours) == listed(theirs)
    assert marked(ours) == marked(theirs)
    assert marked(ours)["off"] == []


def test_while_we_write_the_image_says_that_its_bitmaps_are_behind(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2")
    for name in ("on", "off"):
        oracle.qemu_img("bitmap", "--add", path, name)
    oracle.qemu_img("bitmap", "--disable", path, "off")
    with Opener().open(str(path), purpose=WRITE) as image:
        image.write(0, b"x")
        during = copy(path, "during.qcow2")
        assert [each["flags"] for each in listed(during)] == [["in-use", "auto"], []]
        assert oracle.ask_qemu_img("check", during).code == 0
    assert [each["flags"] for each in listed(path)] == [["auto"], []]
    assert marked(path) == {"on": [(0, 65536)], "off": []}


# What other commands do to bitmaps


@pytest.mark.parametrize("size", [5 * MIB + 512, 15 * MIB + 512, 10 * MIB + 512])
@pytest.mark.parametrize("granularity", ["512", "64k", "2M"])
@pytest.mark.parametrize("with_backing", [False, True])
def test_resize_cuts_and_extends_bitmaps_as_qemu_img_does(
    tmp_path: Path, size: int, granularity: str, with_backing: bool
) -> None:
    words = []
    if with_backing:
        (tmp_path / "base.raw").write_bytes(b"base" * (4 * MIB))
        words = ["-b", str(tmp_path / "base.raw"), "-F", "raw"]
    theirs = make(tmp_path / "theirs.qcow2", 10 * MIB, "-o", "cluster_size=4k", *words)
    oracle.qemu_img("bitmap", "--add", "-g", granularity, theirs, "b")
    oracle.qemu_io(theirs, "write 10485248 512", "write 5M 2k", "write 1M 1M")
    ours = copy(theirs, "ours.qcow2")
    oracle.qemu_img("resize", "-q", "--shrink", theirs, size)
    with Opener().open(str(ours), purpose=RESIZE) as image:
        image.resize(size)  # type: ignore[attr-defined]
    assert marked(ours) == marked(theirs)
    oracle.qemu_img("resize", "-q", "--shrink", theirs, 12 * MIB)
    with Opener().open(str(ours), purpose=RESIZE) as image:
        image.resize(12 * MIB)  # type: ignore[attr-defined]
    assert marked(ours) == marked(theirs)


def test_resize_with_an_inconsistent_bitmap_is_refused_with_the_words_of_qemu_img(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2")
    oracle.qemu_img("bitmap", "--add", path, "b")
    set_flags(path, 3)
    answer = oracle.ask_qemu_img("resize", path, "20M")
    with Opener().open(str(path), purpose=RESIZE) as image, pytest.raises(ImageError) as caught:
        image.resize(20 * MIB)  # type: ignore[attr-defined]
    assert "qemu-img: %s\n" % said(caught.value) == answer.stderr


def test_commit_marks_in_the_base_and_leaves_the_bitmaps_of_the_overlay(tmp_path: Path) -> None:
    images = {}
    for who in ("theirs", "ours"):
        (tmp_path / who).mkdir()
        base = make(tmp_path / who / "base.qcow2")
        oracle.qemu_img("bitmap", "--add", "-g", "512", base, "b")
        overlay = make(tmp_path / who / "overlay.qcow2", 10 * MIB, "-b", "base.qcow2", "-F", "qcow2")
        oracle.qemu_img("bitmap", "--add", "-g", "512", overlay, "o")
        oracle.qemu_io(overlay, "write 100k 10k", "write -z 300k 100k", "write 5M 1M")
        images[who] = (base, overlay)
    oracle.qemu_img("commit", "-q", images["theirs"][1])
    commit.plan_commit(str(images["ours"][1])).apply()
    for theirs, ours in zip(images["theirs"], images["ours"]):
        assert listed(ours) == listed(theirs)
        assert marked(ours) == marked(theirs)


def test_rebase_marks_what_it_copies(tmp_path: Path) -> None:
    base = make(tmp_path / "base.qcow2")
    oracle.qemu_io(base, "write -P 7 1M 3M", "write -P 8 9M 64k")
    path = make(tmp_path / "i.qcow2", 10 * MIB, "-b", str(base), "-F", "qcow2")
    oracle.qemu_img("bitmap", "--add", "-g", "512", path, "b")
    ours = copy(path, "ours.qcow2")
    oracle.qemu_img("rebase", "-b", "", path)
    rebase.plan_rebase(str(ours), "").apply()
    # qemu-img copies whole stretches where only a part differs; both mark all that they write.
    assert marked(ours)["b"] == [(1 * MIB, 3 * MIB), (9 * MIB, 65536)]
    for offset, length in marked(ours)["b"]:
        assert any(start <= offset and offset + length <= start + size for start, size in marked(path)["b"])


def test_after_a_downgrade_there_are_neither_bitmaps_nor_leaked_clusters(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2")
    oracle.qemu_img("bitmap", "--add", path, "b")
    amend.plan_amend(str(path), {"compat": "0.10"}).apply()
    assert listed(path) is None
    assert marked(path) == {}
    assert oracle.ask_qemu_img("check", path).stderr == ""


def test_bitmaps_that_another_program_ignored_are_no_longer_there(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2")
    oracle.qemu_img("bitmap", "--add", path, "b")
    data = bytearray(path.read_bytes())
    struct.pack_into(">Q", data, 88, 0)
    path.write_bytes(data)
    theirs = copy(path, "theirs.qcow2")
    assert listed(path) is None and bitmap.list_bitmaps(str(path)) == []
    act(path, "new", BitmapAction(bitmap.ADD))
    oracle.qemu_img("bitmap", "--add", theirs, "new")
    assert listed(path) == listed(theirs)
    assert oracle.ask_qemu_img("check", path).code == oracle.ask_qemu_img("check", theirs).code == 3


@pytest.mark.parametrize("raw", ["off", "on"])
def test_bitmaps_of_images_with_an_external_data_file(tmp_path: Path, raw: str) -> None:
    path = make(tmp_path / "i.qcow2", 10 * MIB, "-o", "data_file=%s,data_file_raw=%s" % (tmp_path / "data", raw))
    act(path, "b", BitmapAction(bitmap.ADD, 512))
    with Opener().open(str(path), purpose=WRITE) as image:
        image.write(5 * MIB, b"x" * 5000)
        image.write_zeroes(MIB, 512)
    assert marked(path) == {"b": [(MIB, 512), (5 * MIB, 5120)]}


# Broken directories


FIELDS = {
    "table": (">Q", 0), "entries": (">I", 8), "flags": (">I", 12), "type": (">B", 16), "bits": (">B", 17),
    "extra": (">I", 20),
}
EXTENSION = {"count": (">I", 8), "reserved": (">I", 12), "length": (">Q", 16), "offset": (">Q", 24)}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("entries", 1), ("entries", 9), ("entries", 0), ("entries", 0xFFFFFFFF), ("table", 0), ("table", 512),
        ("flags", 4), ("type", 2), ("bits", 8), ("bits", 32), ("extra", 8), ("count", 1), ("count", 3), ("count", 0),
        ("count", 65536), ("reserved", 1), ("length", 32), ("length", 72), ("length", 24), ("length", 1 << 40),
        ("offset", 513), ("offset", 1 << 28), ("entry", 2), ("entry", 0x10001), ("entry", 1 << 60),
    ],
)
def test_a_broken_directory_is_refused_with_the_words_of_qemu_img(tmp_path: Path, field: str, value: int) -> None:
    path = make(tmp_path / "i.qcow2", 1 << 30, "-o", "cluster_size=4k")
    oracle.qemu_img("bitmap", "--add", "-g", "4k", path, "first")
    oracle.qemu_img("bitmap", "--add", "-g", "512", path, "second")
    oracle.qemu_io(path, "write 1M 64k")
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack(">II", 0x23852875, 24))
    directory = struct.unpack_from(">Q", data, at + 24)[0]
    if field == "entry":
        struct.pack_into(">Q", data, struct.unpack_from(">Q", data, directory)[0], value)
    else:
        layout, position = FIELDS[field] if field in FIELDS else EXTENSION[field]
        struct.pack_into(layout, data, (directory if field in FIELDS else at) + position, value)
    path.write_bytes(data)
    answer = oracle.ask_qemu_img("check", path)
    assert answer.code == 1
    with pytest.raises(ImageError) as caught:
        Opener().open(str(path), purpose=CHECK)
    assert answer.stderr == "qemu-img: Could not open '%s': %s\n" % (path, caught.value.reason)
