# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a short file claims to have costs no more memory than a short file may."""
from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest

import qimg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20


def peak_of(work: Callable[[], object]) -> int:
    """The most memory that work takes, in bytes."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_repair_does_not_count_up_to_a_block_that_no_file_reaches(tmp_path: Path) -> None:
    path = tmp_path / "i.qcow2"
    qimg.create(str(path), "qcow2", MIB, {"cluster_size": 4096})
    content = bytearray(path.read_bytes())
    (table,) = struct.unpack_from(">Q", content, 48)
    struct.pack_into(">Q", content, table + 8, 1 << 40)
    path.write_bytes(content)

    assert peak_of(lambda: qimg.check(str(path), repair="all")) < 64 * MIB
    assert qimg.check(str(path)).result.clean


def test_a_snapshot_table_that_the_file_does_not_have_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "i.qcow2"
    qimg.create(str(path), "qcow2", MIB)
    content = bytearray(path.read_bytes()[:790])
    struct.pack_into(">IQ", content, 60, 65_000, 0x40000)
    path.write_bytes(content)

    def look() -> None:
        with pytest.raises(qimg.FormatError, match="65000 entries, more than the file has room for"):
            qimg.info(str(path))

    assert peak_of(look) < 16 * MIB
