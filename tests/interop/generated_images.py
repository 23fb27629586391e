# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories of images that a seed decides about; real qemu-img and qemu-io make them."""

from __future__ import annotations

import os
import random
import struct
from collections import namedtuple

from support import oracle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import IO

KIB = 1 << 10
MIB = 1 << 20

_SIZES = (0, 512, 1536, 64 * KIB, 65 * KIB, 200 * KIB, MIB - 512, MIB, MIB + 512, 3 * MIB, 5000 * KIB)
_SECTOR = 512


class Disk(
    namedtuple(
        "Disk", ["name", "format", "size", "backing", "snapshots", "bitmaps", "is_damaged"], defaults=((), (), False)
    )
):
    """An image: its name, its format, its size in bytes, the name of its backing file, and names of what is in it."""

    __slots__ = ()


class Scenario(namedtuple("Scenario", ["disks", "steps"])):
    """Some images, and the command lines that make them."""

    __slots__ = ()

    def build(self, directory: Path) -> None:
        """Make the images."""
        for program, *words in self.steps:
            if program == "qemu-img":
                oracle.qemu_img(*words, cwd=directory)
            elif program == "qemu-io":
                name, format, *commands = words
                oracle.qemu_io("./" + name, *commands, format=format, cwd=directory)
            elif program == "killed qemu-io":
                commands = [word for command in (*words[1:], "sigraise 9") for word in ("-c", command)]
                oracle.run("qemu-io", "-f", "qcow2", *commands, "./" + words[0], cwd=directory)
            elif program == "damage":
                _DAMAGES[words[1]](directory / words[0])
            else:
                with open(directory / words[0], "ab") as file:
                    file.truncate(int(words[1]))

    def __str__(self) -> str:
        return "\n".join("    %s %s" % (program, " ".join(map(repr, words))) for program, *words in self.steps)


def _leak(path: Path) -> None:
    """Count a cluster behind the end of the image."""
    with path.open("r+b") as file:
        cluster_size, block = _first_refcounts(file)
        length = -(-file.seek(0, os.SEEK_END) // cluster_size) * cluster_size
        file.truncate(length + 2 * cluster_size)
        _put(file, block + 2 * (length // cluster_size), b"\0\1")


def _forget(path: Path) -> None:
    """No longer count the last cluster but one, which may be anything."""
    with path.open("r+b") as file:
        cluster_size, block = _first_refcounts(file)
        _put(file, block + 2 * (max(2, file.seek(0, os.SEEK_END) // cluster_size - 2)), b"\0\0")


def _cut(path: Path) -> None:
    """Lose the end of the file."""
    with path.open("r+b") as file:
        cluster_size, _block = _first_refcounts(file)
        file.truncate(file.seek(0, os.SEEK_END) - cluster_size - _SECTOR)


def _mark_dirty(path: Path) -> None:
    """Say that the refcounts may be wrong, which they are not."""
    with path.open("r+b") as file:
        _put(file, 79, b"\1")


def _mark_corrupt(path: Path) -> None:
    """Say that the image is corrupt."""
    with path.open("r+b") as file:
        _put(file, 79, b"\2")


_DAMAGES = {
    "leak": _leak, "forget": _forget, "cut": _cut, "mark dirty": _mark_dirty, "mark corrupt": _mark_corrupt,
}  # fmt: skip


def _first_refcounts(file: IO[bytes]) -> tuple[int, int]:
    """The cluster size of an image, and where its first refcount block is."""
    header = file.read(64)
    (bits,), (table,) = struct.unpack_from(">I", header, 20), struct.unpack_from(">Q", header, 48)
    file.seek(table)
    return 1 << bits, struct.unpack(">Q", file.read(8))[0]


def _put(file: IO[bytes], offset: int, content: bytes) -> None:
    file.seek(offset)
    file.write(content)


def scenario(seed: int) -> Scenario:
    """The images of a seed."""
    return _Plan(random.Random(seed)).make()


def _reference(disk: Disk) -> str:
    """How an overlay names it."""
    return str(disk.name) if ":" not in disk.name else "./" + disk.name


class _Plan:
    def __init__(self, choices: random.Random) -> None:
        self._random = choices
        self._steps: list[Sequence[str]] = []

    def make(self) -> Scenario:
        base = self._plain("base" + self._odd_letters())
        disks = [base]
        for name in ("lower", "middle", "top")[self._random.choice((0, 1, 1)) :]:
            disks.append(self._overlay(name + self._odd_letters(), disks[-1]))
        disks += [self._rich("rich", base), self._special("special")]
        disks.append(self._random.choice((self._crashed, self._damaged, self._lost))("unwell.qcow2"))
        disks.append(self._raw("odd.raw", self._random.choice((0, 1, 511, 1000, 65537, MIB + 1))))
        disks.append(self._raw("nothing", 0))
        return Scenario(disks, self._steps)

    def _odd_letters(self) -> str:
        letters = (" 1", ":1", ",1", "\u00e9", "\n1", "=1", "\udcff", "%20", "'1", '"1', "\\1", "{1}", "[1]", "~", "#1")
        return self._random.choice(letters) if self._random.random() < 0.5 else ""

    def _size(self) -> int:
        return self._random.choice(_SIZES)

    def _create(self, name: str, format: str, *options: str, size: int | None = None) -> None:
        words = ["create", "-q", "-f", format, *options, "file:" + name]
        self._steps.append(["qemu-img", *words, *([] if size is None else [str(size)])])

    def _writes(self, name: str, format: str, size: int, most: int = 5, compressed: bool = False) -> None:
        commands = []
        for _ in range(self._random.randint(0, most) if size else 0):
            start = self._random.randrange(0, size, _SECTOR)
            if self._random.random() < 0.4:
                start = start // (64 * KIB) * (64 * KIB)
            length = min(self._random.choice((_SECTOR, 4 * KIB, 64 * KIB, 192 * KIB, MIB)), size - start)
            if compressed and self._random.random() < 0.3:
                start = start // (64 * KIB) * (64 * KIB)
                length = min(64 * KIB, size - start)
            kind = self._random.random()
            if kind < 0.15:
                commands.append("write -z %s%d %d" % (self._random.choice(("", "-u ")), start, length))
            elif kind < 0.25:
                commands.append("discard %d %d" % (start, length))
            elif compressed and length == 64 * KIB and start % length == 0:
                commands.append("write -c -P 99 %d %d" % (start, length))
            else:
                # Zeroes that are written are not the same as zeroes that are not.
                commands.append("write -P %d %d %d" % (self._random.choice((0, 1, 200)), start, length))
        # The same goes for what was written before.
        commands = sorted(set(commands), key=lambda command: not command.startswith("write -c"))
        if commands:
            self._steps.append(["qemu-io", name, format, *commands])

    def _raw(self, name: str, size: int) -> Disk:
        self._steps.append(["truncate", name, str(size)])
        self._writes(name, "raw", size // _SECTOR * _SECTOR, 2)
        return Disk(name, "raw", size, None)

    def _plain(self, name: str) -> Disk:
        if self._random.random() < 0.3:
            return self._raw(name + ".raw", self._size())
        name += ".qcow2"
        size = self._size()
        cluster_size = self._random.choice(("512", "4k", "64k", "64k", "2M"))
        options = ["cluster_size=" + cluster_size]
        allocated = self._random.random() < 0.3
        if allocated:
            options.append("preallocation=" + self._random.choice(("metadata", "falloc", "full")))
        if self._random.random() < 0.3:
            options.append(self._random.choice(("compression_type=zstd", "compat=0.10", "refcount_bits=8")))
        self._create(name, "qcow2", "-o", ",".join(options), size=size)
        # What is allocated already cannot be compressed.
        self._writes(name, "qcow2", size, compressed=cluster_size == "64k" and not allocated)
        return Disk(name, "qcow2", size, None)

    def _overlay(self, name: str, below: Disk) -> Disk:
        name += ".qcow2"
        size = below.size if self._random.random() < 0.5 else self._size()
        options = self._random.choice(
            (
                ["cluster_size=4k"], ["cluster_size=64k"], ["cluster_size=64k"], ["extended_l2=on"],
                ["cluster_size=16k", "extended_l2=on"], ["compat=0.10"], ["compression_type=zstd"],
                ["data_file=of-" + name.replace(",", ",,").replace(":", "")], ["cluster_size=2M"],
                ["refcount_bits=32", "lazy_refcounts=on"],
            )
        )  # fmt: skip
        words = ["-b", _reference(below), "-F", below.format]
        self._create(name, "qcow2", *words, "-o", ",".join(options), size=size)
        compressed = not options[0].startswith(("data_file", "cluster_size"))
        size = (size + _SECTOR - 1) // _SECTOR * _SECTOR
        self._writes(name, "qcow2", size, 3, compressed)
        return Disk(name, "qcow2", size, below.name)

    def _rich(self, name: str, below: Disk) -> Disk:
        """An image with snapshots and bitmaps, perhaps one on another."""
        name += ".qcow2"
        size = self._size()
        options = self._random.choice(
            (
                "cluster_size=4k", "cluster_size=64k", "cluster_size=512", "cluster_size=2M", "compat=0.10",
                "cluster_size=16k,extended_l2=on", "compression_type=zstd,refcount_bits=64", "refcount_bits=8",
            )
        )  # fmt: skip
        has_backing = self._random.random() < 0.3
        words = ["-b", _reference(below), "-F", below.format] if has_backing else []
        self._create(name, "qcow2", *words, "-o", options, size=size)
        snapshots, bitmaps = [], []
        for number in range(self._random.randint(0, 3)):
            self._writes(name, "qcow2", size, 2, compressed=number == 0 and "cluster_size" not in options)
            snapshots.append(self._random.choice(("s%d", "1", "with space %d")).replace("%d", str(number)))
            self._steps.append(["qemu-img", "snapshot", "-c", snapshots[-1], name])
            if self._random.random() < 0.2 and "compat" not in options:
                size = self._size()
                self._steps.append(["qemu-img", "resize", "-q", "--shrink", name, str(size or _SECTOR)])
                size = size or _SECTOR
        for number in range(self._random.randint(0, 2) if size and "compat" not in options else 0):
            bitmaps.append("b%d" % number)
            state = self._random.choice(("--enable", "--disable"))
            granularity = self._random.choice(("512", "4k", "64k", "2M"))
            self._steps.append(["qemu-img", "bitmap", "--add", state, "-g", granularity, name, bitmaps[-1]])
            self._writes(name, "qcow2", size, 2)
        return Disk(name, "qcow2", size, below.name if has_backing else None, tuple(snapshots), tuple(bitmaps))

    def _crashed(self, name: str) -> Disk:
        """An image whose bitmaps are still in use, or whose refcounts were not written: its writer was killed."""
        options = self._random.choice(("lazy_refcounts=on", "cluster_size=4k,lazy_refcounts=on", "cluster_size=64k"))
        size = self._size() or MIB
        self._create(name, "qcow2", "-o", options, size=size)
        bitmaps = ["b%d" % number for number in range(self._random.randint(0, 2))]
        for bitmap in bitmaps:
            self._steps.append(["qemu-img", "bitmap", "--add", name, bitmap])
        self._steps.append(["killed qemu-io", name, "write -P 5 0 512"])
        # Where it becomes writable as a backing file only, qemu-img does not repair it, but says that it is whole.
        return Disk(name, "qcow2", size, None, (), tuple(bitmaps), "lazy" in options or not bitmaps)

    def _damaged(self, name: str) -> Disk:
        size = self._size() or MIB
        self._create(name, "qcow2", "-o", self._random.choice(("cluster_size=4k", "cluster_size=64k")), size=size)
        self._writes(name, "qcow2", size)
        snapshots = []
        if self._random.random() < 0.3:
            snapshots.append("s0")
            self._steps.append(["qemu-img", "snapshot", "-c", "s0", name])
            self._writes(name, "qcow2", size)
        self._steps.append(["damage", name, self._random.choice(sorted(_DAMAGES))])
        return Disk(name, "qcow2", size, None, tuple(snapshots), (), True)

    def _lost(self, name: str) -> Disk:
        """An overlay of what is not there."""
        size = self._size()
        backing = self._random.choice(("gone", "json:{", "nope:x"))
        self._create(name, "qcow2", "-u", "-b", backing, "-F", "raw", size=size)
        return Disk(name, "qcow2", size, "gone")

    def _special(self, name: str) -> Disk:
        name += ".qcow2"
        size = self._size()
        options = self._random.choice(
            (
                "compat=0.10",
                "data_file=special.data",
                "data_file=special.data,data_file_raw=on",
                "refcount_bits=1",
                "refcount_bits=64,cluster_size=4k",
                "extended_l2=on,cluster_size=16k",
                "lazy_refcounts=on",
                "compression_type=zstd",
            )
        )
        self._create(name, "qcow2", "-o", options, size=size)
        self._writes(name, "qcow2", size, compressed="data_file" not in options and "cluster_size" not in options)
        return Disk(name, "qcow2", size, None)
