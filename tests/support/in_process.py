# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our command line without a process of its own, where a test asks it often."""
from __future__ import annotations

import contextlib
import io
import os

from qimg.cli.main import main
from support.oracle import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any


@contextlib.contextmanager
def inside(directory: Path) -> Iterator[None]:
    """Run in another directory, which relative names are then relative to."""
    before = os.getcwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


def qimg(*words: Any, cwd: Path) -> Answer:
    """What our command line answers under the name ``qemu-img``."""
    stdout, stderr = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
    with inside(cwd), contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = main(["qemu-img", *map(str, words)])
    texts = [stream.buffer.getvalue().decode("utf-8", "surrogateescape") for stream in (stdout, stderr)]  # type: ignore[attr-defined]
    return Answer(code, *texts)
