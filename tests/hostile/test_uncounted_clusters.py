# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images with clusters that are in use, though their refcounts say that they are free."""
from __future__ import annotations

from pathlib import Path

import pytest

import qimg
from support.crafted import COPIED, Crafted, snapshot_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

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


def _scattered(path: Path, with_snapshot: bool = True, with_bitmap: bool = False) -> Path:
    """An image with data all over, of which a program has lost the refcounts, and free clusters below."""
    qimg.create(str(path), "qcow2", 1 << 30, {"cluster_size": 4096})
    with qimg.open_image(str(path), purpose="write") as image:
        for number in range(40):
            image.write(number * (7 << 20), b"%04d" % number * 1024)
    if with_snapshot:
        qimg.create_snapshot(str(path), "s")
        with qimg.open_image(str(path), purpose="write") as image:
            for number in range(5):
                image.write(number * (7 << 20), b"new%d" % number * 1024)
    if with_bitmap:
        qimg.add_bitmap(str(path), "b")
    with qimg.open_image(str(path)) as image:
        clusters = [run.offset // 4096 for run in image.runs(0, image.size) if run.offset is not None]
        refcounts = image.metadata.refcounts  # type: ignore[attr-defined]
        places = [refcounts.block_offset(cluster // 2048) + 2 * (cluster % 2048) for cluster in clusters[::3]]
    assert len(places) > 10
    with path.open("r+b") as file:
        for place in places:
            file.seek(place)
            file.write(bytes(2))
    return path


def _write_everywhere(path: str) -> None:
    with qimg.open_image(path, purpose="write") as image:
        for number in range(20):
            image.write((1 << 20) + number * (7 << 20), b"more" * 2048)


CHANGES: dict[str, Callable[[str], None]] = {
    "snapshot -d": lambda path: qimg.delete_snapshot(path, "s"),
    "amend": lambda path: qimg.amend(path, {"lazy_refcounts": "on"}),
    "amend to version 2": lambda path: qimg.amend(path, {"compat": "0.10"}),
    "bitmap --add": lambda path: qimg.add_bitmap(path, "other"),
    "bitmap --remove": lambda path: qimg.remove_bitmap(path, "b"),
    "resize": lambda path: qimg.resize(path, 2 << 30),
    "resize --shrink": lambda path: qimg.resize(path, 1 << 27, shrink=True),
    "rebase": lambda path: qimg.rebase(path, None),
    "guest writes": _write_everywhere,
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_change_overwrites_data_that_nobody_counted(change: str, tmp_path: Path) -> None:
    """It works, or it is refused; what the guest has elsewhere stays in either case."""
    bitmap = change in ("bitmap --remove", "resize", "resize --shrink")
    path = _scattered(tmp_path / "disk.qcow2", change != "amend to version 2", bitmap)
    before = _numbers(path)
    try:
        CHANGES[change](str(path))
    except qimg.ImageError as error:
        assert not isinstance(error, qimg.OptionError)
    after = _numbers(path)
    assert after == before[: len(after)]
    assert len(after) == (19 if change == "resize --shrink" else len(before))


def _numbers(path: Path) -> list[bytes]:
    """What the image has where :func:`_scattered` put something."""
    with qimg.open_image(str(path)) as image:
        places = [place for place in range(0, 40 * (7 << 20), 7 << 20) if place + 4096 <= image.size]
        return [image.read(place, 4096) for place in places]
