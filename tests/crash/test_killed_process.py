# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real processes that end in the middle of a change, without a chance to clean up."""
from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from test_crash_in_place import KIB, change, make

from qimg.formats.driver import RESIZE, WRITE
from support.crashing import CrashTest, check_counters, opener, view
from support.recording import Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

CHANGES = {
    "snapshot": (lambda image: image.create_snapshot("new", 1, 1), WRITE),
    "revert": (lambda image: image.apply_snapshot(image.snapshots[0]), WRITE),
    "delete": (lambda image: image.delete_snapshot(image.snapshots[0]), WRITE),
    "shrink": (lambda image: image.resize(90 * KIB), RESIZE),
    "amend": (lambda image: image.amend({"refcount_bits": 64}), WRITE),
}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_an_image_is_old_or_new_when_its_process_is_killed(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / "i.qcow2", cluster_size=512)
    work, purpose = CHANGES[name]
    operate = change(path, work, purpose)
    test = CrashTest([path], [path], operate, lambda: view(path))
    with Recorder([path]) as recorder:
        operate()
    new = view(path)
    for number in range(0, len(recorder.events), max(1, len(recorder.events) // 9)):
        path.write_bytes(test.before[path])
        _killed_at(path, operate, number)
        assert check_counters(path) == (0, 0, 0)
        assert view(path) in (test.old, new)
        # The dead process holds no lock, and the next one starts from a whole image.
        operate()
        assert check_counters(path) == (0, 0, 0)


def _killed_at(path: Path, operate: Any, number: int) -> None:
    """Do it in a child, which is killed before its event ``number``."""
    child = os.fork()
    if child == 0:
        recorder = Recorder([path])
        recorder.before_event = lambda seen: os.kill(os.getpid(), signal.SIGKILL) if seen == number else None
        with recorder:
            operate()
        os._exit(0)
    _pid, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def test_a_new_image_that_was_never_finished_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "old.qcow2").write_bytes(b"what was there before")
    program = (
        "import os, sys\n"
        "from qimg.formats.opening import Opener\n"
        "from qimg.operations.create import empty_image, new_files\n"
        "name, options, opener = sys.argv[1], {'size': 1 << 20}, Opener()\n"
        "files = new_files(name, 'qcow2', options, opener)\n"
        "image = empty_image(name, 'qcow2', files, options, opener)\n"
        "image.write(0, b'x' * 500000)\n"
        "image.flush()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    for name in ("old.qcow2", "new.qcow2"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / name)], env={**os.environ, "PYTHONPATH": _sdk()}, check=False
        )
        assert done.returncode == -signal.SIGKILL
    assert os.listdir(tmp_path) == ["old.qcow2"]
    assert (tmp_path / "old.qcow2").read_bytes() == b"what was there before"
    with pytest.raises(Exception, match="Image is not in qcow2 format"):
        opener().open(str(tmp_path / "old.qcow2"), "qcow2")


def _sdk() -> str:
    import qimg

    return os.path.dirname(os.path.dirname(os.path.abspath(qimg.__file__)))
