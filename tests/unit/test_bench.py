# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Benchmark requests: that they are really sent, in order, and no more at once than allowed.  Nothing here is timed."""
from __future__ import annotations

import threading

import pytest

from qimg.errors import OptionError, StorageError
from qimg.formats.driver import CHECK
from qimg.formats.opening import Opener
from qimg.formats.raw.image import RawImage
from qimg.operations import create
from qimg.operations.bench import bench
from qimg.storage.local import LocalFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

KIB, MIB = 1 << 10, 1 << 20


def content(path: str) -> bytes:
    with Opener().open(path) as image:
        return image.read(0, image.size)


@pytest.mark.parametrize("format", ["raw", "qcow2"])
@pytest.mark.parametrize("depth", [1, 3, 64])
def test_writes_put_the_pattern_where_every_request_says(tmp_path: Path, format: str, depth: int) -> None:
    path = str(tmp_path / "i")
    create.create(path, format, MIB)
    bench(
        path, format, count=10, depth=depth, size=5000, offset=100 * KIB, step=70000, write=True, pattern=0x41
    )
    expected = bytearray(MIB)
    for number in range(10):
        start = 100 * KIB + number * 70000
        expected[start : start + 5000] = b"A" * 5000
    assert content(path) == bytes(expected[:MIB])
    if format == "qcow2":
        with Opener().open(path, purpose=CHECK) as image:
            assert image.check().clean  # type: ignore[attr-defined]


def test_requests_start_over_behind_the_end_of_the_disk(tmp_path: Path) -> None:
    path = str(tmp_path / "i")
    create.create(path, "qcow2", 10 * KIB)
    bench(path, "qcow2", count=3, depth=1, size=512, offset=9 * KIB, step=5 * KIB, write=True, pattern=7)
    marked = {offset for offset in range(0, 10 * KIB, 512) if content(path)[offset] == 7}
    assert marked == {9 * KIB, 4 * KIB, 9 * KIB}


def test_a_step_of_nothing_is_a_step_of_one_request(tmp_path: Path) -> None:
    path = str(tmp_path / "i")
    create.create(path, "raw", 10 * KIB)
    bench(path, "raw", count=5, depth=2, size=512, offset=1024, step=0, write=True, pattern=9)
    assert content(path) == bytes(1024) + b"\x09" * 512 * 5 + bytes(10 * KIB - 1024 - 5 * 512)


@pytest.mark.parametrize("depth", [1, 4])
def test_reads_are_really_made_and_no_more_at_once_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: int
) -> None:
    path = str(tmp_path / "i")
    (tmp_path / "i").write_bytes(bytes(range(256)) * 4096)
    together = threading.Barrier(depth)
    reads: list[tuple[int, int]] = []
    original = LocalFile.read_into

    def read_into(file: Any, offset: int, buffer: Any) -> None:
        reads.append((offset, len(buffer)))
        # Passed only when as many as allowed are here at once; more than that would break it.
        together.wait(timeout=30)
        original(file, offset, buffer)

    with Opener().open(path, "raw") as image:
        assert isinstance(image, RawImage)
    monkeypatch.setattr(LocalFile, "read_into", read_into)
    bench(path, "raw", count=12, depth=depth, size=1000, offset=500, step=3000)
    assert sorted(reads) == [(500 + 3000 * number, 1000) for number in range(12)]


@pytest.mark.parametrize("drain", [True, False])
def test_flushes_come_at_their_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drain: bool) -> None:
    path = str(tmp_path / "i")
    create.create(path, "raw", MIB)
    events: list[str] = []
    for name in ("write", "flush"):
        original = getattr(LocalFile, name)

        def record(file: Any, *arguments: Any, name: str = name, original: Any = original) -> Any:
            result = original(file, *arguments)
            events.append(name)
            return result

        monkeypatch.setattr(LocalFile, name, record)
    bench(path, "raw", count=10, depth=2, size=512, write=True, pattern=1, flush_interval=4, drain=drain)
    # One more flush comes at the end, when the image is closed.
    assert events.count("write") == 10 and events.count("flush") == 3
    if drain:
        assert events == ["write"] * 4 + ["flush"] + ["write"] * 4 + ["flush"] + ["write"] * 2 + ["flush"]
    else:
        positions = [position for position, name in enumerate(events) if name == "flush"]
        # Sent behind the fourth write and the eighth, of which two may still be under way.
        assert positions[0] >= 2 and positions[1] >= 7


def test_reading_shows_what_lies_in_chains_and_compressed_clusters(tmp_path: Path) -> None:
    from qimg.operations.convert import convert

    (tmp_path / "base.raw").write_bytes(b"data" * (64 * KIB))
    convert(str(tmp_path / "base.raw"), str(tmp_path / "base.qcow2"), "qcow2", "raw", compress=True)
    create.create(
        str(tmp_path / "i"), "qcow2", MIB, backing_file=str(tmp_path / "base.qcow2"), backing_format="qcow2"
    )
    assert bench(tmp_path / "i", "qcow2", count=40, depth=8, size=32 * KIB) > 0


def test_a_request_over_the_end_fails_and_nothing_stays_written(tmp_path: Path) -> None:
    path = str(tmp_path / "i")
    create.create(path, "qcow2", MIB)
    before = (tmp_path / "i").read_bytes()
    with pytest.raises(StorageError, match="Failed request: Input/output error"):
        bench(path, "qcow2", count=2, depth=1, size=600 * KIB, write=True, pattern=5)
    assert (tmp_path / "i").read_bytes() == before
    with pytest.raises(StorageError, match="Failed request: Input/output error"):
        bench(path, "qcow2", count=1, depth=1, size=512, offset=2 * MIB)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 0}, "Invalid request count specified. Must be between 1 and 2147483647."),
        ({"depth": 0}, "Invalid queue depth specified. Must be between 1 and 2147483647."),
        ({"size": 0}, "Invalid buffer size specified. Must be between 1 and 2147483647."),
        ({"size": 1 << 31}, "Invalid buffer size specified. Must be between 1 and 2147483647."),
        ({"step": 1 << 31}, "Invalid step_size specified. Must be between 0 and 2147483647."),
        ({"offset": -1}, "Invalid offset specified. Must be between 0 and 9223372036854775807."),
        ({"pattern": 256}, "Invalid pattern byte specified. Must be between 0 and 255."),
        ({"flush_interval": 100}, "--flush-interval is only available in write tests"),
        ({"flush_interval": 10, "write": True}, "Flush interval can't be smaller than depth"),
    ],
)
def test_requests_that_make_no_sense_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        bench(tmp_path / "none", **changes)
    assert caught.value.reason == message
