# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Header extensions of qcow2: which of several counts, in what order they are written, and names of features."""
from __future__ import annotations

import struct
from pathlib import Path

import pytest

import qimg
from support import oracle

BACKING_FORMAT, DATA_FILE_NAME, FEATURE_NAMES = 0xE2792ACA, 0x44415441, 0x6803F857


def _with_extensions(path: Path, extensions: list[tuple[int, bytes]], incompatible: int = 0, name: bytes = b"") -> Path:
    """An empty image whose header extensions are these."""
    oracle.qemu_img("create", "-q", "-f", "qcow2", path, "1M")
    content = bytearray(path.read_bytes())
    packed = b"".join(struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8) for kind, data in extensions)
    start = struct.unpack_from(">I", content, 100)[0]
    content[start:4096] = packed.ljust(4096 - start, b"\0")
    struct.pack_into(">Q", content, 72, incompatible)
    if name:
        place = start + len(packed) + 8
        struct.pack_into(">QI", content, 8, place, len(name))
        content[place : place + len(name)] = name
    path.write_bytes(content)
    return path


def _extensions(path: Path) -> list[tuple[int, bytes]]:
    content = path.read_bytes()
    position = struct.unpack_from(">I", content, 100)[0]
    found = []
    while (kind := struct.unpack_from(">I", content, position)[0]) != 0:
        length = struct.unpack_from(">I", content, position + 4)[0]
        found.append((kind, content[position + 8 : position + 8 + length]))
        position += 8 + -(-length // 8) * 8
    return found


def test_of_extensions_that_occur_twice_the_last_counts_and_stays(tmp_path: Path) -> None:
    """Two programs that take different ones would read different files."""
    (tmp_path / "base").write_bytes(b"base" * (1 << 18))
    formats = [(BACKING_FORMAT, b"qcow2"), (0x11, b"one"), (BACKING_FORMAT, b"raw"), (0x22, b"two")]
    for change in ("read", "rebase", "repair"):
        path = _with_extensions(tmp_path / change, formats, name=b"base")
        if change == "rebase":
            qimg.rebase(str(path), "base", backing_format="raw", unsafe=True)
        elif change == "repair":
            qimg.check(str(path), repair="all")
        with qimg.open_image(str(path)) as image:
            assert image.backing_format == oracle.info(path)["backing-filename-format"] == "raw"
            assert image.read(0, 4) == b"base"
        if change != "read":
            assert [data for kind, data in _extensions(path) if kind == BACKING_FORMAT] == [b"raw"]
            assert [kind for kind, _data in _extensions(path)][-2:] == [0x11, 0x22]


def test_a_check_says_that_extensions_occur_twice(tmp_path: Path) -> None:
    path = _with_extensions(tmp_path / "i", [(DATA_FILE_NAME, b"/etc/passwd"), (DATA_FILE_NAME, b"i.raw")])
    said: list[str] = []
    assert qimg.check(str(path), report=said.append).result.clean
    assert said == ["WARNING 1 header extension(s) that a later one of the same type replaces"]


@pytest.mark.parametrize(
    "tables",
    [
        [b"\0\7ab\0cd"], [b"\0\7" + b"x" * 46], [b"\0\7first", b"\0\7second"], [b"\0\7first", b"\0\10second"],
    ],
    ids=["zero byte", "no zero byte", "two of one bit", "two of two bits"],
)  # fmt: skip
def test_unknown_features_are_named_as_by_qemu_img(tables: list[bytes], tmp_path: Path) -> None:
    extensions = [(FEATURE_NAMES, table.ljust(48, b"\0")) for table in tables]
    path = _with_extensions(tmp_path / "i", extensions, incompatible=1 << 7 | 1 << 8)
    with pytest.raises(qimg.UnsupportedFeatureError) as caught:
        qimg.info(str(path))
    assert "': %s\n" % caught.value.reason in oracle.ask_qemu_img("info", path).stderr


def test_a_feature_name_table_is_followed_by_unknown_extensions(tmp_path: Path) -> None:
    extensions = [(0x11, b"one"), (FEATURE_NAMES, b"\0\7name".ljust(48, b"\0")), (0x22, b"two")]
    path = _with_extensions(tmp_path / "i", extensions)
    qimg.amend(str(path), {"lazy_refcounts": True})
    assert [kind for kind, _data in _extensions(path)] == [FEATURE_NAMES, 0x11, 0x22]


def test_a_refused_amend_changes_nothing(tmp_path: Path) -> None:
    """Not even the autoclear bits that a program must clear when it changes an image."""
    path = tmp_path / "i"
    qimg.create(str(path), "qcow2", 1 << 20)
    content = bytearray(path.read_bytes())
    struct.pack_into(">Q", content, 88, 1 << 40)
    path.write_bytes(content)
    for options in ({"refcount_bits": 3}, {"compat": "0.10", "refcount_bits": 64}, {"data_file": "x"}):
        with pytest.raises(qimg.ImageError):
            qimg.amend(str(path), options)
        with qimg.open_image(str(path), purpose="read") as image:
            assert image.size == 1 << 20
        assert path.read_bytes() == content
