# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line's ``convert`` where nobody names a cache mode: a power cut must not take an old target away."""
from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_crash_commands import content
from test_crash_in_place import KIB, make, pattern
from test_crash_other_changes import sectors_between

from qimg.cli.main import main
from qimg.errors import ImageError
from qimg.storage import local, replace
from support.crashing import CrashTest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def convert(*words: str) -> None:
    """Run the command line's convert.

    :raises ImageError: it fails
    """
    if main(["qemu-img", "convert", *words]):
        raise ImageError("convert has failed")


class Medium:
    """What of new files would outlast a power cut at the moment when they take a name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._durable: dict[int, bytes] = {}
        #: By name: the content that replaces an old file, and what of it is on the medium then.
        self.replaced: dict[str, tuple[bytes, bytes]] = {}
        real_sync, real_replace = local.sync_to_medium, os.replace

        def sync(fd: int, how: Callable[[int], None]) -> None:
            real_sync(fd, how)
            self._durable[os.fstat(fd).st_ino] = Path("/proc/self/fd/%d" % fd).read_bytes()

        def take_name(source: str, target: str, **named: Any) -> None:
            outlasts = self._durable.get(os.stat(source).st_ino, b"")
            self.replaced[os.path.basename(target)] = Path(source).read_bytes(), outlasts
            real_replace(source, target, **named)

        monkeypatch.setattr(replace, "sync_to_medium", sync)
        monkeypatch.setattr(local, "sync_to_medium", sync)
        monkeypatch.setattr(os, "replace", take_name)

    @property
    def synced(self) -> int:
        """How many files have been put on the medium."""
        return len(self._durable)


@pytest.fixture
def source(tmp_path: Path) -> str:
    return str(pattern(tmp_path / "source.raw", 300 * KIB))


@pytest.fixture
def medium(monkeypatch: pytest.MonkeyPatch) -> Medium:
    return Medium(monkeypatch)


@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_an_old_target_is_replaced_by_what_is_on_the_medium(
    format: str, source: str, tmp_path: Path, medium: Medium
) -> None:
    (tmp_path / "target").write_bytes(b"old")
    convert("-f", "raw", "-O", format, source, str(tmp_path / "target"))
    new, outlasts = medium.replaced["target"]
    assert new == outlasts == (tmp_path / "target").read_bytes()


def test_a_data_file_is_on_the_medium_before_an_old_image_gives_way_to_what_names_it(
    source: str, tmp_path: Path, medium: Medium
) -> None:
    (tmp_path / "target").write_bytes(b"old")
    convert("-f", "raw", "-O", "qcow2", "-o", "data_file=data", source, str(tmp_path / "target"))
    # The data file replaces nothing.
    assert set(medium.replaced) == {"target"} and medium.synced == 2


def test_what_replaces_nothing_is_not_waited_for(source: str, tmp_path: Path, medium: Medium) -> None:
    convert("-f", "raw", "-O", "qcow2", source, str(tmp_path / "target"))
    assert medium.synced == 0


def test_nothing_is_waited_for_where_that_was_said(source: str, tmp_path: Path, medium: Medium) -> None:
    (tmp_path / "target").write_bytes(b"old")
    convert("-t", "unsafe", "-f", "raw", "-O", "qcow2", source, str(tmp_path / "target"))
    assert "target" in medium.replaced and medium.synced == 0


@pytest.mark.parametrize("layout", [{"cluster_size": 4096}, {"compat": "0.10"}])
def test_an_image_that_is_written_into_is_whole_at_every_moment(
    layout: dict[str, Any], source: str, tmp_path: Path
) -> None:
    path = make(tmp_path / "target.qcow2", snapshots=False, **layout)

    def operate() -> None:
        convert("-n", "-f", "raw", "-O", "qcow2", source, str(path))

    CrashTest([path], [path], operate, lambda: content(path), sectors_between).run()
