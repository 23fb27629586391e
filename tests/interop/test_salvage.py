# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that cannot be read everywhere: an error without ``--salvage``, zeroes and a warning with it."""
from __future__ import annotations

import errno
import os
import re
import struct
from pathlib import Path

import pytest

import qimg
from qimg.errors import ImageError, StorageError
from qimg.storage.local import LocalFile
from support import oracle
from support.in_process import qimg as run_ours
from support.nbd import nbdkit, serving, unix_listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SIZE = 64 << 10
#: The first bytes of the sectors that cannot be read.
BAD = (512, 32768)
#: How nbdkit reads: it fails where a request touches a bad sector.
READ = """
for bad in %s; do
    if [ $4 -lt $((bad + 512)) ] && [ $(($4 + $3)) -gt $bad ]; then echo EIO >&2; exit 1; fi
done
dd if=disk iflag=skip_bytes,count_bytes skip=$4 count=$3 status=none
""" % " ".join(map(str, BAD))


def _salvaged(content: bytes) -> bytes:
    for bad in BAD:
        content = content[:bad] + bytes(512) + content[bad + 512 :]
    return content


@pytest.mark.oracle
def test_what_is_salvaged_is_what_qemu_img_salvages(tmp_path: Path) -> None:
    content = os.urandom(SIZE)
    (tmp_path / "disk").write_bytes(content)
    words = nbdkit("eval", "get_size=echo %d" % SIZE, "pread=cd '%s'; %s" % (tmp_path, READ))
    name = "nbd+unix:///?socket=%s" % (tmp_path / "s")
    warnings = []
    with unix_listener(tmp_path, "s") as listener, serving(words, listener, tmp_path):
        for new in ("theirs", "ours"):
            words = ["convert", "--salvage", "-f", "raw", "-O", "raw", name, new]
            answer = run_ours(*words, cwd=tmp_path) if new == "ours" else oracle.run("qemu-img", *words, cwd=tmp_path)
            assert answer.code == 0, answer
            warnings.append(sorted(answer.stderr.splitlines()))
            assert (tmp_path / new).read_bytes() == _salvaged(content)
    assert warnings[0] == warnings[1]


@pytest.fixture
def bad_sectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files called ``disk`` have sectors that cannot be read."""
    original = LocalFile.read_into

    def read_into(file: LocalFile, offset: int, buffer: Any) -> None:
        if file.name.endswith("disk") and any(offset < bad + 512 and offset + len(buffer) > bad for bad in BAD):
            raise StorageError.from_os_error(OSError(errno.EIO, ""), file.name, "Could not read")
        original(file, offset, buffer)

    monkeypatch.setattr(LocalFile, "read_into", read_into)


@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_unreadable_sectors_become_zeroes(format: str, tmp_path: Path, bad_sectors: None) -> None:
    content = os.urandom(SIZE)
    (tmp_path / "disk").write_bytes(content)
    said: list[int] = []
    qimg.convert(
        str(tmp_path / "disk"), str(tmp_path / "new"), format, "raw", salvage=lambda offset, error: said.append(offset)
    )
    assert sorted(said) == sorted(BAD)
    with qimg.open_image(str(tmp_path / "new"), format) as image:
        assert image.read(0, SIZE) == _salvaged(content)


def test_without_salvage_nothing_is_left(tmp_path: Path, bad_sectors: None) -> None:
    (tmp_path / "disk").write_bytes(os.urandom(SIZE))
    with pytest.raises(StorageError, match="error while reading at byte 0: Input/output error"):
        qimg.convert(str(tmp_path / "disk"), str(tmp_path / "new"), "qcow2", "raw")
    assert os.listdir(tmp_path) == ["disk"]


def test_data_of_which_nobody_says_where_they_are_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(SIZE)
    (tmp_path / "disk").write_bytes(content)
    original = LocalFile.extents

    def extents(file: LocalFile, offset: int, length: int) -> Any:
        if file.name.endswith("disk") and offset <= BAD[1] < offset + length:
            raise StorageError.from_os_error(OSError(errno.EIO, ""), file.name, "Could not find data")
        return original(file, offset, length)

    monkeypatch.setattr(LocalFile, "extents", extents)
    said: list[str] = []

    def salvage(_offset: int, error: ImageError) -> None:
        said.append(error.reason)

    qimg.convert(str(tmp_path / "disk"), str(tmp_path / "new"), "raw", "raw", salvage=salvage)
    assert said == ["error while reading block status at offset %d: Input/output error" % BAD[1]]
    assert (tmp_path / "new").read_bytes() == content
    with pytest.raises(StorageError, match=said[0]):
        qimg.convert(str(tmp_path / "disk"), str(tmp_path / "new"), "raw", "raw")
    qimg.dd(str(tmp_path / "disk"), str(tmp_path / "copy"), source_format="raw")
    assert (tmp_path / "copy").read_bytes() == content


@pytest.mark.oracle
@pytest.mark.parametrize("options", [(), ("-O", "qcow2", "-c")], ids=["raw", "compressed"])
def test_a_compressed_cluster_that_is_damaged_becomes_zeroes(options: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"x" * 4 * SIZE)
    oracle.qemu_img("convert", "-c", "-O", "qcow2", "disk", "packed.qcow2", cwd=tmp_path)
    packed = bytearray((tmp_path / "packed.qcow2").read_bytes())
    (l1,) = struct.unpack_from(">Q", packed, 40)
    (l2,) = struct.unpack_from(">Q", packed, l1)
    (entry,) = struct.unpack_from(">Q", packed, (l2 & (1 << 56) - 1) + 2 * 8)
    host = entry & (1 << 54) - 1
    packed[host : host + 20] = b"\xff" * 20
    (tmp_path / "packed.qcow2").write_bytes(packed)
    warned = []
    for new in ("theirs", "ours"):
        words = ("convert", "--salvage", *options, "packed.qcow2", new)
        answer = run_ours(*words, cwd=tmp_path) if new == "ours" else oracle.run("qemu-img", *words, cwd=tmp_path)
        assert answer.code == 0, answer
        warned.append(sorted(re.findall(r"(?m)^qemu-img: warning: error while reading offset \d+: ", answer.stderr)))
    assert warned[0] == warned[1]
    assert len(warned[0]) == SIZE // 512
    assert oracle.run("qemu-img", "compare", "theirs", "ours", cwd=tmp_path).code == 0
