# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the functions of the SDK take: all of it, explained, the same everywhere; what makes no sense is refused."""
from __future__ import annotations

import inspect
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import qimg
from qimg.operations.bench import BenchRequest
from qimg.operations.dd import DdRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

MIB = 1 << 20
FUNCTIONS = [name for name in qimg.__all__ if inspect.isfunction(getattr(qimg, name))]
#: Functions and the plans that they carry out; the two requests aside.
PLANNED = [name for name in FUNCTIONS if "plan_" + name in FUNCTIONS and name not in ("convert", "dd")]
#: Functions whose arguments are the fields of a request.
REQUESTS: dict[str, Any] = {"bench": BenchRequest, "convert": qimg.ConvertRequest, "dd": DdRequest}
#: What the documentation of the package says of all functions.
COMMON = ("reference", "format", "opener", "progress")


def parameters(name: str) -> dict[str, Any]:
    """Names and defaults, but for those that every function has or has not."""
    return {
        each.name: each.default
        for each in inspect.signature(getattr(qimg, name)).parameters.values()
        if each.name not in ("opener", "progress")
    }


@pytest.mark.parametrize("name", PLANNED)
def test_a_function_takes_what_its_plan_takes(name: str) -> None:
    planned = parameters("plan_" + name)
    if name == "create_snapshot":
        # It returns the new snapshot, and so makes one.
        del planned["only_if_missing"]
    assert list(parameters(name).items()) == list(planned.items())


@pytest.mark.parametrize("name", REQUESTS)
def test_a_function_takes_what_its_request_says(name: str) -> None:
    request, taken = REQUESTS[name], parameters(name)
    # Without the name of a target there is none.
    defaults = {key: value for key, value in request._field_defaults.items() if key != "target"}

    # One source or many.
    assert set(request._fields) - set(taken) == ({"sources"} if name == "convert" else set())
    assert {key: taken[key] for key in defaults} == defaults


def _documentation(function: Callable[..., Any], seen: tuple[str, ...] = ()) -> Iterator[str]:
    """What is said of a function, and of those that it is said to be like."""
    text = inspect.getdoc(function) or ""
    yield text
    for name in re.findall(r":(?:func|class):`(?:~[\w.]*\.|)(\w+)`", text):
        if name not in seen and hasattr(sys.modules[function.__module__], name):
            yield from _documentation(getattr(sys.modules[function.__module__], name), (*seen, name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_of_a_function_is_explained(name: str) -> None:
    text = "\n".join(_documentation(getattr(qimg, name)))
    explained = {*COMMON, *re.findall(r":param (\w+):", text)}

    assert [each for each in inspect.signature(getattr(qimg, name)).parameters if each not in explained] == []


# Names of files


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_files_are_named_by_texts_bytes_or_paths(tmp_path: Path, kind: Callable[[str], Any]) -> None:
    base, overlay, copy, raw, data = (kind(str(tmp_path / name)) for name in ("b", "o", "c", "r", "d"))

    qimg.create(base, "qcow2", MIB, {"data_file": data})
    qimg.create(overlay, "qcow2", backing_file=base, backing_format="qcow2")
    qimg.convert([overlay, overlay], copy, "qcow2", backing_file=None)
    qimg.convert(base, copy, "qcow2", into_existing=True)
    qimg.dd(copy, raw, count=1)
    qimg.rebase(overlay, copy, "qcow2")
    qimg.commit(overlay, base=copy)
    qimg.add_bitmap(copy, "b")
    qimg.merge_bitmap(copy, "b", "b")
    policy = qimg.ReferencePolicy(trusted_dirs=(kind("/"),), trusted_files=(base,))
    with qimg.open_image(overlay, opener=qimg.Opener(policy)) as image:
        assert image.size == MIB
    assert qimg.info(base).format_specific is not None
    assert qimg.compare(base, overlay).identical and qimg.measure(copy, "raw").required == 2 * MIB
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["b", "c", "d", "o", "r"]


@pytest.mark.parametrize("name", ["nbd:unix:x", "json:{}", "a:b"])
@pytest.mark.parametrize("kind", [os.fsencode, Path])
def test_a_path_is_never_taken_for_another_kind_of_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: Callable[[str], Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    qimg.create(kind(name), "qcow2", MIB)

    assert os.listdir(tmp_path) == [name] and qimg.info(kind(name)).virtual_size == MIB


def test_what_is_no_name_at_all_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        qimg.info(5)  # type: ignore[arg-type]


# Several threads


def test_threads_may_share_an_opener(tmp_path: Path) -> None:
    qimg.create(tmp_path / "base", "qcow2", MIB)
    for number in range(4):
        qimg.create(tmp_path / str(number), "qcow2", backing_file="base", backing_format="qcow2")
    opener = qimg.Opener()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            paths = [tmp_path / str(number % 4) for number in range(300)]
            found = list(threads.map(lambda path: qimg.map_image(path, opener=opener), paths))
    finally:
        sys.setswitchinterval(interval)

    assert {(len(extents), extents[0].depth) for extents in found} == {(1, 1)}


# What makes no sense


@pytest.fixture(params=["qcow2", "raw"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    qimg.create(tmp_path / "disk", request.param, MIB)
    return tmp_path / "disk"


@pytest.mark.parametrize(("offset", "length"), [(-1, 512), (MIB - 511, 512), (2 * MIB, 1)])
def test_only_what_is_inside_the_disk_is_read_and_written(path: Path, offset: int, length: int) -> None:
    before = path.read_bytes()
    with qimg.open_image(path, purpose="write") as image:
        for work in (
            lambda: image.read(offset, length),
            lambda: image.read_into(offset, bytearray(length)),
            lambda: image.write(offset, b"x" * length),
            lambda: image.write_zeroes(offset, length),
            lambda: image.discard(offset, length),
        ):
            with pytest.raises(qimg.OptionError, match="not inside the disk, which has 1048576 bytes"):
                work()
    assert path.read_bytes() == before


def test_an_image_that_is_open_for_reading_is_not_written(path: Path) -> None:
    before = path.read_bytes()
    with qimg.open_image(path) as image:
        for work in (image.write_zeroes, image.discard):
            with pytest.raises(qimg.UnsupportedOperationError, match="open for reading only"):
                work(0, 65536)
        with pytest.raises(qimg.UnsupportedOperationError, match="open for reading only"):
            image.write(0, b"x")
        image.flush()
    assert path.read_bytes() == before


def test_a_closed_image_is_of_no_use(path: Path) -> None:
    with qimg.open_image(path, purpose="write") as image:
        image.write(0, b"x")
    for work in (lambda: image.read(0, 1), lambda: image.write(0, b"y"), image.flush):
        with pytest.raises(qimg.StorageError, match="has been closed"):
            work()
    image.close()


@pytest.mark.parametrize(
    "work",
    [
        lambda path: qimg.open_image(path, purpose="w"),  # type: ignore[arg-type]
        lambda path: qimg.create(path, "qcow2", MIB, existing="Overwrite"),  # type: ignore[arg-type]
        lambda path: qimg.create(path, "qcow2", MIB, size_policy="at least"),  # type: ignore[arg-type]
        lambda path: qimg.create(path, "qcow2", -1),
        lambda path: qimg.measure(size=-1),
        lambda path: qimg.map_image(path, start=-1),
        lambda path: qimg.map_image(path, length=-1),
        lambda path: qimg.check(path, repair="yes"),  # type: ignore[arg-type]
        lambda path: qimg.plan_repair(path, "yes"),  # type: ignore[arg-type]
        lambda path: qimg.resize(path, MIB, preallocation="none"),  # type: ignore[arg-type]
        lambda path: qimg.resize(path, MIB, relative=2),  # type: ignore[arg-type]
        lambda path: qimg.commit(path, rate=-1),
        lambda path: qimg.create_snapshot(path, "a\0b"),
        lambda path: qimg.plan_bitmap(path, "b", [qimg.BitmapAction("join", None, "a")]),
        lambda path: qimg.plan_bitmap(path, "b", [qimg.BitmapAction("add"), qimg.BitmapAction("merge")]).apply(),
        lambda path: qimg.cache_mode("quick"),
    ],
)
def test_words_and_numbers_that_make_no_sense_are_refused(tmp_path: Path, work: Callable[[Any], Any]) -> None:
    path = tmp_path / "disk"
    qimg.create(path, "qcow2", MIB)
    before = path.read_bytes()
    with pytest.raises(qimg.OptionError):
        work(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        {"replace": "no"},
        {"rate": -1},
        {"threads": 0},
        {"sparse_grain": 100},
        {"sparse_grain": -512},
        {"compress": True, "offload": True, "format": "qcow2"},
        {"salvage": print, "offload": True},
        {"target_is_zero": True},
        {"skip_broken_bitmaps": print},
        {"into_existing": True, "options": {"size": 5}},
        {"target": {"driver": "raw", "file": {"driver": "file", "filename": "new"}}},
        {"source": []},
    ],
)
def test_conversions_that_contradict_themselves_are_refused(tmp_path: Path, arguments: dict[str, Any]) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"x" * 512)
    with pytest.raises(qimg.OptionError):
        qimg.convert(**{"source": path, "target": tmp_path / "new", **arguments})
    assert [each.name for each in tmp_path.iterdir()] == ["disk"]


def test_sources_are_not_taken_letter_by_letter() -> None:
    with pytest.raises(qimg.OptionError, match="a tuple of images, not one"):
        qimg.plan_convert(qimg.ConvertRequest("disk.raw", None, "new"))


def test_plans_and_results_show_what_they_are(path: Path) -> None:
    plan = qimg.plan_resize(path, 2 * MIB)

    assert repr(plan) == "<Plan of '%s': grow the disk from 1048576 to 2097152 bytes>" % path
    plan.apply()
    assert repr(qimg.plan_resize(path, 2 * MIB)) == "<Plan of '%s': nothing to do>" % path
