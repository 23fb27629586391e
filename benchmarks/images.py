# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images that are measured with; each is made once for a directory."""
from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
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


def chain_of_three(directory: Path) -> Path:
    """The same disk with two overlays, each of which has 64 KiB of every third megabyte."""
    below = real_qcow2(directory)
    for number in (1, 2):
        overlay = directory / ("overlay-%d.qcow2" % number)
        if not overlay.exists():
            run("qemu-img", "create", "-f", "qcow2", "-b", below, "-F", "qcow2", overlay)
            writes = ["write -P %d %dM 64k" % (number, offset) for offset in range(number, _DISK_BYTES >> 20, 3)]
            script = "\n".join([*writes, "quit"]).encode()
            subprocess.run(
                ["qemu-io", "-f", "qcow2", str(overlay)], input=script, check=True, stdout=subprocess.DEVNULL
            )
        below = overlay
    return below


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
