# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rebasing overlays that have only parts of clusters."""
from __future__ import annotations

import pytest

from qimg.operations import rebase
from support import oracle
from support.in_process import qimg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.oracle

KIB = 1 << 10


@pytest.mark.parametrize("new", [[""], ["other.raw", "-F", "raw"], ["base.raw", "-F", "raw"]], ids=lambda new: new[0])
@pytest.mark.parametrize("options", ["cluster_size=16k,extended_l2=on", "extended_l2=on", "cluster_size=4k"])
def test_what_is_stored_compressed_leaves_the_overlays_own_subclusters_alone(
    tmp_path: Path, options: str, new: list[str]
) -> None:
    (tmp_path / "base.raw").write_bytes(b"below it" * (250 * KIB // 8) + b"an odd end" * 51)
    (tmp_path / "other.raw").write_bytes(b"another " * (350 * KIB // 8))
    words = ["create", "-q", "-f", "qcow2", "-o", options, "-b", "base.raw", "-F", "raw", "i.qcow2", "300k"]
    oracle.qemu_img(*words, cwd=tmp_path)
    # A written subcluster, a zero one, a whole cluster, and one that is allocated but for its subclusters.
    own = ["write -P 1 3k 2k", "write -z 37k 5k", "write -P 2 128k 64k", "write -P 3 290k 1k", "discard 64k 64k"]
    oracle.qemu_io("i.qcow2", *own, cwd=tmp_path)
    before = oracle.read_guest("i.qcow2", tmp_path / "raw", cwd=tmp_path)
    assert qimg("rebase", "-c", "-b", *new, "i.qcow2", cwd=tmp_path).code == 0
    assert oracle.read_guest("i.qcow2", tmp_path / "raw", cwd=tmp_path) == before
    code, found, lines = oracle.check("i.qcow2", cwd=tmp_path)
    assert code == 0, lines
    assert bool(found.get("compressed-clusters")) == (new[0] != "base.raw")


@pytest.mark.parametrize("compressed", [[], ["-c"]], ids=["plain", "compressed"])
def test_a_rebase_in_many_windows_leaves_what_one_leaves(
    tmp_path: Path, compressed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # One copier works for all windows: what it holds from the last one must not show in the next.
    block = 64 * KIB
    (tmp_path / "base.raw").write_bytes(b"".join(bytes([number]) * block for number in range(1, 65)))
    (tmp_path / "other.raw").write_bytes(b"".join(bytes([number % 3 and number]) * block for number in range(1, 65)))
    found = []
    for name, window in (("one.qcow2", rebase._WINDOW), ("many.qcow2", 3 * block)):
        oracle.qemu_img("create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", name, "5M", cwd=tmp_path)
        oracle.qemu_io(name, "write -P 99 100k 300k", "write -z 1M 200k", cwd=tmp_path)
        before = oracle.read_guest(name, tmp_path / "raw", cwd=tmp_path)
        monkeypatch.setattr(rebase, "_WINDOW", window)
        assert qimg("rebase", *compressed, "-b", "other.raw", "-F", "raw", name, cwd=tmp_path).code == 0
        assert oracle.read_guest(name, tmp_path / "raw", cwd=tmp_path) == before
        code, result, lines = oracle.check(name, cwd=tmp_path)
        assert code == 0, lines
        found.append((result.get("allocated-clusters"), result.get("compressed-clusters")))

    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("new", "format"),
    [
        ("base.qcow2", "raw"),
        ("mid.qcow2", "raw"),
        ('json:{"driver": "raw", "offset": 65536, "file.filename": "base.qcow2"}', "raw"),
        ('json:{"driver": "qcow2", "file.filename": "mid.qcow2", "backing.file.filename": "other.qcow2"}', "qcow2"),
    ],
    ids=["lower", "upper", "part", "other-below"],
)
def test_a_file_of_the_chain_that_is_read_otherwise_is_another_backing_file(
    tmp_path: Path, new: str, format: str
) -> None:
    for name, byte in (("base.qcow2", 5), ("other.qcow2", 6)):
        oracle.qemu_img("create", "-q", "-f", "qcow2", name, "1M", cwd=tmp_path)
        oracle.qemu_io(name, "write -P %d 0 1M" % byte, cwd=tmp_path)
    for name, below in (("mid.qcow2", "base.qcow2"), ("top.qcow2", "mid.qcow2")):
        oracle.qemu_img("create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", name, cwd=tmp_path)
    oracle.qemu_io("mid.qcow2", "write -P 7 0 64k", cwd=tmp_path)
    before = oracle.read_guest("top.qcow2", tmp_path / "raw", cwd=tmp_path)

    assert qimg("rebase", "-b", new, "-F", format, "top.qcow2", cwd=tmp_path).code == 0
    assert oracle.read_guest("top.qcow2", tmp_path / "raw", cwd=tmp_path) == before


@pytest.mark.parametrize("compressed", [[], ["-c"]], ids=["plain", "compressed"])
def test_zeroes_beyond_the_end_of_a_layer_between_stay(tmp_path: Path, compressed: list[str]) -> None:
    # Behind the short one, the middle one shows zeroes, whatever the base has there.
    layers = (("base.qcow2", None, "300k"), ("short.qcow2", "base.qcow2", "1536"), ("mid.qcow2", "short.qcow2", "200k"))
    for name, below, size in (*layers, ("top.qcow2", "mid.qcow2", "300k")):
        backing = [] if below is None else ["-b", below, "-F", "qcow2"]
        oracle.qemu_img("create", "-q", "-f", "qcow2", *backing, name, size, cwd=tmp_path)
    oracle.qemu_io("base.qcow2", "write -P 5 0 300k", cwd=tmp_path)
    oracle.qemu_io("mid.qcow2", "write -P 6 70k 5k", cwd=tmp_path)
    before = oracle.read_guest("top.qcow2", tmp_path / "raw", cwd=tmp_path)

    assert qimg("rebase", *compressed, "-b", "base.qcow2", "-F", "qcow2", "top.qcow2", cwd=tmp_path).code == 0
    assert oracle.read_guest("top.qcow2", tmp_path / "raw", cwd=tmp_path) == before
    assert oracle.check("top.qcow2", cwd=tmp_path)[0] == 0
