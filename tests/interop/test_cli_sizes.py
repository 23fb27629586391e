# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes and numbers in all their spellings, in every place that takes them, as real qemu-img reads them."""
from __future__ import annotations

from pathlib import Path

import pytest

from support.side_by_side import SideBySide, template

pytestmark = pytest.mark.oracle

#: By what they show: whole numbers, suffixes, fractions, rounding, hexadecimal, signs, ranges, and what is no size.
SPELLINGS = r"""|0|1|511|512|513|1000|1024|010|08|000|1b|1B|1k|1K|3m|3M|2g|2G|1t|1T|1p|1P|1e|1E|0k|00k
.5k|.5M|0.5M|1.|1.k|1.b|1.0|1.0b|0.0|0.0b|1.5k|1.25M|.0k|1.5|1.5b|.5|.0|.|.k
1.0005k|1.00048828125k|0.00048828125k|0.00048828124k|0.000488281249k|1.999999999999999999999k|0.0000000001k
0.1E|0.7E|1.1E|.3e|3.3T|0.99999999999999999E|7.9999999999999999E|7.9999999999999999999E|0.123456789E
0x0|0x10|0X1F|0x1b|0x1e|0x7fffffffffffffff|0xffffffffffffffff|0x10000000000000000|0x|0xg|0x20M|0x1.8k|0x1p4
+1|+1k|+0x10|++1|+-1|-0|-1|-00|-.5|-1k|-1.|-1.5|-0k|-.5k|-.|-0x10|-x|--1|- 1
 512|512 |\t512|1 k|1kk|1kb|1KiB|1MB|1Q|1Z|1x|k|b|x|1,5k|1_000|\u0661k|1e3|1e3k|1e+3|1.5e1k|inf|nan|infinity|1h
9007199254740993|9223372036854775807|9223372036854775808|18446744073709551615|18446744073709551616
18446744073709551616k|18446744073709551616.5k|99999999999999999999999|-18446744073709551616|-99999999999999999999k
7E|8E|15E|16E|15.999999999999999999999E|8388607T|16384P|18014398509481984k|18014398509481983.9999k
""".rstrip("\n").replace("\n", "|").replace(r"\t", "\t").replace(r"\u0661", "\u0661").split("|")  # fmt: skip

#: Fewer of them for the places that use the same grammar.
SOME = [
    "0", "1", "512", "1000", "1k", "1b", "1.", "1.0", "1.5", "1.5k", ".5k", "1e3", "0x200", "0x20M", "010", "+512",
    "-1", "-1k", "-.5", "x", "", " 512", "1Q", "9223372036854775807", "9223372036854775808", "18446744073709551616",
    "2M", "2147483648",
]  # fmt: skip

PLACES = {
    "convert -S": ["convert", "-S", "%s", "bytes", "new"],
    "map -s": ["map", "--output=json", "-s", "%s", "bytes"],
    "map -l": ["map", "--output=json", "-l", "%s", "bytes"],
    "bitmap -g": ["bitmap", "--add", "-g", "%s", "disk.qcow2", "b"],
    "dd bs": ["dd", "bs=%s", "count=1", "if=bytes", "of=new"],
    "measure --size": ["measure", "-O", "qcow2", "--size", "%s"],
    "resize": ["resize", "disk.qcow2", "--", "%s"],
    "resize +": ["resize", "disk.qcow2", "+%s"],
    "amend -o size": ["amend", "-o", "size=%s", "disk.qcow2"],
    "create -o size": ["create", "-f", "raw", "-o", "size=%s", "nowhere/new"],
    "create -o cluster_size": ["create", "-f", "qcow2", "-o", "cluster_size=%s", "new", "1M"],
    "create -o extent_size_hint": ["create", "-f", "raw", "-o", "extent_size_hint=%s", "new", "1k"],
    "raw offset": ["info", "--image-opts", "driver=raw,offset=%s,file.filename=disk.qcow2"],
    "raw size": ["map", "--output=json", "--image-opts", "driver=raw,size=%s,file.filename=disk.qcow2"],
}

COUNTS = [
    "0", "1", "010", "08", "0x10", "0x", "+1", "-1", " 1", "1 ", "1k", "1b", "1.", "1.0", "x", "", "17", "256", "1_0",
    "\u0661", "00o7", "0x0x1", "2147483648", "99999999999999999999", "-99999999999999999999",
]  # fmt: skip

COUNT_PLACES = {
    "convert -m": ["convert", "-m", "%s", "bytes", "new"],
    "bench --pattern": ["bench", "-f", "raw", "-w", "-s", "1", "-c", "1", "-d", "1", "--pattern", "%s", "bytes"],
    "bench --flush-interval": [
        "bench", "-f", "raw", "-w", "-s", "1", "-c", "1", "-d", "1", "--flush-interval", "%s", "bytes"
    ],
    "refcount_bits": ["create", "-f", "qcow2", "-o", "refcount_bits=%s", "new", "1M"],
}  # fmt: skip


def _build(directory: Path) -> None:
    from support import oracle

    oracle.qemu_img("create", "-q", "-f", "qcow2", "disk.qcow2", "1M", cwd=directory)
    (directory / "bytes").write_bytes(b"some bytes")


@pytest.fixture
def pair(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> SideBySide:
    return SideBySide(tmp_path, template(tmp_path_factory.getbasetemp() / "sizes", _build))


def _expect_same(pair: SideBySide, words: list[str]) -> None:
    theirs, ours = pair.run(words)
    if words[0] == "bench":
        theirs, ours = (answer._replace(stdout=answer.stdout.split("Run completed")[0]) for answer in (theirs, ours))
    if theirs != ours:
        raise pair.difference(theirs, ours)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_size_means_what_it_means_to_qemu_img(spelling: str, pair: SideBySide) -> None:
    """The directory does not exist: a size is printed, and no file made."""
    _expect_same(pair, ["create", "-f", "raw", "--", "nowhere/new", spelling])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("spelling", SOME)
def test_every_place_takes_the_same_sizes(place: str, spelling: str, pair: SideBySide) -> None:
    _expect_same(pair, [word.replace("%s", spelling) for word in PLACES[place]])


@pytest.mark.parametrize("place", COUNT_PLACES)
@pytest.mark.parametrize("spelling", COUNTS)
def test_what_counts_no_bytes_has_no_suffix(place: str, spelling: str, pair: SideBySide) -> None:
    _expect_same(pair, [word.replace("%s", spelling) for word in COUNT_PLACES[place]])
