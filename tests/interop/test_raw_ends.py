# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The map of raw files that end inside a sector, on every kind of file system that is at hand."""
from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from support import oracle
from support.in_process import qimg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.oracle

#: Data (True) and holes of so many bytes, one after another.
_FILES = {
    "data": [(True, 1000)],
    "less than a sector": [(True, 100)],
    "a hole": [(False, 1000)],
    "a long hole": [(False, 70001)],
    "a hole after data": [(True, 4096), (False, 4904)],
    "data after a hole": [(False, 8192), (True, 700)],
    "data between holes": [(False, 12288), (True, 700), (False, 1035589)],
}
_VIEWS = (
    "-f raw disk",
    "disk",
    "--image-opts driver=file,filename=disk",
    "--image-opts driver=raw,size=512,file.filename=disk",
    "-f raw --start-offset=512 disk",
    "-f raw --max-length=600 disk",
    "-f raw --start-offset=100 --max-length=950 disk",
)


@pytest.fixture(params=["/tmp", "/dev/shm"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "/tmp":
        yield tmp_path
        return
    if not os.access(request.param, os.W_OK):
        pytest.skip("there is no %s" % request.param)
    found = Path(tempfile.mkdtemp(dir=request.param))
    yield found
    shutil.rmtree(found)


@pytest.mark.parametrize("release", oracle.releases())
@pytest.mark.parametrize("parts", _FILES.values(), ids=_FILES)
def test_the_map_of_a_file_that_ends_inside_a_sector(
    parts: list[tuple[bool, int]], release: int, directory: Path
) -> None:
    with open(directory / "disk", "wb") as file:
        for is_data, length in parts:
            if is_data:
                file.write(b"\1" * length)
            else:
                file.seek(length, os.SEEK_CUR)
                file.truncate()
    for view in _VIEWS:
        for output in ("json", "human"):
            words = ("map", "--output=" + output, *view.split())
            theirs = oracle.run("qemu-img", *words, cwd=directory, release=release)
            ours = qimg(*words, cwd=directory)
            assert ours == theirs, words
