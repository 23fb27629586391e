# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images whose tables say that other tables are guest data, or free: writing to the guest disk destroys none."""
from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import qimg
from qimg.formats.qcow2.snapshots.actions import l2_tables, snapshot_l1
from support import oracle
from support.crafted import COPIED, Crafted, snapshot_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from qimg.formats.qcow2.changes.metadata import Metadata

CLUSTER = 1 << 16
#: Host clusters of a crafted image: what they hold.
TABLES = {
    "refcount table": 1,
    "refcount block": 2,
    "L1 table": 3,
    "L2 table": 4,
    "snapshot table": 5,
    "L1 table of a snapshot": 6,
}


def _image(path: Path, target: int) -> Path:
    """An image whose first guest cluster lies in host cluster ``target``, and whose second is honest."""
    image = Crafted(path, snapshots=(1, 5 * CLUSTER))
    image.put(2 * CLUSTER, b"\0\1" * 8)
    image.words(3 * CLUSTER, COPIED | 4 * CLUSTER)
    image.words(4 * CLUSTER, COPIED | target * CLUSTER, COPIED | 7 * CLUSTER)
    image.put(5 * CLUSTER, snapshot_entry(6 * CLUSTER, 1, 1 << 28))
    image.grow(8 * CLUSTER)
    return path


def _write(image: qimg.Image) -> None:
    image.write(0, b"x" * 512)


CHANGES: dict[str, Callable[[Any], None]] = {
    "write": _write,
    "write all": lambda image: image.write(0, b"x" * 2 * CLUSTER),
    "zero": lambda image: image.write_zeroes(0, CLUSTER),
    "zero a part": lambda image: image.write_zeroes(0, 512),
    "discard": lambda image: image.discard(0, CLUSTER),
    "shrink": lambda image: image.resize(0),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("table", TABLES)
def test_a_guest_cannot_write_into_tables(table: str, change: str, tmp_path: Path) -> None:
    path = _image(tmp_path / "disk.qcow2", TABLES[table])
    before = path.read_bytes()
    # A table that had to move first has no other use left.
    with pytest.raises(qimg.CorruptImageError, match=r"it holds tables of the image|is in use but its refcount is 0"):
        with qimg.open_image(str(path), "qcow2", purpose="resize") as image:
            CHANGES[change](image)
    assert _tables(path.read_bytes()) == _tables(before)


def _tables(content: bytes) -> bytes:
    """Everything but the guest data."""
    return content[: 7 * CLUSTER] + content[8 * CLUSTER :]


def test_deleting_a_snapshot_does_not_free_tables(tmp_path: Path) -> None:
    path = _image(tmp_path / "disk.qcow2", 7)
    with path.open("r+b") as file:
        file.seek(6 * CLUSTER)
        file.write((7 * CLUSTER).to_bytes(8, "big"))
        file.seek(7 * CLUSTER)
        file.write((3 * CLUSTER).to_bytes(8, "big"))
    before = path.read_bytes()
    with pytest.raises(qimg.CorruptImageError, match="it holds tables of the image"):
        qimg.delete_snapshot(str(path), "1", "qcow2")
    assert path.read_bytes() == before


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_is_said_to_be_free_is_not_given_to_others(table: str, tmp_path: Path) -> None:
    path = _image(tmp_path / "disk.qcow2", 7)
    with path.open("r+b") as file:
        for cluster in (0, TABLES[table]):
            file.seek(2 * CLUSTER + 2 * cluster)
            file.write(b"\0\0")
    with qimg.open_image(str(path), "qcow2", purpose="write") as image:
        try:
            image.write(10 * CLUSTER, b"new" * CLUSTER)
            image.flush()
        except qimg.CorruptImageError:
            # What moves was in use, though nobody had counted it.
            image.abandon()
    with qimg.open_image(str(path), "qcow2") as image:
        assert len(image.snapshots) == 1  # type: ignore[attr-defined]
        new = image.read(10 * CLUSTER, 3 * CLUSTER)
        assert new in (b"new" * CLUSTER, bytes(3 * CLUSTER))
        assert image.read(CLUSTER, CLUSTER) == bytes(CLUSTER)


def test_a_table_is_not_put_where_an_entry_of_another_table_refers_to(tmp_path: Path) -> None:
    path = _two_tables(tmp_path / "disk.qcow2", 8)
    with qimg.open_image(str(path), "qcow2", purpose="write") as image:
        # The first table that has to move would take the first free cluster, which is data in the other table.
        image.write((1 << 29) + CLUSTER, b"new")
        image.flush()
        image.write(0, b"x" * 512)
    with qimg.open_image(str(path), "qcow2") as image:
        assert image.read(0, CLUSTER) == b"x" * 512 + (b"data" * (CLUSTER // 4))[512:]
        assert image.read((1 << 29) + CLUSTER, 3) == b"new"


def _two_tables(path: Path, target: int) -> Path:
    """An image whose first guest cluster, in the first of two L2 tables, lies in host cluster ``target``."""
    image = Crafted(path, size=1 << 30, l1=(2, 3 * CLUSTER))
    image.put(2 * CLUSTER, b"\0\1" * 8)
    image.words(3 * CLUSTER, COPIED | 4 * CLUSTER, COPIED | 5 * CLUSTER)
    image.words(4 * CLUSTER, COPIED | target * CLUSTER)
    image.words(5 * CLUSTER, COPIED | 6 * CLUSTER)
    image.put(target * CLUSTER, b"data" * (CLUSTER // 4))
    image.grow(9 * CLUSTER)
    return path


def _clusters(runs: Iterable[tuple[int, int]]) -> set[int]:
    return {cluster for first, end in runs for cluster in range(first, end)}


def _snapshot_tables(metadata: Metadata) -> set[int]:
    l1_tables = [snapshot_l1(metadata, snapshot) for snapshot in metadata.snapshots]
    return {offset // 512 for offset, _entries, _times in l2_tables(metadata, l1_tables)}


_STEPS: dict[str, Callable[[Any, int], object]] = {
    "write": lambda image, number: image.write(number * 512, b"x" * 700),
    "zero": lambda image, number: image.write_zeroes(number * 512, 1 << 15),
    "discard": lambda image, number: image.discard(number * 512, 1 << 15),
    "grow": lambda image, number: image.resize(image.size + number * 512),
    "snapshot": lambda image, number: image.create_snapshot("%d" % number, 0, 0),
    "apply": lambda image, number: image.apply_snapshot(image.snapshots[0]) if image.snapshots else None,
    "delete": lambda image, number: image.delete_snapshot(image.snapshots[0]) if image.snapshots else None,
    "flush": lambda image, number: image.flush(),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(_STEPS)), st.integers(0, 1500)), max_size=12))
def test_which_clusters_hold_tables_stays_known(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "disk.qcow2")
        qimg.create(path, "qcow2", 1 << 20, {"cluster_size": 512})
        with qimg.open_image(path, "qcow2", purpose="resize") as image:
            image.write(0, b"first")
            for name, number in steps:
                _STEPS[name](image, number)
                image.flush()
                metadata = image.metadata  # type: ignore[attr-defined]
                known = _clusters(metadata.refcounts.tables)
                found = _clusters(metadata.refcounts.find_tables())
                assert found <= known <= found | _snapshot_tables(metadata)


@pytest.mark.skipif(oracle.missing() is not None, reason=str(oracle.missing()))
def test_qemu_img_does_not_write_there_either(tmp_path: Path) -> None:
    path = _image(tmp_path / "disk.qcow2", TABLES["L1 table"])
    source = tmp_path / "source.raw"
    source.write_bytes(b"x" * CLUSTER)
    answer = oracle.ask_qemu_img("convert", "-n", "-O", "qcow2", source, path)
    assert answer.code == 1
    assert "Preventing invalid write on metadata (overlaps with active L1 table)" in answer.stderr


def test_a_table_that_its_refcount_says_is_free_is_not_moved_to_where_others_are_free_to_write(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    image = Crafted(path, l1=(1, 3 << 16), snapshots=(1, 4 << 16))
    image.put(2 << 16, b"\0\1" * 5 + b"\0\0" + b"\0\1")
    image.put(4 << 16, snapshot_entry(6 << 16, 1, 1 << 28))
    for l1_offset in (3 << 16, 6 << 16):
        image.words(l1_offset, 5 << 16)
    # A zero cluster, which version 2 does not know: the table has to be changed.
    image.words(5 << 16, 1)
    image.grow(7 << 16)
    before = path.read_bytes()
    with pytest.raises(qimg.CorruptImageError, match="in use but its refcount is 0"):
        qimg.amend(str(path), {"compat": "0.10"})
    assert path.read_bytes() == before
