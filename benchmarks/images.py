# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images that are measured with; each is made once for a directory."""
from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

_DISK_BYTES = 4 << 30
_FILE_BYTES = 1 << 30

_COPIED = 1 << 63
_OFFSET_MASK = 0x00FFFFFFFFFFFE00


def run(*command: object) -> None:
    """Run a command that only prepares something."""
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def real_disk(directory: Path) -> Path:
    """A raw 4 GiB disk with an ext4 file system that holds about 1 GiB of this machine's files."""
    disk = directory / "disk.raw"
    if disk.exists():
        return disk
    staging = directory / "files"
    staging.mkdir()
    total = 0
    for root in ("/usr/lib", "/usr/share", "/usr/bin", "/opt"):
        for folder, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(names):
                source = Path(folder, name)
                if source.is_symlink() or not source.is_file() or total >= _FILE_BYTES:
                    continue
                target = staging / source.relative_to("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                # Read and written, not linked: the files usually lie on another file system.
                shutil.copyfile(source, target)
                total += source.stat().st_size
    disk.touch()
    os.truncate(disk, _DISK_BYTES)
    run("mkfs.ext4", "-q", "-F", "-d", staging, disk)
    run("rm", "-r", staging)
    return disk


def real_qcow2(directory: Path) -> Path:
    """The same disk as a qcow2 image."""
    image = directory / "disk.qcow2"
    if not image.exists():
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", real_disk(directory), image)
    return image


def compressed_qcow2(directory: Path, codec: str) -> Path:
    """The same disk as a compressed qcow2 image."""
    image = directory / ("compressed-%s.qcow2" % codec)
    if not image.exists():
        options = ["-c", "-W", "-m", "16", "-f", "raw", "-O", "qcow2", "-o", "compression_type=" + codec]
        run("qemu-img", "convert", *options, real_disk(directory), image)
    return image


def _write(image: Path, offsets: Iterable[int], length: str, pattern: int) -> None:
    """Have QEMU write the same bytes at some offsets of a qcow2 image."""
    script = "".join("write -P %d %d %s\n" % (pattern, offset, length) for offset in offsets) + "quit"
    command = ["qemu-io", "-f", "qcow2", str(image)]
    subprocess.run(command, input=script.encode(), check=True, stdout=subprocess.DEVNULL)


def chain_of_three(directory: Path) -> Path:
    """The same disk with two overlays, each of which has 64 KiB of every third megabyte."""
    below = real_qcow2(directory)
    for number in (1, 2):
        overlay = directory / ("overlay-%d.qcow2" % number)
        if not overlay.exists():
            run("qemu-img", "create", "-f", "qcow2", "-b", below, "-F", "qcow2", overlay)
            _write(overlay, range(number << 20, _DISK_BYTES, 3 << 20), "64k", number)
        below = overlay
    return below


def deep_chain(directory: Path) -> Path:
    """An 8 GiB disk in a chain of twenty images, each with 600 clusters in random places."""
    chain = [directory / ("deep-%d.qcow2" % number) for number in range(20)]
    for number, image in enumerate(chain):
        if not image.exists():
            backing = ["-b", chain[number - 1], "-F", "qcow2"] if number else []
            run("qemu-img", "create", "-f", "qcow2", *backing, image, "8G")
            _write(image, _scattered(600, 8 << 30, 64 << 10, number), "64k", number + 1)
    return chain[-1]


def _scattered(count: int, size: int, unit: int, seed: int) -> list[int]:
    """Offsets in random order, all on multiples of ``unit``."""
    return [number * unit for number in random.Random(seed).sample(range(size // unit), count)]


def scattered_qcow2(directory: Path, count: int, size: int, unit: int, options: str) -> Path:
    """A disk with data in random places, written in random order.

    :param count: how many places
    :param size: bytes of the disk
    :param unit: bytes written at once
    :param options: of the image
    """
    image = directory / ("scattered-%d-%s.qcow2" % (unit, options))
    if not image.exists():
        run("qemu-img", "create", "-f", "qcow2", "-o", options, image, size)
        _write(image, _scattered(count, size, unit, 1), str(unit), 1)
    return image


def sparse_raw(directory: Path) -> Path:
    """A raw disk of 1 TiB with 4 KiB of data in 3,000 random places."""
    disk = directory / "sparse.raw"
    with open(disk, "wb") as file:
        file.truncate(1 << 40)
        for offset in _scattered(3000, 1 << 40, 4096, 1):
            file.seek(offset)
            file.write(b"d" * 4096)
    return disk


def allocated_qcow2(directory: Path, size: str) -> Path:
    """A qcow2 image with every cluster allocated and no data."""
    image = directory / ("allocated-%s.qcow2" % size)
    if not image.exists():
        run("qemu-img", "create", "-f", "qcow2", "-o", "preallocation=metadata", image, size)
    return image


def shuffled_qcow2(directory: Path, size: str) -> Path:
    """The same with the clusters in random order, as after years of use."""
    image = directory / ("shuffled-%s.qcow2" % size)
    if image.exists():
        return image
    run("cp", "--sparse=always", allocated_qcow2(directory, size), image)
    with open(image, "r+b") as file:
        l1_entries, l1_offset = struct.unpack(">IQ", file.read(48)[36:48])
        file.seek(l1_offset)
        l1 = struct.unpack(">%dQ" % l1_entries, file.read(8 * l1_entries))
        tables = []
        for entry in l1:
            file.seek(entry & _OFFSET_MASK)
            tables.append(struct.unpack(">8192Q", file.read(8 * 8192)))
        hosts = [entry for table in tables for entry in table if entry]
        random.Random(1).shuffle(hosts)
        left = iter(hosts)
        for entry, table in zip(l1, tables):
            file.seek(entry & _OFFSET_MASK)
            file.write(struct.pack(">8192Q", *(next(left) | _COPIED if old else 0 for old in table)))
    return image


def alternating_qcow2(directory: Path, extents: int) -> Path:
    """A qcow2 image in which data and nothing alternate."""
    image = directory / ("alternating-%d.qcow2" % extents)
    raw = directory / "alternating.raw"
    if not image.exists():
        with open(raw, "wb") as file:
            for number in range(extents // 2):
                file.seek(number * 8192)
                file.write(b"d" * 4096)
            file.truncate(extents // 2 * 8192)
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4096", raw, image)
        raw.unlink()
    return image
