# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a new file takes its name, whatever others do with that name meanwhile."""
from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from qimg.errors import StorageError
from qimg.storage import replace
from qimg.storage.local import LocalFile
from qimg.storage.locks import WRITE_IMAGE
from qimg.storage.replace import NewFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_IN_USE = 'Failed to get "write" lock'


def _make(path: Path, content: bytes = b"new") -> None:
    with NewFile(str(path)) as file:
        file.begin(0).write(0, content)
        file.commit()


@pytest.fixture(params=["nameless", "hidden"])
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file system that knows files without a name, and one that does not."""
    if request.param == "hidden":
        real_open = os.open

        def open_named(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            return real_open(path, flags, *rest, **named)

        monkeypatch.setattr(os, "open", open_named)
    return str(request.param)


def test_a_new_name_is_taken_without_another_one_before(
    file_system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if file_system == "nameless":
        # Killed at any moment, there is nothing to be left behind.
        monkeypatch.setattr(os, "replace", None)
    _make(tmp_path / "disk")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("disk", b"new")]


def test_a_file_that_somebody_uses_is_not_replaced_though_it_came_later(file_system: str, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    with pytest.raises(StorageError, match=_IN_USE):
        with NewFile(str(path)) as file:
            file.begin(0).write(0, b"new")
            path.write_bytes(b"a running guest's")
            with LocalFile.open(str(path), writable=True) as other:
                other.lock(WRITE_IMAGE)
                file.commit()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("disk", b"a running guest's")]


def test_a_file_that_somebody_uses_is_not_replaced_though_another_was_locked(file_system: str, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"old")
    with pytest.raises(StorageError, match=_IN_USE):
        with NewFile(str(path)) as file:
            file.begin(0).write(0, b"new")
            (tmp_path / "other").write_bytes(b"a running guest's")
            (tmp_path / "other").rename(path)
            with LocalFile.open(str(path), writable=True) as other:
                other.lock(WRITE_IMAGE)
                file.commit()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("disk", b"a running guest's")]


def test_a_file_that_nobody_uses_is_replaced_whenever_it_came(file_system: str, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    with NewFile(str(path)) as file:
        file.begin(0).write(0, b"new")
        path.write_bytes(b"old")
        file.commit()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("disk", b"new")]


def test_a_file_that_is_exchanged_while_it_is_being_locked_is_locked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"old")
    (tmp_path / "other").write_bytes(b"a running guest's")
    real_open = LocalFile.open

    def open_and_exchange(*arguments: Any, **named: Any) -> LocalFile:
        file = real_open(*arguments, **named)
        if (tmp_path / "other").exists():
            (tmp_path / "other").rename(path)
        return file

    with LocalFile.open(str(tmp_path / "other"), writable=True) as other:
        other.lock(WRITE_IMAGE)
        monkeypatch.setattr(LocalFile, "open", staticmethod(open_and_exchange))
        with pytest.raises(StorageError, match=_IN_USE):
            NewFile(str(path))
    assert path.read_bytes() == b"a running guest's"


def test_what_a_killed_process_left_behind_goes_the_next_time(file_system: str, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"old")
    for name in (".disk.qimg-01234567", ".disk.qimg-89abcdef", ".other.qimg-01234567", ".disk.qimg-notes"):
        (tmp_path / name).write_bytes(b"left behind")
    with LocalFile.open(str(tmp_path / ".disk.qimg-89abcdef"), writable=True) as other:
        # Somebody is still writing it.
        other.lock(WRITE_IMAGE)
        _make(path)
    kept = [".disk.qimg-89abcdef", ".disk.qimg-notes", ".other.qimg-01234567", "disk"]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    assert path.read_bytes() == b"new"


def test_two_that_write_the_same_new_file_do_not_disturb_each_other(file_system: str, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    with NewFile(str(path)) as first, NewFile(str(path)) as second:
        first.begin(0).write(0, b"first")
        second.begin(0).write(0, b"second")
        first.commit()
        assert path.read_bytes() == b"first"
        second.commit()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("disk", b"second")]


def test_an_image_gets_no_rights_of_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"old")
    path.chmod(0o6755)
    _make(path)
    assert path.stat().st_mode & 0o7777 == 0o755


def test_without_locks_nothing_is_taken_for_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replace, "locks_supported", lambda: False)
    (tmp_path / "disk").write_bytes(b"old")
    (tmp_path / ".disk.qimg-01234567").write_bytes(b"somebody's")
    _make(tmp_path / "disk")
    assert (tmp_path / ".disk.qimg-01234567").read_bytes() == b"somebody's"


def test_what_has_no_medium_needs_no_flush(tmp_path: Path) -> None:
    with NewFile(os.devnull) as file:
        file.begin(0)
        file.storage.write(0, b"into the void")
        file.storage.flush()
        file.commit()
    assert os.stat(os.devnull).st_rdev == os.makedev(1, 3)
