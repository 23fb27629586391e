# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How often a plan opens images: once to plan, and once to carry it out."""
from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

import qimg
from qimg.formats.opening import Opener
from qimg.operations.conversion_request import ALWAYS, IF_DIFFERENT, NEVER, ConvertRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MIB = 1 << 20


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often an image of each name has been opened; a test clears it."""
    names: Counter[str] = Counter()
    real = Opener.open

    def count(self: Opener, reference: Any, *arguments: Any, **keywords: Any) -> Any:
        names[Path(reference).name] += 1
        return real(self, reference, *arguments, **keywords)

    monkeypatch.setattr(Opener, "open", count)
    return names


@pytest.mark.parametrize("record", [False, True])
@pytest.mark.parametrize("replace", [ALWAYS, NEVER, IF_DIFFERENT])
@pytest.mark.parametrize("target", ["absent", "same", "other", "raw"])
def test_a_source_is_opened_once_to_plan_and_once_to_copy(
    tmp_path: Path, opened: Counter[str], monkeypatch: pytest.MonkeyPatch, target: str, replace: Any, record: bool
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    source, path = str(tmp_path / "source.qcow2"), str(tmp_path / "target.qcow2")
    qimg.create(source, "qcow2", MIB)
    if target == "raw":
        Path(path).write_bytes(bytes(MIB))
    elif target != "absent":
        qimg.create(path, "qcow2", MIB if target == "same" else 2 * MIB)
    opened.clear()
    request = ConvertRequest((source,), None, path, "qcow2")
    if (target, replace) == ("raw", NEVER):
        with pytest.raises(qimg.MismatchError):
            qimg.plan_convert(request, replace, record)
        return
    plan = qimg.plan_convert(request, replace, record)
    assert opened["source.qcow2"] == 1
    # What it is, whether it has been recorded, and what it holds.
    assert opened["target.qcow2"] <= 3
    opened.clear()
    plan.apply()
    assert opened["source.qcow2"] == (1 if plan.changed else 0)
    assert opened["target.qcow2"] == (1 if plan.changed and record else 0)


def test_rebase_and_commit_open_each_image_once_to_plan_and_once_to_work(
    tmp_path: Path, opened: Counter[str]
) -> None:
    for name in ("base", "other"):
        qimg.create(str(tmp_path / name), "qcow2", MIB)
    overlay = str(tmp_path / "overlay")
    qimg.create(overlay, "qcow2", backing_file="base", backing_format="qcow2")
    for work in ("rebase", "commit"):
        opened.clear()
        plan = qimg.plan_rebase(overlay, "other", "qcow2") if work == "rebase" else qimg.plan_commit(overlay)
        assert max(opened.values()) == 1
        opened.clear()
        plan.apply()
        assert max(opened.values()) == 1
