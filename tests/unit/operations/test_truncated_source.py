# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A source that becomes shorter while it is converted: what is missing must not silently become zeroes."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from qimg.errors import StorageError
from qimg.operations.conversion_request import ConvertRequest
from qimg.operations.convert import plan_convert
from qimg.operations.create import create

_MIB = 1 << 20


def _convert(source: Path, format: str, target: Path, victim: Path, into_existing: bool = False) -> None:
    """Convert an image; as soon as something of it has been copied, most of ``victim`` is cut off."""

    def cut(done: float) -> None:
        os.truncate(victim, min(100000, victim.stat().st_size))

    request = ConvertRequest((str(source),), format, str(target), "raw", into_existing=into_existing)
    plan_convert(request).apply(cut)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.raw"
    path.write_bytes(os.urandom(_MIB) * 8)
    return path


def test_a_raw_source_that_is_cut_off_is_an_error(source: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="has become shorter while it was copied: it had 8388608 bytes, and has 100"):
        _convert(source, "raw", tmp_path / "target", source)
    assert sorted(os.listdir(tmp_path)) == ["source.raw"]


def test_so_is_one_that_is_copied_into_an_image_that_is_there(source: Path, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(bytes(8 * _MIB))
    with pytest.raises(StorageError, match="has become shorter"):
        _convert(source, "raw", tmp_path / "target", source, into_existing=True)


def test_so_is_a_qcow2_source(source: Path, tmp_path: Path) -> None:
    image = tmp_path / "source.qcow2"
    plan_convert(ConvertRequest((str(source),), "raw", str(image), "qcow2")).apply()
    with pytest.raises(StorageError, match=r"'[^']*source\.qcow2' has become shorter"):
        _convert(image, "qcow2", tmp_path / "target", image)


def test_so_is_a_backing_file_of_a_source(source: Path, tmp_path: Path) -> None:
    image = tmp_path / "overlay.qcow2"
    create(str(image), "qcow2", backing_file="source.raw", backing_format="raw")
    with pytest.raises(StorageError, match=r"'[^']*source\.raw' has become shorter"):
        _convert(image, "qcow2", tmp_path / "target", source)


def test_a_source_whose_length_stays_is_none(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(bytes(200000))
    _convert(source, "raw", tmp_path / "target", other)
    assert (tmp_path / "target").read_bytes() == source.read_bytes()
