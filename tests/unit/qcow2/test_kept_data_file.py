# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""New images on a data file that is there already (``keep_data_file``)."""
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from qimg.errors import OptionError, StorageError
from qimg.formats.opening import open_image
from qimg.operations.check import check
from qimg.operations.conversion_request import ConvertRequest
from qimg.operations.convert import plan_convert
from qimg.operations.create import FAIL, create, plan_create
from qimg.storage.local import LocalFile
from qimg.storage.locks import WRITE_IMAGE, locks_supported

_KEPT = {"data_file": "data", "data_file_raw": True, "keep_data_file": True}
_SIZE = 1 << 20


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(os.urandom(_SIZE))
    return path


@pytest.mark.parametrize("layout", [{}, {"extended_l2": True}, {"cluster_size": 512}], ids=str)
@pytest.mark.parametrize("size", [100352, _SIZE // 2, _SIZE, 2 * _SIZE])
def test_the_guest_reads_what_the_file_holds(
    size: int, layout: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    before = data.read_bytes()
    create(str(tmp_path / "new"), "qcow2", size, {**_KEPT, **layout}, existing=FAIL)
    assert data.read_bytes() == before.ljust(size, b"\0")
    with open_image(str(tmp_path / "new")) as image:
        assert image.read(0, size) == data.read_bytes()[:size]
    counters = check(str(tmp_path / "new")).result
    assert (counters.corruptions, counters.leaks) == (0, 0)


def test_a_plan_that_is_only_tried_out_leaves_the_file_as_it_is(data: Path, tmp_path: Path) -> None:
    plan_create(str(tmp_path / "new"), "qcow2", 2 * _SIZE, _KEPT).rehearse()
    assert data.stat().st_size == _SIZE and not (tmp_path / "new").exists()


def test_an_image_that_cannot_be_made_leaves_the_file_as_it_is(data: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(StorageError):
        create(str(tmp_path / "new"), "qcow2", 2 * _SIZE, _KEPT)
    assert data.stat().st_size == _SIZE


def test_a_file_that_is_missing_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"):
        create(str(tmp_path / "new"), "qcow2", _SIZE, _KEPT)
    assert os.listdir(tmp_path) == []


def test_its_content_must_be_visible(data: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="will not be visible"):
        create(str(tmp_path / "new"), "qcow2", _SIZE, {**_KEPT, "data_file_raw": False})


@pytest.mark.skipif(not locks_supported(), reason="this system has no locks of open files")
def test_a_file_in_use_is_refused(data: Path, tmp_path: Path) -> None:
    user = LocalFile.open(str(data), True)
    try:
        user.lock(WRITE_IMAGE)
        with pytest.raises(StorageError, match="lock; "):
            create(str(tmp_path / "new"), "qcow2", _SIZE, _KEPT)
    finally:
        user.close()


def test_a_conversion_writes_zeroes_over_what_was_there(data: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(70000) + b"data" + bytes(_SIZE - 70004))
    plan_convert(ConvertRequest((str(source),), "raw", str(tmp_path / "new"), "qcow2", _KEPT)).apply()
    assert data.read_bytes() == source.read_bytes()
