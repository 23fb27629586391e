# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the system refuses is a typed error that names the file, or no error where nothing is lost by it."""
from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

import qimg
from qimg.errors import StorageError
from qimg.storage import linux, locks, replace
from qimg.storage.local import LocalFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KIB = 1 << 10


@pytest.fixture()
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hole can be punched, because the file system has no space left to note it."""

    def refuse(fd: int, offset: int, length: int, deallocate: bool) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(linux, "zero_range", refuse)


def test_a_discard_that_fails_is_none(tmp_path: Path, full: None) -> None:
    (tmp_path / "f").write_bytes(b"x" * 64 * KIB)
    with LocalFile.open(str(tmp_path / "f"), writable=True) as file:
        file.discard(0, 64 * KIB)


def test_zeroes_that_cannot_be_written_are_a_typed_error(tmp_path: Path, full: None) -> None:
    (tmp_path / "f").write_bytes(b"x" * 64 * KIB)
    with LocalFile.open(str(tmp_path / "f"), writable=True) as file:
        with pytest.raises(StorageError, match="Could not write zeroes to") as caught:
            file.write_zeroes(0, 64 * KIB)
    assert caught.value.errno == errno.ENOSPC and caught.value.path == str(tmp_path / "f")


def test_a_change_that_is_committed_succeeds_though_its_space_is_not_given_back(tmp_path: Path, full: None) -> None:
    path = str(tmp_path / "i.qcow2")
    qimg.create(path, "qcow2", 8 << 20)
    with qimg.open_image(path, purpose="write") as image:
        image.write(0, b"old!" * (1 << 19))
    qimg.create_snapshot(path, "s")
    with qimg.open_image(path, purpose="write") as image:
        image.write(0, b"new!" * (1 << 19))

    qimg.apply_snapshot(path, "s")

    with qimg.open_image(path) as image:
        assert image.read(0, 4) == b"old!"
    assert qimg.check(path).result.clean


def test_a_lock_that_cannot_be_looked_at_is_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"")
    real = fcntl.fcntl

    def refuse(fd: int, command: int, argument: Any = 0) -> Any:
        if command == 36:  # F_OFD_GETLK
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        return real(fd, command, argument)

    with LocalFile.open(str(tmp_path / "f"), writable=True) as file:
        assert locks.locks_supported()
        monkeypatch.setattr(fcntl, "fcntl", refuse)
        with pytest.raises(StorageError, match="Failed to look at the lock") as caught:
            file.lock(locks.WRITE_IMAGE)
    assert caught.value.errno == errno.ENOLCK


def test_a_hidden_file_that_cannot_be_removed_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(StorageError, match="Could not remove '/d/f': Read-only file system"):
        replace._unlink("/d/f")
