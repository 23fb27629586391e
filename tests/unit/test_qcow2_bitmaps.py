# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dirty bitmaps of qcow2 images, where real QEMU has nothing to compare with: limits, failures, plans."""
from __future__ import annotations

import resource

import pytest

from qimg.errors import (
    CorruptImageError,
    ImageError,
    MismatchError,
    OptionError,
    StorageError,
    UnsupportedOperationError,
)
from qimg.formats.capabilities import BitmapInfo, HasBitmaps
from qimg.formats.driver import CHECK, RESIZE, WRITE
from qimg.formats.opening import Opener
from qimg.formats.qcow2.bitmaps import directory as qcow2_bitmaps
from qimg.operations import bitmap, create, new_image
from qimg.operations.bitmap import BitmapAction
from support.recording import Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

KIB, MIB, TIB = 1 << 10, 1 << 20, 1 << 40


def make(path: Path, size: int = 10 * MIB, **options: Any) -> str:
    create.create(str(path), "qcow2", size, options=options)
    return str(path)


def add(path: str, name: str, granularity: int | None = None) -> None:
    bitmap.plan_bitmap(path, name, [BitmapAction(bitmap.ADD, granularity)]).apply()


def write(path: str, *ranges: tuple[int, int]) -> None:
    with Opener().open(path, purpose=WRITE) as image:
        for offset, length in ranges:
            image.write(offset, b"x" * length)


# What several actions do


def test_all_actions_on_a_bitmap_happen_or_none(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2")
    before = (tmp_path / "i.qcow2").read_bytes()
    plan = bitmap.plan_bitmap(path, "new", [BitmapAction(bitmap.ADD), BitmapAction(bitmap.MERGE, None, "missing")])
    with pytest.raises(OptionError, match="Operation merge on bitmap new failed: Dirty bitmap 'missing' not found"):
        plan.apply()
    assert (tmp_path / "i.qcow2").read_bytes() == before


@pytest.mark.parametrize("cluster_size", [512, 1024])
def test_a_bitmap_that_the_header_has_no_room_for_is_refused_before_guest_data_depend_on_it(
    tmp_path: Path, cluster_size: int
) -> None:
    refused = 0
    for length in range(cluster_size // 2 - 200, min(cluster_size - 128, 1000), 8):
        name = "b" * 8 + "/." * ((length - 8) // 2)
        path = str(tmp_path / "i.qcow2")
        create.plan_create(
            path, "qcow2", MIB, {"cluster_size": cluster_size}, name, "raw", False, existing=create.RECREATE
        ).apply()
        with Opener().open(path, purpose=WRITE, backing=False) as image:
            try:
                image.add_bitmap("new", 512)  # type: ignore[attr-defined]
            except ImageError as error:
                assert "No space left in the file header" in str(error)
                refused += 1
            else:
                assert not refused
            image.write(0, b"x" * MIB)
        with Opener().open(path, backing=False) as image:
            assert image.read(0, MIB) == b"x" * MIB
            assert len(image.bitmaps) == (0 if refused else 1)  # type: ignore[attr-defined]
    assert refused


def test_a_write_after_an_added_bitmap_is_recorded_though_neither_is_on_disk_yet(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2")
    with Opener().open(path, purpose=WRITE) as image:
        image.add_bitmap("new", 512)  # type: ignore[attr-defined]
        image.write(1024, b"x")
    assert bitmap.dirty_ranges(path, "new") == [(1024, 512)]


def test_a_bitmap_of_a_new_image_records_writes_from_the_start(tmp_path: Path) -> None:
    path = str(tmp_path / "i.qcow2")
    opener = Opener()
    options = create.resolve_options(path, "qcow2", 10 * MIB, {}, None, None)
    with new_image.new_files(path, "qcow2", options, opener) as files:
        with new_image.empty_image(path, "qcow2", files, options, opener) as image:
            assert isinstance(image, HasBitmaps)
            image.add_bitmap("new", 512)
            image.write(5 * KIB, b"x" * KIB)
        files.commit()
    assert bitmap.dirty_ranges(path, "new") == [(5 * KIB, KIB)]


def test_a_read_only_image_refuses_changes_of_bitmaps(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2")
    add(path, "b")
    changes: list[Callable[[Any], None]] = [
        lambda image: image.add_bitmap("c"),
        lambda image: image.remove_bitmap("b"),
        lambda image: image.clear_bitmap("b"),
        lambda image: image.enable_bitmap("b"),
        lambda image: image.merge_into_bitmap("b", 512, []),
    ]
    with Opener().open(path) as image:
        for change in changes:
            with pytest.raises(UnsupportedOperationError, match="open for reading only"):
                change(image)


# Failures


@pytest.mark.parametrize("cluster_size", [4 * KIB, 64 * KIB])
def test_a_failed_write_leaves_bitmaps_that_can_be_used_and_say_at_least_what_was_written(
    tmp_path: Path, cluster_size: int
) -> None:
    file = tmp_path / "i.qcow2"
    path = make(file, cluster_size=cluster_size)
    add(path, "b", 512)
    write(path, (0, 3 * MIB))
    bitmap.plan_bitmap(path, "b", [BitmapAction(bitmap.CLEAR)]).apply()
    state = file.read_bytes()
    number = 0
    usable = 0
    while True:
        file.write_bytes(state)
        with Recorder([file], fail_at=number) as recorder:
            try:
                with Opener().open(path, purpose=WRITE) as image:
                    image.write(2 * MIB, b"new" * 1000)
                    image.write(7 * MIB, b"new" * 1000)
            except StorageError:
                pass
        if not recorder.failed:
            break
        number += 1
        with Opener().open(path) as image:
            changed = image.read(2 * MIB, 512) != b"x" * 512
            [info] = image.bitmaps  # type: ignore[attr-defined]
        with Opener().open(path, purpose=CHECK) as image:
            result = image.check()  # type: ignore[attr-defined]
            assert (result.corruptions, result.leaks) == (0, 0)
        if not info.inconsistent:
            usable += 1
            marked = bitmap.dirty_ranges(path, "b")
            assert not changed or any(offset <= 2 * MIB < offset + length for offset, length in marked), marked
    assert number > 5 and usable > number // 2


def test_a_bitmap_that_would_become_too_large_prevents_the_resize(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2", 4 * TIB, cluster_size=2 * MIB)
    add(path, "fine", KIB)
    before = (tmp_path / "i.qcow2").read_bytes()
    wanted = "'fine' cannot have the new size"
    with Opener().open(path, purpose=RESIZE) as image, pytest.raises(OptionError, match=wanted):
        image.resize(5 * TIB)  # type: ignore[attr-defined]
    assert (tmp_path / "i.qcow2").read_bytes() == before


# Memory


def test_a_huge_bitmap_takes_memory_by_what_is_marked(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2", 4 * TIB)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    add(path, "fine", KIB)
    with Opener().open(path, purpose=WRITE) as image:
        image.discard(TIB, TIB)
        for index in range(100):
            image.write(2 * TIB + index * (7 << 30), b"x")
    ranges = bitmap.dirty_ranges(path, "fine")
    assert ranges[0] == (TIB, TIB + KIB) and len(ranges) == 100
    add(path, "coarse", 1 << 31)
    bitmap.plan_bitmap(path, "coarse", [BitmapAction(bitmap.MERGE, None, "fine")]).apply()
    assert bitmap.dirty_ranges(path, "coarse")[0] == (TIB, TIB + (1 << 31))
    bitmap.plan_bitmap(path, "fine", [BitmapAction(bitmap.MERGE, None, "coarse")]).apply()
    assert bitmap.dirty_ranges(path, "fine") == bitmap.dirty_ranges(path, "coarse")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 80 << 10


def test_bits_that_do_not_fit_into_memory_reach_the_disk_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qcow2_bitmaps, "_MEMORY_BYTES", 2048)
    path = make(tmp_path / "i.qcow2", 20 * MIB, cluster_size=512)
    for name in ("a", "b"):
        add(path, name, 512)
    expected = [(index * 70 * KIB, 512) for index in range(290)]
    write(path, *expected)
    write(path, (5 * MIB, 6 * MIB))
    expected = [each for each in expected if not 5 * MIB <= each[0] < 11 * MIB] + [(5 * MIB, 6 * MIB)]
    for name in ("a", "b"):
        assert bitmap.dirty_ranges(path, name) == sorted(expected)
    with Opener().open(path, purpose=CHECK) as image:
        result = image.check()  # type: ignore[attr-defined]
        assert (result.corruptions, result.leaks) == (0, 0)


# Broken images


def test_guest_data_can_be_read_though_the_bitmap_directory_is_broken_but_nothing_can_be_changed(
    tmp_path: Path,
) -> None:
    path = make(tmp_path / "i.qcow2")
    write(path, (0, 512))
    add(path, "b")
    with Opener().open(path) as image:
        offset = image.metadata.bitmaps.offset  # type: ignore[attr-defined]
    with open(path, "r+b") as file:
        file.seek(offset + 16)
        file.write(b"\x07")
    with Opener().open(path) as image:
        assert image.read(0, 512) == b"x" * 512
    for purpose in (WRITE, CHECK):
        with pytest.raises(CorruptImageError, match="Bitmap 'b' doesn't satisfy the constraints"):
            Opener().open(path, purpose=purpose)


# Plans


def test_present_adds_once_and_changes_only_whether_it_records(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2")
    plan = bitmap.plan_present(path, "b", 4096)
    assert plan.before == {"name": "b", "state": "absent"}
    assert plan.after == {
        "name": "b", "state": "present", "granularity": 4096, "enabled": True, "inconsistent": False, "dirty_bytes": 0
    }
    plan.apply()
    assert not bitmap.plan_present(path, "b", 4096).changed
    assert not bitmap.plan_present(path, "b").changed
    off = bitmap.plan_present(path, "b", enabled=False)
    assert off.actions == ["disable bitmap 'b'"]
    off.apply()
    assert bitmap.list_bitmaps(path) == [BitmapInfo("b", 4096, False, False)]
    assert not bitmap.plan_present(path, "b").changed
    with pytest.raises(MismatchError, match="has a granularity of 4096 bytes, not 512"):
        bitmap.plan_present(path, "b", 512)


def test_a_new_bitmap_can_be_disabled_from_the_start_and_has_the_default_granularity(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2", cluster_size=2 * MIB)
    plan = bitmap.plan_present(path, "b", enabled=False)
    plan.apply()
    assert plan.after["granularity"] == 65536
    assert bitmap.list_bitmaps(path) == [BitmapInfo("b", 65536, False, False)]


def test_absent_removes_once(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2")
    add(path, "b")
    plan = bitmap.plan_absent(path, "b")
    assert plan.changed and plan.after == {"name": "b", "state": "absent"}
    plan.apply()
    assert bitmap.list_bitmaps(path) == [] and not bitmap.plan_absent(path, "b").changed


def test_cleared_enabled_and_disabled_do_nothing_where_it_is_so_already(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2")
    add(path, "b", 512)
    write(path, (0, 5000))
    for planner in (bitmap.plan_cleared, bitmap.plan_disabled, bitmap.plan_enabled):
        plan = planner(path, "b")
        assert plan.changed
        plan.apply()
        again = planner(path, "b")
        assert not again.changed and again.before == plan.after
        with pytest.raises(OptionError, match="'none' not found"):
            planner(path, "none")


def test_merged_predicts_the_marks_and_does_nothing_where_all_are_there(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2", 10 * MIB + 512)
    add(path, "fine", 512)
    write(path, (MIB, 512), (10 * MIB, 512))
    add(path, "coarse", 65536)
    write(path, (5 * MIB, 512))
    plan = bitmap.plan_merged(path, "coarse", ["fine"])
    assert plan.actions == ["merge bitmap 'fine' into bitmap 'coarse'"]
    plan.apply()
    again = bitmap.plan_merged(path, "coarse", ["fine", "coarse"])
    assert not again.changed
    assert again.before == plan.after and again.before["dirty_bytes"] == 2 * 65536 + 512
    assert bitmap.dirty_ranges(path, "coarse") == [(MIB, 65536), (5 * MIB, 65536), (10 * MIB, 512)]


def test_merged_from_another_image_needs_one_of_the_same_size(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2")
    other = make(tmp_path / "other.qcow2")
    larger = make(tmp_path / "larger.qcow2", 11 * MIB)
    for each in (path, other, larger):
        add(each, "b", 512)
    write(other, (3 * MIB, 1000))
    plan = bitmap.plan_merged(path, "b", ["b"], source=other)
    plan.rehearse()
    assert bitmap.dirty_ranges(path, "b") == []
    plan.apply()
    assert bitmap.dirty_ranges(path, "b") == [(3 * MIB, 1024)]
    with pytest.raises(OptionError, match="Bitmaps are of different sizes"):
        bitmap.plan_merged(path, "b", ["b"], source=larger)


def test_rehearsing_changes_nothing_and_meets_the_errors_of_the_real_thing(tmp_path: Path) -> None:
    path = make(tmp_path / "i.qcow2")
    before = (tmp_path / "i.qcow2").read_bytes()
    bitmap.plan_present(path, "b").rehearse()
    with pytest.raises(OptionError, match="Granularity must be power of 2"):
        bitmap.plan_present(path, "b", 1000).rehearse()
    assert (tmp_path / "i.qcow2").read_bytes() == before
