# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Committing overlays that hold hardly anything."""
from __future__ import annotations

import pytest

from qimg.formats.opening import open_image
from qimg.operations.commit import plan_commit
from qimg.operations.create import create

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

KIB = 1 << 10


@pytest.mark.parametrize("unless_same", [False, True])
def test_zeroes_beyond_the_end_of_a_layer_between_are_written(tmp_path: Path, unless_same: bool) -> None:
    base, short, top = (tmp_path / name for name in ("base.raw", "short.qcow2", "top.qcow2"))
    base.write_bytes(b"old bytes of the base " * 512 + bytes(64 * KIB - 22 * 512))
    create(short, "qcow2", 4 * KIB, backing_file=base.name, backing_format="raw")
    create(top, "qcow2", 64 * KIB, backing_file=short.name, backing_format="qcow2")
    with open_image(top) as image:
        content = image.read(0, 64 * KIB)
    assert content != base.read_bytes()

    plan_commit(top, base=base.name, unless_same=unless_same).apply()

    assert base.read_bytes() == content
    assert not plan_commit(top, base=base.name, unless_same=True).changed
