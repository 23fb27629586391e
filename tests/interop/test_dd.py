# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of blocks beside ``qemu-img dd``: the same files, byte for byte."""
from __future__ import annotations

import pytest

from qimg.errors import ImageError, OptionError, StorageError
from qimg.formats.driver import WRITE
from qimg.formats.opening import Opener
from qimg.operations.dd import DdRequest, plan_dd
from support import oracle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

pytestmark = pytest.mark.oracle

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """A raw file of an odd length, and a chain with holes, zeroes, data and compressed clusters."""
    directory = tmp_path_factory.mktemp("sources")
    odd = directory / "odd.raw"
    odd.write_bytes(bytes(range(256)) * 400 + b"end")
    base = directory / "base.qcow2"
    oracle.qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", odd, base)
    chain = directory / "chain.qcow2"
    oracle.qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", chain, 3 * MIB + 512)
    oracle.qemu_io(chain, "write -P 7 1M 100k", "write -z 70k 20k", "write -P 8 3145728 512")
    return {"odd": (odd, "raw"), "chain": (chain, "qcow2")}


def both(
    tmp_path: Path, source: tuple[Path, str], format: str, block_size: int, count: int | None, skip: int
) -> tuple[Path, Path]:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    path, source_format = source
    words = ["bs=%d" % block_size, "skip=%d" % skip] + ([] if count is None else ["count=%d" % count])
    answer = oracle.ask_qemu_img(
        "dd", "-f", source_format, "-O", format, *words, "if=%s" % path, "of=%s" % theirs
    )
    assert answer.code == 0, answer.stderr
    plan = plan_dd(DdRequest(str(path), str(ours), source_format, format, block_size, count, skip))
    plan.apply()
    message = "qemu-img: %s: cannot skip to specified offset\n" % path
    assert answer.stderr == (message if plan.past_end else "")
    return ours, theirs


STRETCHES = [
    (512, None, 0), (512, 3, 0), (512, 3, 1), (512, 3, 3), (512, 3, 4), (512, 0, 0), (300, None, 1), (300, None, 0),
    (1000, 3, 1), (1, 100, 99), (64 * KIB, None, 1), (70000, None, 1), (MIB, 2, 1), (4096, 1 << 50, 3),
    (1 << 30, None, 1), (512, None, 1 << 54),
]


@pytest.mark.parametrize(("block_size", "count", "skip"), STRETCHES)
@pytest.mark.parametrize("name", ["odd", "chain"])
def test_raw_copies_equal_those_of_qemu_img(
    tmp_path: Path, sources: dict[str, Any], name: str, block_size: int, count: int | None, skip: int
) -> None:
    ours, theirs = both(tmp_path, sources[name], "raw", block_size, count, skip)
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize(("block_size", "count", "skip"), [(512, None, 0), (300, None, 1), (MIB, 3, 1), (512, 3, 4)])
@pytest.mark.parametrize("name", ["odd", "chain"])
def test_qcow2_copies_are_laid_out_as_those_of_qemu_img(
    tmp_path: Path, sources: dict[str, Any], name: str, block_size: int, count: int | None, skip: int
) -> None:
    ours, theirs = both(tmp_path, sources[name], "qcow2", block_size, count, skip)
    assert oracle.qemu_img("map", "--output=json", ours) == oracle.qemu_img("map", "--output=json", theirs)
    assert oracle.ask_qemu_img("compare", "-s", ours, theirs).code == 0
    assert oracle.ask_qemu_img("check", ours).code == 0
    assert ours.stat().st_size == theirs.stat().st_size


def test_zeroes_are_written_too(tmp_path: Path) -> None:
    source = tmp_path / "sparse.raw"
    with open(source, "wb") as file:
        file.truncate(MIB)
    both(tmp_path, (source, "raw"), "raw", 512, None, 0)
    assert (tmp_path / "ours").stat().st_blocks * 512 >= MIB


def test_an_image_can_be_cut_down_to_its_own_end(tmp_path: Path) -> None:
    path = tmp_path / "i.raw"
    path.write_bytes(b"a" * MIB + b"b" * MIB)
    plan_dd(DdRequest(str(path), str(path), "raw", "raw", MIB, None, 1)).apply()
    assert path.read_bytes() == b"b" * MIB


def test_a_copy_that_fails_leaves_the_old_target(tmp_path: Path, sources: dict[str, Any]) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    broken = tmp_path / "broken.qcow2"
    data = bytearray(sources["chain"][0].read_bytes())
    l1_offset = int.from_bytes(data[40:48], "big")
    data[l1_offset : l1_offset + 8] = (0x8000000000000000 | 513 << 9 | 512).to_bytes(8, "big")
    broken.write_bytes(data)
    with pytest.raises(ImageError):
        plan_dd(DdRequest(str(broken), str(target), "qcow2")).apply()
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.qcow2", "target"]


def test_a_target_in_use_is_left_alone(tmp_path: Path, sources: dict[str, Any]) -> None:
    target = tmp_path / "target.qcow2"
    oracle.qemu_img("create", "-q", "-f", "qcow2", target, "1M")
    before = target.read_bytes()
    with Opener().open(str(target), purpose=WRITE), pytest.raises(StorageError, match='"write" lock'):
        plan_dd(DdRequest(str(sources["odd"][0]), str(target), "raw", "qcow2")).apply()
    assert target.read_bytes() == before


def test_impossible_requests_are_refused(tmp_path: Path, sources: dict[str, Any]) -> None:
    source = str(sources["odd"][0])
    for wrong, kind in (
        (DdRequest(source, str(tmp_path / "o"), block_size=0), OptionError),
        (DdRequest(source, str(tmp_path / "o"), block_size=1 << 31), OptionError),
        (DdRequest(source, str(tmp_path / "o"), count=-1), OptionError),
        (DdRequest(source, str(tmp_path / "o"), skip=-1), OptionError),
        (DdRequest(source, str(tmp_path / "o"), format="none"), OptionError),
        (DdRequest(str(tmp_path / "none"), str(tmp_path / "o")), StorageError),
        (DdRequest(source, str(tmp_path / "none" / "o")), StorageError),
    ):
        with pytest.raises(kind):
            plan_dd(wrong).apply()
        assert not (tmp_path / "o").exists()
