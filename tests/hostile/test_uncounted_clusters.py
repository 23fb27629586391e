# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images with clusters that are in use, though their refcounts say that they are free."""
from __future__ import annotations

from pathlib import Path

import pytest

import qimg
from support.crafted import COPIED, Crafted, snapshot_entry

CLUSTER = 1 << 16
DATA = b"data" * (CLUSTER // 4)
#: Host clusters of the image: what they hold.
CLUSTERS = {"refcount table": 1, "refcount block": 2, "L1 table": 3, "L2 table": 4, "snapshot table": 5, "data": 8}


def _image(path: Path, uncounted: int, backing: bytes = b"") -> Path:
    """An image with a snapshot that holds nothing, and data in its guest clusters 0 and 1, host clusters 7 and 8."""
    extensions = ((0xE2792ACA, b"raw\0\0\0\0\0"),) if backing else ()
    image = Crafted(path, snapshots=(1, 5 * CLUSTER), extensions=extensions, backing_file=backing)
    counts = bytearray(b"\0\1" * 9)
    counts[2 * uncounted + 1] = 0
    image.put(2 * CLUSTER, bytes(counts))
    image.words(3 * CLUSTER, COPIED | 4 * CLUSTER)
    image.words(4 * CLUSTER, COPIED | 7 * CLUSTER, COPIED | 8 * CLUSTER)
    image.put(5 * CLUSTER, snapshot_entry(6 * CLUSTER, 1, 1 << 28))
    image.put(6 * CLUSTER, bytes(CLUSTER))
    image.put(7 * CLUSTER, 2 * DATA)
    return path


def _read(path: Path) -> bytes:
    with qimg.open_image(str(path), "qcow2") as image:
        return bytes(image.read(0, 4 * CLUSTER))


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_an_overlay_is_emptied_whatever_nobody_counted(cluster: str, tmp_path: Path) -> None:
    base = tmp_path / "base.raw"
    base.write_bytes(bytes(CLUSTER << 12))
    path = _image(tmp_path / "disk.qcow2", CLUSTERS[cluster], b"base.raw")
    qimg.commit(str(path), "qcow2")
    assert base.read_bytes()[: 3 * CLUSTER] == 2 * DATA + bytes(CLUSTER)
    with qimg.open_image(str(path), "qcow2") as image:
        assert not any(extent.present for extent in image.runs(0, image.size))
    report = qimg.check(str(path), "qcow2")
    assert report.result.corruptions == (cluster == "snapshot table")


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_disk_is_made_smaller_whatever_nobody_counted(cluster: str, tmp_path: Path) -> None:
    path = _image(tmp_path / "disk.qcow2", CLUSTERS[cluster])
    qimg.resize(str(path), CLUSTER, "qcow2", shrink=True)
    with qimg.open_image(str(path), "qcow2") as image:
        assert image.read(0, CLUSTER) == DATA
    assert qimg.check(str(path), "qcow2").result.corruptions == (cluster == "snapshot table")


def test_a_table_is_not_moved_to_its_own_data(tmp_path: Path) -> None:
    path = _image(tmp_path / "disk.qcow2", 8)
    with qimg.open_image(str(path), "qcow2", purpose="write") as image:
        image.write(2 * CLUSTER, b"more" * (CLUSTER // 4))
    assert _read(path)[: 3 * CLUSTER] == 2 * DATA + b"more" * (CLUSTER // 4)


def test_a_snapshot_destroys_no_data_that_nobody_counted(tmp_path: Path) -> None:
    path = _image(tmp_path / "disk.qcow2", 8)
    before = _read(path)
    qimg.create_snapshot(str(path), "s", "qcow2")
    assert _read(path) == before


def test_a_snapshot_is_refused_if_another_table_would_lose_data_that_nobody_counted(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    image = Crafted(path, size=1 << 30, l1=(2, 3 * CLUSTER))
    image.put(2 * CLUSTER, b"\0\1" * 7)
    image.words(3 * CLUSTER, COPIED | 4 * CLUSTER, COPIED | 5 * CLUSTER)
    image.words(4 * CLUSTER, COPIED | 6 * CLUSTER)
    image.words(5 * CLUSTER, COPIED | 7 * CLUSTER)
    image.put(7 * CLUSTER, DATA)
    before = path.read_bytes()
    with pytest.raises(qimg.CorruptImageError, match="Cluster at offset 0x70000 is in use but its refcount is 0"):
        qimg.create_snapshot(str(path), "s", "qcow2")
    assert path.read_bytes() == before
