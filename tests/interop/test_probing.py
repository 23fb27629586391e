# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file whose format is not named is taken for what qemu-img takes it for, and refused where that is not supported."""
from __future__ import annotations

from pathlib import Path

import pytest

import qimg
from qimg import formats
from qimg.errors import UnsupportedFeatureError
from qimg.formats.probing import probe
from support import oracle

CREATABLE = ("parallels", "qcow", "qcow2", "qed", "vdi", "vhdx", "vmdk", "vpc")
BOCHS = b"Bochs Virtual HD Image".ljust(32, b"\0") + b"Redolog".ljust(16, b"\0") + b"Growing".ljust(16, b"\0")
CLOOP = b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n"
#: First bytes that are nearly those of a format: versions, line ends, words that stand elsewhere.
HEADS = [
    b"QFI\xfb\0\0\0\1", b"QFI\xfb\0\0\0\2", b"QFI\xfb\0\0\0\0", b"QFI\xfb", b"QED\0", b"QED\1", b"KDMV", b"COWD",
    b"# Disk DescriptorFile\nversion=1\n", b"# c\n \n  \nversion=2\r\n", b"version=3\n", b"version=4\n", b"version=1",
    b"#\n\nversion=1\n", b"version=1 \n", b" version=1\n", b"#c\r\nversion=1\r\n", b"version=1\r",
    b"LUKS\xba\xbe\0\1", b"LUKS\xba\xbe\0\2", b"vhdxfile", b"vhdxfil", b"conectix", bytes(8) + b"conectix",
    b"WithoutFreeSpace\2\0\0\0", b"WithouFreSpacExt\2\0\0\0", b"WithoutFreeSpace\1\0\0\0",
    bytes(64) + b"\x7f\x10\xda\xbe", bytes(63) + b"\x7f\x10\xda\xbe",
    BOCHS + b"\0\0\2\0", BOCHS + b"\0\0\3\0", CLOOP, CLOOP[:20],
]  # fmt: skip


def probed(path: Path) -> str:
    return probe(path.read_bytes()[:512], str(path))


@pytest.mark.parametrize("format", CREATABLE)
def test_images_of_each_format_are_known_by_their_content(format: str, tmp_path: Path) -> None:
    oracle.qemu_img("create", "-q", "-f", format, tmp_path / "i", "1M")

    assert probed(tmp_path / "i") == format


@pytest.mark.parametrize("name", ["i", "i.dmg"])
@pytest.mark.parametrize("head", HEADS, ids=range(len(HEADS)))
def test_first_bytes_are_taken_for_what_qemu_img_takes_them_for(head: bytes, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(head.ljust(4096, b"\0"))
    answer = oracle.ask_qemu_img("info", "-U", path)

    ours = probed(path)
    if answer.code == 0:
        assert "file format: %s\n" % ours in answer.stdout
    else:
        # No whole image of any format: qemu-img says so in the words that it has when that format is named.
        named = oracle.ask_qemu_img("info", "-U", "-f", ours, path)
        assert ours != "raw" and named.stderr == answer.stderr


def test_a_format_without_a_driver_is_refused_by_name_and_can_still_be_read_as_raw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copying the container as if it were the disk would be a disk that no machine boots from."""
    oracle.qemu_img("create", "-q", "-f", "qcow2", tmp_path / "i", "1M")
    monkeypatch.setattr(formats, "_FORMATS", {"raw": formats._FORMATS["raw"]})

    with pytest.raises(UnsupportedFeatureError, match="Images of the format 'qcow2' are not supported"):
        qimg.convert(tmp_path / "i", tmp_path / "o")
    assert not (tmp_path / "o").exists()
    qimg.convert(tmp_path / "i", tmp_path / "o", source_format="raw")
    assert (tmp_path / "o").read_bytes()[:4] == b"QFI\xfb"
