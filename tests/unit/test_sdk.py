# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The public names of the SDK, and the page that explains them."""
from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import qimg

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "sdk.md"
_NAMES = [name for name in dir(qimg) if name != "__version__"]
#: Functions that do not do what a command does.
_NO_COMMANDS = (
    "amendable_options", "cache_mode", "creation_options", "extents_of", "format_names", "open_image",
    "open_snapshot", "schema", "schema_names",
)


@pytest.mark.parametrize("name", _NAMES)
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(qimg, name))


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        qimg.nonsense  # noqa: B018


def test_type_checkers_see_the_same_names_in_the_same_places() -> None:
    tree = ast.parse(Path(qimg.__file__).read_text("utf-8"))
    static = [
        (node.module, alias.name, alias.asname)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    ]

    assert sorted(static) == sorted((place, name, name) for place, names in qimg._PLACES.items() for name in names)
    assert sorted(qimg.__all__) == sorted(_NAMES)


@pytest.mark.parametrize(
    "name",
    ["BitmapAction", "BitmapInfo", "CacheMode", "CheckReport", "CompareResult", "ConvertRequest", "CreateOption",
     "DdRequest", "Extent", "ImageInfo", "Limits", "Measurement", "SnapshotInfo"],
)  # fmt: skip
def test_results_say_the_types_of_all_their_fields(name: str) -> None:
    result = getattr(qimg, name)

    assert tuple(result.__annotations__) == result._fields


def test_the_page_names_every_function_and_no_other() -> None:
    table = _PAGE.read_text("utf-8").split("## Everything")[1]
    functions = {
        name
        for name in _NAMES
        if inspect.isfunction(getattr(qimg, name)) and name not in _NO_COMMANDS
    }

    assert set(re.findall(r"`(\w+)`", table)) - _commands() == functions - _commands()


def test_the_page_has_a_row_for_every_command() -> None:
    table = _PAGE.read_text("utf-8").split("## Everything")[1]

    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == _commands()


def _commands() -> set[str]:
    from qimg.cli import commands

    return {path.stem for path in Path(next(iter(commands.__path__))).glob("[a-z]*.py")}


def test_the_examples_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for example in re.findall(r"^```python\n(.*?)^```$", _PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(example, str(_PAGE), "exec"), names)

    printed = capsys.readouterr().out.split("\n")
    assert printed[0] == "qcow2 %d 65536" % (64 << 20)
    assert "True None None" in printed
    assert "there is no cancelled.qcow2" in printed and not Path("cancelled.qcow2").exists()
    assert qimg.compare("upload.raw", "small.qcow2").identical
    assert qimg.check("other.qcow2").clean and qimg.info("other.qcow2").virtual_size == 65 << 20


def test_who_raises_from_progress_stops_a_conversion_and_nothing_is_left(tmp_path: Path) -> None:
    class Cancelled(Exception):
        pass

    def stop(fraction: float) -> None:
        raise Cancelled

    (tmp_path / "source").write_bytes(b"x" * (8 << 20))
    with pytest.raises(Cancelled):
        qimg.convert(str(tmp_path / "source"), str(tmp_path / "target"), "qcow2", "raw", progress=stop)

    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_measure_wants_an_image_or_a_size() -> None:
    with pytest.raises(qimg.OptionError):
        qimg.measure()
    assert qimg.measure(size=1 << 20, format="qcow2").fully_allocated > 1 << 20


def test_options_of_formats_are_told_as_typed_values() -> None:
    by_name = {option.name: option for option in qimg.creation_options("qcow2")}

    assert by_name["cluster_size"].type == "size" and by_name["cluster_size"].default == 65536
    assert "nocow" not in by_name and "nocow" in {option.name for option in qimg.creation_options("qcow2", "new")}
    assert {option.name for option in qimg.amendable_options("qcow2")} <= {*by_name, "backing_file", "backing_fmt"}
    with pytest.raises(qimg.UnsupportedOperationError):
        qimg.amendable_options("raw")


def test_what_a_snapshot_holds_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    qimg.create(path, "qcow2", size=1 << 20)
    for content in (b"old", b"new"):
        with qimg.open_image(path, purpose="write") as image:
            image.write(0, content)
        qimg.create_snapshot(path, content.decode())

    for wanted in ("old", "1", ("1", None), (None, "old")):
        with qimg.open_snapshot(path, wanted) as image:
            assert image.read(0, 3) == b"old"
            with pytest.raises(qimg.UnsupportedOperationError):
                image.write(0, b"x")
    with pytest.raises(qimg.OptionError):
        qimg.open_snapshot(path, ("1", "new"))
    # It is closed again, so that it can be written to.
    qimg.delete_snapshot(path, "old")


def test_dd_copies_the_blocks_that_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"a" * 512 + b"b" * 512 + b"c" * 512)

    qimg.dd(str(tmp_path / "source"), str(tmp_path / "target"), count=2, skip=1, source_format="raw")

    assert (tmp_path / "target").read_bytes() == b"b" * 512


def test_bitmaps_are_changed_one_by_one(tmp_path: Path) -> None:
    path = str(tmp_path / "disk.qcow2")
    qimg.create(path, "qcow2", size=1 << 20)

    qimg.add_bitmap(path, "a", granularity=65536, enabled=False)
    qimg.add_bitmap(path, "b", granularity=65536)
    qimg.disable_bitmap(path, "b")
    qimg.enable_bitmap(path, "a")
    with qimg.open_image(path, purpose="write") as image:
        image.write(65536, b"x")
    assert list(qimg.dirty_ranges(path, "a")) == [(65536, 65536)] and list(qimg.dirty_ranges(path, "b")) == []
    qimg.merge_bitmap(path, "b", "a")
    qimg.clear_bitmap(path, "a")

    assert list(qimg.dirty_ranges(path, "a")) == [] and list(qimg.dirty_ranges(path, "b")) == [(65536, 65536)]
    qimg.remove_bitmap(path, "a")
    assert [bitmap.name for bitmap in qimg.list_bitmaps(path)] == ["b"]
