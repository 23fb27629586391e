# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whenever the process or the machine dies during a change in place, the image is whole, and old or new."""
from __future__ import annotations

import random

import pytest

from qimg.formats.driver import RESIZE, WRITE
from qimg.operations import create
from support.crashing import CrashTest, opener, view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from qimg.formats.driver import Purpose

KIB = 1024


def make(path: Path, size: int = 300 * KIB, **options: Any) -> Path:
    """A qcow2 image with data, holes, zeroes and (where it can) two snapshots in between."""
    backing = options.pop("backing", None)
    snapshots = options.pop("snapshots", True)
    chance = random.Random(7)
    create.plan_create(
        str(path), "qcow2", size, options, str(backing) if backing else None, "raw" if backing else None,
        existing="overwrite", sync=False, opener=opener(),
    ).apply()
    with opener().open(str(path), purpose=WRITE) as image:
        for _ in range(6):
            scribble(image, chance)
        if snapshots:
            image.create_snapshot("one", 1, 2)  # type: ignore[attr-defined]
            for _ in range(4):
                scribble(image, chance)
            image.create_snapshot("two", 3, 4)  # type: ignore[attr-defined]
            for _ in range(4):
                scribble(image, chance)
    return path


def scribble(image: Any, chance: random.Random) -> None:
    start = chance.randrange(image.size // 512) * 512
    length = min(image.size - start, chance.randrange(1, 80) * 512)
    if chance.random() < 0.7:
        image.write(start, bytes([chance.randrange(1, 256)]) * length)
    else:
        image.write_zeroes(start, length, chance.random() < 0.5)


def pattern(path: Path, size: int) -> Path:
    chance = random.Random(11)
    path.write_bytes(chance.getrandbits(8 * size).to_bytes(size, "little"))
    return path


LAYOUTS = [
    pytest.param({"cluster_size": 512}, id="512"),
    pytest.param({"cluster_size": 4096, "refcount_bits": 1, "snapshots": False}, id="4k-1bit"),
    pytest.param({"cluster_size": 4096, "refcount_bits": 64}, id="4k-64bit"),
    pytest.param({"cluster_size": 16384, "extended_l2": True}, id="16k-extl2"),
    pytest.param({"cluster_size": 65536, "refcount_bits": 4}, id="64k-4bit"),
    pytest.param({"cluster_size": 4096, "compat": "0.10"}, id="v2"),
]
#: One bit cannot count a snapshot's second reference.
WITH_SNAPSHOTS = [layout for layout in LAYOUTS if "1bit" not in str(layout.id)]


def change(path: Path, work: Any, purpose: Purpose = WRITE) -> Any:
    def operate() -> None:
        with opener().open(str(path), purpose=purpose) as image:
            work(image)

    return operate


def crash(path: Path, work: Any, purpose: Purpose = WRITE, seed: int = 0) -> None:
    CrashTest([path], [path], change(path, work, purpose), lambda: view(path), one_step=True).run(seed)


@pytest.mark.parametrize("layout", WITH_SNAPSHOTS)
def test_snapshot_create(tmp_path: Path, layout: dict[str, Any]) -> None:
    crash(make(tmp_path / "i.qcow2", **layout), lambda image: image.create_snapshot("three", 5, 6))


@pytest.mark.parametrize("layout", WITH_SNAPSHOTS)
@pytest.mark.parametrize("which", [0, 1])
def test_snapshot_apply(tmp_path: Path, layout: dict[str, Any], which: int) -> None:
    crash(make(tmp_path / "i.qcow2", **layout), lambda image: image.apply_snapshot(image.snapshots[which]))


@pytest.mark.parametrize("layout", WITH_SNAPSHOTS)
@pytest.mark.parametrize("which", [0, 1])
def test_snapshot_delete(tmp_path: Path, layout: dict[str, Any], which: int) -> None:
    crash(make(tmp_path / "i.qcow2", **layout), lambda image: image.delete_snapshot(image.snapshots[which]))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [100 * KIB + 512, 299 * KIB, 900 * KIB, 301 * KIB])
def test_resize(tmp_path: Path, layout: dict[str, Any], size: int) -> None:
    if layout.get("compat") == "0.10":
        layout = {**layout, "snapshots": False}
    crash(make(tmp_path / "i.qcow2", **layout), lambda image: image.resize(size), RESIZE)


@pytest.mark.parametrize("mode", ["metadata", "falloc", "full"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_grow_preallocated(tmp_path: Path, layout: dict[str, Any], mode: str) -> None:
    if layout.get("compat") == "0.10":
        layout = {**layout, "snapshots": False}
    crash(make(tmp_path / "i.qcow2", **layout), lambda image: image.resize(700 * KIB, mode), RESIZE)
