# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Creation options of qcow2 in all combinations of two, and all that exclude each other, by us and by qemu-img.

What can be combined is spread over few images in which each value meets each value of the other options; of what
cannot, each two are asked for alone, and together with other mistakes, to see which one is named.
"""
from __future__ import annotations

import itertools
import os

import pytest

from support import in_process, oracle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

pytestmark = pytest.mark.oracle

#: Option -> its values; ``None``: not given.  ``backing`` and ``data_file`` stand for two options each.
VALUES: dict[str, tuple[str | None, ...]] = {
    "compat": (None, "0.10", "v2", "1.1", "v3"),
    "cluster_size": (None, "512", "1k", "4k", "8k", "16k", "32k", "128k", "512k", "2M"),
    "refcount_bits": (None, "1", "2", "4", "8", "16", "32", "64"),
    "lazy_refcounts": (None, "off", "on"),
    "extended_l2": (None, "off", "on"),
    "compression_type": (None, "zlib", "zstd"),
    "preallocation": (None, "off", "metadata", "falloc", "full"),
    "backing": (None, "base.qcow2", "base.raw"),
    "data_file": (None, "data", "raw"),
    "nocow": (None, "on"),
    "size": ("0", "1", "512", "1000k", "1M", "4194817", "9M"),
}
#: What nobody accepts, whatever it stands beside.
WRONG: dict[str, tuple[str, ...]] = {
    "compat": ("v4", "1.0", ""),
    "cluster_size": ("0", "256", "511", "3000", "4M", "96k"),
    "refcount_bits": ("0", "3", "12", "65", "128"),
    "lazy_refcounts": ("maybe",),
    "extended_l2": ("1",),
    "compression_type": ("lzma", ""),
    "preallocation": ("sparse", ""),
    "backing": ("missing.qcow2", "x" * 1024),
    "data_file": ("raw without a name",),
}


def is_allowed(wanted: dict[str, str | None]) -> bool:
    """Whether the options go together, as the specification and qemu-img's manual have it."""
    old = wanted.get("compat") in ("0.10", "v2")
    extended = wanted.get("extended_l2") == "on"
    small = wanted.get("cluster_size") in ("512", "1k", "4k", "8k")
    newer = (
        extended
        or wanted.get("lazy_refcounts") == "on"
        or wanted.get("refcount_bits") not in (None, "16")
        or wanted.get("data_file") is not None
        or wanted.get("compression_type") == "zstd"
    )
    backing = wanted.get("backing") is not None
    return not (
        (old and newer)
        or (extended and small)
        or (backing and wanted.get("preallocation") not in (None, "off") and not extended)
        or (backing and wanted.get("data_file") == "raw")
    )


def can_meet(wanted: dict[str, str | None]) -> bool:
    """Whether options go together, if need be with a third: only extended L2 entries let two of them."""
    return is_allowed(wanted) or is_allowed({"extended_l2": "on", **wanted})


def covering() -> list[dict[str, str | None]]:
    """Allowed combinations in which each two values that go together meet at least once."""
    names = list(VALUES)
    missing = {
        pair
        for one, other in itertools.combinations(names, 2)
        for value, another in itertools.product(VALUES[one], VALUES[other])
        if can_meet(dict(pair := ((one, value), (other, another))))
    }
    found = []
    while missing:
        wanted: dict[str, str | None] = dict(min(missing, key=repr))
        for name in names:
            if name not in wanted:
                wanted[name] = max(VALUES[name], key=lambda value: _gain(wanted, name, value, missing))
        met = set(itertools.combinations(((name, wanted[name]) for name in names), 2))
        missing -= met
        found.append(wanted)
    return found


def _gain(wanted: dict[str, str | None], name: str, value: str | None, missing: set[Any]) -> int:
    if not is_allowed({**wanted, name: value}):
        return -1
    order = list(VALUES)
    return sum(
        tuple(sorted([(other, wanted[other]), (name, value)], key=lambda item: order.index(item[0]))) in missing
        for other in wanted
    )


def words(wanted: dict[str, str | None]) -> list[str]:
    """The command line for a combination."""
    options, line = [], ["create", "-f", "qcow2"]
    for name, value in wanted.items():
        if name == "backing" and value is not None:
            line += ["-b", value, "-F", value.rpartition(".")[2] if "." in value else "raw"]
        elif name == "data_file" and value is not None:
            options += [] if value == "raw without a name" else ["data_file=data.bin"]
            options += [] if value == "data" else ["data_file_raw=on"]
        elif name != "size" and value is not None:
            options.append("%s=%s" % (name, value))
    if options:
        line += ["-o", ",".join(options)]
    return [*line, "new.qcow2", wanted.get("size") or "1M"]


def excluded() -> Iterator[dict[str, str | None]]:
    """What each two options alone are refused for, and what is refused by itself, beside a mistake of another kind."""
    for one, other in itertools.combinations(VALUES, 2):
        for value, another in itertools.product(VALUES[one], VALUES[other]):
            if not is_allowed({one: value, other: another}):
                yield {one: value, other: another}
    for name, values in WRONG.items():
        for value in values:
            yield {name: value}
    for one, other in itertools.combinations(WRONG, 2):
        yield {one: WRONG[one][0], other: WRONG[other][0]}


def crowded() -> Iterator[dict[str, str | None]]:
    """Combinations with several things wrong at once: only one is named."""
    old = {"compat": "0.10"}
    newer: list[dict[str, str | None]] = [
        {"lazy_refcounts": "on"},
        {"refcount_bits": "8"},
        {"refcount_bits": "7"},
        {"extended_l2": "on"},
        {"extended_l2": "on", "cluster_size": "4k"},
        {"compression_type": "zstd"},
        {"data_file": "data"},
        {"data_file": "raw", "backing": "base.raw"},
        {"preallocation": "full", "backing": "base.qcow2"},
        {"cluster_size": "1000"},
    ]
    for one, other in itertools.combinations(newer, 2):
        yield {**one, **other}
        yield {**old, **one, **other}


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two directories with the same backing files."""
    root = tmp_path_factory.mktemp("create")
    for name in ("qemu", "ours"):
        (root / name).mkdir()
        oracle.qemu_img("create", "-q", "-f", "qcow2", "base.qcow2", "3M", cwd=root / name)
        oracle.qemu_io("base.qcow2", "write -P 7 100k 200k", format="qcow2", cwd=root / name)
        (root / name / "base.raw").write_bytes(b"\5" * 700_000)
    return root / "qemu", root / "ours"


BASES = ["base.qcow2", "base.raw"]


def clear(directory: Path) -> None:
    for name in set(os.listdir(directory)) - set(BASES):
        (directory / name).unlink()


def documents(directory: Path) -> tuple[Any, ...]:
    """What real qemu-img says of the new image, but for what the file system decides."""
    info = oracle.info("new.qcow2", cwd=directory)
    for node in (info, *(child["info"] for child in info["children"])):
        node.pop("actual-size")
    return info, oracle.check("new.qcow2", cwd=directory), oracle.map_("new.qcow2", cwd=directory)


def lengths(directory: Path) -> dict[str, int]:
    return {name: (directory / name).stat().st_size for name in sorted(os.listdir(directory))}


def shown(line: list[str]) -> str:
    return " ".join(line)


COVERING = covering()


def test_each_two_values_that_go_together_meet() -> None:
    for one, other in itertools.combinations(VALUES, 2):
        for value, another in itertools.product(VALUES[one], VALUES[other]):
            met = any(wanted[one] == value and wanted[other] == another for wanted in COVERING)
            assert met == can_meet({one: value, other: another}), (one, value, other, another)


@pytest.mark.parametrize("wanted", COVERING, ids=lambda wanted: shown(words(wanted)[3:]))
def test_a_new_image_is_as_qemu_img_makes_it(sides: tuple[Path, Path], wanted: dict[str, str | None]) -> None:
    theirs, ours = sides
    line = words(wanted)
    for directory in sides:
        clear(directory)
    expected = oracle.run("qemu-img", *line, cwd=theirs)
    assert expected.code == 0, expected
    assert in_process.qimg(*line, cwd=ours) == expected
    assert lengths(ours) == lengths(theirs)
    data_files = [directory / "data.bin" for directory in sides if wanted["data_file"] is not None]
    assert len({path.read_bytes() for path in data_files}) <= 1
    # Nothing that qemu-img says can be different of the same bytes in files of the same names.
    if (ours / "new.qcow2").read_bytes() != (theirs / "new.qcow2").read_bytes():
        assert documents(ours) == documents(theirs)


REFUSED = {shown(words(wanted)): wanted for wanted in (*excluded(), *crowded())}


@pytest.mark.parametrize("start", range(0, len(REFUSED), 20))
def test_what_is_excluded_is_refused_in_the_same_words_and_leaves_no_file(
    sides: tuple[Path, Path], start: int
) -> None:
    theirs, ours = sides
    for wanted in list(REFUSED.values())[start : start + 20]:
        line = words(wanted)
        for directory in sides:
            clear(directory)
        expected = oracle.run("qemu-img", *line, cwd=theirs)
        answer = in_process.qimg(*line, cwd=ours)
        assert answer == expected, shown(line)
        if expected.code:
            assert sorted(os.listdir(ours)) == BASES, shown(line)


@pytest.mark.parametrize("extended", ["off", "on"])
@pytest.mark.parametrize("line", ["resize -q new.qcow2 600k", "amend -q -o size=600k new.qcow2"])
def test_a_raw_data_file_stays_mapped_as_a_whole_when_it_grows(
    sides: tuple[Path, Path], extended: str, line: str
) -> None:
    for directory in sides:
        clear(directory)
        options = "data_file=data.bin,data_file_raw=on,cluster_size=16k,extended_l2=" + extended
        oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", options, "new.qcow2", "311k", cwd=directory)
    theirs, ours = sides
    assert in_process.qimg(*line.split(), cwd=ours) == oracle.run("qemu-img", *line.split(), cwd=theirs)
    assert oracle.map_("new.qcow2", cwd=ours) == oracle.map_("new.qcow2", cwd=theirs)
    assert lengths(ours)["data.bin"] == lengths(theirs)["data.bin"]
    assert oracle.is_clean("new.qcow2", cwd=ours)
