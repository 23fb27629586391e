# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines that a seed decides about: mostly such as make sense, and some that do not."""

from __future__ import annotations

import json

from cli_differences import MISTAKEN_LONG_OPTIONS
from generated_images import KIB, MIB, Disk

TYPE_CHECKING = False
if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence
    from typing import Any

    from generated_images import Scenario

_CACHES = ("none", "writeback", "writethrough", "directsync", "unsafe", "off", "nonsense")
_GOOD_SIZES = ("0", "512", "1000", "64k", "100k", "1M", "1.5M", "3M", "0x10000", "5M", "2097152")
_BAD_SIZES = ("", "x", "-1", "1Q", "1e3", "0x20M", "9E", "8E", " 1M", "1M ", ".5M", "1.k", "1,5M", "16E", "010")
_QCOW2_OPTIONS = (
    "cluster_size=4k", "cluster_size=512", "cluster_size=2M", "cluster_size=3k", "compat=0.10", "compat=1.1",
    "compat=v2", "compat=v3", "compat=2", "lazy_refcounts=on", "lazy_refcounts", "nolazy_refcounts", "refcount_bits=1",
    "refcount_bits=64", "refcount_bits=5", "extended_l2=on", "preallocation=metadata", "preallocation=falloc",
    "preallocation=full", "preallocation=off", "preallocation=nonsense", "compression_type=zstd",
    "compression_type=zlib", "compression_type=nonsense", "nocow=on", "extent_size_hint=64k", "nonsense=1", "id=x",
    "data_file=new.data", "data_file_raw=on", "size=1M", "size=x", "help", "?", "", "a,,b",
    "backing_file=./rich.qcow2", "backing_fmt=qcow2", "extent_size_hint=8G", "encryption=x",
)  # fmt: skip
_RAW_OPTIONS = ("preallocation=off", "preallocation=falloc", "preallocation=full", "size=1M", "nocow=off", "x", "help")
_AMEND_OPTIONS = (
    "compat=0.10", "compat=1.1", "compat=v3", "lazy_refcounts=on", "lazy_refcounts=off", "refcount_bits=16",
    "refcount_bits=8", "refcount_bits=64", "size=2M", "size=100k", "size=0", "size=x", "backing_file=x",
    "cluster_size=64k", "data_file=x", "data_file_raw=off", "help", "nonsense", "compat=3",
)  # fmt: skip
_SECRETS = (
    "secret,id=s,data=x", "secret,id=s", "secret,id=s,file=nothing", "nonsense,id=s",
    "secret,data=x", "secret,id=1,data=x",
    "secret,id=s,data=eA==,format=base64", "secret,id=s,data=%,format=base64",
)  # fmt: skip


class Lines:
    """A generator of command lines on the images of a scenario."""

    def __init__(self, choices: random.Random, scenario: Scenario) -> None:
        self._random = choices
        self.disks = list(scenario.disks)
        #: Perhaps they are there.
        self._to_be_made: list[Disk] = []
        self._new = 0
        self._command = ""
        #: The file that standard input is to be for the last command line; ``None``: nothing.
        self.stdin: str | None = None
        self._makers: dict[str, Callable[[], tuple[list[list[str]], list[str]]]] = {
            "amend": self._amend,
            "bench": self._bench,
            "bitmap": self._bitmap,
            "check": self._check,
            "commit": self._commit,
            "compare": self._compare,
            "convert": self._convert,
            "create": self._create,
            "dd": self._dd,
            "info": self._info,
            "map": self._map,
            "measure": self._measure,
            "rebase": self._rebase,
            "resize": self._resize,
            "snapshot": self._snapshot,
        }

    def next(self) -> list[str]:
        """The words of one more command line."""
        self.stdin = None
        command = self._command = self._pick((*self._makers, "convert", "rebase", "commit"))
        options, operands = self._makers[command]()
        if self._chance(0.03):
            options.append([self._pick(("-z", "--nonsense", "--f", "-o", "--"))])
        if self._chance(0.03):
            options.append(["--object", self._pick(_SECRETS)])
        if self._chance(0.03):
            operands = operands[:-1] if self._chance(0.5) else [*operands, "more"]
        self._random.shuffle(options)
        words = [word for option in options for word in option]
        if any(operand.startswith("-") for operand in operands):
            return [command, *words, "--", *operands]
        if self._chance(0.1):
            # Options may follow what they are for.
            return [command, *operands, *words]
        if self._chance(0.1):
            return [command, *words, "--", *operands]
        return [command, *words, *operands]

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
        return str(self._pick(_BAD_SIZES if self._chance(0.1) else _GOOD_SIZES))

    def _cache(self) -> str:
        return str(self._pick(_CACHES))

    def _common(self, disk: Disk, image_opts: bool, *letters: str) -> list[list[str]]:
        """Options that most commands have: of those with these letters, some."""
        options: list[list[str]] = []
        if image_opts:
            options.append(self._flag("", "image-opts"))
        if not image_opts or self._chance(0.05):
            format = disk.format if self._chance(0.9) else self._pick(("raw", "qcow2", "nonsense"))
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
        return node

    def _maybe_key(self, *keys: str) -> list[str]:
        return [self._pick(keys)] if self._chance(0.3) else []

    def _disk(self, wanted: Callable[[Disk], Any] = lambda disk: True) -> Disk:
        if self._chance(0.02):
            return Disk("missing", "qcow2", None, None, (), ())
        some = [disk for disk in self.disks if wanted(disk)]
        return self._pick(some if some and self._chance(0.9) else self.disks)  # type: ignore[no-any-return]

    def _qcow2(self) -> Disk:
        return self._disk(lambda disk: disk.format == "qcow2")

    def _new_disk(self, format: str) -> str:
        self._new += 1
        name = "new%d" % self._new
        self.disks.append(Disk(name, format, MIB, None, (), ()))
        self._to_be_made.append(self.disks[-1])
        return name

    def _options_of(self, format: str) -> list[list[str]]:
        pool = _QCOW2_OPTIONS if format == "qcow2" else _RAW_OPTIONS
        lists = []
        for _ in range(self._pick((0, 0, 1, 1, 2))):
            values = [self._pick(pool) for _ in range(self._pick((1, 1, 2)))]
            lists.append(["-o", ",".join(values)])
        return lists

    # Commands

    def _amend(self) -> tuple[list[list[str]], list[str]]:
        disk = self._qcow2()
        target, image_opts = self._target(disk)
        options = self._common(disk, image_opts, "q", "p")
        values = [self._pick(_AMEND_OPTIONS) for _ in range(self._pick((1, 1, 2)))]
        options += self._maybe(0.97, lambda: self._option("o", "options", ",".join(values)))
        options += self._maybe(0.1, lambda: self._option("t", "cache", self._cache()))
        return options + self._maybe(0.05, lambda: ["--force"]), [target]

    def _bench(self) -> tuple[list[list[str]], list[str]]:
        disk = self._disk(lambda disk: disk.size)
        target, image_opts = self._target(disk)
        options = self._common(disk, image_opts, "U", "q")
        options.append(self._option("c", "count", str(self._random.randint(0, 20))))
        options.append(self._option("d", "depth", str(self._random.randint(0, 4))))
        options += self._maybe(
            0.4, lambda: self._option("s", "buffer-size", self._pick(("512", "4k", "64k", "100", "0")))
        )
        options += self._maybe(0.3, lambda: self._option("S", "step-size", self._pick(("512", "64k", "0", "1M"))))
        options += self._maybe(0.3, lambda: self._option("o", "offset", self._size()))
        options += self._maybe(0.4, lambda: self._flag("w", "write"))
        options += self._maybe(0.2, lambda: self._option("", "pattern", self._pick(("0", "7", "255", "256", "x"))))
        options += self._maybe(0.2, lambda: self._option("", "flush-interval", self._pick(("0", "1", "4", "10"))))
        options += self._maybe(0.1, lambda: self._flag("", "no-drain"))
        options += self._maybe(0.1, lambda: self._option("t", "cache", self._cache()))
        return options + self._maybe(0.1, lambda: self._option("i", "aio", self._pick(("threads", "native", "x")))), [
            target
        ]

    def _bitmap(self) -> tuple[list[list[str]], list[str]]:
        disk = self._disk(lambda disk: disk.bitmaps)
        target, image_opts = self._target(disk)
        names = (*disk.bitmaps, *disk.bitmaps, "new", "")
        options = self._common(disk, image_opts)
        for _ in range(self._pick((0, 1, 1, 1, 2, 3))):
            action = self._pick(("add", "remove", "clear", "enable", "disable", "merge"))
            if action == "merge":
                options.append(self._option("", "merge", self._pick(names)))
            else:
                options.append(self._flag("", action))
        options += self._maybe(
            0.3, lambda: self._option("g", "granularity", self._pick(("512", "4k", "3k", "1", "4G")))
        )
        if self._chance(0.15):
            other = self._disk(lambda disk: disk.bitmaps)
            options.append(self._option("b", "source-file", other.name))
            options += self._maybe(0.7, lambda: self._option("F", "source-format", other.format))
        return options, [target, self._pick(names)]

    def _check(self) -> tuple[list[list[str]], list[str]]:
        disk = self._qcow2()
        target, image_opts = self._target(disk)
        options = self._common(disk, image_opts, "U", "q")
        options += self._maybe(0.3, lambda: self._option("r", "repair", self._pick(("leaks", "all", "all", "x"))))
        options += self._maybe(0.1, lambda: self._option("T", "cache", self._cache()))
        return options + self._output(), [target]

    def _output(self) -> list[list[str]]:
        return self._maybe(0.5, lambda: self._option("", "output", self._pick(("json", "json", "human", "xml"))))

    def _commit(self) -> tuple[list[list[str]], list[str]]:
        disk = self._disk(lambda disk: disk.backing)
        target, image_opts = self._target(disk)
        options = self._common(disk, image_opts, "q", "p")
        options += self._maybe(0.3, lambda: self._flag("d", "drop"))
        bases = [disk.backing or "x", *(each.backing for each in self.disks if each.backing), "missing", ""]
        bases += [prefix + (disk.backing or "x") for prefix in ("./", "file:")]
        options += self._maybe(0.4, lambda: self._option("b", "base", self._pick(bases)))
        options += self._maybe(0.1, lambda: self._option("r", "rate", self._pick(("100M", "x"))))
        return options + self._maybe(0.2, lambda: self._option("t", "cache", self._cache())), [target]

    def _compare(self) -> tuple[list[list[str]], list[str]]:
        one, other = self._disk(), self._disk()
        if self._chance(0.2):
            other = one
        options = self._maybe(0.3, lambda: self._option("f", "a-format", one.format))
        options += self._maybe(0.3, lambda: self._option("F", "b-format", other.format))
        options += self._maybe(0.4, lambda: self._flag("s", "strict"))
        for letter, long in (("p", "progress"), ("q", "quiet"), ("U", "force-share")):
            options += self._maybe(0.15, lambda letter=letter, long=long: self._flag(letter, long))  # type: ignore[misc]
        options += self._maybe(0.1, lambda: self._option("T", "cache", self._cache()))
        if self._chance(0.05):
            return [*options, self._flag("", "image-opts")], [self._specification(one), self._specification(other)]
        return options, [self._name(one), self._name(other)]

    def _convert(self) -> tuple[list[list[str]], list[str]]:
        disk = self._disk()
        source, image_opts = self._target(disk)
        format = self._pick(("raw", "qcow2", "qcow2", "qcow2", "nonsense" if self._chance(0.1) else "raw"))
        options = self._common(disk, image_opts, "U", "q", "p", "S")
        options += self._maybe(0.9, lambda: self._option("O", "target-format", format))
        for letter, long, probability in (
            ("c", "compress", 0.15), ("W", "oob-writes", 0.1), ("C", "copy-range-offloading", 0.1),
            ("", "salvage", 0.1), ("", "bitmaps", 0.2), ("", "skip-broken-bitmaps", 0.05), ("", "target-is-zero", 0.05),
        ):  # fmt: skip
            options += self._maybe(probability, lambda letter=letter, long=long: self._flag(letter, long))  # type: ignore[misc]
        for letter, long, probability, values in (
            ("S", "sparse-size", 0.2, ("0", "512", "4k", "64k", "1000", "32M")),
            ("m", "parallel", 0.1, ("1", "8", "0", "17")),
            ("r", "rate", 0.05, ("100M", "x")),
            ("t", "target-cache", 0.15, _CACHES),
            ("T", "source-cache", 0.1, _CACHES),
            ("l", "source-snapshot", 0.15, (*disk.snapshots, *disk.snapshots, "1", "snapshot.id=1", "x")),
        ):
            options += self._maybe(
                probability,
                lambda letter=letter, long=long, values=values: (  # type: ignore[misc]
                    self._option(letter, long, self._pick(values))
                ),
            )
        if self._chance(0.15):
            backing = next((each for each in self.disks if each.name == disk.backing), self.disks[0])
            options.append(self._option("B", "backing", "./" + backing.name))
            options += self._maybe(0.9, lambda: self._option("F", "backing-format", backing.format))
        sources = [source]
        if self._chance(0.15) and not image_opts:
            sources += [self._name(self._disk()) for _ in range(self._pick((1, 1, 2)))]
        if self._chance(0.25):
            options.append(self._flag("n", "no-create"))
            target = self._disk()
            if self._chance(0.2):
                options.append(self._flag("", "target-image-opts"))
                options = [words for words in options if not self._says_target_format(words) or self._chance(0.2)]
                return options, [*sources, self._specification(target)]
            return options, [*sources, self._name(target)]
        if self._chance(0.3) and not (format == "raw" and ["-c"] in options):
            options += self._options_of(format)
        return options, [*sources, self._new_disk(format)]

    def _says_target_format(self, words: list[str]) -> bool:
        return words[0].startswith(("-O", "--t")) and not words[0].startswith("--target-c")

    def _create(self) -> tuple[list[list[str]], list[str]]:
        format = self._pick(("raw", "qcow2", "qcow2", "qcow2"))
        options = self._maybe(0.9, lambda: self._option("f", "format", format)) + self._options_of(format)
        operands = [self._new_disk(format)]
        backing = self._chance(0.3)
        if backing:
            below = self._disk()
            options.append(self._option("b", "backing", self._pick(("./", "file:")) + below.name))
            options += self._maybe(0.9, lambda: self._option("F", "backing-format", below.format))
            options += self._maybe(0.1, lambda: self._flag("u", "backing-unsafe"))
        if self._chance(0.4 if backing else 0.95):
            operands.append(self._size())
        return options + self._maybe(0.1, lambda: self._flag("q", "quiet")), operands

    def _dd(self) -> tuple[list[list[str]], list[str]]:
        disk = self._disk()
        source, image_opts = self._target(disk)
        format = self._pick(("raw", "qcow2"))
        options = self._common(disk, image_opts, "U")
        options += self._maybe(0.6, lambda: self._option("O", "output-format", format))
        operands = ["if=" + source, "of=" + self._new_disk(format)]
        for name, probability, values in (
            ("bs", 0.6, ("512", "4k", "1M", "1", "1000", "0", "x")),
            ("count", 0.4, ("0", "1", "3", "100", "x")),
            ("skip", 0.4, ("0", "1", "5", "10000", "x")),
            ("nonsense", 0.02, ("1",)),
        ):
            if self._chance(probability):
                value = self._pick(values)
                # qemu-img needs minutes to copy a large disk byte by byte.
                value = "512" if name == "bs" and value == "1" and (disk.size or 0) > 64 * KIB else value
                operands.append("%s=%s" % (name, value))
        self._random.shuffle(operands)
        return options, operands

    def _info(self) -> tuple[list[list[str]], list[str]]:
        disk = self._disk()
        target, image_opts = self._target(disk)
        options = self._common(disk, image_opts, "U")
        return options + self._maybe(0.3, lambda: self._flag("", "backing-chain")) + self._output(), [target]

    def _map(self) -> tuple[list[list[str]], list[str]]:
        disk = self._disk()
        target, image_opts = self._target(disk)
        options = self._common(disk, image_opts, "U")
        options += self._maybe(0.3, lambda: self._option("s", "start-offset", self._size()))
        return options + self._maybe(0.3, lambda: self._option("l", "max-length", self._size())) + self._output(), [
            target
        ]

    def _measure(self) -> tuple[list[list[str]], list[str]]:
        format = self._pick(("raw", "qcow2"))
        options = self._maybe(0.8, lambda: self._option("O", "target-format", format))
        options += self._options_of(format) + self._output()
        if self._chance(0.3):
            return [*options, self._option("", "size", self._size())], []
        disk = self._disk()
        target, image_opts = self._target(disk)
        options += self._common(disk, image_opts, "U")
        snapshots = (*disk.snapshots, *disk.snapshots, "1", "snapshot.name=s0")
        return options + self._maybe(0.2, lambda: self._option("l", "snapshot", self._pick(snapshots))), [target]

    def _rebase(self) -> tuple[list[list[str]], list[str]]:
        disk = self._disk(lambda disk: disk.backing)
        target, image_opts = self._target(disk)
        options = self._common(disk, image_opts, "U" if self._chance(0.1) else "", "q", "p")
        below = self._disk()
        if self._chance(0.25):
            options.append(self._option("b", "backing", ""))
        else:
            options.append(self._option("b", "backing", self._pick(("./", "file:")) + below.name))
            options += self._maybe(0.9, lambda: self._option("F", "backing-format", below.format))
        # qemu-img follows a loop of backing files until it may open no more files, which takes a minute.
        if below in self.disks[: self.disks.index(disk)] if disk in self.disks else True:
            options += self._maybe(0.25, lambda: self._flag("u", "backing-unsafe"))
        options += self._maybe(0.15, lambda: self._flag("c", "compress"))
        options += self._maybe(0.1, lambda: self._option("t", "cache", self._cache()))
        return options + self._maybe(0.1, lambda: self._option("T", "backing-cache", self._cache())), [target]

    def _resize(self) -> tuple[list[list[str]], list[str]]:
        disk = self._disk()
        target, image_opts = self._target(disk)
        options = self._common(disk, image_opts, "q")
        options += self._maybe(0.4, lambda: self._flag("", "shrink"))
        modes = ("off", "metadata", "falloc", "full", "x")
        options += self._maybe(0.2, lambda: self._option("", "preallocation", self._pick(modes)))
        sign, size = self._pick(("", "", "+", "-")), self._size()
        # Of sizes that do not fit into 64 bits with a sign, qemu-img subtracts something else.
        return options, [target, size if size in ("9E", "8E") else sign + size]

    def _snapshot(self) -> tuple[list[list[str]], list[str]]:
        disk = self._disk(lambda disk: disk.snapshots)
        target, image_opts = self._target(disk)
        options = self._common(disk, image_opts, "q", "U" if self._chance(0.2) else "")
        names = (*disk.snapshots, *disk.snapshots, "1", "2", "new", "")
        for _ in range(self._pick((0, 1, 1, 1, 1, 1, 1, 2))):
            letter, long = self._pick((("l", "list"), ("c", "create"), ("a", "apply"), ("d", "delete")))
            options.append(self._flag("l", long) if letter == "l" else self._option(letter, long, self._pick(names)))
        return options, [target]
