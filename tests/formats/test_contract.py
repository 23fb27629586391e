# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contract of formats catches what is wrong with a format, and accepts one that is right."""
from __future__ import annotations

from pathlib import Path

import pytest
import toy
from contract import FormatContract

import qimg
from qimg import formats
from qimg.formats import driver_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def register(monkeypatch: pytest.MonkeyPatch, defect: str) -> None:
    driver = toy.ToyDriver(defect)
    monkeypatch.setitem(formats._FORMATS, "toy", lambda: driver)
    monkeypatch.setattr(driver_names, "_DRIVERS", driver_names._DRIVERS | {"toy"})


class ToyContract(FormatContract):
    format = "toy"
    qemu_reads = False
    grows = True
    header_bytes = 32

    def naming_images(self, directory: Path, outside: Path) -> Iterator[Path]:
        qimg.create(str(directory / "i"), "toy", self.size, {"child": str(outside)})
        yield directory / "i"


class TestToy(ToyContract):
    """The toy without a defect."""

    @pytest.fixture(autouse=True)
    def toy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        register(monkeypatch, "")


def test_a_wrong_map_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, toy.WRONG_MAP)
    with pytest.raises(AssertionError):
        ToyContract().test_random_writes_read_back_as_from_plain_bytes(0, tmp_path)


def test_a_lost_write_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, toy.LOST_WRITE)
    with pytest.raises(AssertionError):
        ToyContract().test_random_writes_read_back_as_from_plain_bytes(0, tmp_path)


def test_an_unchecked_count_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, toy.UNCHECKED_COUNT)
    with pytest.raises(AssertionError, match="a small image takes"):
        ToyContract().test_absurd_header_fields_are_answered_with_little_work(tmp_path)


def test_an_unpoliced_child_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, toy.UNPOLICED_CHILD)
    with pytest.raises(AssertionError, match="a file was opened that the policy forbids"):
        ToyContract().test_every_file_that_an_image_names_passes_the_policy(tmp_path, monkeypatch)


def test_a_change_that_is_not_atomic_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, toy.NOT_ATOMIC)
    with pytest.raises(AssertionError):
        ToyContract().test_interrupted_writes_leave_a_whole_image_with_old_or_new_sectors(tmp_path)
