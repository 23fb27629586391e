# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our command line, run in a copy of the test's process: much quicker than to start an interpreter each time."""
from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
import traceback

from qimg.cli.main import main
from support.oracle import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Any, NoReturn

#: How long one command line may take.
_SECONDS = 60


@contextlib.contextmanager
def inside(directory: Path) -> Iterator[None]:
    """Run in another directory, which relative names are then relative to."""
    before = os.getcwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


def qimg(*words: Any, cwd: Path, stdin: int | None = None) -> Answer:
    """What our command line answers under the name ``qemu-img``.

    :param stdin: a file descriptor that is its standard input; ``None``: there is nothing to read
    """
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        child = os.fork()
        if child == 0:
            _become_qemu_img(list(map(str, words)), cwd, stdin, stdout.fileno(), stderr.fileno())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for file in (stdout, stderr):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "surrogateescape"))
    return Answer(code, *texts)


def _become_qemu_img(
    words: Sequence[str], directory: Path, stdin: int | None, stdout: int, stderr: int
) -> NoReturn:
    code = 70
    try:
        os.chdir(directory)
        if stdin is None:
            stdin = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((stdin, 0), (stdout, 1), (stderr, 2)):
            os.dup2(source, target)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ["TZ"] = "UTC"
        time.tzset()
        # As long as the whole process may: a command that hangs is a failure, not a hanging test.
        signal.alarm(_SECONDS)
        code = main(["qemu-img", *words])
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
