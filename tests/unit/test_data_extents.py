# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file remembers where it found data: what it says must be what the file system says."""
from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from qimg.storage.local import LocalFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qimg.storage.base import Storage

UNIT = 64 << 10
UNITS = 40


def extents(file: Storage, offset: int, length: int) -> list[tuple[int, int, int]]:
    """The extents of a range, neighbours of a kind joined."""
    joined: list[tuple[int, int, int]] = []
    for start, piece, kind in file.extents(offset, length):
        if joined and joined[-1][2] == kind:
            before, so_far, _kind = joined.pop()
            joined.append((before, so_far + piece, kind))
        else:
            joined.append((start, piece, kind))
    return joined


def change(file: Storage, choose: random.Random) -> None:
    first = choose.randrange(UNITS)
    count = choose.randrange(1, UNITS - first + 1)
    kind = choose.choice(("write", "zero", "discard", "truncate"))
    if kind == "write":
        file.write(first * UNIT, b"x" * count * UNIT)
    elif kind == "zero":
        file.write_zeroes(first * UNIT, count * UNIT)
    elif kind == "discard":
        file.discard(first * UNIT, count * UNIT)
    else:
        file.truncate(first * UNIT)
        file.truncate(UNITS * UNIT)


@pytest.mark.parametrize("seed", range(10))
def test_it_knows_what_a_new_look_at_the_file_finds(seed: int, tmp_path: Path) -> None:
    choose = random.Random(seed)
    path = tmp_path / "file"
    path.write_bytes(b"x" * UNIT * UNITS)
    with LocalFile.open(str(path), writable=True) as file:
        for _number in range(60):
            if choose.random() < 0.4:
                change(file, choose)
            first = choose.randrange(UNITS)
            where = first * UNIT, choose.randrange(1, UNITS - first + 1) * UNIT
            with LocalFile.open(str(path)) as fresh:
                assert extents(file, *where) == extents(fresh, *where)


def test_requests_within_a_run_of_data_seek_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * UNIT * UNITS)
    asked: list[int] = []
    seek = os.lseek

    def counting(fd: int, offset: int, whence: int) -> int:
        asked.append(whence)
        return seek(fd, offset, whence)

    with LocalFile.open(str(path)) as file:
        monkeypatch.setattr(os, "lseek", counting)
        for number in range(UNITS):
            assert len(list(file.extents(number * UNIT, UNIT))) == 1

    assert asked == [os.SEEK_DATA, os.SEEK_HOLE]
