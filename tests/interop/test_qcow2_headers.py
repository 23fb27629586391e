# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a newer program has put into the header of a qcow2 image: kept where it may be, refused where it must be."""
from __future__ import annotations

import shlex
import struct

import pytest

from support import oracle
from support.in_process import qimg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.oracle

EXTENSIONS = [(0x11223344, b"thirteen byte"), (0x55667788, b""), (0x11223344, b"the same type again")]
FIELDS = b"future header fields, 40 bytes of them!!"
COMPATIBLE = 1 << 63 | 1 << 40 | 2
AUTOCLEAR = 1 << 62 | 4
FIRST_FIELD, FEATURE_TABLE = 112, 0x6803F857


def number(content: bytes | bytearray, offset: int, width: int = 8) -> int:
    return int.from_bytes(content[offset : offset + width], "big")


def extensions(content: bytes | bytearray) -> list[tuple[int, bytes]]:
    """The header extensions, without what is not one."""
    found: list[tuple[int, bytes]] = []
    offset = number(content, 100, 4)
    while True:
        kind, length = struct.unpack_from(">II", content, offset)
        if kind == 0:
            return found
        found.append((kind, bytes(content[offset + 8 : offset + 8 + length])))
        offset += 8 + -(-length // 8) * 8


def unknown(path: Path) -> tuple[object, ...]:
    """What only a newer program can have written."""
    content = path.read_bytes()
    ours = [extension for extension in extensions(content) if extension in EXTENSIONS]
    fields = content[FIRST_FIELD : number(content, 100, 4)]
    return sorted(ours), fields, number(content, 80) & COMPATIBLE


def add_unknown(path: Path, table: list[tuple[int, int, bytes]] = []) -> None:  # noqa: B006
    """Have the header look as if a newer program had written it."""
    content = bytearray(path.read_bytes())
    known = extensions(content)
    name_offset, name_length = number(content, 8), number(content, 16, 4)
    name = bytes(content[name_offset : name_offset + name_length])
    header = content[:FIRST_FIELD] + FIELDS
    struct.pack_into(">QQ", header, 80, number(content, 80) | COMPATIBLE, number(content, 88) | AUTOCLEAR)
    struct.pack_into(">I", header, 100, len(header))
    for kind, data in [EXTENSIONS[0], *known, *EXTENSIONS[1:]]:
        if kind == FEATURE_TABLE:
            data += b"".join(struct.pack(">BB46s", *record) for record in table)
        header += struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)
    header += bytes(8)
    if name:
        struct.pack_into(">Q", header, 8, len(header))
    header += name
    assert len(header) <= 65536
    content[: len(header)] = header
    path.write_bytes(content)


def image(directory: Path) -> Path:
    """An image with a backing file, a snapshot and unknown things."""
    oracle.qemu_img("create", "-q", "-f", "qcow2", "base.qcow2", "2M", cwd=directory)
    oracle.qemu_img("create", "-q", "-f", "raw", "other.raw", "2M", cwd=directory)
    oracle.qemu_img("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "i.qcow2", cwd=directory)
    oracle.qemu_img("snapshot", "-c", "first", "i.qcow2", cwd=directory)
    oracle.qemu_io("i.qcow2", "write -P 3 64k 200k", format="qcow2", cwd=directory)
    add_unknown(directory / "i.qcow2")
    return directory / "i.qcow2"


CHANGES = {
    "write": "bench -w -c 1 -s 4096 i.qcow2",
    "snapshot": "snapshot -c new i.qcow2",
    "apply": "snapshot -a first i.qcow2",
    "delete": "snapshot -d first i.qcow2",
    "grow": "resize i.qcow2 1G",
    "rebase": "rebase -b other.raw -F raw i.qcow2",
    "rebase to nothing": "rebase -b  i.qcow2",
    "unsafe rebase": "rebase -u -b a/very/long/name/of/a/file/that/need/not/be/there -F raw i.qcow2",
    "amend": "amend -o lazy_refcounts=on i.qcow2",
    "amend refcounts": "amend -o refcount_bits=64 i.qcow2",
    "commit": "commit i.qcow2",
    "bitmap": "bitmap --add i.qcow2 b",
    "repair": "check -r all i.qcow2",
}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_what_is_unknown_outlives_a_change(tmp_path: Path, name: str) -> None:
    path = image(tmp_path)
    before = unknown(path)
    assert before == (sorted(EXTENSIONS), FIELDS, COMPATIBLE)
    if name == "repair":
        with open(path, "r+b") as file:
            file.seek(79)
            file.write(b"\2")
    old = path.read_bytes()
    answer = qimg(*CHANGES[name].split(" "), cwd=tmp_path)
    assert answer.code == 0, answer
    assert path.read_bytes() != old
    assert unknown(path) == before
    assert number(path.read_bytes(), 88) & AUTOCLEAR == 0, "what we do not keep true is still said to be"
    assert oracle.is_clean("i.qcow2", "-f", "qcow2", cwd=tmp_path) or name == "unsafe rebase"


@pytest.mark.parametrize("line", ["info i.qcow2", "map i.qcow2", "check i.qcow2", "snapshot -l i.qcow2"])
def test_who_only_reads_clears_nothing(tmp_path: Path, line: str) -> None:
    path = image(tmp_path)
    old = path.read_bytes()
    assert qimg(*line.split(), cwd=tmp_path).code == 0
    assert path.read_bytes() == old


def test_who_finds_nothing_to_change_clears_nothing(tmp_path: Path) -> None:
    path = image(tmp_path)
    old = path.read_bytes()
    assert qimg("resize", "i.qcow2", oracle.info(path)["virtual-size"], cwd=tmp_path).code == 0
    assert path.read_bytes() == old
    oracle.qemu_img("resize", path, oracle.info(path)["virtual-size"])
    assert number(path.read_bytes(), 88) & AUTOCLEAR == 0


@pytest.mark.parametrize("bits", [1 << 20, 1 << 20 | 1 << 63, 1 << 50, 1 << 20 | 1 << 21 | 1 << 51 | 1 << 52])
@pytest.mark.parametrize("line", ["info i.qcow2", "check -r all i.qcow2", "resize i.qcow2 1G"])
def test_unknown_incompatible_features_are_refused_by_their_names(tmp_path: Path, bits: int, line: str) -> None:
    path = tmp_path / "i.qcow2"
    oracle.qemu_img("create", "-q", "-f", "qcow2", path, "1M")
    add_unknown(path, [(0, 20, b"time travel"), (0, 21, b"n" * 46), (1, 50, b"another kind"), (0, 63, b"last")])
    content = bytearray(path.read_bytes())
    struct.pack_into(">Q", content, 72, bits)
    path.write_bytes(content)
    expected = oracle.run("qemu-img", *line.split(), cwd=tmp_path)
    assert expected.code == 1
    assert qimg(*line.split(), cwd=tmp_path) == expected
    assert path.read_bytes() == content


def test_a_corrupt_image_is_read_but_not_written_until_it_is_repaired(tmp_path: Path) -> None:
    path = image(tmp_path)
    marked = bytearray(path.read_bytes())
    marked[79] |= 2
    path.write_bytes(marked)
    for line in ("snapshot -c new i.qcow2", "resize i.qcow2 1G", "bench -w -c 1 i.qcow2", "bitmap --add i.qcow2 b"):
        answer = qimg(*line.split(), cwd=tmp_path)
        assert answer.code == 1 and "Image is corrupt; cannot be opened read/write" in answer.stderr, answer
        assert path.read_bytes() == marked
    assert qimg("convert", "-O", "raw", "i.qcow2", "raw", cwd=tmp_path).code == 0
    assert qimg("check", "-r", "all", "i.qcow2", cwd=tmp_path).code == 0
    assert path.read_bytes()[79] == 0
    assert qimg("resize", "i.qcow2", "1G", cwd=tmp_path).code == 0


def test_a_dirty_image_is_repaired_by_the_first_who_writes(tmp_path: Path) -> None:
    path = tmp_path / "i.qcow2"
    oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", path, "8M")
    oracle.run("qemu-io", "-f", "qcow2", "-c", "write -P 5 0 1M", "-c", "flush", "-c", "sigraise 9", path)
    assert path.read_bytes()[79] == 1
    before = oracle.read_guest(path, tmp_path / "raw", format="qcow2")
    assert not oracle.is_clean(path)
    assert qimg("bitmap", "--add", "i.qcow2", "b", cwd=tmp_path).code == 0
    assert path.read_bytes()[79] == 0
    assert oracle.is_clean(path)
    assert oracle.read_guest(path, tmp_path / "raw", format="qcow2") == before


@pytest.mark.parametrize(
    "line",
    [
        "snapshot -c new i.qcow2", "resize i.qcow2 2M", "bitmap --add i.qcow2 b", "amend -o compat=1.1 i.qcow2",
        "amend -o data_file=x i.qcow2", "convert -n -O qcow2 -f raw source.raw i.qcow2", "commit i.qcow2",
        "rebase -b '' i.qcow2",
    ],
)  # fmt: skip
def test_the_repair_of_a_dirty_image_is_told_in_the_words_of_qemu_img(tmp_path: Path, line: str) -> None:
    oracle.qemu_img("create", "-q", "-f", "qcow2", tmp_path / "base.qcow2", "1M")
    (tmp_path / "source.raw").write_bytes(b"\5" * (1 << 20))
    options = ["-o", "lazy_refcounts=on", "-b", "base.qcow2", "-F", "qcow2"]
    oracle.qemu_img("create", "-q", "-f", "qcow2", *options, "i.qcow2", cwd=tmp_path)
    words = ["-c", "write -P 1 0 64k", "-c", "write -P 1 200k 1k", "-c", "sigraise 9"]
    oracle.run("qemu-io", *words, "i.qcow2", cwd=tmp_path)
    dirty = (tmp_path / "i.qcow2").read_bytes()
    theirs = oracle.run("qemu-img", *shlex.split(line), cwd=tmp_path)
    assert "Rebuilding refcount structure" in theirs.stderr
    (tmp_path / "i.qcow2").write_bytes(dirty)
    oracle.qemu_img("create", "-q", "-f", "qcow2", tmp_path / "base.qcow2", "1M")
    assert qimg(*shlex.split(line), cwd=tmp_path) == theirs


@pytest.mark.parametrize("name", ["base.raw", "snapshot-name", "bitmap-name", "data.raw"])
def test_names_end_at_the_first_zero_byte(name: str, tmp_path: Path) -> None:
    (tmp_path / "base.raw").write_bytes(bytes(1 << 20))
    if name == "data.raw":
        oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", "data_file=data.raw", "i.qcow2", "1M", cwd=tmp_path)
    else:
        words = ("create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "i.qcow2")
        oracle.qemu_img(*words, cwd=tmp_path)
        oracle.qemu_img("snapshot", "-c", "snapshot-name", "i.qcow2", cwd=tmp_path)
        oracle.qemu_img("bitmap", "--add", "i.qcow2", "bitmap-name", cwd=tmp_path)
    content = (tmp_path / "i.qcow2").read_bytes()
    assert content.count(name.encode()) == 1
    (tmp_path / "i.qcow2").write_bytes(content.replace(name.encode(), name[:-1].encode() + b"\0"))

    theirs = oracle.run("qemu-img", "info", "--output=json", "i.qcow2", cwd=tmp_path)
    assert theirs.code == 0 and '"%s"' % name[:-1] in theirs.stdout
    assert qimg("info", "--output=json", "i.qcow2", cwd=tmp_path) == theirs
