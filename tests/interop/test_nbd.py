# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command on exports of NBD servers: ours must answer and do what real qemu-img does."""
from __future__ import annotations

import re
import shutil
import struct
from contextlib import ExitStack
from pathlib import Path

import pytest
from cli_differences import EXPORT_DIFFERENCES, KnownDifference, known_difference, shown
from cli_file_differences import is_known_in_files
from cli_support import split
from nbd_cases import LINES, NBDKIT_LINES, NBDKIT_SERVERS, SERVERS

from support import oracle
from support.nbd import serving, unix_listener
from support.side_by_side import SideBySide, template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.oracle

_SERVERS = {**SERVERS, **NBDKIT_SERVERS}
#: What the images name themselves.
_NEEDED_BY = {"remote.qcow2": ["raw"], "readonly.qcow2": ["ro"]}


def build(directory: Path) -> None:
    """The images that are exported."""

    def create(name: str, *options: str, format: str = "qcow2") -> None:
        oracle.qemu_img("create", "-q", "-f", format, *options[:-1], name, options[-1], cwd=directory)

    def write(name: str, *commands: str, format: str | None = "qcow2") -> None:
        oracle.qemu_io(name, *commands, format=format, cwd=directory)

    create("disk.raw", "8M", format="raw")
    write("disk.raw", "write -P 1 1M 1M", "write -P 2 5000k 300k", format="raw")
    create("blank.raw", "8M", format="raw")
    create("small.raw", "1M", format="raw")
    (directory / "odd.raw").write_bytes(bytes(1000) + b"odd" * 700)
    create("data.qcow2", "8M")
    write("data.qcow2", "write -P 3 2M 1M", "write -P 4 7M 64k")
    create("roomy.qcow2", "-o", "cluster_size=4k", "8M")
    write("roomy.qcow2", "write -P 5 1M 200k", "write -z 3M 300k", "write -P 6 4M 8k")
    oracle.qemu_img("snapshot", "-c", "first", "roomy.qcow2", cwd=directory)
    oracle.qemu_img("bitmap", "--add", "roomy.qcow2", "b", cwd=directory)
    write("roomy.qcow2", "write -P 7 1100k 20k")
    with open(directory / "roomy.qcow2", "r+b") as file:
        file.truncate(16 << 20)
    create("leaky.qcow2", "8M")
    write("leaky.qcow2", "write -P 5 1M 200k")
    content = bytearray((directory / "leaky.qcow2").read_bytes())
    table = struct.unpack_from(">Q", content, 48)[0]
    struct.pack_into(">HH", content, struct.unpack_from(">Q", content, table)[0] + 2 * 20, 1, 3)
    (directory / "leaky.qcow2").write_bytes(content.ljust(4 << 20, b"\0"))
    create("over.qcow2", "-b", "data.qcow2", "-F", "qcow2", "8M")
    write("over.qcow2", "write -P 8 128k 64k", "write -z 2560k 128k")
    create("marked.qcow2", "8M")
    oracle.qemu_img("bitmap", "--add", "marked.qcow2", "b", cwd=directory)
    write("marked.qcow2", "write -P 9 1M 100k", "write -P 9 6M 1k")
    create("remote.qcow2", "-u", "-b", "nbd+unix:///x?socket=raw", "-F", "raw", "8M")
    create("readonly.qcow2", "-u", "-b", "nbd+unix:///x?socket=ro", "-F", "raw", "8M")
    for name in ("remote.qcow2", "readonly.qcow2"):
        write(oracle.alone(name), "write -P 10 4M 64k", "write -z 1M 64k", format=None)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the images that are exported."""
    return template(tmp_path_factory.getbasetemp() / "nbd-images", build)


def named(line: str) -> list[str]:
    """The words of a line, with the exports' names in full."""
    words = []
    for word in split(line):
        before, at, socket = word.partition("@")
        meaning = "qemu:dirty-bitmap:" if before.endswith("bitmap=") else "nbd+unix:///x?socket="
        words.append(before + meaning + socket if at else word)
    return words


class Exports:
    """The servers that a command line needs, for real qemu-img and for us, each with files of its own."""

    def __init__(self, pair: SideBySide, words: Sequence[str]) -> None:
        self._pair = pair
        text = " ".join(words)
        self._names = [
            name for name in _SERVERS
            if re.search(r"(socket=|path=|path\":\"|unix:)%s\b" % name, text) or name in _NEEDED_BY.get(words[-1], ())
            or name in _NEEDED_BY.get(words[-2], ())
        ]
        self._stack = ExitStack()

    def __enter__(self) -> Exports:
        with ExitStack() as stack:
            for directory in (self._pair.theirs, self._pair.ours):
                for name in self._names:
                    listener = stack.enter_context(unix_listener(directory, name))
                    stack.enter_context(serving(_SERVERS[name], listener, directory))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()


def expect_same(line: str, exported: Path, directory: Path) -> None:
    """Both programs answer to a line, and do, the same."""
    pair = SideBySide(directory, exported, is_known_in_files)
    commands = [named(command) for command in line.split(";;")]
    with Exports(pair, [word for words in commands for word in words]):
        for words in commands:
            theirs, ours = pair.run(words)
            if theirs != ours and known_difference(words, theirs, ours) is None:
                raise pair.difference(theirs, ours)
    pair.expect_same_files()


@pytest.mark.parametrize("line", LINES.strip().split("\n"))
def test_a_command_does_what_qemu_img_does(line: str, exported: Path, tmp_path: Path) -> None:
    expect_same(line, exported, tmp_path)


@pytest.mark.skipif(shutil.which("nbdkit") is None, reason="nbdkit is not installed")
@pytest.mark.parametrize("line", NBDKIT_LINES.strip().split("\n"))
def test_a_command_on_an_unusual_export_does_what_qemu_img_does(line: str, exported: Path, tmp_path: Path) -> None:
    expect_same(line, exported, tmp_path)


@pytest.mark.skipif(shutil.which("nbdkit") is None, reason="nbdkit is not installed")
@pytest.mark.parametrize("entry", EXPORT_DIFFERENCES, ids=lambda entry: entry.title)
def test_the_example_of_a_difference_shows_it(entry: KnownDifference, exported: Path, tmp_path: Path) -> None:
    pair = SideBySide(tmp_path, exported)
    words = named(entry.line)
    with Exports(pair, words):
        theirs, ours = pair.run(words)
    assert re.search(entry.theirs, shown(theirs), re.DOTALL), theirs
    assert re.search(entry.ours, shown(ours), re.DOTALL), ours
    assert known_difference(words, theirs, ours) is not None
