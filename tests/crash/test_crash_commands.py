# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The crash test for whole commands: copies into existing images, commits of every kind, all options of amend."""
from __future__ import annotations

import pytest
from test_crash_in_place import KIB, change, make, pattern
from test_crash_other_changes import bitmap_view, sectors_between

from qimg.formats.capabilities import HasBitmaps
from qimg.formats.driver import WRITE
from qimg.operations import amend, bitmap, commit, convert, create, rebase
from qimg.operations.conversion_request import ConvertRequest
from support.crashing import CrashTest, digest, opener, view

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


def content(path: Path) -> bytes:
    with opener().open(str(path)) as image:
        return image.read(0, image.size)


# Copies into an existing image: sector by sector old or new.


@pytest.mark.parametrize("layout", [{"cluster_size": 4096}, {"cluster_size": 65536}, {"compat": "0.10"}])
def test_convert_into_an_existing_image(tmp_path: Path, layout: dict[str, Any]) -> None:
    source = pattern(tmp_path / "source.raw", 300 * KIB)
    data = bytearray(source.read_bytes())
    data[64 * KIB : 160 * KIB] = bytes(96 * KIB)
    source.write_bytes(data)
    path = make(tmp_path / "i.qcow2", snapshots=False, **layout)

    def operate() -> None:
        request = ConvertRequest((str(source),), "raw", str(path), "qcow2", into_existing=True)
        convert.plan_convert(request, opener=opener()).apply()

    test = CrashTest([path], [path], operate, lambda: content(path), sectors_between)
    test.run()
    assert test.new == bytes(data)


def test_writes_over_compressed_clusters(tmp_path: Path) -> None:
    source = tmp_path / "source.raw"
    source.write_bytes(b"compresses well " * (300 * KIB // 16))
    path = tmp_path / "i.qcow2"
    request = ConvertRequest(
        (str(source),), "raw", str(path), "qcow2", {"cluster_size": 4096}, compress=True
    )
    convert.plan_convert(request, opener=opener()).apply()

    def work(image: Any) -> None:
        image.write(3 * 512, b"plain" * 2000)
        image.flush()
        image.write_zeroes(50 * KIB, 30 * KIB)
        image.discard(100 * KIB, 64 * KIB)
        image.write(120 * KIB, b"x" * 512)

    CrashTest([path], [path], change(path, work), lambda: content(path), sectors_between).run()


@pytest.mark.parametrize("which", [0, 1])
def test_snapshots_of_compressed_clusters(tmp_path: Path, which: int) -> None:
    source = tmp_path / "source.raw"
    source.write_bytes(b"compresses well " * (200 * KIB // 16))
    path = tmp_path / "i.qcow2"
    request = ConvertRequest((str(source),), "raw", str(path), "qcow2", {"cluster_size": 4096}, compress=True)
    convert.plan_convert(request, opener=opener()).apply()
    with opener().open(str(path), purpose=WRITE) as image:
        image.create_snapshot("one", 1, 2)  # type: ignore[attr-defined]
        image.write(10 * KIB, b"later" * 4000)
        image.create_snapshot("two", 3, 4)  # type: ignore[attr-defined]

    def work(image: Any) -> None:
        if which:
            image.delete_snapshot(image.snapshots[0])
        else:
            image.apply_snapshot(image.snapshots[0])

    CrashTest([path], [path], change(path, work), lambda: view(path)).run()


# Commit


def chain(tmp_path: Path, snapshots: bool = False) -> tuple[Path, Path, Path]:
    base = pattern(tmp_path / "base.raw", 300 * KIB)
    middle = make(tmp_path / "middle.qcow2", backing=base, snapshots=False, cluster_size=4096)
    top = tmp_path / "top.qcow2"
    create.plan_create(
        str(top), "qcow2", 300 * KIB, {"cluster_size": 4096}, str(middle), "qcow2", opener=opener()
    ).apply()
    with opener().open(str(top), purpose=WRITE) as image:
        for start in range(0, 300 * KIB, 41 * KIB):
            image.write(start // 512 * 512, b"top!" * 1500)
        image.write_zeroes(130 * KIB, 20 * KIB)
        if snapshots:
            image.create_snapshot("kept", 1, 1)  # type: ignore[attr-defined]
    return base, middle, top


@pytest.mark.parametrize("snapshots", [False, True], ids=["reset", "discard"])
def test_commit_empties_the_overlay_in_both_ways(tmp_path: Path, snapshots: bool) -> None:
    _base, middle, top = chain(tmp_path, snapshots)

    def operate() -> None:
        commit.plan_commit(str(top), opener=opener()).apply()

    CrashTest([top, middle], [top, middle], operate, lambda: digest(content(top))).run()


def test_commit_that_leaves_the_overlay_as_it_is(tmp_path: Path) -> None:
    _base, middle, top = chain(tmp_path)
    before = top.read_bytes()

    def operate() -> None:
        commit.plan_commit(str(top), keep=True, opener=opener()).apply()

    CrashTest([top, middle], [top, middle], operate, lambda: digest(content(top))).run()
    assert top.read_bytes() == before


def test_commit_into_a_lower_image(tmp_path: Path) -> None:
    base, middle, top = chain(tmp_path)

    def operate() -> None:
        commit.plan_commit(str(top), base=str(base), opener=opener()).apply()

    CrashTest([top, middle, base], [top, middle], operate, lambda: digest(content(top))).run()


# Amend: what the other file has no example of


@pytest.mark.parametrize("wanted", [{"data_file_raw": False}, {"data_file": "{}/other.raw"}])
def test_amend_of_the_data_file(tmp_path: Path, wanted: dict[str, Any]) -> None:
    data = tmp_path / "data.raw"
    path = make(tmp_path / "i.qcow2", cluster_size=4096, snapshots=False, data_file=str(data), data_file_raw=True)
    (tmp_path / "other.raw").write_bytes(data.read_bytes())
    options = {name: str(tmp_path) + value[2:] if isinstance(value, str) else value for name, value in wanted.items()}

    def operate() -> None:
        amend.plan_amend(str(path), options, opener=opener()).apply()

    CrashTest([path], [path], operate, lambda: view(path)).run()


# Bitmaps


def run_bitmap(path: Path, name: str, actions: list[tuple[str, str | None]], other: Path | None) -> None:
    asked = [bitmap.BitmapAction(kind, None, source) for kind, source in actions]
    bitmap.plan_bitmap(
        str(path), name, asked, "qcow2", source=str(other) if other else None, opener=opener()
    ).apply()


def with_two(path: Path, cluster_size: int = 4096) -> Path:
    make(path, snapshots=False, cluster_size=cluster_size)
    with opener().open(str(path), purpose=WRITE) as image:
        assert isinstance(image, HasBitmaps)
        image.add_bitmap("on", 512)
        image.add_bitmap("off", 4096, enabled=False)
    with opener().open(str(path), purpose=WRITE) as image:
        image.write(1024, b"x" * 50000)
    return path


BITMAP_COMMANDS: dict[str, tuple[str, list[tuple[str, str | None]]]] = {
    "enable": ("off", [("enable", None)]),
    "add and merge": ("new", [("add", None), ("merge", "on")]),
    "all at once": ("on", [("clear", None), ("merge", "off"), ("disable", None)]),
}


@pytest.mark.parametrize("name", BITMAP_COMMANDS)
def test_bitmap_commands(tmp_path: Path, name: str) -> None:
    path = with_two(tmp_path / "i.qcow2")
    target, actions = BITMAP_COMMANDS[name]

    def operate() -> None:
        run_bitmap(path, target, actions, None)

    CrashTest([path], [path], operate, lambda: (view(path), bitmap_view(path))).run()


def test_merge_from_another_image(tmp_path: Path) -> None:
    path, other = with_two(tmp_path / "i.qcow2"), with_two(tmp_path / "other.qcow2", 65536)

    def operate() -> None:
        run_bitmap(path, "off", [("merge", "on")], other)

    CrashTest([path], [path], operate, lambda: (view(path), bitmap_view(path))).run()


# Rebase of what is larger, smaller or empty


@pytest.mark.parametrize("size", [100 * KIB, 500 * KIB])
def test_rebase_to_a_file_of_another_size(tmp_path: Path, size: int) -> None:
    base = pattern(tmp_path / "base.raw", 300 * KIB)
    pattern(tmp_path / "other.raw", size)
    overlay = make(tmp_path / "overlay.qcow2", backing=base, snapshots=False, cluster_size=4096)

    def operate() -> None:
        rebase.plan_rebase(str(overlay), str(tmp_path / "other.raw"), "raw", opener=opener()).apply()

    CrashTest([overlay], [overlay], operate, lambda: digest(content(overlay))).run()
