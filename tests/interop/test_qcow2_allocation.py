# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refcounts stay right whatever the size of clusters and the width of refcounts, however often their table grows."""
from __future__ import annotations

from pathlib import Path

import pytest

import qimg
from support import oracle

MIB = 1 << 20
#: Cluster size, refcount bits, guest bytes: where blocks cover few clusters, the table grows again and again.
GRID = [
    (512, 64, 8 * MIB), (512, 64, 33 * MIB), (512, 64, 128 * MIB), (512, 32, 64 * MIB), (512, 1, 64 * MIB),
    (1024, 64, 256 * MIB), (2048, 64, 512 * MIB), (4096, 64, 1024 * MIB), (4096, 16, 1024 * MIB),
    (65536, 64, 16384 * MIB), (2 * MIB, 1, 65536 * MIB), (2 * MIB, 64, 65536 * MIB),
]  # fmt: skip


def is_clean(path: Path) -> bool:
    return qimg.check(str(path)).result.clean and oracle.is_clean(path)


@pytest.mark.parametrize(("cluster_size", "refcount_bits", "size"), GRID)
def test_preallocated_images_are_clean_when_new_and_when_they_grow(
    cluster_size: int, refcount_bits: int, size: int, tmp_path: Path
) -> None:
    path = tmp_path / "i.qcow2"
    options = {"cluster_size": cluster_size, "refcount_bits": refcount_bits, "preallocation": "metadata"}

    qimg.create(str(path), "qcow2", size, options)
    assert is_clean(path)
    qimg.resize(str(path), size + size // 512 * 170, preallocation="metadata")
    assert is_clean(path)
    qimg.resize(str(path), size // 2, shrink=True)
    assert is_clean(path)


@pytest.mark.parametrize(("cluster_size", "refcount_bits"), [(512, 64), (512, 1), (1024, 32), (4096, 64)])
def test_images_full_of_data_are_clean(cluster_size: int, refcount_bits: int, tmp_path: Path) -> None:
    source, path = tmp_path / "source", tmp_path / "i.qcow2"
    source.write_bytes(b"data" * (2 * MIB))
    options = {"cluster_size": cluster_size, "refcount_bits": refcount_bits}

    qimg.convert(str(source), str(path), "qcow2", "raw", options=options)
    assert is_clean(path)
    if refcount_bits > 1:
        qimg.create_snapshot(str(path), "s")
        with qimg.open_image(str(path), purpose="write") as image:
            image.write(0, b"more" * MIB)
        assert is_clean(path)
        qimg.delete_snapshot(str(path), "s")
        assert is_clean(path)
    assert qimg.compare(str(path), str(source)).identical is (refcount_bits == 1)


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_disk_that_ends_inside_a_cluster_of_subclusters_can_be_written(is_shared: bool, tmp_path: Path) -> None:
    """A whole subcluster of the last cluster, compressed or shared with a snapshot, lies beyond the end of the disk."""
    source, path = tmp_path / "source", tmp_path / "i.qcow2"
    source.write_bytes(b"data" * (652_800 // 4))
    qimg.convert(str(source), str(path), "qcow2", "raw", options={"extended_l2": True}, compress=not is_shared)
    if is_shared:
        qimg.create_snapshot(str(path), "s")

    with qimg.open_image(str(path), purpose="write") as image:
        image.write(589_824, b"x" * 512)

    with qimg.open_image(str(path)) as image:
        assert image.read(589_824, 1024) == b"x" * 512 + b"data" * 128
        assert image.read(652_288, 512) == b"data" * 128
    assert is_clean(path)
