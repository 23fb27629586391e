# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What planning says of an image that is there: whether it is what was asked for, and if not, in what it differs."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from qimg.errors import MismatchError, OptionError
from qimg.operations.conversion_request import IF_DIFFERENT, NEVER, ConvertRequest
from qimg.operations.convert import convert, plan_convert
from qimg.operations.create import RECREATE, plan_create

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "source.raw"
    path.write_bytes(b"a disk " * (1 << 17) + bytes(1 << 20))
    return str(path)


FORMS: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({}, {}, []),
    ({"options": {"cluster_size": 4096}}, {"options": {"cluster_size": "4k"}}, []),
    ({"options": {"cluster_size": 4096}}, {}, []),
    ({}, {"options": {"cluster_size": "4k"}}, ["its cluster_size is 65536, not 4096"]),
    ({}, {"options": {"preallocation": "metadata"}}, []),
    ({"compress": True}, {"compress": True}, []),
    ({"compress": True}, {}, ["its data are compressed, and should not be"]),
    ({}, {"compress": True}, ["its data are not compressed, and should be"]),
]


@pytest.mark.parametrize(("made", "asked", "differences"), FORMS)
def test_the_form_of_a_copy_is_compared(
    source: str, tmp_path: Path, made: dict[str, Any], asked: dict[str, Any], differences: list[str]
) -> None:
    target = str(tmp_path / "target.qcow2")
    convert(source, target, "qcow2", **made)
    request = ConvertRequest((source,), "raw", target, "qcow2", **asked)

    never, plan = plan_convert(request, NEVER), plan_convert(request, IF_DIFFERENT)
    assert (never.changed, never.differences) == (False, [])
    assert (plan.matches, plan.difference, plan.differences) == (True, None, differences)
    assert plan.changed == bool(differences)
    plan.apply()
    assert not plan_convert(request, IF_DIFFERENT).changed


def test_data_that_do_not_shrink_are_as_compressed_as_they_can_be(tmp_path: Path) -> None:
    source, target = tmp_path / "noise.raw", str(tmp_path / "target.qcow2")
    source.write_bytes(os.urandom(2 << 20))
    convert(str(source), target, "qcow2")
    request = ConvertRequest((str(source),), "raw", target, "qcow2", compress=True)
    assert not plan_convert(request, IF_DIFFERENT).changed


def test_an_existing_image_is_asked_for_without_a_size(tmp_path: Path) -> None:
    path = str(tmp_path / "disk.qcow2")
    with pytest.raises(OptionError, match="needs a size"):
        plan_create(path, "qcow2")
    plan_create(path, "qcow2", 3 << 20).apply()
    plan = plan_create(path, "qcow2", options={"cluster_size": 65536})
    assert not plan.changed and plan.options["size"] == 3 << 20
    with pytest.raises(OptionError, match="needs a size"):
        plan_create(path, "qcow2", options={"cluster_size": 4096}, existing=RECREATE)


@pytest.mark.parametrize(("size", "differing"), [(1 << 20, "larger"), (8 << 20, "smaller")])
def test_a_size_that_differs_is_told_apart(tmp_path: Path, size: int, differing: str) -> None:
    path = str(tmp_path / "disk.qcow2")
    plan_create(path, "qcow2", 3 << 20).apply()
    with pytest.raises(MismatchError) as caught:
        plan_create(path, "qcow2", size)
    assert caught.value.differing == (differing,)
