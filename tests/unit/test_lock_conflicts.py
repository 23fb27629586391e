# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is in the way of a lock: another process, or the same operation under another name."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qimg.errors import ImageInUseError, StorageError
from qimg.operations.remove import plan_remove
from qimg.storage import locks
from qimg.storage.locks import READ_RAW, WRITE_IMAGE, WRITE_RAW, ImageLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not locks.locks_supported(), reason="this system has no locks of open files")

TRY_TO_LOCK = """
import os, sys
from qimg.errors import StorageError
from qimg.storage.locks import WRITE_IMAGE, ImageLock
try:
    ImageLock(os.open(sys.argv[1], os.O_RDWR), sys.argv[1]).acquire(WRITE_IMAGE)
except StorageError as error:
    print("%s: %s" % (type(error).__name__, error))
"""


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "image"
    path.touch()
    with path.open("r+b") as file:
        ImageLock(file.fileno(), str(path)).acquire(WRITE_IMAGE)
        yield path


def test_nobody_is_told_to_stop_the_operation_that_is_in_its_own_way(locked: Path) -> None:
    with locked.open("r+b") as file, pytest.raises(StorageError) as caught:
        ImageLock(file.fileno(), str(locked)).acquire(WRITE_IMAGE)
    assert not isinstance(caught.value, ImageInUseError)
    assert "the same operation is using this file for something else already" in str(caught.value)
    assert "stop it" not in str(caught.value)


def test_another_process_is_named_as_what_is_in_the_way(locked: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRY_TO_LOCK, str(locked)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("ImageInUseError: ")
    assert "another process is using the image: stop it" in done.stdout


def test_an_image_is_not_removed_while_somebody_writes_it_though_he_would_share_it(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.touch()
    with path.open("r+b") as file:
        ImageLock(file.fileno(), str(path)).acquire(WRITE_RAW)
        with pytest.raises(StorageError, match='Failed to get shared "write" lock'):
            plan_remove(str(path))
    with path.open("rb") as file:
        ImageLock(file.fileno(), str(path)).acquire(READ_RAW)
        plan_remove(str(path), "raw").apply()
    assert not path.exists()
