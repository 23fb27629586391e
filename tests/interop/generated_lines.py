# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines that a seed decides about: mostly such as make sense, and some that do not."""

from __future__ import annotations

import json

from generated_images import KIB, Disk
from generated_words import AMEND_OPTIONS, CACHES, HUGE_SIZES, SECRETS, THROUGH_CACHE, Words

TYPE_CHECKING = False
if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from generated_images import Scenario


class Lines(Words):
    """A generator of command lines on the images of a scenario."""

    def __init__(self, choices: random.Random, scenario: Scenario) -> None:
        super().__init__(choices, scenario)
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
        self._focus, self._touched = self._touched, []
        command = self._command = self._pick((*self._makers, "convert", "rebase", "commit"))
        options, operands = self._makers[command]()
        if self._chance(0.03):
            options.append([self._pick(("-z", "--nonsense", "--f", "-o", "--"))])
        if self._chance(0.03):
            options.append(["--object", self._pick(SECRETS)])
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

    # Commands

    def _amend(self) -> tuple[list[list[str]], list[str]]:
        disk = self._qcow2()
        target, image_opts = self._target(disk)
        options = self._common(disk, image_opts, "q", "p")
        values = [self._pick(AMEND_OPTIONS) for _ in range(self._pick((1, 1, 2)))]
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
        options += self._maybe(0.05, lambda: ["-n"])
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
        disk = self._disk(lambda disk: disk.is_damaged) if self._chance(0.4) else self._qcow2()
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
        said = self._maybe(0.9, lambda: self._option("O", "target-format", format))
        options += said
        is_whole = (said and format != "raw") or (disk.size or 0) % (4 * KIB) == 0
        for letter, long, probability in (
            ("c", "compress", 0.15), ("W", "oob-writes", 0.1), ("C", "copy-range-offloading", 0.1),
            ("", "salvage", 0.1), ("", "bitmaps", 0.5 if disk.bitmaps else 0.1),
        ):  # fmt: skip
            options += self._maybe(probability, lambda letter=letter, long=long: self._flag(letter, long))  # type: ignore[misc]
        has_bitmaps = any(words[0].startswith("--bi") for words in options)
        options += self._maybe(0.4 if has_bitmaps else 0.02, lambda: self._flag("", "skip-broken-bitmaps"))
        for letter, long, probability, values in (
            ("S", "sparse-size", 0.2, ("0", "512", "4k", "64k", "1000", "32M")),
            ("m", "parallel", 0.1, ("1", "8", "0", "17")),
            ("r", "rate", 0.05, ("100M", "x")),
            ("t", "target-cache", 0.15, CACHES if is_whole else THROUGH_CACHE),
            ("T", "source-cache", 0.1, CACHES),
            ("l", "source-snapshot", 0.15, (*disk.snapshots, *disk.snapshots, "1", "snapshot.id=1", "x")),
        ):
            options += self._maybe(
                probability,
                lambda letter=letter, long=long, values=values: (  # type: ignore[misc]
                    self._option(letter, long, self._pick(values))
                ),
            )
        if self._chance(0.15):
            backing = self._pick(self._below(disk) or self.disks[:1])
            options.append(self._option("B", "backing", "./" + backing.name))
            options += self._maybe(0.9, lambda: self._option("F", "backing-format", backing.format))
        sources = [source]
        if self._chance(0.15) and not image_opts:
            sources += [self._name(self._disk()) for _ in range(self._pick((1, 1, 2)))]
        if self._chance(0.25):
            options.append(self._flag("n", "no-create"))
            options += self._maybe(0.15, lambda: self._flag("", "target-is-zero"))
            target = self._disk(lambda target: not target.is_damaged and target != disk)
            if target.is_damaged or target == disk:
                target = next(each for each in self.disks if each != disk)
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
        if self._chance(0.1) and not any("preallocation" in word for words in options for word in words):
            return options, ["huge", self._pick(HUGE_SIZES)]
        operands = [self._new_disk(format)]
        backing = self._chance(0.3)
        if backing:
            below = self._disk()
            options.append(self._option("b", "backing", self._backing_name(below)))
            options += self._maybe(0.9, lambda: self._option("F", "backing-format", below.format))
            options += self._maybe(0.1, lambda: self._flag("u", "backing-unsafe"))
            self._know_backing(operands[0], below)
        if self._chance(0.4 if backing else 0.95):
            operands.append(self._size())
        return options + self._maybe(0.1, lambda: self._flag("q", "quiet")), operands

    def _backing_name(self, disk: Disk) -> str:
        if self._chance(0.1):
            return "json:" + json.dumps(self._node(disk))
        return self._pick(("./", "file:")) + disk.name  # type: ignore[no-any-return]

    def _know_backing(self, name: str, below: Disk) -> None:
        """Take note of what a new image will have below it."""
        for disks in (self.disks, self._to_be_made, self._touched):
            disks[:] = [disk._replace(backing=below.name) if disk.name == name else disk for disk in disks]

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
            size = self._pick(HUGE_SIZES) if self._chance(0.3) else self._size()
            return [*options, self._option("", "size", size)], []
        disk = self._disk()
        target, image_opts = self._target(disk)
        options += self._common(disk, image_opts, "U")
        snapshots = (*disk.snapshots, *disk.snapshots, "1", "snapshot.name=s0")
        return options + self._maybe(0.2, lambda: self._option("l", "snapshot", self._pick(snapshots))), [target]

    def _rebase(self) -> tuple[list[list[str]], list[str]]:
        disk = self._disk(lambda disk: disk.backing)
        target, image_opts = self._target(disk)
        options = self._common(disk, image_opts, "U" if self._chance(0.1) else "", "q", "p")
        chain = self._below(disk)
        below = self._pick(chain) if chain and self._chance(0.3) else self._disk()
        if self._chance(0.2):
            options.append(self._option("b", "backing", ""))
        else:
            options.append(self._option("b", "backing", self._backing_name(below)))
            options += self._maybe(0.9, lambda: self._option("F", "backing-format", below.format))
        # qemu-img follows a loop of backing files until it may open no more files, which takes a minute.
        if below != disk and disk not in self._below(below):
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
