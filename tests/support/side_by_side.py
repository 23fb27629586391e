# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running real qemu-img and ours, under its name, on identical copies of the same files, and comparing everything."""
from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess

from qimg.operations import bitmap
from support import oracle
from support.comparable import check_elsewhere, info_elsewhere, map_elsewhere
from support.in_process import qimg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import IO, Any

    from support.oracle import Answer

#: Words about wrong usage in which releases differ, and the number of a place in JSON that only 11 has -> as ours are.
_OTHER_WORDS = (
    (r"^(Try 'qemu-img(?: \w+)? --help' for more) info$", r"\1 information"),
    (r"^(qemu-img: Invalid [\w ]+ specified: '[^\n]*')\.$", r"\1"),
    (r"^(qemu-img: --(?:output|repair \(-r\)) expects '\w+' or '\w+') not ", r"\1, not "),
    (r"(--add, --remove,) (--clear)", r"\1 --remove-all, \2"),
    # Which long names there are is different.
    (r"^(qemu-img \w+: option '--[^']*' is ambiguous); possibilities:.*$", r"\1"),
    (r"(Could not parse the JSON options: |^qemu-img: )\d+:\d+: (JSON parse error)", r"\1\2"),
    (r"JSON parse error, premature end of input", "JSON parse error, premature EOI"),
    (r"JSON parse error, expecting ':'", "JSON parse error, missing : in object pair"),
    (r"JSON parse error, expecting key", "JSON parse error, invalid keyword 'bad'"),
)


def comparable_words(stderr: str) -> str:
    """Messages without what differs between releases only in words."""
    for pattern, words in _OTHER_WORDS:
        stderr = re.sub(pattern, words, stderr, flags=re.MULTILINE)
    return stderr


def without_speed(stdout: str) -> str:
    """The output without what depends on speed: the time that ``bench`` took, and of ``-p`` the lines in the middle."""
    stdout = re.sub(r"Run completed in \d+\.\d{3} seconds", "Run completed", stdout)
    line = r"    \(\d+\.\d\d/100%\)\r"
    return re.sub("(%s)+" % line, lambda found: _ends(found.group(0)), stdout)


def _ends(text: str) -> str:
    lines = text.split("\r")[:-1]
    return "\r".join(sorted({lines[0], lines[-1]})) + "\r"


#: The name of a file that is made and removed while others are compared.
_SCRATCH = "scratch of the test"

#: The aspect of what a command that fails has changed.
AFTER_FAILURE = "directory after a failure"


class Difference(AssertionError):
    """The two do not do the same.

    :param aspect: what differs: the answer, or the info, the map, the check or the content of a file, …
    """

    def __init__(self, message: str, aspect: str) -> None:
        super().__init__(message)
        self.aspect = aspect


class SideBySide:
    """Two directories with the same files, one for each program.

    :param root: an empty directory
    :param template: a directory whose files both get
    :param is_known: whether two files may differ after command lines; it gets their words, the aspect, and what real
        qemu-img finds in its own file and in ours
    :param release: of real qemu-img, whose answers are compared; its files are always judged by the machine's own
    """

    def __init__(
        self,
        root: Path,
        template: Path,
        is_known: Callable[..., bool] = lambda *_details: False,
        release: int = oracle.WANTED_MAJOR,
    ) -> None:
        self._is_known = is_known
        self._release = release
        self.theirs = root / "qemu"
        self.ours = root / "ours"
        for directory in (self.theirs, self.ours):
            subprocess.run(["cp", "-a", "--sparse=always", str(template), str(directory)], check=True)
        self.history: list[Sequence[str]] = []
        self._failed = self._repaired = False
        #: Whether files have been found to differ as they may.
        self.has_known_differences = False
        self._before: list[dict[str, tuple[int, ...]]] = [{}, {}]

    def run(self, words: Sequence[str], stdin: str | None = None) -> tuple[Answer, Answer]:
        """What both answer to the same command line, without a word about whether it is the same.

        Where qemu-img does not come to an end, its answer is that it was killed.

        :param stdin: the file that standard input is, open for reading and writing; ``None``: there is nothing to read
        """
        self.history.append(words if stdin is None else [*words, "<" + stdin])
        self._before = self._marks()
        with _opened(self.theirs, stdin) as file:
            try:
                theirs = oracle.run("qemu-img", *words, cwd=self.theirs, stdin=file.fileno(), release=self._release)
            except subprocess.TimeoutExpired:
                theirs = oracle.Answer(-signal.SIGKILL, "", "")
        with _opened(self.ours, stdin) as file:
            ours = qimg(*words, cwd=self.ours, stdin=file.fileno())
        # These exit so to say what they found, or have written something.
        is_answer = words[:1] in (["compare"], ["bench"]) or (words[:1] == ["check"] and ours.code != 1)
        self._failed = ours.code != 0 and not is_answer
        # Whoever opens an image for writing repairs what a crash has left, whatever comes of the rest.
        self._repaired = "Repairing cluster" in ours.stderr
        theirs = theirs._replace(stdout=without_speed(theirs.stdout), stderr=comparable_words(theirs.stderr))
        return theirs, ours._replace(stdout=without_speed(ours.stdout), stderr=comparable_words(ours.stderr))

    def expect_same(self, words: Sequence[str]) -> Answer:
        """Run a command line; both must exit with the same code and print the same.

        :raises Difference: saying in what they differ
        """
        theirs, ours = self.run(words)
        if theirs != ours:
            raise self.difference(theirs, ours)
        return ours

    def difference(self, theirs: Any, ours: Any, aspect: str = "answer", of: str = "") -> Difference:
        """An error that says what was done, and what came of it."""
        lines = ["after these command lines, the %s%s differs:" % (aspect, of)]
        lines += ["    qemu-img %s" % shlex.join(words) for words in self.history]
        lines += ["real qemu-img:", "    %r" % (theirs,), "ours:", "    %r" % (ours,)]
        return Difference("\n".join(lines), aspect)

    def expect_same_files(self) -> None:
        """Both directories must hold the same files with the same images in them.

        Where the last command failed, ours must be untouched instead; qemu-img may have left something half made.

        :raises Difference: saying in what they differ
        """
        if self._failed and self._repaired:
            return
        if self._failed:
            # That theirs has changed something is a known difference; ours never may.
            theirs, ours = self._changed_names()
            if (theirs or ours) and not self._is_known(self.history, AFTER_FAILURE, theirs, ours):
                raise self.difference(theirs, ours, AFTER_FAILURE)
            return
        names = [sorted(os.listdir(directory)) for directory in (self.theirs, self.ours)]
        if names[0] != names[1]:
            raise self.difference(names[0], names[1], "list of files")
        for name in names[0]:
            one, other = self.theirs / name, self.ours / name
            if one.is_file() and not _same_bytes(one, other):
                try:
                    self._expect_same_image(name)
                except Difference:
                    # What no guest can see in it is nobody's business.
                    if name not in _data_files(self.theirs):
                        raise

    def changed(self) -> bool:
        """Whether the last command line changed a file on either side."""
        return any(self._changed_names())

    def _changed_names(self) -> list[list[str]]:
        """The files that the last command line changed, on both sides."""
        return [
            sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
            for before, after in zip(self._before, self._marks())
        ]

    def _marks(self) -> list[dict[str, tuple[int, ...]]]:
        return [_marks(directory) for directory in (self.theirs, self.ours)]

    def _expect_same_image(self, name: str) -> None:
        looks = (("info", _info), ("map", _map), ("check", _check), ("snapshots", _snapshots), ("bitmaps", _bitmaps))
        for aspect, look in looks:
            theirs, ours = look(name, self.theirs), look(name, self.ours)
            if theirs != ours:
                if not self._is_known(self.history, aspect, theirs, ours):
                    raise self.difference(theirs, ours, aspect, " of " + name)
                self.has_known_differences = True
        answer = oracle.ask_qemu_img("compare", self.theirs / name, self.ours / name)
        if answer.code == 1 and not self._is_known(self.history, "content", "", answer.stdout):
            raise self.difference("", answer.stdout, "content", " of " + name)


def _same_bytes(one: Path, other: Path) -> bool:
    """Whether two files are equal; holes are not read, because a tmpfs has files of exbibytes."""
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as ones, other.open("rb") as others:
        runs = [*_data_runs(ones.fileno()), *_data_runs(others.fileno())]
        return all(
            os.pread(ones.fileno(), end - start, start) == os.pread(others.fileno(), end - start, start)
            for start, end in runs
        )


def _data_runs(fd: int) -> Iterator[tuple[int, int]]:
    """Where the data of a file begin and end."""
    end = 0
    while True:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            assert error.errno == errno.ENXIO, error
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end


def _data_files(directory: Path) -> set[str]:
    """The external data files that can be read only by way of their images, which are compared themselves."""
    names = set()
    for name in os.listdir(directory):
        if not (directory / name).is_file():
            continue
        answer = oracle.ask_qemu_img("info", "-U", "--output=json", "./" + name, cwd=directory)
        details = json.loads(answer.stdout).get("format-specific", {}).get("data", {}) if answer.code == 0 else {}
        if "data-file" in details and not details["data-file-raw"]:
            names.add(details["data-file"])
    return names


def _opened(directory: Path, name: str | None) -> IO[bytes]:
    return open(os.devnull if name is None else directory / name, "rb" if name is None else "r+b")


def _marks(directory: Path) -> dict[str, tuple[int, ...]]:
    """What shows whether a file was touched."""
    marks: dict[str, tuple[int, ...]] = {}
    for entry in os.scandir(directory):
        status = entry.stat()
        marks[entry.name] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return marks


def _info(name: str, directory: Path) -> Any:
    answer = oracle.ask_qemu_img("info", "-U", "--output=json", "./" + name, cwd=directory)
    return answer if answer.code else info_elsewhere(json.loads(answer.stdout))


def _map(name: str, directory: Path) -> Any:
    answer = oracle.ask_qemu_img("map", "-U", "--output=json", "./" + name, cwd=directory)
    if answer.code:
        return answer
    # What the file system knows of zeroes in what is allocated depends on how it was written.
    return map_elsewhere([dict(each, zero=each["zero"] and not each["data"]) for each in json.loads(answer.stdout)])


def _check(name: str, directory: Path) -> Any:
    answer = oracle.ask_qemu_img("check", "-U", "--output=json", "./" + name, cwd=directory)
    if answer.code not in (0, 2, 3):
        return answer
    return answer.code, check_elsewhere(json.loads(answer.stdout))


def _snapshots(name: str, directory: Path) -> Any:
    """What a guest would find in each snapshot."""
    document = _info(name, directory)
    found = []
    for snapshot in document.get("snapshots", ()) if isinstance(document, dict) else ():
        words = ("-U", "-f", "qcow2", "-O", "raw", "-l", "snapshot.id=" + snapshot["id"], "./" + name, _SCRATCH)
        answer = oracle.ask_qemu_img("convert", *words, cwd=directory)
        found.append(hashlib.sha256((directory / _SCRATCH).read_bytes()).digest() if answer.code == 0 else answer)
        (directory / _SCRATCH).unlink(missing_ok=True)
    return found


def _bitmaps(name: str, directory: Path) -> Any:
    """What the bitmaps mark, as far as they can be used."""
    document = _info(name, directory)
    details = document.get("format-specific", {}).get("data", {}) if isinstance(document, dict) else {}
    return {
        each["name"]: bitmap.dirty_ranges(str(directory / name), each["name"])
        for each in details.get("bitmaps", ())
        if "in-use" not in each["flags"]
    }


def template(directory: Path, build: Callable[[Path], None]) -> Path:
    """A directory of images, built once."""
    if not directory.exists():
        unfinished = directory.with_name(directory.name + ".unfinished")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir()
        build(unfinished)
        unfinished.rename(directory)
    return directory
