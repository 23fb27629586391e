# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured: one function a case, which makes the images and gives the commands."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

OURS = "qimg"

#: qemu-img convert with its usual settings, and with those that are fastest on most machines.
_CONVERT_VARIANTS = {"qemu-img": [], "qemu-img -W -m 16": ["-W", "-m", "16"]}

_DISK_BYTES = 4 << 30
_FILE_BYTES = 1 << 30


@dataclass
class Case:
    """Commands that do the same thing; ``prepare`` runs before each of them and is not measured."""

    name: str
    contenders: dict[str, list[str]]
    prepare: Callable[[], None]
    files: tuple[Path, ...] = ()

    def clean(self) -> None:
        """Remove what only this case needs."""
        for file in self.files:
            file.unlink(missing_ok=True)


def _ours(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "qimg", *arguments]


def _theirs(*arguments: str) -> list[str]:
    return ["qemu-img", *arguments]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _nothing() -> None:
    """Nothing to prepare."""


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
    _run("mkfs.ext4", "-q", "-F", "-d", str(staging), str(disk))
    _run("rm", "-r", str(staging))
    return disk


def _real_qcow2(directory: Path) -> Path:
    image = directory / "disk.qcow2"
    if not image.exists():
        _run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(real_disk(directory)), str(image))
    return image


def _convert(name: str, directory: Path, source: Path, source_format: str, format: str, *options: str) -> Case:
    target = directory / "target"
    common = ["-f", source_format, "-O", format, *options, str(source), str(target)]
    contenders = {OURS: _ours("convert", *common)}
    for variant, extra in _CONVERT_VARIANTS.items():
        contenders[variant] = _theirs("convert", *extra, *common)
    return Case(name, contenders, lambda: target.unlink(missing_ok=True), (target,))


def convert_raw_to_qcow2(directory: Path) -> Case:
    """4 GiB ext4 disk with 1 GiB of files, raw to qcow2."""
    return _convert("raw → qcow2", directory, real_disk(directory), "raw", "qcow2")


def convert_qcow2_to_raw(directory: Path) -> Case:
    """The same disk, qcow2 to raw."""
    return _convert("qcow2 → raw", directory, _real_qcow2(directory), "qcow2", "raw")


def convert_qcow2_to_qcow2(directory: Path) -> Case:
    """The same disk, qcow2 to qcow2."""
    return _convert("qcow2 → qcow2", directory, _real_qcow2(directory), "qcow2", "qcow2")


def convert_compressed(directory: Path) -> Case:
    """The same disk, raw to compressed qcow2."""
    return _convert("raw → qcow2, compressed", directory, real_disk(directory), "raw", "qcow2", "-c")


def convert_from_compressed(directory: Path) -> Case:
    """The same disk, compressed qcow2 to raw."""
    image = directory / "compressed.qcow2"
    if not image.exists():
        disk = str(real_disk(directory))
        _run("qemu-img", "convert", "-c", "-W", "-m", "16", "-f", "raw", "-O", "qcow2", disk, str(image))
    return _convert("compressed qcow2 → raw", directory, image, "qcow2", "raw")


def compare_identical(directory: Path) -> Case:
    """The same disk as raw and as qcow2."""
    arguments = ["compare", "-f", "raw", "-F", "qcow2", str(real_disk(directory)), str(_real_qcow2(directory))]
    return Case("compare, identical", {OURS: _ours(*arguments), "qemu-img": _theirs(*arguments)}, _nothing)


def check_two_million_clusters(directory: Path) -> Case:
    """Check a qcow2 image of 128 GiB with every cluster allocated."""
    image = directory / "allocated.qcow2"
    if not image.exists():
        _run("qemu-img", "create", "-f", "qcow2", "-o", "preallocation=metadata", str(image), "128G")
    arguments = ["check", "-f", "qcow2", str(image)]
    contenders = {OURS: _ours(*arguments), "qemu-img": _theirs(*arguments)}
    return Case("check, 2 million clusters", contenders, _nothing, (image,))


def map_two_hundred_thousand_extents(directory: Path) -> Case:
    """Map a qcow2 image in which data and nothing alternate 100,000 times."""
    image = directory / "alternating.qcow2"
    raw = directory / "alternating.raw"
    if not image.exists():
        with open(raw, "wb") as file:
            for number in range(100000):
                file.seek(number * 8192)
                file.write(b"d" * 4096)
            file.truncate(100000 * 8192)
        _run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=4096", str(raw), str(image))
        raw.unlink()
    arguments = ["map", "-f", "qcow2", "--output=json", str(image)]
    contenders = {OURS: _ours(*arguments), "qemu-img": _theirs(*arguments)}
    return Case("map, 200,000 extents", contenders, _nothing, (image,))


def snapshot_of_a_large_image(directory: Path) -> Case:
    """Take a snapshot of a 1 TiB image of which 64 GiB are allocated."""
    template = directory / "large-template.qcow2"
    image = directory / "large.qcow2"
    if not template.exists():
        _run("qemu-img", "create", "-f", "qcow2", "-o", "preallocation=metadata", str(template), "64G")
        _run("qemu-img", "resize", "-f", "qcow2", str(template), "1T")
    arguments = ["snapshot", "-c", "now", str(image)]
    contenders = {OURS: _ours(*arguments), "qemu-img": _theirs(*arguments)}

    def prepare() -> None:
        _run("cp", "--sparse=always", str(template), str(image))

    return Case("snapshot -c, 1 TiB", contenders, prepare, (template, image))


def info_of_a_small_image(directory: Path) -> Case:
    """What it costs to start: info of an empty image."""
    image = directory / "small.qcow2"
    _run("qemu-img", "create", "-f", "qcow2", str(image), "1G")
    arguments = ["info", str(image)]
    return Case("info, small image", {OURS: _ours(*arguments), "qemu-img": _theirs(*arguments)}, _nothing, (image,))


ALL = (
    convert_raw_to_qcow2,
    convert_qcow2_to_raw,
    convert_qcow2_to_qcow2,
    convert_compressed,
    convert_from_compressed,
    compare_identical,
    check_two_million_clusters,
    map_two_hundred_thousand_extents,
    snapshot_of_a_large_image,
    info_of_a_small_image,
)
