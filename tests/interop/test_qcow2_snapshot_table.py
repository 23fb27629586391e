# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshot tables that other programs wrote: strange ids and names, too many entries, entries that are too large."""
from __future__ import annotations

import json
import shutil
import struct

import pytest

from qimg.formats.qcow2.snapshots import table as snapshots
from support import oracle
from support.in_process import qimg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

pytestmark = pytest.mark.oracle

EXTRA = struct.pack(">QQQ", 0, 1 << 20, 0)


def entry(id: bytes, name: bytes = b"", extra: bytes = EXTRA) -> bytes:
    """One of a snapshot without any content."""
    fixed = struct.pack(">QIHHIIQII", 0, 0, len(id), len(name), 1, 2, 3, 0, len(extra))
    return (fixed + extra + id + name).ljust(-(-(40 + len(extra) + len(id) + len(name)) // 8) * 8, b"\0")


def make(directory: Path, entries: list[bytes]) -> Path:
    """An image with such a table behind all that is counted: clean but for that."""
    path = directory / "i.qcow2"
    oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", path, "1M")
    content = bytearray(path.read_bytes())
    offset = 4 << 21
    table = b"".join(entries)
    clusters = -(-len(table) >> 21)
    content[60:72] = struct.pack(">IQ", len(entries), offset)
    block = int.from_bytes(content[2 << 20 : (2 << 20) + 8], "big")
    content.extend(bytes(offset - len(content)))
    content[block + 8 : block + 8 + 2 * clusters] = b"\0\1" * clusters
    path.write_bytes(bytes(content) + table)
    return path


def both(words: list[str], directory: Path) -> Any:
    """What both programs say and leave behind; it must be the same but for where things lie."""
    copy = directory / "qemu"
    copy.mkdir()
    shutil.copy(directory / "i.qcow2", copy)
    theirs = oracle.run("qemu-img", *words, "i.qcow2", cwd=copy)
    ours = qimg(*words, "i.qcow2", cwd=directory)
    if words[0] == "check" and theirs.code != 1:
        documents = [json.loads(answer.stdout) for answer in (theirs, ours)]
        for document in documents:
            del document["image-end-offset"]
        assert documents[0] == documents[1]
        theirs, ours = theirs._replace(stdout=""), ours._replace(stdout="")
    if words[0] == "check" and theirs.code == 1:
        # It also has a word of the system's for the error.
        theirs = theirs._replace(stderr=theirs.stderr.replace("qemu-img: Check failed: File too large\n", ""))
    assert ours == theirs
    shutil.rmtree(copy)
    return ours


@pytest.mark.parametrize(
    "ids",
    [
        [b"7x", b"3"], [b"x9"], [b" \t12"], [b"+5"], [b"-1"], [b"-18446744073709551610"], [b"18446744073709551615"],
        [b"18446744073709551614"], [b"1" * 300], [b"-" + b"1" * 300], [b"\xb2"], [b"9\0x"], [b""], [b"-"], [b"0x11"],
    ],
    ids=str,
)  # fmt: skip
def test_the_next_id_follows_the_number_that_the_largest_begins_with(tmp_path: Path, ids: list[bytes]) -> None:
    make(tmp_path, [entry(id, b"old") for id in ids])
    both(["snapshot", "-l"], tmp_path)
    shutil.copytree(tmp_path, tmp_path / "theirs")
    oracle.qemu_img("snapshot", "-c", "new", "i.qcow2", cwd=tmp_path / "theirs")
    assert qimg("snapshot", "-c", "new", "i.qcow2", cwd=tmp_path).code == 0
    found = [oracle.info(path / "i.qcow2")["snapshots"][-1] for path in (tmp_path, tmp_path / "theirs")]
    assert found[0]["name"] == found[1]["name"] == "new"
    assert found[0]["id"] == found[1]["id"]


def test_long_ids_and_names_are_shown_as_far_as_qemu_img_shows_them(tmp_path: Path) -> None:
    path = make(tmp_path, [entry(b"i" * 200, b"n" * 300), entry(b"a\0b", b"c\0d")])
    both(["snapshot", "-l"], tmp_path)
    assert qimg("snapshot", "-c", "new", "i.qcow2", cwd=tmp_path).code == 0
    assert b"i" * 200 + b"n" * 300 in path.read_bytes()
    assert oracle.is_clean(path)


TOO_LARGE = {
    "one too many": lambda: [entry(b"%d" % number) for number in range(65537)],
    "extra data": lambda: [entry(b"1"), entry(b"2", b"a", EXTRA + b"x" * 1001), entry(b"3", b"b", EXTRA + b"y" * 5000)],
    "many bytes": lambda: [entry(b"%d" % number, b"n" * 65000, EXTRA + b"x" * 1000) for number in range(1020)],
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_table_that_is_too_large_is_refused_until_it_is_repaired(tmp_path: Path, name: str) -> None:
    path = make(tmp_path, TOO_LARGE[name]())
    before = path.read_bytes()
    for words in (["info"], ["map"], ["snapshot", "-c", "new"], ["check"], ["check", "-r", "leaks"]):
        assert both(words, tmp_path).code == 1
        assert path.read_bytes() == before
    answer = both(["check", "-r", "all", "--output=json"], tmp_path)
    assert answer.code == 0 and "Discarding" in answer.stderr
    assert both(["check", "--output=json"], tmp_path).code == 0


def test_what_is_too_much_for_the_table_is_not_added(tmp_path: Path) -> None:
    path = make(tmp_path, [entry(b"%d" % number) for number in range(65535)])
    assert qimg("snapshot", "-c", "the last one", "i.qcow2", cwd=tmp_path).code == 0
    before = path.read_bytes()
    answer = qimg("snapshot", "-c", "one too many", "i.qcow2", cwd=tmp_path)
    assert answer.code == 1 and "The snapshot table would be too large" in answer.stderr, answer
    assert path.read_bytes() == before


def test_what_remains_of_a_table_can_be_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # With its extra data cut, each of these entries takes 1069 bytes, and 1072 if another one follows.
    path = make(tmp_path, [entry(b"%05d" % number, b"", EXTRA + b"x" * 1001) for number in range(4)])
    monkeypatch.setattr(snapshots, "_MAX_TABLE_BYTES", 3 * 1072 + 1068)
    answer = qimg("check", "-r", "all", "i.qcow2", cwd=tmp_path)
    assert answer.code == 0, answer
    assert "Discarding 1 overhanging snapshots (snapshot table is too big)" in answer.stderr
    assert [each["id"] for each in oracle.info(path)["snapshots"]] == ["00000", "00001", "00002"]
    assert oracle.is_clean(path)
