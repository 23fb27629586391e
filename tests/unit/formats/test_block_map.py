# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shared engine of the formats that cut a disk into blocks, on two small formats of the tests."""
from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qimg.errors import CorruptImageError
from qimg.formats.base import ABSENT, DATA, Origin
from qimg.formats.block_map import BlockImage
from qimg.formats.raw.image import RawImage
from qimg.storage.local import LocalFile
from support.block_toys import BLOCK, MAPS, BlockToy
from support.recording import Recorder, power_losses, prefixes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qimg.formats.base import Image

SIZE = 150 * BLOCK + 1536
BACKING_SIZE = 90 * BLOCK + 512
LEVELS = pytest.mark.parametrize("levels", MAPS)

OFFSETS = st.one_of(st.integers(0, SIZE - 1), st.integers(0, SIZE // BLOCK).map(lambda number: number * BLOCK))
LENGTHS = st.one_of(st.integers(1, 5 * BLOCK), st.sampled_from([BLOCK, 3 * BLOCK, 70 * BLOCK]))
CHANGES = st.lists(
    st.tuples(st.sampled_from(["write", "zero", "keep zero", "flush", "reopen"]), OFFSETS, LENGTHS), max_size=12
)


def backing_content() -> bytes:
    return bytes(number // 512 % 251 for number in range(BACKING_SIZE))


def open_toy(path: Path, levels: int, size: int = SIZE, backing: Path | None = None, is_new: bool = False) -> BlockToy:
    storage = LocalFile.open(str(path), writable=True)
    below: Image | None = None
    if backing is not None:
        below = RawImage(Origin(str(backing), "raw"), LocalFile.open(str(backing)))
    return BlockToy(Origin(str(path), "blocks%d" % levels), MAPS[levels](storage, size, below, is_new))


def new_toy(path: Path, levels: int, size: int = SIZE, backing: Path | None = None) -> BlockToy:
    path.write_bytes(b"")
    toy = open_toy(path, levels, size, backing, is_new=True)
    toy.storage.truncate(toy._map.data_start)
    return toy


def make_backing(directory: Path) -> Path:
    path = directory / "backing"
    path.write_bytes(backing_content())
    return path


def change(image: BlockImage, model: bytearray, kind: str, offset: int, length: int, number: int) -> None:
    length = min(length, len(model) - offset)
    if kind == "write":
        data = bytes([number + 1]) * length
        image.write(offset, data)
        model[offset : offset + length] = data
    elif kind == "flush":
        image.flush()
    else:
        image.write_zeroes(offset, length, deallocate=kind == "zero")
        model[offset : offset + length] = bytes(length)


@LEVELS
@pytest.mark.parametrize("has_backing", [False, True])
@settings(max_examples=20, deadline=None)
@given(changes=CHANGES)
def test_it_reads_what_plain_bytes_would_hold(
    levels: int, has_backing: bool, changes: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("blocks")
    backing = make_backing(directory) if has_backing else None
    model = bytearray(SIZE)
    if has_backing:
        model[:BACKING_SIZE] = backing_content()
    image = new_toy(directory / "i", levels, backing=backing)
    for number, (kind, offset, length) in enumerate(changes):
        if kind == "reopen":
            image.close()
            image = open_toy(directory / "i", levels, backing=backing)
        else:
            change(image, model, kind, offset, length, number)
        assert image.read(0, SIZE) == model
    image.close()
    with open_toy(directory / "i", levels, backing=backing) as image:
        assert image.read(0, SIZE) == model
        assert image.check().clean
        position = 0
        for run in image.runs(0, SIZE):
            assert run.start == position
            position += run.length
            if run.kind == DATA:
                assert run.storage is not None and run.offset is not None
                assert run.storage.read(run.offset, run.length) == model[run.start : position]
        assert position == SIZE


@LEVELS
@pytest.mark.parametrize("has_backing", [False, True])
def test_an_interrupted_change_leaves_old_or_new_sectors_and_no_entry_without_data(
    levels: int, has_backing: bool, tmp_path: Path
) -> None:
    backing = make_backing(tmp_path) if has_backing else None
    path = tmp_path / "i"
    with new_toy(path, levels, backing=backing) as image:
        image.write(0, b"old!" * 2048)
    before = path.read_bytes()
    with open_toy(path, levels, backing=backing) as image:
        old = image.read(0, SIZE)
    with Recorder([path]) as recorder:
        with open_toy(path, levels, backing=backing) as image:
            image.write(BLOCK - 512, b"new" * 4096)
            image.flush()
            image.write(70 * BLOCK + 512, b"else" * 8192)
            image.write_zeroes(20 * BLOCK + 512, 10 * BLOCK)
            image.write_zeroes(0, 1024)
    with open_toy(path, levels, backing=backing) as image:
        new = image.read(0, SIZE)
    states = itertools.chain(
        prefixes({path: before}, recorder.events), power_losses({path: before}, recorder.events, seed=3, samples=80)
    )
    for what, files in states:
        path.write_bytes(files[path])
        with open_toy(path, levels, backing=backing) as image:
            found = image.read(0, SIZE)
            assert image.check().clean, what
        for offset in range(0, SIZE, 512):
            sector = found[offset : offset + 512]
            assert sector in (old[offset : offset + 512], new[offset : offset + 512]), "%s: %d" % (what, offset)


@LEVELS
def test_an_image_that_is_given_up_names_no_block_without_data(levels: int, tmp_path: Path) -> None:
    path = tmp_path / "i"
    new_toy(path, levels).close()
    image = open_toy(path, levels)
    # Room is given, and nothing written there.
    image.place(BLOCK, 3 * BLOCK)
    image.abandon()
    with open_toy(path, levels) as image:
        assert [run.kind for run in image.runs(0, SIZE)] == [ABSENT] * len(list(image.runs(0, SIZE)))


@LEVELS
def test_blocks_that_follow_each_other_are_one_run(levels: int, tmp_path: Path) -> None:
    with new_toy(tmp_path / "i", levels) as image:
        image.write(0, b"x" * 40 * BLOCK)
        assert [(run.kind, run.length) for run in image.runs(0, 40 * BLOCK)] == [(DATA, 40 * BLOCK)]
        assert len(image.place(512, 39 * BLOCK)) == 1


def test_a_large_empty_disk_is_mapped_without_reading_its_second_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 1 << 40
    with new_toy(tmp_path / "i", 2, size) as image:
        image.write(size // 2, b"x")
        reads = []
        monkeypatch.setattr(LocalFile, "read_into", lambda *request: reads.append(request))
        runs = list(image.runs(0, size))
    assert sum(run.length for run in runs) == size
    # The pages of the first level, of which there are 512.
    assert len(runs) < 520 and len(reads) < 520


@LEVELS
def test_an_entry_that_names_no_place_in_the_file_is_refused_where_it_is_come_to(levels: int, tmp_path: Path) -> None:
    with new_toy(tmp_path / "i", levels) as image:
        image.write(0, b"x" * 2 * BLOCK)
        image.flush()
        entry = image._map.table.entry(1)
        for wrong in (entry * 1000, 2):
            image._map.table.fill(1, 1, wrong)
            runs = image.runs(0, SIZE)
            assert next(runs).length == BLOCK
            with pytest.raises(CorruptImageError):
                next(runs)
        image._map.table.fill(1, 1, entry)


def test_tables_of_a_new_image_take_bounded_memory(tmp_path: Path) -> None:
    size = 1 << 34
    with new_toy(tmp_path / "i", 2, size) as image:
        table = image._map.table
        for number in range(3000):
            image.place(number * 64 * BLOCK, BLOCK)
            assert len(table._pages) <= table._most_pages
    with open_toy(tmp_path / "i", 2, size) as image:
        assert sum(run.length for run in image.runs(0, size) if run.kind == DATA) == 3000 * BLOCK
