# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real qemu-img, qemu-io and qemu-nbd, whose answers ours are compared with."""
from __future__ import annotations

import functools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
from typing import NamedTuple

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The release that the tests ask, the machine's own: how images are judged, and all documents.
WANTED_MAJOR = 10
#: A later release that may be unpacked beside it.  Documents are the same, the words about wrong usage are this one's.
LATER_MAJOR = 11


class Answer(NamedTuple):
    """What a program answered: its exit code, and what it wrote."""

    code: int
    stdout: str
    stderr: str


@functools.cache
def missing() -> str | None:
    """Why the oracle cannot be asked; ``None``: it can."""
    for program in ("qemu-img", "qemu-io", "qemu-nbd"):
        if shutil.which(program) is None:
            return "%s is not installed (qemu-utils)" % program
    version = run("qemu-img", "--version").stdout
    found = re.search(r"version (\d+)", version)
    if found is None or int(found.group(1)) != WANTED_MAJOR:
        return "qemu-img is not of release %d: %s" % (WANTED_MAJOR, version.splitlines()[0])
    return None


def later_folder() -> str:
    """The folder with the programs of the later release, whether it exists or not."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.environ.get("QIMG_QEMU_11") or os.path.join(cache, "qemu-11", "bin")


@functools.cache
def later_missing() -> str | None:
    """Why the later release cannot be asked; ``None``: it can."""
    program = os.path.join(later_folder(), "qemu-img")
    if not os.access(program, os.X_OK):
        return "there is no qemu-img %d: %s (QIMG_QEMU_11 names its folder)" % (LATER_MAJOR, program)
    version = run("qemu-img", "--version", release=LATER_MAJOR).stdout
    if "version %d." % LATER_MAJOR not in version:
        return "%s is not of release %d: %s" % (program, LATER_MAJOR, version)
    return None


def releases() -> list[Any]:
    """Parameters for a test that is to ask both releases; what is not available is skipped."""
    reason = later_missing()
    skips = [pytest.mark.skip(reason=reason)] if reason else []
    return [WANTED_MAJOR, pytest.param(LATER_MAJOR, marks=skips)]


def run(
    *command: str | os.PathLike[str],
    cwd: Any = None,
    timeout: float = 60,
    input: bytes | None = None,
    stdin: int | None = None,
    largest_file: int | None = None,
    release: int = WANTED_MAJOR,
) -> Answer:
    """Run a program, with the C locale's words and UTC dates.

    :param input: what it reads from its standard input; ``stdin``: or a file descriptor that is this
    :param largest_file: the length in bytes that it can give no file more than, whatever the file system could
    :param release: whose program it is, if it is one of QEMU's
    """

    def limit() -> None:
        # The error, and not the signal, is what a file system answers.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))  # type: ignore[arg-type]

    environment = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    if release == LATER_MAJOR:
        environment["PATH"] = later_folder() + os.pathsep + environment.get("PATH", "")
    given: dict[str, Any] = {"stdin": stdin} if input is None else {"input": input}
    done = subprocess.run(
        [os.fspath(word) for word in command],
        cwd=cwd, capture_output=True, timeout=timeout, env=environment, check=False,
        preexec_fn=limit if largest_file is not None else None, **given,
    )
    return Answer(
        done.returncode, done.stdout.decode("utf-8", "surrogateescape"), done.stderr.decode("utf-8", "surrogateescape")
    )


def qemu_img(*arguments: Any, cwd: Any = None) -> str:
    """Run qemu-img, which must succeed; its standard output."""
    answer = ask_qemu_img(*arguments, cwd=cwd)
    assert answer.code == 0, "qemu-img %s: %s%s" % (" ".join(map(str, arguments)), answer.stdout, answer.stderr)
    return answer.stdout


def ask_qemu_img(*arguments: Any, cwd: Any = None) -> Answer:
    """Run qemu-img, which may fail."""
    return run("qemu-img", *map(str, arguments), cwd=cwd)


def qemu_io(
    path: Any, *commands: str, format: str | None = None, cwd: Any = None, options: tuple[str, ...] = ()
) -> str:
    """Run commands of qemu-io on one image; all of them must succeed."""
    words = ["qemu-io", *options]
    if format is not None:
        words += ["-f", format]
    for command in commands:
        words += ["-c", command]
    answer = run(*words, str(path), cwd=cwd)
    assert answer.code == 0 and "failed" not in answer.stdout, "%s: %s%s" % (words, answer.stdout, answer.stderr)
    return answer.stdout


def info(path: Any, *options: Any, cwd: Any = None) -> Any:
    """The document of ``qemu-img info``."""
    return json.loads(qemu_img("info", "--output=json", *options, path, cwd=cwd))


def map_(path: Any, *options: Any, cwd: Any = None) -> list[dict[str, Any]]:
    """The document of ``qemu-img map``."""
    document: list[dict[str, Any]] = json.loads(qemu_img("map", "--output=json", *options, path, cwd=cwd))
    return document


def check(path: Any, *options: Any, cwd: Any = None) -> tuple[int, dict[str, Any], list[str]]:
    """Exit code, document and messages of ``qemu-img check``; the document is empty where the check failed."""
    answer = ask_qemu_img("check", "--output=json", *options, path, cwd=cwd)
    start = answer.stdout.find("{")
    document = json.loads(answer.stdout[start:]) if start >= 0 else {}
    return answer.code, document, answer.stderr.splitlines()


def alone(path: Any) -> str:
    """A name by which a qcow2 image is opened without its backing file."""
    return "json:" + json.dumps({"driver": "qcow2", "file": {"driver": "file", "filename": str(path)}, "backing": None})


def is_clean(path: Any, *options: Any, cwd: Any = None) -> bool:
    """Whether ``qemu-img check`` finds neither errors nor leaks."""
    return ask_qemu_img("check", *options, path, cwd=cwd).code == 0


def read_guest(path: Any, scratch: Any, format: str | None = None, cwd: Any = None) -> bytes:
    """The whole guest content as qemu-img reads it."""
    words: list[Any] = ["convert", "-O", "raw"]
    if format is not None:
        words += ["-f", format]
    qemu_img(*words, path, scratch, cwd=cwd)
    with open(scratch, "rb") as raw:
        content = raw.read()
    os.unlink(scratch)
    return content
