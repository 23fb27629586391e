# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image and its external data file are replaced together, though they are two files with two names."""
from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from qimg.errors import ImageError, StorageError
from qimg.formats.driver import WRITE
from qimg.operations.conversion_request import ALWAYS, ConvertRequest
from qimg.operations.convert import plan_convert
from qimg.operations.create import create
from qimg.storage.local import LocalFile
from support import oracle
from support.crashing import check_counters, opener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Operation = Callable[[], Any]

SIZE = 256 << 10
OLD = b"old!" * (SIZE // 8) + bytes(SIZE // 2)
NEW = b"new!" * (SIZE // 4)
#: What changes a name.
NAMING = [(os, "link"), (os, "replace"), (os, "rename"), (os, "unlink")]
WRITING = [(LocalFile, "write"), (LocalFile, "flush")]


class Steps:
    """Counts the calls of some functions, and has one of them do something else.

    :param functions: with what they belong to
    :param stop_at: the number of that call
    :param stop: called before it
    """

    def __init__(self, functions: list[tuple[Any, str]], stop_at: int, stop: Operation) -> None:
        self.seen: list[str] = []
        self._functions = functions
        self._stop_at = stop_at
        self._stop = stop
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> Steps:
        for owner, name in self._functions:
            self._patch.setattr(owner, name, self._counted(name, getattr(owner, name)))
        return self

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any, **named: Any) -> Any:
            self.seen.append(name)
            if len(self.seen) - 1 == self._stop_at:
                self._stop()
            return real(*arguments, **named)

        return count

    def __exit__(self, *exception: object) -> None:
        self._patch.undo()


class Pair:
    """An image with a data file in a directory of its own, and what replaces both."""

    def __init__(self, directory: Path, stored: str = "i.raw", wanted: str = "i.raw", **options: Any) -> None:
        self.directory = directory
        self.path = directory / "i.qcow2"
        (directory / "sub").mkdir(parents=True)
        (directory / "link.raw").symlink_to("sub/linked.raw")
        (directory / "source").write_bytes(NEW)
        stored, wanted = stored.format(directory), wanted.format(directory)
        create(str(self.path), "qcow2", SIZE, {"data_file": stored, **options})
        with opener().open(str(self.path), purpose=WRITE) as image:
            image.write(0, OLD[: SIZE // 2])
        self._request = ConvertRequest(
            (str(directory / "source"),), "raw", str(self.path), "qcow2", {"data_file": wanted, **options}
        )

    def replace(self) -> None:
        plan_convert(self._request, ALWAYS).apply()

    def content(self) -> bytes:
        """What a guest reads, from an image without errors."""
        assert check_counters(self.path) == (0, 0, 0)
        if oracle.missing() is None:
            answer = oracle.ask_qemu_img("check", self.path.name, cwd=self.directory)
            assert answer.code == 0, answer
        with opener().open(str(self.path)) as image:
            return image.read(0, image.size)

    def names(self) -> list[str]:
        found = []
        for directory, _directories, files in os.walk(self.directory):
            found += [os.path.relpath(os.path.join(directory, name), self.directory) for name in files]
        return sorted(found)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def was_killed_at(step: int, operate: Operation) -> bool:
    """Do something in a child that is killed at one step, if it comes to that."""
    child = os.fork()
    if child == 0:
        try:
            with Steps(NAMING + WRITING, step, kill):
                operate()
        finally:
            os._exit(0)
    _pid, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def killed(root: Path, **options: Any) -> Iterator[Pair]:
    """A pair for each step at which its replacement was killed."""
    for step in range(1000):
        pair = Pair(root / str(step), **options)
        if not was_killed_at(step, pair.replace):
            assert pair.content() == NEW
            return
        yield pair
    raise AssertionError("it never ends")


@pytest.mark.parametrize("options", [{}, {"data_file_raw": True}, {"cluster_size": 512}], ids=str)
def test_killed_at_any_moment_both_are_old_or_both_are_new(tmp_path: Path, options: dict[str, Any]) -> None:
    seen = set()
    for pair in killed(tmp_path, **options):
        content = pair.content()
        assert content in (OLD, NEW)
        seen.add(content)
    assert seen == {OLD, NEW}


def test_what_was_hidden_goes_with_the_next_replacement(tmp_path: Path) -> None:
    hidden = set()
    for pair in killed(tmp_path):
        before = pair.names()
        hidden.add(len(before))
        pair.replace()
        assert pair.content() == NEW
        assert pair.names() == ["i.qcow2", "i.raw", "link.raw", "source"], before
    assert len(hidden) > 1


def test_killed_again_and_again(tmp_path: Path) -> None:
    for first, pair in enumerate(killed(tmp_path)):
        second = 0
        while pair.content() == OLD and was_killed_at(first + second, pair.replace):
            assert pair.content() in (OLD, NEW)
            second += 7
        pair.replace()
        assert pair.content() == NEW


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        ("sub/i.raw", "sub/../sub/i.raw"),
        ("./i.raw", "{}/i.raw"),
        ("{}/i.raw", "i.raw"),
        ("link.raw", "sub/linked.raw"),
        ("sub/linked.raw", "link.raw"),
    ],
)
def test_the_data_file_is_known_by_any_name(tmp_path: Path, stored: str, wanted: str) -> None:
    seen = {pair.content() for pair in killed(tmp_path, stored=stored, wanted=wanted)}
    assert seen == {OLD, NEW}


@pytest.mark.parametrize("step", range(8))
def test_what_fails_changes_nothing(tmp_path: Path, step: int) -> None:
    pair = Pair(tmp_path / "pair")
    names, description = pair.names(), described(pair.path)
    with Steps(NAMING, step, fail) as steps:
        try:
            pair.replace()
        except ImageError as error:
            assert os.strerror(errno.EIO) in str(error)
            expected = OLD
        else:
            expected = NEW
    assert pair.content() == expected
    if expected == OLD:
        assert (pair.names(), described(pair.path)) == (names, description)
    else:
        # Only the removal of a hidden name may fail without being said.
        assert len(steps.seen) <= step or steps.seen[step] == "unlink"


def without_second_names(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    real_open = os.open

    def open_named(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real_open(path, flags, *rest, **named)

    def refuse(*_arguments: Any, **_named: Any) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "open", open_named)
    monkeypatch.setattr(os, "link", refuse)
    return {}


def without_room(_monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    # With the headers of an extension and of the end of extensions, that is all there is room for.
    return {"stored": "./" * ((512 - 112 - 16 - len("i.raw")) // 2) + "i.raw", "cluster_size": 512}


@pytest.fixture(params=[without_second_names, without_room])
def hindrance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Why the old image cannot be made to call its data file by another name: what makes such a pair."""
    options: dict[str, Any] = request.param(monkeypatch)
    return options


def test_no_image_is_better_than_one_with_the_wrong_data(tmp_path: Path, hindrance: dict[str, Any]) -> None:
    seen = set()
    for pair in killed(tmp_path, **hindrance):
        seen.add(pair.content() if pair.path.exists() else b"")
        if not pair.path.exists():
            # Whoever looks for the old one finds it.
            assert [name for name in pair.names() if name.startswith(".i.qcow2.qimg-old-")]
    assert seen == {OLD, b"", NEW}


def after_failures(make: Callable[[Path], Pair], root: Path, state: Callable[[Pair], Any]) -> list[Any]:
    """What pairs are like whose replacement failed, each at a later change of a name; no other file may be left."""
    states = []
    for step in range(1000):
        pair = make(root / str(step))
        names = pair.names()
        with Steps(NAMING, step, fail) as steps:
            try:
                pair.replace()
            except ImageError:
                states.append(state(pair))
                assert pair.names() == names
                continue
        assert pair.content() == NEW
        if len(steps.seen) <= step:
            break
    return states


def test_what_fails_there_changes_nothing_either(tmp_path: Path, hindrance: dict[str, Any]) -> None:
    states = after_failures(lambda directory: Pair(directory, **hindrance), tmp_path, Pair.content)
    assert set(states) == {OLD}
    assert len(states) >= 4


def test_what_cannot_be_opened_may_belong_to_the_data_file(tmp_path: Path) -> None:
    for step in range(1000):
        pair = Pair(tmp_path / str(step))
        content = bytearray(pair.path.read_bytes())
        # A feature that nobody knows yet.
        content[72] |= 0x80
        pair.path.write_bytes(content)
        data = (pair.directory / "i.raw").read_bytes()
        if not was_killed_at(step, pair.replace):
            break
        if pair.path.exists() and pair.path.read_bytes() == content:
            assert (pair.directory / "i.raw").read_bytes() == data
    assert pair.content() == NEW


def described(path: Path) -> dict[str, Any]:
    with opener().open(str(path)) as image:
        return image.creation_options()


def test_a_new_image_that_fails_leaves_the_file_that_its_data_would_have_replaced(tmp_path: Path) -> None:
    def alone(directory: Path) -> Pair:
        pair = Pair(directory)
        pair.path.unlink()
        return pair

    def data(pair: Pair) -> bytes:
        return (pair.directory / "i.raw").read_bytes()

    states = after_failures(alone, tmp_path, data)
    assert set(states) == {data(alone(tmp_path / "unchanged"))}
    # A second name for the old data, a hidden one for the new, its own, and that of the image.
    assert len(states) >= 4


def test_what_a_killed_new_image_kept_goes_with_the_next_one(tmp_path: Path) -> None:
    for step in range(1000):
        pair = Pair(tmp_path / str(step))
        pair.path.unlink()
        data = (pair.directory / "i.raw").read_bytes()
        if not was_killed_at(step, pair.replace):
            break
        kept = [name for name in pair.names() if "i.raw" in name]
        assert pair.path.exists() or data in [(pair.directory / name).read_bytes() for name in kept]
        pair.replace()
        assert pair.names() == ["i.qcow2", "i.raw", "link.raw", "source"]
    assert pair.content() == NEW


def test_a_failure_that_passes_leaves_no_hidden_file(tmp_path: Path) -> None:
    """A full disk has space again when the new files are given up: the old ones get their names back then."""
    number = 0
    while True:
        pair = Pair(tmp_path / str(number))

        def fail() -> None:
            raise StorageError("full", errno=errno.ENOSPC)

        with Steps(WRITING, number, fail) as steps:
            try:
                pair.replace()
            except ImageError:
                pass
        if len(steps.seen) <= number:
            break
        hidden = [name for name in os.listdir(pair.directory) if name.startswith(".")]
        assert not hidden, "call %d: %s" % (number, hidden)
        number += 1
    assert number > 5
