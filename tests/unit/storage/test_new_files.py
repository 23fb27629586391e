# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""New files: they appear under their name when they are complete, and leave no trace if they never are."""
from __future__ import annotations

import errno
import os
import stat
import time

import pytest

from qimg.errors import ImageInUseError, StorageError
from qimg.storage import locks
from qimg.storage.local import LocalFile
from qimg.storage.locks import WRITE_IMAGE
from qimg.storage.replace import CLOCK_STEP_NS, NewFile
from qimg.storage.scratch import Rehearsal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(params=["nameless", "hidden"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A name in an empty directory, whose file system knows files without a name or does not."""
    if request.param == "hidden":
        original = os.open

        def no_tmpfile(path: str, flags: int, *rest: int) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            return original(path, flags, *rest)

        monkeypatch.setattr(os, "open", no_tmpfile)
    return tmp_path / "new"


def write(path: Path, content: bytes = b"new content") -> None:
    with NewFile(str(path)) as new:
        new.begin(0).write(0, content)
        new.commit()


def test_the_name_appears_with_the_whole_content(target: Path) -> None:
    with NewFile(str(target)) as new:
        new.begin(0).write(0, b"half")
        assert not target.exists()
        new.storage.write(4, b" and half")
        new.commit()

    assert target.read_bytes() == b"half and half" and os.listdir(target.parent) == ["new"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


def test_an_old_file_is_there_until_the_new_one_is(target: Path) -> None:
    target.write_bytes(b"old")
    os.chmod(target, 0o600)
    with NewFile(str(target)) as new:
        new.begin(0).write(0, b"new")
        assert target.read_bytes() == b"old"
        new.commit()

    assert target.read_bytes() == b"new" and os.listdir(target.parent) == ["new"]
    # It is somebody's file still, and no more open to others than before.
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["n" * 255, "\u044f" * 127 + "n"], ids=["ascii", "cyrillic"])
def test_a_name_may_be_as_long_as_the_file_system_allows(target: Path, name: str) -> None:
    path = target.with_name(name)
    write(path, b"old")
    write(path, b"new")

    assert path.read_bytes() == b"new" and os.listdir(path.parent) == [name]


def test_what_is_not_committed_leaves_no_trace(target: Path) -> None:
    target.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), NewFile(str(target)) as new:
        new.begin(0).write(0, b"new")
        raise ZeroDivisionError

    assert target.read_bytes() == b"old" and os.listdir(target.parent) == ["new"]


def test_a_rehearsal_changes_nothing_even_when_it_is_committed(target: Path) -> None:
    target.write_bytes(b"old")
    with NewFile(str(target), rehearsal=Rehearsal()) as new:
        new.begin(0).write(0, b"new")
        assert new.storage.read(0, 3) == b"new"
        new.commit()

    assert target.read_bytes() == b"old" and os.listdir(target.parent) == ["new"]


def test_of_a_symbolic_link_the_file_is_replaced(target: Path) -> None:
    target.symlink_to("real")
    (target.parent / "real").write_bytes(b"old")
    write(target)

    assert target.is_symlink() and (target.parent / "real").read_bytes() == b"new content"


def test_a_name_that_is_a_descriptor_is_written_in_place(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"much older content")
    inode = path.stat().st_ino
    fd = os.open(path, os.O_RDWR)
    try:
        with NewFile("/dev/fd/%d" % fd) as new:
            new.begin(0).write(0, b"new")
            new.commit()
    finally:
        os.close(fd)

    assert path.read_bytes() == b"new" and path.stat().st_ino == inode


def test_a_backdated_file_shows_every_later_write_in_its_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with NewFile(str(path)) as new:
        new.begin(0).write(0, b"new")
        modified = new.backdate()
        new.commit()

    assert path.stat().st_mtime_ns == modified <= time.time_ns() - CLOCK_STEP_NS


@pytest.mark.skipif(not locks.locks_supported(), reason="this system has no locks of open files")
def test_a_file_in_use_is_not_replaced(target: Path) -> None:
    target.write_bytes(b"old")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        with LocalFile.open(str(target), True) as storage:
            storage.lock(WRITE_IMAGE)
            (target.parent / "locked").touch()
            os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    try:
        while not (target.parent / "locked").exists():
            os.sched_yield()
        with pytest.raises(ImageInUseError):
            NewFile(str(target))
    finally:
        os.close(writer)
        os.waitpid(child, 0)
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "number"), [("missing/new", errno.ENOENT), ("folder", errno.EISDIR), ("file/new", errno.ENOTDIR)]
)
def test_where_no_file_can_be_an_error_says_why(tmp_path: Path, name: str, number: int) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as caught:
        NewFile(str(tmp_path / name))

    assert caught.value.errno == number and str(tmp_path / name) in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def _closed_to_writing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _mode, **_options: path != str(directory))


def _of_others_who_keep_their_names(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.chmod(0o1777)
    monkeypatch.setattr(os, "geteuid", lambda: directory.stat().st_uid + 1)


@pytest.mark.parametrize("rehearsal", [None, Rehearsal()], ids=["done", "rehearsed"])
@pytest.mark.parametrize("forbid", [_closed_to_writing, _of_others_who_keep_their_names])
def test_what_only_the_directory_forbids_is_refused_before_anything_is_written(
    forbid: Callable[[Path, pytest.MonkeyPatch], None],
    rehearsal: Rehearsal | None,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target.write_bytes(b"old")
    forbid(target.parent, monkeypatch)
    with pytest.raises(StorageError, match="its directory does not allow") as caught:
        NewFile(str(target), rehearsal=rehearsal)
    assert caught.value.errno in (errno.EACCES, errno.EPERM)
    assert os.listdir(target.parent) == ["new"] and target.read_bytes() == b"old"
