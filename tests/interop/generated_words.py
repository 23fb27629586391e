# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words that generated command lines are made of: how options are spelt, and images named."""

from __future__ import annotations

import json

from cli_differences import MISTAKEN_LONG_OPTIONS
from generated_images import MIB, Disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from typing import Any

    from generated_images import Scenario

CACHES = ("none", "writeback", "writethrough", "directsync", "unsafe", "off", "nonsense")
#: With O_DIRECT, qemu-img makes new raw files as long as whole blocks of the file system are.
THROUGH_CACHE = ("writeback", "writethrough", "unsafe", "nonsense")
GOOD_SIZES = ("0", "512", "1000", "64k", "100k", "1M", "1.5M", "3M", "0x10000", "5M", "2097152")
BAD_SIZES = ("", "x", "-1", "1Q", "1e3", "0x20M", "9E", "8E", " 1M", "1M ", ".5M", "1.k", "1,5M", "16E", "010")
QCOW2_OPTIONS = (
    "cluster_size=4k", "cluster_size=512", "cluster_size=2M", "cluster_size=3k", "compat=0.10", "compat=1.1",
    "compat=v2", "compat=v3", "compat=2", "lazy_refcounts=on", "lazy_refcounts", "nolazy_refcounts", "refcount_bits=1",
    "refcount_bits=64", "refcount_bits=5", "extended_l2=on", "preallocation=metadata", "preallocation=falloc",
    "preallocation=full", "preallocation=off", "preallocation=nonsense", "compression_type=zstd",
    "compression_type=zlib", "compression_type=nonsense", "nocow=on", "extent_size_hint=64k", "nonsense=1", "id=x",
    "data_file=new.data", "data_file_raw=on", "size=1M", "size=x", "help", "?", "", "a,,b",
    "backing_file=./rich.qcow2", "backing_fmt=qcow2", "extent_size_hint=8G", "encryption=x",
)  # fmt: skip
RAW_OPTIONS = ("preallocation=off", "preallocation=falloc", "preallocation=full", "size=1M", "nocow=off", "x", "help")
AMEND_OPTIONS = (
    "compat=0.10", "compat=1.1", "compat=v3", "lazy_refcounts=on", "lazy_refcounts=off", "refcount_bits=16",
    "refcount_bits=8", "refcount_bits=64", "size=2M", "size=100k", "size=0", "size=x", "backing_file=x",
    "cluster_size=64k", "data_file=x", "data_file_raw=off", "help", "nonsense", "compat=3",
)  # fmt: skip
SECRETS = (
    "secret,id=s,data=x", "secret,id=s", "secret,id=s,file=nothing", "nonsense,id=s",
    "secret,data=x", "secret,id=1,data=x",
    "secret,id=s,data=eA==,format=base64", "secret,id=s,data=%,format=base64",
)  # fmt: skip


#: No image with such a size is made: there would be no end of copying it.
HUGE_SIZES = ("1G", "1T", "63T", "64T", "2P", "7E", "8191P", "9007199254740992")
#: Commands that change images that are there: what is damaged must not fall prey to them.
_CHANGING = ("amend", "bench", "bitmap", "commit", "create", "rebase", "resize", "snapshot")


class Words:
    """Draws words.

    :param choices: what decides
    """

    def __init__(self, choices: random.Random, scenario: Scenario) -> None:
        self._random = choices
        self.disks = list(scenario.disks)
        #: Perhaps they are there.
        self._to_be_made: list[Disk] = []
        #: What this line is about, and what the one before was: what is done often has to do with each other.
        self._touched: list[Disk] = []
        self._focus: list[Disk] = []
        self._new = 0
        self._command = ""
        #: The file that standard input is to be for the last command line; ``None``: nothing.
        self.stdin: str | None = None

    # How things are spelt

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _pick(self, values: Sequence[Any]) -> Any:
        return self._random.choice(values)

    def _flag(self, short: str, long: str) -> list[str]:
        if short and (self._chance(0.7) or self._is_unknown(long)):
            return ["-" + short]
        return ["--" + self._abbreviated(long)]

    def _option(self, short: str, long: str, value: str) -> list[str]:
        if short and (self._chance(0.7) or self._is_unknown(long)):
            return ["-" + short + value] if self._chance(0.2) and value else ["-" + short, value]
        name = "--" + self._abbreviated(long)
        return [name + "=" + value] if self._chance(0.5) else [name, value]

    def _is_unknown(self, long: str) -> bool:
        return long in MISTAKEN_LONG_OPTIONS.get(self._command, ())

    def _abbreviated(self, long: str) -> str:
        return long[: self._random.randint(1, len(long))] if self._chance(0.15) else long

    def _maybe(self, probability: float, option: Callable[[], list[str]]) -> list[list[str]]:
        return [option()] if self._chance(probability) else []

    def _size(self) -> str:
        return str(self._pick(BAD_SIZES if self._chance(0.1) else GOOD_SIZES))

    def _cache(self) -> str:
        return str(self._pick(CACHES))

    def _common(self, disk: Disk, image_opts: bool, *letters: str) -> list[list[str]]:
        """Options that most commands have: of those with these letters, some."""
        options: list[list[str]] = []
        if image_opts:
            options.append(self._flag("", "image-opts"))
        if not image_opts or self._chance(0.05):
            # How long the file of an image becomes is each program's own business.
            wrong = ("raw", "qcow2", "nonsense") if not self._focus else (disk.format, "nonsense")
            format = disk.format if self._chance(0.9) else self._pick(wrong)
            options += self._maybe(
                0.5, lambda: self._option("f", "source-format" if "S" in letters else "format", format)
            )
        for letter, long in (("U", "force-share"), ("q", "quiet"), ("p", "progress")):
            if letter in letters:
                options += self._maybe(0.15, lambda letter=letter, long=long: self._flag(letter, long))  # type: ignore[misc]
        return options

    def _target(self, disk: Disk) -> tuple[str, bool]:
        """How a command line names an image, and whether this is a complete specification."""
        kind = self._random.random()
        if kind < 0.12:
            return self._specification(disk), True
        if kind < 0.24:
            return "json:" + json.dumps(self._node(disk)), False
        return self._name(disk), False

    def _name(self, disk: Disk) -> str:
        """A file name in one of its spellings."""
        if self._chance(0.03) and self.stdin is None and disk.size is not None and disk not in self._to_be_made:
            self.stdin = disk.name
            return "/dev/fd/0"
        if self._chance(0.15):
            return "%s%s" % (self._pick(("file:", "file:./", "./", ".//", "././")), disk.name)
        return "%s%s" % ("./" if ":" in disk.name and self._chance(0.8) else "", disk.name)

    def _specification(self, disk: Disk) -> str:
        """Options with dots in their names."""
        keys = ["driver=" + disk.format, "file.filename=" + disk.name.replace(",", ",,")]
        keys += self._maybe_key(
            "file.driver=file", "file.locking=auto", "file.locking=off", "file.aio=threads", "file.aio=native",
            "cache.direct=on", "cache.no-flush=on", "discard=unmap", "read-only=on", "nonsense=1", "file.nonsense=1",
            "detect-zeroes=on", "detect-zeroes=unmap", "force-share=on", "node-name=n", "auto-read-only=on",
            "offset=512", "size=1k", "lazy-refcounts=on", "cache-size=1M", "overlap-check=none", "backing.driver=qcow2",
        )  # fmt: skip
        below = self._below(disk)
        if below and self._chance(0.15):
            other = self._pick(below)
            keys += ["backing.driver=" + other.format, "backing.file.filename=" + other.name.replace(",", ",,")]
        self._random.shuffle(keys)
        return ",".join(keys)

    def _node(self, disk: Disk) -> dict[str, Any]:
        """The same as an object."""
        file: Any = {"driver": "file", "filename": disk.name}
        if self._chance(0.15):
            file = {"driver": "raw", "file": file}
        node = {"driver": disk.format, "file": file} if self._chance(0.5) else {
            "driver": disk.format, "file.filename": disk.name
        }  # fmt: skip
        if self._chance(0.3):
            further: Any = (
                {"backing": None}, {"offset": 512, "size": 1024}, {"offset": 0}, {"read-only": True}, {"file": "x"},
                {"cache": {"direct": False}}, {"nonsense": 1}, {"discard": "unmap"},
            )  # fmt: skip
            node.update(self._pick(further))
        below = self._below(disk)
        if below and self._chance(0.15):
            other = self._pick(below)
            node["backing"] = {"driver": other.format, "file": {"driver": "file", "filename": other.name}}
        return node

    def _maybe_key(self, *keys: str) -> list[str]:
        return [self._pick(keys)] if self._chance(0.3) else []

    def _disk(self, wanted: Callable[[Disk], Any] = lambda disk: True) -> Disk:
        if self._chance(0.02):
            return Disk("missing", "qcow2", None, None)
        disks = [disk for disk in self.disks if not (disk.is_damaged and self._command in _CHANGING)]
        some = [disk for disk in disks if wanted(disk)]
        again = [disk for disk in self._focus if disk in some]
        disk = self._pick(again if again and self._chance(0.4) else some if some and self._chance(0.9) else disks)
        self._touched.append(disk)
        return disk  # type: ignore[no-any-return]

    def _below(self, disk: Disk) -> list[Disk]:
        """The backing chain of an image."""
        chain: list[Disk] = []
        while disk.backing is not None and len(chain) < len(self.disks):
            found = [each for each in self.disks if each.name == disk.backing]
            if not found:
                break
            disk = found[0]
            chain.append(disk)
        return chain

    def _qcow2(self) -> Disk:
        return self._disk(lambda disk: disk.format == "qcow2")

    def _new_disk(self, format: str) -> str:
        self._new += 1
        name = "new%d" % self._new
        self.disks.append(Disk(name, format, MIB, None))
        self._to_be_made.append(self.disks[-1])
        self._touched.append(self.disks[-1])
        return name

    def _options_of(self, format: str) -> list[list[str]]:
        pool = QCOW2_OPTIONS if format == "qcow2" else RAW_OPTIONS
        lists = []
        for _ in range(self._pick((0, 0, 1, 1, 2))):
            values = [self._pick(pool) for _ in range(self._pick((1, 1, 2)))]
            lists.append(["-o", ",".join(values)])
        return lists
