# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is remembered of a conversion is recognised again, and nothing else is."""
from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from qimg.operations import conversion_record

if TYPE_CHECKING:
    from pathlib import Path

    from qimg.operations.conversion_record import Side
    from qimg.operations.snapshot import SnapshotName

#: As it is without the fixture.
_state_directory = conversion_record.state_directory

SOURCE: Side = [["/disks/a.raw", 1, 2, 512, 10, 20]]
TARGET: Side = [["/disks/b.qcow2", 1, 3, 65536, 10, 20]]


@pytest.fixture(autouse=True)
def _records_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion_record, "state_directory", lambda: str(tmp_path / "records"))


@pytest.mark.parametrize("snapshot", [None, "before", ("1", "before"), (None, "before")])
def test_what_was_remembered_is_recognised(snapshot: SnapshotName | None) -> None:
    conversion_record.remember([SOURCE], TARGET, snapshot, "b.qcow2")
    assert conversion_record.is_unchanged([SOURCE], TARGET, snapshot, "b.qcow2")


@pytest.mark.parametrize("place", range(len(SOURCE[0])))
def test_another_file_is_not_recognised(place: int) -> None:
    conversion_record.remember([SOURCE], TARGET, None, "b.qcow2")
    changed = [list(SOURCE[0])]
    changed[0][place] = "/disks/c.raw" if place == 0 else changed[0][place] + 1
    assert not conversion_record.is_unchanged([changed], TARGET, None, "b.qcow2")


def test_another_snapshot_is_not_recognised() -> None:
    conversion_record.remember([SOURCE], TARGET, ("1", "before"), "b.qcow2")
    assert not conversion_record.is_unchanged([SOURCE], TARGET, "before", "b.qcow2")


def test_another_compression_is_not_recognised() -> None:
    conversion_record.remember([SOURCE], TARGET, None, "b.qcow2", True)
    assert conversion_record.is_unchanged([SOURCE], TARGET, None, "b.qcow2", True)
    assert not conversion_record.is_unchanged([SOURCE], TARGET, None, "b.qcow2", False)


def test_records_of_targets_that_are_gone_are_removed(tmp_path: Path) -> None:
    records = tmp_path / "records"

    def remember(name: str) -> Path:
        path = tmp_path / name
        path.touch()
        status = path.stat()
        before = set(records.glob("*"))
        conversion_record.remember([SOURCE], [[str(path), status.st_dev, status.st_ino, 0, 1, 1]], None, str(path))
        (record,) = set(records.glob("*")) - before
        return record

    kept, gone, replaced = (remember(name) for name in ("kept", "gone", "replaced"))
    (tmp_path / "gone").unlink()
    (tmp_path / "new").touch()
    (tmp_path / "new").rename(tmp_path / "replaced")
    (records / "0123.json.77").touch()
    os.utime(records / "0123.json.77", (1, 1))
    (records / "0123.json.78").touch()
    last = remember("last")
    assert set(records.iterdir()) == {kept, last, records / "0123.json.78"}
    assert not gone.exists() and not replaced.exists()


def test_files_that_cannot_be_relied_on_are_not_remembered() -> None:
    conversion_record.remember([SOURCE, None], TARGET, None, "b.qcow2")
    assert not conversion_record.is_unchanged([SOURCE, None], TARGET, None, "b.qcow2")


@pytest.mark.parametrize(
    ("user", "home", "expected"),
    [
        (0, "/state", "/state/qimg/conversions"),
        (0, None, "/var/lib/qimg/conversions"),
        (0, "relative", "/var/lib/qimg/conversions"),
        (1000, "/state", "/state/qimg/conversions"),
        (1000, None, "/home/user/.local/state/qimg/conversions"),
    ],
)
def test_records_are_kept_in_the_state_directory(
    user: int, home: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setenv("HOME", "/home/user")
    if home is None:
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_STATE_HOME", home)
    assert _state_directory() == expected
