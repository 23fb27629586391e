# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes of images that are not made yet, beside ``qemu-img measure``: exactly the same numbers."""
from __future__ import annotations

import json
import random

import pytest

from qimg.errors import ImageError
from qimg.operations.measure import measure_image, measure_size
from qimg.option_text import split_option_list
from support import oracle
from support.in_process import qimg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

pytestmark = pytest.mark.oracle

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

SIZES = [0, 1, 10 * MIB + 512, 4 * GIB - 1, 512 * GIB, 17 * TIB + 512, 64 * TIB]
OPTIONS = [
    "",
    "cluster_size=512",
    "cluster_size=4k",
    "cluster_size=2M",
    "cluster_size=16k,extended_l2=on",
    "cluster_size=2M,extended_l2=on",
    "refcount_bits=1",
    "refcount_bits=64",
    "refcount_bits=64,cluster_size=512",
    "refcount_bits=1,cluster_size=2M",
    "compat=0.10",
    "lazy_refcounts=on",
    "preallocation=metadata",
    "preallocation=falloc",
    "preallocation=full,cluster_size=1k",
    "backing_file=x,backing_fmt=raw",
    "backing_file=",
    "data_file=x",
    "data_file=x,data_file_raw=on",
    "size=3M",
    "nocow=on",
    "compression_type=zstd",
]
#: What matters where there is a source.
SOURCE_OPTIONS = [
    "",
    "cluster_size=512",
    "cluster_size=2M",
    "cluster_size=16k,extended_l2=on",
    "refcount_bits=1",
    "compat=0.10",
    "preallocation=metadata",
    "preallocation=full",
    "backing_file=x,backing_fmt=raw",
    "size=3M",
]


def options_of(text: str) -> dict[str, Any]:
    return dict(split_option_list(text))


def compare(text: str, words: list[Any], ours: Any) -> None:
    """Both give the same numbers, or refuse with the same words."""
    answer = oracle.ask_qemu_img("measure", "--output=json", *(["-o", text] if text else []), *words)
    if answer.code:
        with pytest.raises(ImageError) as caught:
            ours()
        reason = caught.value.reason
        assert answer.stderr.split("\n")[0] == "qemu-img: %s" % reason
    else:
        assert ours().document() == json.loads(answer.stdout)


@pytest.mark.parametrize("text", OPTIONS)
def test_empty_images_of_any_size_and_options(text: str) -> None:
    for size in SIZES:
        compare(
            text, ["-O", "qcow2", "--size", size], lambda size=size: measure_size(size, "qcow2", options_of(text))
        )


@pytest.mark.parametrize("seed", range(4))
def test_empty_images_of_random_sizes_and_geometries(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(20):
        cluster_bits = chance.randrange(9, 22)
        size = int(2 ** chance.uniform(0, cluster_bits * 2 + 14)) % (1 << 62)
        text = "cluster_size=%d,refcount_bits=%d" % (1 << cluster_bits, 1 << chance.randrange(7))
        compare(
            text, ["-O", "qcow2", "--size", size],
            lambda size=size, text=text: measure_size(size, "qcow2", options_of(text)),
        )


@pytest.mark.parametrize("size", [0, 1, 1001, 5 * GIB, (1 << 63) - 512])
def test_raw_images_take_what_the_guest_disk_has(size: int) -> None:
    for text in ("", "preallocation=full", "size=1M"):
        compare(text, ["-O", "raw", "--size", size], lambda text=text: measure_size(size, "raw", options_of(text)))


@pytest.mark.parametrize(
    "text",
    [
        "cluster_size=1000", "cluster_size=256", "cluster_size=4M", "cluster_size=0", "refcount_bits=3",
        "refcount_bits=128", "refcount_bits=0", "compat=foo", "compat=0.10,refcount_bits=1", "preallocation=foo",
        "extended_l2=on,cluster_size=8k", "cluster_size=3,preallocation=foo", "refcount_bits=3,compat=foo",
        "refcount_bits=3,preallocation=foo", "foo=1", "lazy_refcounts=maybe", "cluster_size=x",
    ],
)
def test_impossible_options_are_refused_with_the_words_of_qemu_img(text: str) -> None:
    compare(text, ["-O", "qcow2", "--size", "1M"], lambda: measure_size(MIB, "qcow2", options_of(text)))


@pytest.mark.parametrize(
    ("text", "size"),
    [("cluster_size=512", 128 * GIB + 1), ("cluster_size=512", 129 * GIB), ("", 7 << 60), ("", (1 << 63) - 1)],
)
def test_sizes_that_the_clusters_cannot_map_are_refused_with_the_words_of_qemu_img(text: str, size: int) -> None:
    compare(text, ["-O", "qcow2", "--size", size], lambda: measure_size(size, "qcow2", options_of(text)))


def test_unknown_formats_are_refused_with_the_words_of_qemu_img() -> None:
    compare("", ["-O", "nope", "--size", "1M"], lambda: measure_size(MIB, "nope"))


# Sources


def sources(directory: Path) -> dict[str, tuple[Path, str]]:
    """Images of every kind, by what is special about them."""
    chance = random.Random(3)
    raw = directory / "sparse.raw"
    with open(raw, "wb") as file:
        file.truncate(7 * MIB + 512)
        for _ in range(12):
            file.seek(chance.randrange(0, 7 * MIB) // 4096 * 4096)
            file.write(b"data" * chance.choice([128, 1024, 20000]))
        file.truncate(7 * MIB + 512)
    odd = directory / "odd.raw"
    odd.write_bytes(b"x" * 100001)
    found = {"raw": (raw, "raw"), "odd": (odd, "raw")}

    def convert(name: str, *words: str) -> Path:
        path = directory / (name + ".qcow2")
        oracle.qemu_img("convert", "-f", "raw", "-O", "qcow2", *words, raw, path)
        found[name] = (path, "qcow2")
        return path

    convert("plain")
    convert("small", "-o", "cluster_size=512")
    convert("compressed", "-c")
    convert("extended", "-o", "extended_l2=on")
    convert("old", "-o", "compat=0.10")
    base = convert("base")
    overlay = directory / "overlay.qcow2"
    oracle.qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", overlay, "9M")
    oracle.qemu_io(overlay, "write 300k 70k", "write -z 1M 1M", "discard 3M 1M", "write 8M 100k")
    found["overlay"] = (overlay, "qcow2")
    for mode in ("metadata", "falloc", "full"):
        path = directory / (mode + ".qcow2")
        oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", "preallocation=%s" % mode, path, "3M")
        oracle.qemu_io(path, "write 1M 10k", "write -z 2M 128k")
        found[mode] = (path, "qcow2")
    bitmaps = directory / "bitmaps.qcow2"
    oracle.qemu_img("create", "-q", "-f", "qcow2", bitmaps, "5G")
    for name, granularity in (("a", "512"), ("b", "64k"), ("c" * 1000, "2G")):
        oracle.qemu_img("bitmap", "--add", "-g", granularity, bitmaps, name)
    oracle.qemu_img("bitmap", "--disable", bitmaps, "a")
    found["bitmaps"] = (bitmaps, "qcow2")
    return found


@pytest.fixture(scope="module")
def all_sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    return sources(tmp_path_factory.mktemp("sources"))


SOURCES = [
    "raw", "odd", "plain", "small", "compressed", "extended", "old", "overlay", "metadata", "falloc", "full", "bitmaps"
]


@pytest.mark.parametrize("name", SOURCES)
def test_images_as_sources(all_sources: dict[str, tuple[Path, str]], name: str) -> None:
    path, format = all_sources[name]
    for target in ("qcow2", "raw"):
        for text in SOURCE_OPTIONS if target == "qcow2" else [""]:
            words = ["-f", format, "-O", target, path]
            compare(
                text, words,
                lambda target=target, text=text: measure_image(str(path), target, options_of(text), format),
            )


def test_a_snapshot_as_the_source(tmp_path: Path) -> None:
    path = tmp_path / "i.qcow2"
    oracle.qemu_img("create", "-q", "-f", "qcow2", path, "9M")
    oracle.qemu_io(path, "write 1M 3M")
    oracle.qemu_img("snapshot", "-c", "s", path)
    oracle.qemu_io(path, "write 5M 1M")
    oracle.qemu_img("resize", "-q", path, "11M")
    for wanted in ("s", "1", "none"):
        compare(
            "", ["-O", "qcow2", "-l", wanted, path],
            lambda wanted=wanted: measure_image(str(path), "qcow2", None, None, wanted),
        )
    compare("", ["-O", "qcow2", path], lambda: measure_image(str(path), "qcow2"))


def test_what_was_measured_is_what_qemu_img_then_writes(
    all_sources: dict[str, tuple[Path, str]], tmp_path: Path
) -> None:
    path, _format = all_sources["plain"]
    for mode in ("off", "falloc"):
        measured = measure_image(str(path), "qcow2", {"preallocation": mode})
        target = tmp_path / mode
        oracle.qemu_img("convert", "-O", "qcow2", "-o", "preallocation=%s" % mode, path, target)
        assert target.stat().st_size <= measured.required


@pytest.mark.parametrize("cluster_size", ["4k", "64k"])
def test_of_a_cluster_that_counts_already_nothing_more_is_looked_at(cluster_size: str, tmp_path: Path) -> None:
    path = tmp_path / "i.qcow2"
    oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", path, "1M")
    oracle.qemu_io(path, "write 0 4k", "write 128k 4k")
    with path.open("r+b") as file:
        file.seek(40)
        file.seek(int.from_bytes(file.read(8), "big"))
        table = int.from_bytes(file.read(8), "big") & (1 << 56) - 1
        for cluster in (1, 5):
            # Begins inside of a cluster.
            file.seek(table + 8 * cluster)
            file.write((1 << 63 | 0x5200).to_bytes(8, "big"))
    words = ["measure", "-O", "qcow2", "-o", "cluster_size=%s" % cluster_size, "i.qcow2"]
    theirs, ours = oracle.ask_qemu_img(*words, cwd=tmp_path), qimg(*words, cwd=tmp_path)
    assert theirs[:2] == ours[:2]
    assert ours.code == (cluster_size == "4k")
