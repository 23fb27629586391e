# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two copies of an image that the state machine changes: made alike, and looked at by both programs."""
from __future__ import annotations

import json
import shutil
from collections import namedtuple

from machine_choices import KIB

from qimg.formats.driver import READ
from qimg.formats.opening import Opener
from qimg.operations import check, info, map
from support import oracle
from support.comparable import check_elsewhere, info_elsewhere, map_elsewhere
from support.in_process import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

Seen = namedtuple("Seen", ["content", "info", "map", "check"])
ELSEWHERE: dict[str, Callable[[Any], object]] = {"info": info_elsewhere, "map": map_elsewhere, "check": check_elsewhere}
DOCUMENTS = tuple(ELSEWHERE)
#: The length of the smallest hole that files have.
HOLE = 4 * KIB


def look(image: Path, scratch: Path, dirty: bool) -> Seen:
    """What there is, which both programs must say alike.

    :param scratch: a file to be written
    :param dirty: whether the image may have errors
    """
    path = image.name
    with inside(image.parent):
        content = oracle.read_guest(path, scratch, format="qcow2")
        with Opener().open(path, "qcow2", READ) as opened:
            assert opened.read(0, opened.size) == content
        theirs = oracle.info(path)
        assert info.info(path).document() == theirs
        answer = oracle.ask_qemu_img("map", "--output=json", path)
        extents = json.loads(answer.stdout)
        assert [extent.document() for extent in map.map_image(path)] == extents
        _code, found, lines = oracle.check(path)
        lines = [line for line in lines if line and not line.startswith("qemu-img: warning: ")]
        said: list[str] = []
        assert check.check(path, "qcow2", report=said.append).document() == found
        assert said == lines
        if not dirty:
            assert {key: found.get(key, 0) for key in ("corruptions", "leaks", "check-errors")} == {
                "corruptions": 0,
                "leaks": 0,
                "check-errors": 0,
            }, said
        return Seen(content, theirs, extents, found)


def without_holes(extents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A map without what depends on how a file was written: which of its zeroes are holes."""
    # What lies below is a raw file in places, where a hole is the only zero that there is.
    return [
        dict(extent, zero=False, data=True) if extent["depth"] and "offset" in extent
        else dict(extent, zero=extent["zero"] and not extent["data"])
        for extent in extents
    ]


def files(directory: Path) -> dict[str, bytes]:
    """The bytes of all files in a directory."""
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def copy(source: Path, target: Path) -> None:
    """Have a directory hold the same files as another one, holes included."""
    shutil.rmtree(target)
    oracle.run("cp", "-a", "--sparse=auto", source, target)


def settle_holes(directory: Path) -> None:
    """Have all blocks of zeroes of raw files be holes, and nothing else.

    What is seen as zero depends on holes.  A file system may say of space without content that it is one as long as
    nobody has read it, and again when memory is short: then steps would differ from one run to the next.
    """
    for name in ("base.raw", "data.raw"):
        path = directory / name
        if path.exists():
            content = path.read_bytes()
            # A new file: there is no place left in it that holds nothing.
            path.unlink()
            with open(path, "wb") as file:
                file.truncate(len(content))
                for start in range(0, len(content), HOLE):
                    block = content[start : start + HOLE]
                    if any(block):
                        file.seek(start)
                        file.write(block)


def damage_a_refcount(image: Path, where: int, value: int) -> None:
    """Change a byte of the refcounts of a qcow2 image.

    :param where: which, in thousandths of those that count the clusters of the file
    """
    content = bytearray(image.read_bytes())
    bits = int.from_bytes(content[20:24], "big")
    order = int.from_bytes(content[96:100], "big") if content[7] == 3 else 4
    table = int.from_bytes(content[48:56], "big")
    blocks = int.from_bytes(content[56:60], "big") << bits - 3
    offsets = [int.from_bytes(content[table + 8 * index : table + 8 * index + 8], "big") for index in range(blocks)]
    clusters = -(-len(content) >> bits)
    index, position = divmod(where * ((clusters << order) - 1 >> 3) // 1000, 1 << bits)
    # What counts clusters beyond the end of the file stays: nobody looks at it.
    counted = (clusters << order) - 8 * (index * (1 << bits) + position)
    mask = 255 if counted >= 8 else (1 << counted) - 1
    if offsets[index]:
        place = offsets[index] + position
        content[place] = content[place] & ~mask | value & mask
        image.write_bytes(content)
