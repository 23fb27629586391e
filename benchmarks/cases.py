# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured: one function a case, which makes the images and gives the commands."""
from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import images
from images import run
from installation import CODECS, with_codec

OURS = "qimg"
THEIRS = "qemu-img"

#: qemu-img convert with its usual settings, and with those that are fastest on most machines.
_CONVERT_VARIANTS = {THEIRS: [], THEIRS + " -W -m 16": ["-W", "-m", "16"]}


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


def _nothing() -> None:
    """Nothing to prepare."""


def _same_command(
    name: str, arguments: list[object], prepare: Callable[[], None] = _nothing, files: tuple[Path, ...] = ()
) -> Case:
    words = [str(argument) for argument in arguments]
    return Case(name, {OURS: [OURS, *words], THEIRS: [THEIRS, *words]}, prepare, files)


def _on_a_copy(name: str, template: Path, arguments: list[object], image: Path, *files: Path) -> Case:
    """A command that changes ``image``, which is a new copy of ``template`` each time."""

    def prepare() -> None:
        run("cp", "--sparse=always", template, image)

    return _same_command(name, arguments, prepare, (image, *files))


# Copying


def _convert(name: str, directory: Path, source: Path, source_format: str, format: str, *options: str) -> Case:
    target = directory / "target"
    common = ["-f", source_format, "-O", format, *options, str(source), str(target)]
    contenders = {OURS: [OURS, "convert", *common]}
    for variant, extra in _CONVERT_VARIANTS.items():
        contenders[variant] = [THEIRS, "convert", *extra, *common]
    return Case(name, contenders, lambda: target.unlink(missing_ok=True), (target,))


def convert_raw_to_qcow2(directory: Path) -> Case:
    """4 GiB ext4 disk with 1 GiB of files, raw to qcow2."""
    return _convert("raw → qcow2", directory, images.real_disk(directory), "raw", "qcow2")


def convert_qcow2_to_raw(directory: Path) -> Case:
    """The same disk, qcow2 to raw."""
    return _convert("qcow2 → raw", directory, images.real_qcow2(directory), "qcow2", "raw")


def convert_qcow2_to_qcow2(directory: Path) -> Case:
    """The same disk, qcow2 to qcow2."""
    return _convert("qcow2 → qcow2", directory, images.real_qcow2(directory), "qcow2", "qcow2")


def convert_chain_to_raw(directory: Path) -> Case:
    """The same disk under two overlays, to raw."""
    return _convert("chain of 3 → raw", directory, images.chain_of_three(directory), "qcow2", "raw")


def convert_into_existing(directory: Path) -> Case:
    """The same disk, written over a raw file that is there already (-n)."""
    disk = images.real_disk(directory)
    case = _convert("raw → existing raw (-n)", directory, images.real_qcow2(directory), "qcow2", "raw", "-n")
    case.prepare = lambda: run("cp", "--sparse=always", disk, directory / "target")
    return case


def _scattered(directory: Path) -> Path:
    return images.scattered_qcow2(directory, 8000, 20 << 30, 64 << 10, "cluster_size=64k")


def _scattered_small(directory: Path) -> Path:
    return images.scattered_qcow2(directory, 30000, 4 << 30, 4 << 10, "cluster_size=4k")


def _scattered_extended(directory: Path) -> Path:
    return images.scattered_qcow2(directory, 30000, 20 << 30, 4 << 10, "extended_l2=on")


def convert_scattered_to_raw(directory: Path) -> Case:
    """8,000 clusters in random places of 20 GiB, qcow2 to raw."""
    return _convert("scattered → raw", directory, _scattered(directory), "qcow2", "raw")


def convert_scattered_to_qcow2(directory: Path) -> Case:
    """The same, qcow2 to qcow2."""
    return _convert("scattered → qcow2", directory, _scattered(directory), "qcow2", "qcow2")


def convert_small_clusters(directory: Path) -> Case:
    """30,000 clusters of 4 KiB in random places of 4 GiB, qcow2 to qcow2."""
    image, options = _scattered_small(directory), ["-o", "cluster_size=4k"]
    return _convert("scattered, 4 KiB clusters", directory, image, "qcow2", "qcow2", *options)


def convert_extended_entries(directory: Path) -> Case:
    """4 KiB in 30,000 random places of 20 GiB, with extended L2 entries."""
    image, options = _scattered_extended(directory), ["-o", "extended_l2=on"]
    return _convert("scattered, extended entries", directory, image, "qcow2", "qcow2", *options)


def convert_deep_chain(directory: Path) -> Case:
    """A chain of twenty images to raw."""
    return _convert("chain of 20 → raw", directory, images.deep_chain(directory), "qcow2", "raw")


def convert_sparse_terabyte(directory: Path) -> Case:
    """A raw disk of 1 TiB with 12 MiB of data to qcow2."""
    disk = images.sparse_raw(directory)
    case = _convert("1 TiB, sparse, raw → qcow2", directory, disk, "raw", "qcow2")
    case.files += (disk,)
    return case


def convert_64_tib_of_nothing(directory: Path) -> Case:
    """An empty disk of 64 TiB with clusters of 2 MiB."""
    empty = directory / "empty.qcow2"
    run("qemu-img", "create", "-f", "qcow2", "-o", "cluster_size=2M", empty, "64T")
    case = _convert("64 TiB of nothing", directory, empty, "qcow2", "qcow2", "-o", "cluster_size=2M")
    case.files += (empty,)
    return case


def _with_codecs(case: Case, directory: Path, codec: str) -> Case:
    """The same case, also with each Python package that is installed for a codec."""
    for package in CODECS[codec]:
        environment = with_codec(directory, package)
        if environment is not None:
            case.contenders["%s, %s" % (OURS, package)] = [*environment, *case.contenders[OURS]]
    if codec == "zstd":
        # The standard library has it from Python 3.14 on only.
        del case.contenders[OURS]
    return case


def convert_compressed(directory: Path) -> Case:
    """The same disk, raw to compressed qcow2 (zlib)."""
    case = _convert("raw → qcow2, zlib", directory, images.real_disk(directory), "raw", "qcow2", "-c")
    return _with_codecs(case, directory, "zlib")


def convert_compressed_zstd(directory: Path) -> Case:
    """The same disk, raw to compressed qcow2 (zstd)."""
    options = ["-c", "-o", "compression_type=zstd"]
    case = _convert("raw → qcow2, zstd", directory, images.real_disk(directory), "raw", "qcow2", *options)
    return _with_codecs(case, directory, "zstd")


def convert_from_compressed(directory: Path) -> Case:
    """The same disk, compressed qcow2 (zlib) to raw."""
    image = images.compressed_qcow2(directory, "zlib")
    return _with_codecs(_convert("qcow2, zlib → raw", directory, image, "qcow2", "raw"), directory, "zlib")


def convert_from_compressed_zstd(directory: Path) -> Case:
    """The same disk, compressed qcow2 (zstd) to raw."""
    image = images.compressed_qcow2(directory, "zstd")
    return _with_codecs(_convert("qcow2, zstd → raw", directory, image, "qcow2", "raw"), directory, "zstd")


def compare_identical(directory: Path) -> Case:
    """The same disk as raw and as qcow2."""
    disk, image = images.real_disk(directory), images.real_qcow2(directory)
    return _same_command("compare, identical", ["compare", "-f", "raw", "-F", "qcow2", disk, image])


def rebase_safely(directory: Path) -> Case:
    """The upper overlay of a chain of three onto the lowest image."""
    image = directory / "rebased.qcow2"
    arguments = ["rebase", "-f", "qcow2", "-b", images.real_qcow2(directory), "-F", "qcow2", image]
    return _on_a_copy("rebase", images.chain_of_three(directory), arguments, image)


def commit_an_overlay(directory: Path) -> Case:
    """An overlay with 64 KiB of every third megabyte of 4 GiB into its base."""
    base, overlay = directory / "base.qcow2", directory / "committed.qcow2"
    images.chain_of_three(directory)

    def prepare() -> None:
        run("cp", images.real_qcow2(directory), base)
        run("cp", directory / "overlay-1.qcow2", overlay)
        run("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", base, "-F", "qcow2", overlay)

    return _same_command("commit", ["commit", "-q", "-f", "qcow2", overlay], prepare, (base, overlay))


# Requests


def bench_reads(directory: Path) -> Case:
    """75,000 reads of 4 KiB, 64 at once, from a raw disk."""
    return _same_command("bench, raw", ["bench", "-f", "raw", images.real_disk(directory)])


def bench_reads_of_qcow2(directory: Path) -> Case:
    """The same from a qcow2 image."""
    return _same_command("bench, qcow2", ["bench", "-f", "qcow2", images.real_qcow2(directory)])


# Metadata


def create_with_metadata(directory: Path) -> Case:
    """A qcow2 image of 64 GiB with all tables."""
    image = directory / "new.qcow2"
    arguments = ["create", "-f", "qcow2", "-o", "preallocation=metadata", image, "64G"]
    return _same_command("create, metadata, 64 GiB", arguments, lambda: image.unlink(missing_ok=True), (image,))


def check_two_million_clusters(directory: Path) -> Case:
    """Check a qcow2 image of 128 GiB with every cluster allocated."""
    image = images.allocated_qcow2(directory, "128G")
    return _same_command("check, 2 million clusters", ["check", "-f", "qcow2", image], files=(image,))


def check_shuffled_clusters(directory: Path) -> Case:
    """Check a qcow2 image of 16 GiB with every cluster allocated, in random order."""
    image = images.shuffled_qcow2(directory, "16G")
    return _same_command("check, 262,144 shuffled clusters", ["check", "-f", "qcow2", image], files=(image,))


def check_scattered_clusters(directory: Path) -> Case:
    """Check 30,000 clusters of 4 KiB in random places."""
    return _same_command("check, 4 KiB clusters", ["check", "-f", "qcow2", _scattered_small(directory)])


def check_extended_entries(directory: Path) -> Case:
    """Check an image with extended L2 entries and 28,000 clusters in random places."""
    return _same_command("check, extended entries", ["check", "-f", "qcow2", _scattered_extended(directory)])


def repair_leaks(directory: Path) -> Case:
    """Repair an image with 262,144 leaked clusters."""
    template, image = directory / "leaking-template.qcow2", directory / "leaking.qcow2"
    run("cp", "--sparse=always", images.allocated_qcow2(directory, "32G"), template)
    with open(template, "r+b") as file:
        l1_entries, l1_offset = struct.unpack(">IQ", file.read(48)[36:48])
        half = l1_entries // 2 * 8
        file.seek(l1_offset + half)
        file.write(bytes(half))
    return _on_a_copy("check -r all, 262,144 leaks", template, ["check", "-q", "-r", "all", image], image, template)


def map_two_hundred_thousand_extents(directory: Path) -> Case:
    """Map a qcow2 image in which data and nothing alternate 100,000 times."""
    image = images.alternating_qcow2(directory, 200000)
    return _same_command("map, 200,000 extents", ["map", "-f", "qcow2", "--output=json", image], files=(image,))


def map_a_million_extents(directory: Path) -> Case:
    """The same with 500,000 times."""
    image = images.alternating_qcow2(directory, 1000000)
    return _same_command("map, 1,000,000 extents", ["map", "-f", "qcow2", "--output=json", image], files=(image,))


def map_deep_chain(directory: Path) -> Case:
    """Map a chain of twenty images."""
    return _same_command("map, chain of 20", ["map", "-f", "qcow2", "--output=json", images.deep_chain(directory)])


def map_extended_entries(directory: Path) -> Case:
    """Map an image with extended L2 entries that has 110,000 extents."""
    image = _scattered_extended(directory)
    return _same_command("map, extended entries", ["map", "-f", "qcow2", "--output=json", image])


def measure_scattered(directory: Path) -> Case:
    """Measure 30,000 clusters of 4 KiB in random places."""
    return _same_command("measure", ["measure", "-O", "qcow2", "-f", "qcow2", _scattered_small(directory)])


def map_long_runs(directory: Path) -> Case:
    """Map the real disk."""
    return _same_command("map, long runs", ["map", "-f", "qcow2", "--output=json", images.real_qcow2(directory)])


def _snapshot(directory: Path, action: str, *before: str) -> Case:
    """Something done with the snapshots of a 1 TiB image of which 64 GiB are allocated.

    :param before: snapshots that it has
    """
    template, image = directory / "large-template.qcow2", directory / "large.qcow2"
    run("cp", "--sparse=always", images.allocated_qcow2(directory, "64G"), template)
    run("qemu-img", "resize", "-f", "qcow2", template, "1T")
    for name in before:
        run("qemu-img", "snapshot", "-c", name, template)
    return _on_a_copy("snapshot %s, 1 TiB" % action, template, ["snapshot", action, "one", image], image, template)


def snapshot_of_a_large_image(directory: Path) -> Case:
    """Take a snapshot."""
    return _snapshot(directory, "-c")


def snapshot_applied(directory: Path) -> Case:
    """Go back to the first of two snapshots."""
    return _snapshot(directory, "-a", "one", "two")


def snapshot_deleted(directory: Path) -> Case:
    """Delete the first of two snapshots."""
    return _snapshot(directory, "-d", "one", "two")


def resize_a_large_image(directory: Path) -> Case:
    """Grow an image of which 64 GiB are allocated to 1 TiB."""
    image = directory / "grown.qcow2"
    template = images.allocated_qcow2(directory, "64G")
    return _on_a_copy("resize to 1 TiB", template, ["resize", "-q", "-f", "qcow2", image, "1T"], image)


def shrink_a_large_image(directory: Path) -> Case:
    """Shrink an image of which 64 GiB are allocated to 1 GiB."""
    image = directory / "shrunk.qcow2"
    arguments = ["resize", "-q", "--shrink", "-f", "qcow2", image, "1G"]
    return _on_a_copy("resize to 1 GiB", images.allocated_qcow2(directory, "64G"), arguments, image)


def amend_to_version_2(directory: Path) -> Case:
    """Make an image of which 64 GiB are allocated one of version 2."""
    image = directory / "older.qcow2"
    arguments = ["amend", "-f", "qcow2", "-o", "compat=0.10", image]
    return _on_a_copy("amend to version 2", images.allocated_qcow2(directory, "64G"), arguments, image)


def add_a_bitmap(directory: Path) -> Case:
    """Add a dirty bitmap to a disk of 16 TiB."""
    template, image = directory / "bitmap-template.qcow2", directory / "bitmap.qcow2"
    run("qemu-img", "create", "-f", "qcow2", template, "16T")
    return _on_a_copy("bitmap --add, 16 TiB", template, ["bitmap", "--add", image, "b"], image, template)


def info_of_a_small_image(directory: Path) -> Case:
    """What it costs to start: info of an empty image."""
    image = directory / "small.qcow2"
    run("qemu-img", "create", "-f", "qcow2", image, "1G")
    return _same_command("info, small image", ["info", image], files=(image,))


#: Other formats -> creation options of an image.
_OTHER_FORMATS: dict[str, tuple[str, list[str]]] = {
    "vmdk": ("vmdk", []),
    "vmdk, stream": ("vmdk", ["-o", "subformat=streamOptimized"]),
    "vdi": ("vdi", []),
    "vhdx": ("vhdx", []),
    "vpc": ("vpc", ["-o", "force_size=on"]),
    "parallels": ("parallels", []),
    "qed": ("qed", []),
}


def _to_other(name: str) -> Callable[[Path], Case]:
    format, options = _OTHER_FORMATS[name]

    def case(directory: Path) -> Case:
        title = "qcow2 → %s" % name
        return _convert(title, directory, images.real_qcow2(directory), "qcow2", format, *options)

    case.__name__ = "convert_to_" + re.sub(r"\W+", "_", name)
    case.__doc__ = "The same disk, qcow2 to %s." % name
    return case


def _from_other(name: str) -> Callable[[Path], Case]:
    format, options = _OTHER_FORMATS[name]

    def case(directory: Path) -> Case:
        source = directory / ("disk-" + re.sub(r"\W+", "-", name))
        if not source.exists():
            run("qemu-img", "convert", "-f", "qcow2", "-O", format, *options, images.real_qcow2(directory), source)
        return _convert("%s → qcow2" % name, directory, source, format, "qcow2")

    case.__name__ = "convert_from_" + re.sub(r"\W+", "_", name)
    case.__doc__ = "The same disk, %s to qcow2." % name
    return case


OTHER_FORMATS = tuple(make(name) for name in _OTHER_FORMATS for make in (_to_other, _from_other))

ALL = (
    convert_raw_to_qcow2,
    convert_qcow2_to_raw,
    convert_qcow2_to_qcow2,
    convert_chain_to_raw,
    convert_into_existing,
    convert_scattered_to_raw,
    convert_scattered_to_qcow2,
    convert_small_clusters,
    convert_extended_entries,
    convert_deep_chain,
    convert_sparse_terabyte,
    convert_64_tib_of_nothing,
    convert_compressed,
    convert_compressed_zstd,
    convert_from_compressed,
    convert_from_compressed_zstd,
    compare_identical,
    rebase_safely,
    commit_an_overlay,
    bench_reads,
    bench_reads_of_qcow2,
    create_with_metadata,
    check_two_million_clusters,
    check_shuffled_clusters,
    check_scattered_clusters,
    check_extended_entries,
    repair_leaks,
    map_two_hundred_thousand_extents,
    map_a_million_extents,
    map_deep_chain,
    map_extended_entries,
    map_long_runs,
    measure_scattered,
    snapshot_of_a_large_image,
    snapshot_applied,
    snapshot_deleted,
    resize_a_large_image,
    shrink_a_large_image,
    amend_to_version_2,
    add_a_bitmap,
    info_of_a_small_image,
    *OTHER_FORMATS,
)
