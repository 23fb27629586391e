# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a new file takes its name, whatever others do with that name meanwhile."""
from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from qimg.errors import MismatchError, StorageError
from qimg.formats.driver import WRITE
from qimg.formats.opening import open_image
from qimg.operations.conversion_request import NEVER, ConvertRequest
from qimg.operations.convert import plan_convert
from qimg.operations.create import FAIL, RECREATE, create, plan_create
from qimg.storage import kept, local, replace
from qimg.storage.local import LocalFile
from qimg.storage.locks import WRITE_IMAGE, ImageLock, locks_supported
from qimg.storage.replace import NewFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from qimg.operations.plan import Plan
    from qimg.storage.locks import LockIntent


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


def _failing_sync(number: int) -> Callable[[int, object], None]:
    """What puts files on the medium, but for the ``number``-th."""
    left = iter(range(number))

    def sync(fd: int, how: object) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return sync


@pytest.mark.parametrize("synced", [0, 1])
def test_a_data_file_is_not_replaced_if_its_image_cannot_be(
    synced: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, data = tmp_path / "disk.qcow2", tmp_path / "disk.raw"
    options = {"data_file": str(data)}
    create(str(image), "qcow2", 1 << 20, options)
    with open_image(str(image), purpose=WRITE) as disk:
        disk.write(0, b"old")
    before = image.read_bytes(), data.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(replace, "sync_to_medium", _failing_sync(synced))
        with pytest.raises(StorageError, match="No space left on device"):
            plan_create(str(image), "qcow2", 2 << 20, options, existing=RECREATE).apply()
    assert (image.read_bytes(), data.read_bytes()) == before
    plan_create(str(image), "qcow2", 2 << 20, options, existing=RECREATE).apply()
    assert data.stat().st_size == 2 << 20


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
    monkeypatch.setattr(kept, "locks_supported", lambda: False)
    (tmp_path / "disk").write_bytes(b"old")
    (tmp_path / ".disk.qimg-01234567").write_bytes(b"somebody's")
    _make(tmp_path / "disk")
    assert (tmp_path / ".disk.qimg-01234567").read_bytes() == b"somebody's"


def test_what_has_no_medium_needs_no_flush(tmp_path: Path) -> None:
    with LocalFile.open(os.devnull, writable=True) as file:
        file.write(0, b"into the void")
        file.flush()
    assert os.stat(os.devnull).st_rdev == os.makedev(1, 3)


def test_only_what_can_be_ours_is_taken_for_left_behind(file_system: str, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"old")
    (tmp_path / ".disk.qimg-settings").write_bytes(b"somebody's")
    (tmp_path / ".disk.qimg-SETTINGS").write_bytes(b"somebody's")
    (tmp_path / ".disk.qimg-01234567").mkdir()
    (tmp_path / ".disk.qimg-89abcdef").symlink_to("disk")
    os.mkfifo(tmp_path / ".disk.qimg-fedcba98")
    before = sorted(os.listdir(tmp_path))
    _make(path)
    assert sorted(os.listdir(tmp_path)) == before and path.read_bytes() == b"new"


def test_where_nothing_may_be_replaced_what_came_since_stays(file_system: str, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    with pytest.raises(MismatchError, match="in the meantime"):
        with NewFile(str(path)) as file:
            file.begin(0).write(0, b"new")
            file.require_new()
            path.write_bytes(b"somebody's")
            file.commit()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("disk", b"somebody's")]


def _plan_image(directory: Path) -> Plan:
    return plan_create(str(directory / "disk"), "qcow2", 1 << 20, {"data_file": "data"}, existing=FAIL)


def _plan_copy(directory: Path) -> Plan:
    (directory / "source").write_bytes(b"source" * 1024)
    return plan_convert(ConvertRequest((str(directory / "source"),), "raw", str(directory / "disk"), "qcow2"), NEVER)


@pytest.mark.parametrize(("planner", "name"), [(_plan_image, "disk"), (_plan_image, "data"), (_plan_copy, "disk")])
def test_a_new_image_replaces_nothing_that_came_while_it_was_written(
    file_system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planner: Callable[[Path], Plan], name: str
) -> None:
    plan = planner(tmp_path)
    real_sync = local.sync_to_medium

    def sync_late(*arguments: Any) -> None:
        real_sync(*arguments)
        (tmp_path / name).write_bytes(b"somebody's")

    monkeypatch.setattr(replace, "sync_to_medium", sync_late)
    with pytest.raises(MismatchError, match="in the meantime"):
        plan.apply()
    assert (tmp_path / name).read_bytes() == b"somebody's"
    assert {file.name for file in tmp_path.iterdir()} <= {name, "source"}


def test_a_name_that_leads_nowhere_is_an_error(file_system: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="Device or resource busy"):
        with NewFile(str(tmp_path / "disk")) as file:
            file.begin(0).write(0, b"new")
            (tmp_path / "disk").symlink_to("nowhere")
            file.commit()
    assert os.listdir(tmp_path) == ["disk"]


@pytest.mark.skipif(not locks_supported(), reason="this system has no locks of open files")
@pytest.mark.parametrize("file_system", ["hidden"], indirect=True)
def test_a_hidden_file_that_was_taken_for_left_behind_is_made_again(
    file_system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_acquire = ImageLock.acquire
    removed: list[Path] = []

    def acquire_late(lock: ImageLock, intent: LockIntent) -> None:
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].unlink()
        real_acquire(lock, intent)

    monkeypatch.setattr(ImageLock, "acquire", acquire_late)
    _make(tmp_path / "disk")
    assert len(removed) == 1
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("disk", b"new")]


def test_without_links_a_hidden_file_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = os.open

    def open_named(path: Any, flags: int, *rest: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real_open(path, flags, *rest)

    def refuse(*_arguments: Any, **_named: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "open", open_named)
    monkeypatch.setattr(os, "link", refuse)
    _make(tmp_path / "disk")
    _make(tmp_path / "disk", b"newer")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("disk", b"newer")]


def test_files_are_replaced_where_they_have_no_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int) -> list[str]:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "listxattr", refuse)
    (tmp_path / "disk").write_bytes(b"old")
    _make(tmp_path / "disk")
    assert (tmp_path / "disk").read_bytes() == b"new"
