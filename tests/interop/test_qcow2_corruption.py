# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of metadata of a qcow2 image, damaged: what a check says, and what a repair makes of it, beside qemu-img.

``QIMG_DAMAGES=1`` tries every wrong value of every field; without it, each field gets a few of them.
"""
from __future__ import annotations

import json
import os
import re
import shutil
import struct
from collections import namedtuple
from pathlib import Path

import pytest

from support import oracle
from support.crafted import Crafted
from support.damage import Damage, damaged, damages
from support.in_process import qimg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from support.oracle import Answer

pytestmark = pytest.mark.oracle

#: Every so many-th wrong value is tried.
STEP = int(os.environ.get("QIMG_DAMAGES", "67"))

#: Name -> options, whether it has a snapshot, and a bitmap.  (qemu-img forgets snapshots when it repairs an image with
#: bitmaps, so none has both.)
IMAGES = {
    "plain": ("cluster_size=4k", True, False),
    "bitmap": ("cluster_size=4k", False, True),
    "subclusters": ("cluster_size=16k,extended_l2=on", True, False),
    "external": ("cluster_size=4k,data_file=external.raw", False, True),
    "v2": ("cluster_size=4k,compat=0.10", True, False),
    "narrow": ("cluster_size=4k,refcount_bits=1", False, False),
    "wide": ("cluster_size=512,refcount_bits=64", True, False),
}

#: How long qemu-img may make a file that it repairs.  Where the file system does not say no, it follows a wrong offset
#: exabytes far, and then looks at all of them.  This is as far as ext4 goes.
LARGEST_FILE = 1 << 44

#: The better an image is off, the smaller: clean, leaks, corruptions, cannot be checked.
RANK = {0: 0, 3: 1, 2: 2, 1: 3}

#: ``code``: of a check by qemu-img; ``content``: what the guest reads, ``None``: it cannot; ``kept``: names of
#: snapshots and bitmaps.
State = namedtuple("State", ["code", "content", "kept"])


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("originals")
    for name, (options, has_snapshot, has_bitmap) in IMAGES.items():
        path = name + ".qcow2"
        oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", options, path, "1M", cwd=directory)
        oracle.qemu_io(path, "write -P 1 0 64k", "write -P 2 100k 30k", "write -z 200k 32k", cwd=directory)
        if "data_file" not in options:
            oracle.qemu_io(path, "write -c -P 5 512k 32k", cwd=directory)
        if has_bitmap:
            oracle.qemu_img("bitmap", "--add", "-g", "4k", path, "b0", cwd=directory)
        if has_snapshot:
            oracle.qemu_img("snapshot", "-c", "s1", path, cwd=directory)
        oracle.qemu_io(path, "write -P 3 8k 50k", "write -P 4 600k 3k", cwd=directory)
    return directory


def _document(answer: Answer) -> dict[str, Any]:
    start = answer.stdout.find("{")
    document: dict[str, Any] = json.loads(answer.stdout[start:]) if start >= 0 else {}
    return document


def _state(path: Path) -> State:
    """What qemu-img thinks of an image."""
    code = oracle.check(path.name, "-f", "qcow2", cwd=path.parent)[0]
    raw = path.with_name("raw")
    converted = oracle.ask_qemu_img("convert", "-f", "qcow2", "-O", "raw", path.name, raw.name, cwd=path.parent)
    content = raw.read_bytes() if converted.code == 0 else None
    answer = oracle.ask_qemu_img("info", "-f", "qcow2", "--output=json", path.name, cwd=path.parent)
    kept: list[str] = []
    if answer.code == 0:
        found = json.loads(answer.stdout)
        kept = [snapshot["name"] for snapshot in found.get("snapshots", ())]
        kept += [bitmap["name"] for bitmap in found["format-specific"]["data"].get("bitmaps", ())]
    return State(code, content, kept)


def _is_known(damage: Damage) -> bool:
    """Whether qemu-img counts something else, for a reason that it has only itself."""
    field, value = damage
    if field.what == "header nb_snapshots" or field.what.startswith("refcount table entry"):
        # It counts up to where no file reaches, and reads entries that the file does not have: that is bounded here.
        return value >= 1 << 14
    # It cannot read tables whose offset is negative; we say that they lie behind the end of the file.
    tables = r"bitmap bitmap_table_offset|bitmaps extension offset|snapshot l1_table_offset"
    return re.match(tables, field.what) is not None and value >> 63 != 0


@pytest.mark.parametrize("name", IMAGES)
def test_a_check_counts_what_qemu_img_counts(name: str, originals: Path, tmp_path: Path) -> None:
    content = _prepare(name, originals, tmp_path)
    path = tmp_path / "i.qcow2"
    wrong = []
    for damage in list(damages(content))[:: max(1, STEP // 2)]:
        path.write_bytes(damaged(content, damage))
        words = ("check", "--output=json", "-f", "qcow2", "i.qcow2")
        theirs, ours = oracle.run("qemu-img", *words, cwd=tmp_path), qimg(*words, cwd=tmp_path)
        same = theirs.code == ours.code and _document(theirs) == _document(ours)
        if same and theirs.code != 1:
            same = theirs.stderr == ours.stderr
        if not same and not (_is_known(damage) and (ours.code != 0 or damage[1] >> 40)):
            wrong.append("%s\n    qemu-img: %s\n    ours: %s" % (_shown(damage), theirs, ours))
        assert path.read_bytes() == damaged(content, damage), "a check has changed the image"
    assert not wrong, "\n".join(wrong)


_READING = (
    ("info", "--output=json", "-f", "qcow2", "i.qcow2"),
    ("map", "--output=json", "-f", "qcow2", "i.qcow2"),
    ("compare", "-f", "qcow2", "i.qcow2", "raw"),
    ("convert", "-f", "qcow2", "-O", "raw", "i.qcow2", "new"),
)


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_damaged_says_and_reads_what_it_does_with_qemu_img(
    name: str, originals: Path, tmp_path: Path
) -> None:
    content = _prepare(name, originals, tmp_path)
    path = tmp_path / "i.qcow2"
    path.write_bytes(content)
    oracle.qemu_img("convert", "-O", "raw", "i.qcow2", "raw", cwd=tmp_path)
    raw = (tmp_path / "raw").read_bytes()
    with open(tmp_path / "raw", "r+b") as disk:
        disk.seek(300 << 10)
        disk.write(b"something else")
    wrong = []
    for number, damage in enumerate(list(damages(content))[STEP // 2 :: STEP]):
        path.write_bytes(damaged(content, damage))
        words = _READING[number % len(_READING)]
        answers = []
        bitmaps_only = False
        for run in (oracle.ask_qemu_img, qimg):
            answer = run(*words, cwd=tmp_path)
            made = (tmp_path / "new").read_bytes() if words[0] == "convert" and not answer.code else b""
            # Beside broken bitmaps, we read the guest's data.
            cannot_open = answer.code and run is not qimg and words[0] != "info"
            bitmaps_only |= bool(cannot_open) and "bitmap" in answer.stderr.lower()
            # Before a wrong subcluster bitmap, qemu-img may also leave out what is right.
            text = "" if answer.code and damage.field.what.startswith("L2 bitmap") else answer.stdout
            answers.append((answer.code, text, made))
        if bitmaps_only:
            assert words[0] != "convert" or answers[1][2] == raw, _shown(damage)
        elif answers[0] != answers[1] and not (_is_known(damage) and answers[1][0]):
            wrong.append("%s: %s\n    qemu-img: %s\n    ours: %s" % (_shown(damage), words[0], *answers))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("mode", ["leaks", "all"])
@pytest.mark.parametrize("name", IMAGES)
def test_a_repair_is_as_good_as_that_of_qemu_img(name: str, mode: str, originals: Path, tmp_path: Path) -> None:
    content = _prepare(name, originals, tmp_path)
    path = tmp_path / "i.qcow2"
    words = ("check", "--output=json", "-f", "qcow2", "-r", mode, "i.qcow2")
    wrong = []
    for damage in list(damages(content))[STEP // 3 :: STEP]:
        broken = damaged(content, damage)
        path.write_bytes(broken)
        before = _state(path)
        theirs = oracle.run("qemu-img", *words, cwd=tmp_path, largest_file=LARGEST_FILE)
        after_theirs = _state(path)
        path.write_bytes(broken)
        ours = qimg(*words, cwd=tmp_path)
        after_ours = _state(path)
        if damage.field.what.startswith("bitmap "):
            # qemu-img writes all bitmaps anew, whatever is wrong with them.
            after_theirs = before
        complaint = _judge(before, theirs, after_theirs, ours, after_ours, path.read_bytes() == broken)
        if complaint and not _is_known(damage):
            wrong.append("%s: %s\n    qemu-img: %s\n    ours: %s" % (_shown(damage), complaint, theirs, ours))
    assert not wrong, "\n".join(wrong)


def _judge(
    before: State, theirs: Answer, after_theirs: State, ours: Answer, after_ours: State, untouched: bool
) -> str | None:
    """What is wrong with our repair; ``None``: nothing."""
    if after_ours.kept != before.kept and before.kept:
        return "snapshots or bitmaps are lost"
    if before.content is not None and after_ours.content not in (before.content, after_theirs.content):
        return "the guest reads something else"
    if before.code == 1 and ours.code == 1:
        # What cannot be checked need not be repaired, but nothing may be done by halves.
        return None if untouched else "the repair failed, but has changed the image"
    if after_theirs.kept != before.kept:
        # qemu-img forgets snapshots when it has to write the header of an image that it repairs.
        return None if RANK[after_ours.code] <= RANK[before.code] else "it is worse than before"
    if RANK[after_ours.code] > RANK[after_theirs.code]:
        return "it is worse than after qemu-img's repair"
    if theirs.code == ours.code != 1 and after_theirs.code == after_ours.code == 0:
        for key in ("corruptions", "leaks", "corruptions-fixed", "leaks-fixed", "check-errors", "allocated-clusters"):
            if _document(theirs).get(key) != _document(ours).get(key):
                return "other %s" % key
    return None


def _prepare(name: str, originals: Path, directory: Path) -> bytes:
    if name == "external":
        shutil.copy(originals / "external.raw", directory / "external.raw")
    return (originals / (name + ".qcow2")).read_bytes()


def _shown(damage: Damage) -> str:
    return "%s: %#x instead of %#x" % (damage.field.what, damage.value, damage.field.value)


def test_a_repair_keeps_snapshots_beside_bitmaps(tmp_path: Path) -> None:
    """qemu-img writes the header without the snapshots, which it has not read yet, and frees what they used."""
    path = tmp_path / "i.qcow2"
    oracle.qemu_img("create", "-q", "-f", "qcow2", path, "1M")
    oracle.qemu_io(path, "write -P 1 0 64k")
    oracle.qemu_img("snapshot", "-c", "kept", path)
    oracle.qemu_img("bitmap", "--add", path, "b0")
    content = path.read_bytes()
    oracle.ask_qemu_img("check", "-r", "leaks", path)
    assert "snapshots" not in oracle.info(path)

    path.write_bytes(content)
    assert qimg("check", "-r", "all", path, cwd=tmp_path).code == 0
    assert [snapshot["name"] for snapshot in oracle.info(path)["snapshots"]] == ["kept"]
    assert oracle.is_clean(path)


def test_references_that_are_too_many_are_counted_like_by_qemu_img_and_named_once(tmp_path: Path) -> None:
    entries = 65540
    image = Crafted(tmp_path / "i.qcow2", 9, entries << 15, l1=(entries, 1 << 20))
    image.words(1 << 20, *[3 << 16] * entries)
    image.words(3 << 16, 4 << 16, 0, 5 << 16)
    image.grow(2 << 20)
    answer = oracle.ask_qemu_img("check", "i.qcow2", cwd=tmp_path)
    overflows = [line for line in answer.stderr.split("\n") if line.startswith("ERROR: overflow cluster")]
    assert len(overflows) == 3 * 5
    ours = qimg("check", "i.qcow2", cwd=tmp_path)
    assert (ours.code, ours.stdout) == (answer.code, answer.stdout)
    assert [line for line in ours.stderr.split("\n") if line.startswith("ERROR: overflow")] == sorted(set(overflows))


#: Format options, and the third L2 entry; ``None``: as it is, but for the flag of zeroes.
_WRONG_ENTRIES = {
    "a zero cluster in version 2": ("compat=0.10", 1),
    "an allocated zero cluster in version 2": ("compat=0.10", None),
    "a cluster of a data file that lies elsewhere": ("data_file=data.raw", 1 << 63 | 0x70000),
    "a compressed cluster beside a data file": ("data_file=data.raw", 1 << 62 | 0x10000),
}


@pytest.mark.parametrize("wrong", _WRONG_ENTRIES)
def test_what_lies_before_a_wrong_entry_is_told_and_the_entry_is_refused(wrong: str, tmp_path: Path) -> None:
    options, value = _WRONG_ENTRIES[wrong]
    oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", options, "i.qcow2", "1M", cwd=tmp_path)
    oracle.qemu_io("i.qcow2", "write -P 1 0 64k", "write -P 1 128k 128k", cwd=tmp_path)
    content = bytearray((tmp_path / "i.qcow2").read_bytes())
    (l1,) = struct.unpack_from(">Q", content, 40)
    (l2,) = struct.unpack_from(">Q", content, l1)
    entry = (l2 & (1 << 56) - 1) + 2 * 8
    if value is None:
        content[entry + 7] |= 1
    else:
        struct.pack_into(">Q", content, entry, value)
    (tmp_path / "i.qcow2").write_bytes(content)

    for line in ("map --output=json i.qcow2", "compare i.qcow2 i.qcow2", "convert i.qcow2 new"):
        words = line.split()
        theirs, ours = oracle.ask_qemu_img(*words, cwd=tmp_path), qimg(*words, cwd=tmp_path)
        assert (ours.code, ours.stdout) == (theirs.code, theirs.stdout)
        assert ours.code in (1, 3)


def _with_snapshot(tmp_path: Path) -> tuple[Path, int]:
    """An image with a snapshot, and the offset of the table that says so."""
    path = tmp_path / "i.qcow2"
    oracle.qemu_img("create", "-q", "-f", "qcow2", path, "1M")
    oracle.qemu_io(path, "write 0 64k")
    oracle.qemu_img("snapshot", "-c", "s", path)
    return path, struct.unpack_from(">Q", path.read_bytes(), 64)[0]


@pytest.mark.parametrize("line", ["check", "check -r leaks", "check -r all", "snapshot -d s"])
def test_what_a_snapshot_holds_is_not_freed_because_nobody_can_reach_it(line: str, tmp_path: Path) -> None:
    words = line.split()
    path, table = _with_snapshot(tmp_path)
    with path.open("r+b") as file:
        file.seek(table)
        file.write(b"\x80")
    before = path.read_bytes()
    answers = [run(*words, "i.qcow2", cwd=tmp_path) for run in (oracle.ask_qemu_img, qimg)]
    assert answers[0].code == answers[1].code == 1
    assert words[0] == "snapshot" or answers[0] == answers[1]
    assert path.read_bytes() == before


def test_what_is_still_wrong_is_said_while_refcounts_are_made_anew(tmp_path: Path) -> None:
    path, _table = _with_snapshot(tmp_path)
    with path.open("r+b") as file:
        # The snapshot table is said to begin where the image does.
        file.seek(60)
        file.write(struct.pack(">IQ", 2, 0))
    before = path.read_bytes()
    answers = []
    for run in (oracle.ask_qemu_img, qimg):
        path.write_bytes(before)
        answers.append(run("check", "-r", "all", "i.qcow2", cwd=tmp_path))
    assert answers[0].stderr.count("L1 table is not cluster aligned") == 3
    assert answers[0].stderr == answers[1].stderr
