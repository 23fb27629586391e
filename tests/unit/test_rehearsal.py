# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Changes that are rehearsed one after another: each sees what the earlier ones would have left."""
from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from qimg.errors import StorageError, UnknownContentError
from qimg.formats.opening import Opener
from qimg.operations.check import check
from qimg.operations.commit import plan_commit
from qimg.operations.compare import compare
from qimg.operations.conversion_request import IF_DIFFERENT, NEVER, ConvertRequest
from qimg.operations.convert import plan_convert
from qimg.operations.create import plan_create
from qimg.operations.info import info
from qimg.operations.remove import plan_remove
from qimg.operations.resize import plan_resize
from qimg.operations.snapshot import plan_apply_snapshot as plan_apply
from qimg.operations.snapshot import plan_create_snapshot as plan_snapshot
from qimg.storage.scratch import Rehearsal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from qimg.operations.plan import Plan

MIB = 1 << 20


class Rehearsing:
    """Rehearses plans, handing on what they leave as plain data, as the Ansible modules do."""

    def __init__(self) -> None:
        self.documents = "{}"

    def opener(self) -> Opener:
        opener = Opener()
        opener.rehearsal = Rehearsal(json.loads(self.documents))
        return opener

    def __call__(self, planner: Callable[[Opener], Plan]) -> bool:
        """Whether there was anything to do."""
        opener = self.opener()
        plan = planner(opener)
        plan.rehearse()
        assert opener.rehearsal is not None
        self.documents = json.dumps(opener.rehearsal.documents())
        return plan.changed


def test_image_that_was_never_made_is_changed(tmp_path: Path) -> None:
    rehearse, path = Rehearsing(), str(tmp_path / "disk.qcow2")
    assert rehearse(lambda opener: plan_create(path, "qcow2", MIB, opener=opener))
    assert not rehearse(lambda opener: plan_create(path, "qcow2", MIB, opener=opener))
    assert rehearse(lambda opener: plan_snapshot(path, "one", opener=opener))
    assert rehearse(lambda opener: plan_resize(path, 4 * MIB, opener=opener))
    assert info(path, opener=rehearse.opener()).virtual_size == 4 * MIB
    assert rehearse(lambda opener: plan_apply(path, "one", unless_same=True, opener=opener))
    assert not rehearse(lambda opener: plan_apply(path, "one", unless_same=True, opener=opener))
    assert info(path, opener=rehearse.opener()).virtual_size == MIB
    assert check(path, opener=rehearse.opener()).clean
    assert rehearse(lambda opener: plan_remove(path, opener=opener))
    assert not rehearse(lambda opener: plan_remove(path, opener=opener))
    with pytest.raises(StorageError, match="No such file or directory"):
        info(path, opener=rehearse.opener())
    assert os.listdir(tmp_path) == []


def test_changes_lie_over_the_file_that_is_there(tmp_path: Path) -> None:
    rehearse, path = Rehearsing(), str(tmp_path / "disk.qcow2")
    plan_create(path, "qcow2", MIB).apply()
    before = (tmp_path / "disk.qcow2").read_bytes()
    assert rehearse(lambda opener: plan_resize(path, 2 * MIB, opener=opener))
    assert not rehearse(lambda opener: plan_resize(path, 2 * MIB, opener=opener))
    assert rehearse(lambda opener: plan_remove(path, opener=opener))
    assert rehearse(lambda opener: plan_create(path, "raw", 3 * MIB, opener=opener))
    assert info(path, opener=rehearse.opener()).virtual_size == 3 * MIB
    assert (tmp_path / "disk.qcow2").read_bytes() == before
    assert info(path).virtual_size == MIB


def test_content_that_was_not_copied_is_not_known(tmp_path: Path) -> None:
    rehearse = Rehearsing()
    source, target, overlay = (str(tmp_path / name) for name in ("source.raw", "target.qcow2", "overlay.qcow2"))
    (tmp_path / "source.raw").write_bytes(bytes(range(256)) * 4096)
    request = ConvertRequest((source,), "raw", target, "qcow2")
    assert rehearse(lambda opener: plan_convert(request, NEVER, opener=opener))
    opener = rehearse.opener()
    kept = plan_convert(request, NEVER, opener=opener)
    assert (kept.changed, kept.matches) == (False, None)
    replaced = plan_convert(request, IF_DIFFERENT, opener=opener)
    assert replaced.changed
    assert "cannot be compared yet" in replaced.actions[0]
    with pytest.raises(UnknownContentError):
        compare(source, target, opener=opener)
    base: dict[str, Any] = {"backing_file": "target.qcow2", "backing_format": "qcow2"}
    assert rehearse(lambda opener: plan_create(overlay, "qcow2", opener=opener, **base))
    assert not rehearse(lambda opener: plan_commit(overlay, unless_same=True, opener=opener))
    assert os.listdir(tmp_path) == ["source.raw"]


def test_directory_may_be_taken_to_be_there(tmp_path: Path) -> None:
    path = str(tmp_path / "later" / "disk.qcow2")
    with pytest.raises(StorageError, match="make its directory first"):
        plan_create(path, "qcow2", MIB, opener=Rehearsing().opener()).rehearse()
    opener = Rehearsing().opener()
    assert opener.rehearsal is not None
    opener.rehearsal.assumed_directories = []
    plan_create(path, "qcow2", MIB, opener=opener).rehearse()
    assert opener.rehearsal.assumed_directories == [str(tmp_path / "later")]
    assert info(path, opener=opener).virtual_size == MIB


def test_what_somebody_really_changes_is_seen_as_it_is(tmp_path: Path) -> None:
    rehearse, link = Rehearsing(), str(tmp_path / "link.qcow2")
    path = str(tmp_path / "disk.qcow2")
    os.symlink("disk.qcow2", link)
    assert rehearse(lambda opener: plan_create(link, "qcow2", MIB, opener=opener))
    plan_create(path, "qcow2", 2 * MIB).apply()
    assert info(path, opener=rehearse.opener()).virtual_size == 2 * MIB
    assert rehearse(lambda opener: plan_resize(path, 4 * MIB, opener=opener))
    plan_resize(path, 3 * MIB).apply()
    assert info(path, opener=rehearse.opener()).virtual_size == 3 * MIB
    assert rehearse(lambda opener: plan_remove(path, opener=opener))
    plan_resize(path, 5 * MIB).apply()
    assert info(path, opener=rehearse.opener()).virtual_size == 5 * MIB
