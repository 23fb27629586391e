# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that other programs made, in ``../shared/samples`` beside the checkout: what they hold is known."""
from __future__ import annotations

import bz2
import hashlib
import lzma
from pathlib import Path

import pytest

from qimg.formats.driver import CHECK, READ
from qimg.formats.opening import Opener
from qimg.operations.check import check
from qimg.policy import SAME_DIRECTORY, ReferencePolicy

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "samples"

pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples are not there")

#: Name of the packed image -> format, further files that it needs, and the SHA-256 of the guest disk, or its beginning.
IMAGES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "empty.bochs.bz2": ("bochs", (), "85e614bc2ef17bec493b849dbeea34687ba52d7b1fedc4e5fc3729b0fb059aad"),
    "iotest-dynamic-1G.vhdx.bz2": ("vhdx", (), "d3d112d8dab7fd360609f7d5a7b769904b7a2a7d7b6b8c535f65a23293c05478"),
    "parallels-v1.bz2": ("parallels", (), "15faf41ebc93b5f734341cb7a2d909001e3f7306960f9d8bc63894f2a8e5bc45"),
    "parallels-v2.bz2": ("parallels", (), "15faf41ebc93b5f734341cb7a2d909001e3f7306960f9d8bc63894f2a8e5bc45"),
    "simple-dmg.dmg.bz2": ("dmg", (), "20647e0a98a830a6a250b91e0e6d7200a872caea07b87a3c19611f3dd031c9df"),
    "simple-pattern.cloop.bz2": ("cloop", (), "7c77af2771e0f86b7ec9707374c7416037fedae45cb0e6e27fbdf55688a5dd12"),
    "ext2.vhdx.xz": ("vhdx", (), "a6c2f0e39afe6c6a"),
    "ext2.vmdk.xz": ("vmdk", (), "a6c2f0e39afe6c6a"),
    "ext2.vhd.xz": ("vpc", (), "870be7ae16c1fa8f"),
    "fat-parent.vhd.xz": ("vpc", (), "bbdb657bc5aa2fde"),
    "fat-parent.vhdx.xz": ("vhdx", (), "2d1954fec68faefe"),
    "fat-differential.vhdx.xz": ("vhdx", ("fat-parent.vhdx.xz",), "a538161f34bc44c1"),
    "hfsplus_zlib.dmg.xz": ("dmg", (), "c86d3616818e175c"),
    "compression-raw.dmg.xz": ("dmg", (), "0786ad1fdcba31a3"),
    "compression-bz2.dmg.xz": ("dmg", (), "0786ad1fdcba31a3"),
    "compression-adc.dmg.xz": ("dmg", (), "0786ad1fdcba31a3"),
    "streamOptimizedWithMarkers.vmdk.xz": ("vmdk", (), "92c0f8b428037743"),
    "twoGbMaxExtentSparse.vmdk.xz": ("vmdk", ("twoGbMaxExtentSparse-s001.vmdk.xz",), "a3bcf05f07a1c06a"),
    "input.vmdk.xz": ("vmdk", (), "49bc20df15e412a6"),
}


def unpack(name: str, directory: Path) -> Path:
    packed = SAMPLES / name
    path = directory / packed.stem
    path.write_bytes((bz2 if packed.suffix == ".bz2" else lzma).decompress(packed.read_bytes()))
    return path


@pytest.mark.parametrize("name", IMAGES)
def test_a_sample_reads_as_its_digest_says(name: str, tmp_path: Path) -> None:
    format, others, expected = IMAGES[name]
    path = unpack(name, tmp_path)
    for other in others:
        unpack(other, tmp_path)
    digest = hashlib.sha256()
    with Opener(ReferencePolicy(SAME_DIRECTORY)).open(str(path), format, READ) as image:
        for offset in range(0, image.size, 1 << 24):
            digest.update(image.read(offset, min(1 << 24, image.size - offset)))
    assert digest.hexdigest().startswith(expected)


def test_a_log_that_was_left_behind_is_replayed(tmp_path: Path) -> None:
    path = unpack("iotest-dirtylog-10G-4M.vhdx.bz2", tmp_path)
    before = path.read_bytes()
    with Opener().open(str(path), "vhdx", READ) as image:
        assert image.size == 10 << 30
        data = [extent for extent in image.runs(0, image.size) if extent.data]
        assert data and any(image.read(data[0].start, 1 << 20))
    assert path.read_bytes() == before
    with Opener().open(str(path), "vhdx", CHECK) as image:
        assert image.check().clean  # type: ignore[attr-defined]
    assert check(str(path)).clean
