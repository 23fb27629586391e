# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Growing qcow2 images: the new part reads as zeroes, wherever in the file it gets its place."""
from __future__ import annotations

import pytest

from support import oracle
from support.comparable import map_elsewhere
from support.in_process import qimg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.oracle

KIB = 1 << 10


@pytest.mark.parametrize("growth", [12 * KIB, 60 * KIB, 300 * KIB], ids=["within", "up to the end", "beyond the end"])
@pytest.mark.parametrize("preallocation", ["off", "metadata", "falloc", "full"])
@pytest.mark.parametrize("options", ["cluster_size=4k", "cluster_size=512", "cluster_size=16k,extended_l2=on"])
def test_places_that_held_data_before_are_zero_in_a_larger_disk(
    tmp_path: Path, options: str, preallocation: str, growth: int
) -> None:
    path = tmp_path / "i.qcow2"
    oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", options, path, "256k")
    oracle.qemu_img("snapshot", "-c", "empty", path)
    oracle.qemu_io(path, "write -P 1 0 192k")
    # What is free from now on keeps its bytes: it is too little to be given back to the file system.
    assert qimg("snapshot", "-c", "full", "i.qcow2", cwd=tmp_path).code == 0
    assert qimg("snapshot", "-a", "empty", "i.qcow2", cwd=tmp_path).code == 0
    assert qimg("snapshot", "-d", "full", "i.qcow2", cwd=tmp_path).code == 0
    assert path.read_bytes().count(b"\1" * 512) > 200
    words = ["resize", "-q", "--preallocation", preallocation, "i.qcow2", str(256 * KIB + growth)]
    assert qimg(*words, cwd=tmp_path).code == 0
    assert oracle.read_guest(path, tmp_path / "raw") == bytes(256 * KIB + growth)
    assert oracle.is_clean(path)


@pytest.mark.parametrize("preallocation", ["off", "metadata", "falloc", "full"])
@pytest.mark.parametrize("raw", ["off", "on"])
def test_bytes_behind_the_disk_in_its_data_file_are_not_shown_by_a_larger_disk(
    tmp_path: Path, preallocation: str, raw: str
) -> None:
    options = "cluster_size=4k,data_file=data.raw,data_file_raw=%s" % raw
    oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", options, "i.qcow2", "256k", cwd=tmp_path)
    with open(tmp_path / "data.raw", "ab") as data:
        data.write(b"\1" * (64 * KIB))
    assert qimg("resize", "-q", "--preallocation", preallocation, "i.qcow2", "300k", cwd=tmp_path).code == 0
    assert oracle.read_guest("i.qcow2", tmp_path / "raw", cwd=tmp_path) == bytes(300 * KIB)


@pytest.mark.parametrize("preallocation", ["off", "metadata", "falloc", "full"])
@pytest.mark.parametrize("extended", ["off", "on"])
def test_a_compressed_last_cluster_is_still_there_in_a_larger_disk(
    tmp_path: Path, extended: str, preallocation: str
) -> None:
    path = tmp_path / "i.qcow2"
    oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", "extended_l2=%s" % extended, path, "100k")
    oracle.qemu_io(path, "write -c -P 7 64k 36k")
    assert qimg("resize", "-q", "--preallocation", preallocation, "i.qcow2", "300k", cwd=tmp_path).code == 0
    assert oracle.read_guest(path, tmp_path / "raw") == bytes(64 * KIB) + b"\7" * (36 * KIB) + bytes(200 * KIB)
    assert oracle.is_clean(path)


@pytest.mark.parametrize("preallocation", ["off", "metadata", "falloc", "full"])
@pytest.mark.parametrize("options", ["cluster_size=64k", "cluster_size=64k,extended_l2=on"])
@pytest.mark.parametrize("raw", ["off", "on"])
@pytest.mark.parametrize("size", [20 * KIB, 80 * KIB])
def test_the_partial_last_cluster_in_a_data_file_is_still_there_in_a_larger_disk(
    tmp_path: Path, size: int, raw: str, options: str, preallocation: str
) -> None:
    options += ",data_file=data.raw,data_file_raw=" + raw
    oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", options, "i.qcow2", str(size), cwd=tmp_path)
    oracle.qemu_io("i.qcow2", "write -P 7 0 %d" % size, "write -z 5k 7k", cwd=tmp_path)
    before = oracle.read_guest("i.qcow2", tmp_path / "raw", cwd=tmp_path)
    assert qimg("resize", "-q", "--preallocation", preallocation, "i.qcow2", "300k", cwd=tmp_path).code == 0
    assert oracle.read_guest("i.qcow2", tmp_path / "raw", cwd=tmp_path) == before.ljust(300 * KIB, b"\0")
    assert oracle.is_clean("i.qcow2", cwd=tmp_path)
    if raw == "on":
        assert (tmp_path / "data.raw").read_bytes()[: 300 * KIB] == before.ljust(300 * KIB, b"\0")


@pytest.mark.parametrize("preallocation", ["metadata", "falloc", "full"])
@pytest.mark.parametrize("options", ["compat=1.1", "compat=0.10", "extended_l2=on", "data_file=data.raw"])
@pytest.mark.parametrize("size", [100 * KIB, 128 * KIB], ids=["partial last cluster", "whole clusters"])
@pytest.mark.parametrize("length", [96 * KIB, 400 * KIB], ids=["shorter backing file", "longer backing file"])
def test_preallocation_leaves_what_the_backing_file_shows(
    tmp_path: Path, length: int, size: int, options: str, preallocation: str
) -> None:
    oracle.qemu_img("create", "-q", "-f", "raw", "base.raw", length, cwd=tmp_path)
    oracle.qemu_io("base.raw", "write -P 7 0 %d" % length, format="raw", cwd=tmp_path)
    words = ["create", "-q", "-f", "qcow2", "-o", options, "-b", "base.raw", "-F", "raw", "i.qcow2", size]
    oracle.qemu_img(*words, cwd=tmp_path)
    assert qimg("resize", "-q", "--preallocation", preallocation, "i.qcow2", "1M", cwd=tmp_path).code == 0
    shown = min(length, size)
    assert oracle.read_guest("i.qcow2", tmp_path / "raw", cwd=tmp_path) == (b"\7" * shown).ljust(1 << 20, b"\0")
    assert oracle.is_clean("i.qcow2", cwd=tmp_path)
    qemu_can = "compat=0.10" not in options or length < size
    # Where zeroes lie within the last old cluster, and what full subclusters say, is each program's own business.
    if qemu_can and "extended_l2" not in options and size % (64 * KIB) == 0:
        ours = oracle.map_("i.qcow2", cwd=tmp_path)
        oracle.qemu_img(*words, cwd=tmp_path)
        oracle.qemu_img("resize", "-q", "--preallocation", preallocation, "i.qcow2", "1M", cwd=tmp_path)
        assert map_elsewhere(ours) == map_elsewhere(oracle.map_("i.qcow2", cwd=tmp_path))


@pytest.mark.parametrize("preallocation", ["off", "metadata", "falloc", "full"])
def test_what_a_failed_resize_left_beyond_the_disk_is_freed_when_it_grows(tmp_path: Path, preallocation: str) -> None:
    (tmp_path / "base.raw").write_bytes(b"\1" * (128 * KIB))
    words = ["-o", "compat=0.10,cluster_size=4k", "-b", "base.raw", "-F", "raw", "i.qcow2", "20k"]
    oracle.qemu_img("create", "-q", "-f", "qcow2", *words, cwd=tmp_path)
    failed = oracle.ask_qemu_img("resize", "-q", "--preallocation", "metadata", "i.qcow2", "200k", cwd=tmp_path)
    assert (failed.code, "Failed to zero out new clusters" in failed.stderr) == (1, True)
    assert oracle.info("i.qcow2", cwd=tmp_path)["virtual-size"] == 20 * KIB
    assert qimg("resize", "-q", "--preallocation", preallocation, "i.qcow2", "300k", cwd=tmp_path).code == 0
    assert oracle.is_clean(tmp_path / "i.qcow2")
    content = oracle.read_guest("i.qcow2", tmp_path / "raw", cwd=tmp_path)
    assert content == b"\1" * (20 * KIB) + bytes(280 * KIB)
