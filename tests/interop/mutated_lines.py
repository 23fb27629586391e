# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines of cli_cases….py and cli_unusual.py, each with a change or two that a seed decides about."""
from __future__ import annotations

import functools
import random
import re

from cli_cases import CASES
from cli_support import split
from cli_unusual import UNUSUAL

#: Other images to put in the place of one; some are in the way of some commands, some cannot even be opened.
_IMAGES = (
    "data.qcow2", "empty.qcow2", "over.qcow2", "top.qcow2", "parts.qcow2", "lost.qcow2", "v2.qcow2", "v2-over.qcow2",
    "snapshots.qcow2", "bitmaps.qcow2", "in-use.qcow2", "external.qcow2", "narrow.qcow2", "subclusters.qcow2",
    "packed.qcow2",
    "leaky.qcow2", "broken.qcow2", "marked.qcow2", "unknown.qcow2", "short.qcow2", "overlap.qcow2", "odd.raw",
    "sparse.raw", "nothing", "bytes", "folder", "missing", "new", "nope:x", "json:{", "", "./data.qcow2",
    "file:data.qcow2", 'json:{"driver":"qcow2","file.filename":"data.qcow2"}',
    "driver=qcow2,file.filename=data.qcow2", "driver=raw,file.filename=odd.raw",
)  # fmt: skip
_VALUES = (
    "", "x", "0", "1", "-1", "512", "1000", "4k", "1M", "20M", "1.5M", "0x1000", "1Q", "9E", "on", "off", "nonsense",
    "raw", "qcow2", "json", "human", "none", "all", ",", "=", "help", "?",
)  # fmt: skip
#: The end of what qemu-img does for these takes too long to wait for, or whole disks of space.
_ENDLESS = (
    r"\bpipe\b",
    r"\bdd\b.*\bbs=\d\b",
    r"prealloc.*(\d[GTPE]\b|\d{10})|(\d[GTPE]\b|\d{10}).*prealloc",
    r"\bbench\b.*\d{6}",
    r"/dev/(zero|full|u?random)",
)


@functools.cache
def _lines_of(command: str) -> list[str]:
    texts = (table[command].strip("\n") for table in (CASES, UNUSUAL) if command in table)
    return [line for text in texts for line in text.split("\n")]


@functools.cache
def _words_of(command: str) -> list[str]:
    """All the words that the lines of a command have."""
    return sorted({word for line in _lines_of(command) for word in line.replace("'", "").split()})


def mutation(case: int) -> list[str]:
    """The words of a changed line."""
    choices = random.Random("mutation %d" % case)
    while True:
        command = choices.choice(list(CASES))
        words = [*split(command), *split(choices.choice(_lines_of(command)))]
        before = list(words)
        for _ in range(choices.choice((1, 1, 2))):
            _change(choices, words, command)
        if words != before and not any(re.search(pattern, " ".join(words)) for pattern in _ENDLESS):
            return words


def _change(choices: random.Random, words: list[str], command: str) -> None:
    first = 1 if command else 0
    places = range(first, len(words))
    options = [place for place in places if words[place].startswith("-")]
    names = [place for place in places if words[place] in _IMAGES or words[place].endswith((".qcow2", ".raw"))]
    kind = choices.choice(("drop", "double", "swap", "value", "value", "image", "image", "insert"))
    if kind == "drop" and places:
        del words[choices.choice(places)]
    elif kind == "double" and options:
        place = choices.choice(options)
        end = place + choices.choice((1, 2))
        there = choices.randint(first, len(words))
        words[there:there] = words[place:end]
    elif kind == "swap" and len(places) > 1:
        one, other = choices.sample(places, 2)
        words[one], words[other] = words[other], words[one]
    elif kind == "value" and options:
        _spoil_value(choices, words, choices.choice(options))
    elif kind == "image" and names:
        words[choices.choice(names)] = choices.choice(_IMAGES)
    elif kind == "insert" and command:
        words.insert(choices.randint(first, len(words)), choices.choice(_words_of(command)))


def _spoil_value(choices: random.Random, words: list[str], place: int) -> None:
    """Change the value of an option: all of it, or what one of its keys is set to."""
    value = choices.choice(_VALUES)
    attached = "=" in words[place]
    if not attached:
        place += 1
    if place == len(words):
        words.append(value)
        return
    keys = [found.end() for found in re.finditer("=", words[place])]
    if not keys:
        words[place] = value
        return
    start = choices.choice(keys)
    rest = "" if attached and start == keys[0] else words[place][start:].partition(",")[2]
    words[place] = words[place][:start] + value + ("," + rest if rest else "")
