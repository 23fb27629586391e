# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMDK as qemu-img writes it and we read and describe it."""
from __future__ import annotations

import struct
from pathlib import Path

import pytest

from qimg.errors import ImageError, ReferenceDeniedError
from qimg.formats.driver import READ
from qimg.formats.opening import Opener
from qimg.policy import DENY, SAME_DIRECTORY, ReferencePolicy
from support import in_process, oracle

TYPE_CHECKING = False
if TYPE_CHECKING:
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
