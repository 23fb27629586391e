# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What our command line leaves in files otherwise than qemu-img on purpose: entries as in cli_differences.py."""
from __future__ import annotations

import re
from collections import namedtuple

from support.side_by_side import AFTER_FAILURE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class FileDifference(namedtuple("FileDifference", ["title", "line", "aspect", "applies"])):
    """A difference between the files that the two leave behind, as real qemu-img sees them.

    ``aspect``: what of the file differs after the example; ``applies``: whether what was found in the two files after a
    some command lines (their words, the aspect, and both findings are the arguments) differs in this way only.
    """

    __slots__ = ()


_SECTOR = 512
_MAY_SAVE_SPACE = ("amend", "commit", "rebase", "resize")


def _zeroes_without_space(lines: Sequence[Sequence[str]], aspect: str, theirs: Any, ours: Any) -> bool:
    if not any(words[0] in _MAY_SAVE_SPACE or _is_convert_onto_content(words) for words in lines):
        return False
    if aspect == "map":
        return isinstance(ours, list) and all(
            None in depths or depths[0] == depths[1] for depths in zip(_data_depths(theirs), _data_depths(ours))
        )
    counters = ("allocated-clusters", "compressed-clusters")
    return (
        aspect == "check"
        and ours[1].get("allocated-clusters", 0) <= theirs[1].get("allocated-clusters", 0)
        and _without(theirs, counters) == _without(ours, counters)
    )


def _is_convert_onto_content(words: Sequence[str]) -> bool:
    options = ("-B", "--b", "-n", "--no-c")
    return words[0] == "convert" and any(word.startswith(options) and word != "--bitmaps" for word in words)


def _data_depths(extents: list[dict[str, Any]]) -> list[int | None]:
    """Per sector: the layer that has its data, ``None`` for zeroes."""
    return [
        None if extent["zero"] else extent["depth"]
        for extent in extents
        for _ in range(-(-extent["length"] // _SECTOR))
    ]


def _less_around(lines: Sequence[Sequence[str]], aspect: str, theirs: Any, ours: Any) -> bool:
    """Whether ours still reads from further down what theirs has copied."""
    if aspect != "map" or not any(words[0] == "commit" for words in lines) or not isinstance(ours, list):
        return False
    return all(
        theirs_depth is None or ours_depth is None or theirs_depth <= ours_depth
        for theirs_depth, ours_depth in zip(_data_depths(theirs), _data_depths(ours))
    )


def _bitmaps_in_use(lines: Sequence[Sequence[str]], aspect: str, theirs: Any, ours: Any) -> bool:
    if not any(words[0] == "bench" for words in lines) or aspect not in ("info", "bitmaps"):
        return False
    if aspect == "bitmaps":
        # Those of theirs that can be used.
        return all(ours.get(name) == ranges for name, ranges in theirs.items())
    for bitmap in theirs["format-specific"]["data"].get("bitmaps", ()):
        bitmap["flags"] = [flag for flag in bitmap["flags"] if flag != "in-use"]
    return bool(theirs == ours)


def _fewer_leaks(lines: Sequence[Sequence[str]], aspect: str, theirs: Any, ours: Any) -> bool:
    return (
        aspect == "check"
        and any(words[0] in ("amend", "bench") for words in lines)
        and (theirs[0], ours[0]) == (3, 0)
        and _without((0, theirs[1]), ("leaks",)) == ours
    )


def _without(found: tuple[int, dict[str, Any]], keys: tuple[str, ...]) -> tuple[int, dict[str, Any]]:
    return found[0], {name: value for name, value in found[1].items() if name not in keys}


def _backing_read_otherwise(lines: Sequence[Sequence[str]], aspect: str, theirs: Any, ours: Any) -> bool:
    return aspect in ("check", "map", "content") and any(
        words[0] == "rebase" and "raw" in words and any(word.endswith(".qcow2") for word in words[1:-1])
        for words in lines
    )


def _only_theirs(lines: Sequence[Sequence[str]], aspect: str, theirs: Any, ours: Any) -> bool:
    return aspect == AFTER_FAILURE and bool(theirs) and not ours


FILE_DIFFERENCES = (
    FileDifference(
        "What fails changes nothing",
        "bitmap --remove --add -g 3k bitmaps.qcow2 b0",
        AFTER_FAILURE,
        _only_theirs,
    ),
    FileDifference(
        "A disk that begins inside a sector is copied from there",
        "convert --image-opts -O raw driver=raw,offset=100,file.filename=sparse.raw new",
        "map",
        lambda lines, aspect, theirs, ours: aspect in ("map", "content")
        and any(re.search(r"\boffset=(?!\d*512\b)\d+", word) for words in lines for word in words),
    ),
    FileDifference(
        "Zeroes take no space",
        "rebase -b other.qcow2 -F qcow2 top.qcow2",
        "map",
        _zeroes_without_space,
    ),
    FileDifference(
        "A backing file that is read otherwise is another one",
        "rebase -b other.qcow2 -F raw over.qcow2",
        "content",
        _backing_read_otherwise,
    ),
    FileDifference(
        "A commit writes what the overlay has, and nothing around it",
        "commit parts.qcow2",
        "map",
        _less_around,
    ),
    FileDifference(
        "Bitmaps outlive a benchmark that fails",
        "bench -w -c 1 -d 1 -o 1M bitmaps.qcow2",
        "info",
        _bitmaps_in_use,
    ),
    FileDifference(
        "Nothing is leaked where qemu-img leaks clusters",
        "amend -o compat=0.10 bitmaps.qcow2",
        "check",
        _fewer_leaks,
    ),
    FileDifference(
        "What was cut off does not come back",
        "resize cut.qcow2 200k",
        "content",
        lambda lines, aspect, theirs, ours: aspect == "content"
        and any(words[0] in ("amend", "resize") for words in lines),
    ),
)  # fmt: skip


def is_known_in_files(lines: Sequence[Sequence[str]], aspect: str, theirs: Any, ours: Any) -> bool:
    """Whether an entry explains why two files differ."""
    return any(entry.applies(lines, aspect, theirs, ours) for entry in FILE_DIFFERENCES)
