# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the state machine of one qcow2 image chooses from: options, places, names, and the images below."""
from __future__ import annotations

from collections import namedtuple

from hypothesis import strategies as st

from qimg.errors import MissingPackageError
from qimg.formats.qcow2.compression import compressor
from qimg.formats.qcow2.layout import ZSTD
from support import oracle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

KIB, MIB = 1 << 10, 1 << 20
SECTOR = 512
#: Cluster bits -> largest guest size: several L2 tables where clusters are small, several clusters where they are not.
LARGEST = {9: 200 * KIB, 10: 600 * KIB, 12: MIB, 14: MIB, 16: MIB, 18: 2 * MIB, 21: 7 * MIB}


def _compression_types() -> list[str]:
    try:
        compressor(ZSTD)
    except MissingPackageError:
        return ["zlib"]
    return ["zlib", "zstd"]


COMPRESSION_TYPES = _compression_types()

Choice = namedtuple("Choice", ["options", "cluster_size", "backing", "size"])


@st.composite
def choices(draw: Any) -> Choice:
    """Creation options that do not exclude each other."""
    version = draw(st.sampled_from(["1.1", "1.1", "1.1", "0.10"]))
    options: dict[str, str] = {"compat": version}
    bits = draw(st.sampled_from(sorted(LARGEST)))
    backing = draw(st.sampled_from([None, None, "base.qcow2", "base.raw"]))
    if version == "1.1":
        options["refcount_bits"] = str(draw(st.sampled_from([16, 1, 2, 4, 8, 32, 64])))
        options["lazy_refcounts"] = draw(st.sampled_from(["off", "off", "on"]))
        if draw(st.booleans()):
            options["extended_l2"] = "on"
            bits = max(bits, 14)
        options["compression_type"] = draw(st.sampled_from(COMPRESSION_TYPES))
        data_file = draw(st.sampled_from(["no", "no", "no", "yes", "raw"]))
        if data_file != "no":
            options["data_file"] = "data.raw"
        if data_file == "raw":
            options["data_file_raw"] = "on"
            backing = None
    if backing is None or "extended_l2" in options:
        options["preallocation"] = draw(st.sampled_from(["off", "off", "metadata", "falloc", "full"]))
    options["cluster_size"] = str(1 << bits)
    size = draw(st.integers(1, LARGEST[bits] // SECTOR)) * SECTOR
    return Choice(options, 1 << bits, backing, size)


#: Where a change begins (of the disk's sectors, in thousandths), how many sectors, and by how many bytes both are off.
PLACES = st.tuples(
    st.integers(0, 1000), st.sampled_from([1, 3, 8, 31, 64, 128, 129, 300, 5000]), st.sampled_from([0, 0, 0, 0, 1, 511])
)
WHOLE_CLUSTERS = st.tuples(st.integers(0, 1000), st.integers(1, 3))
NAMES = st.sampled_from(["one", "two", "1", "2", "ünïcode name"])
BITMAP_NAMES = st.sampled_from(["a", "b"])
BYTES = st.integers(0, 255)


def build_bases(directory: Path) -> None:
    """Images to lie below: shorter and longer than what lies above them."""
    oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", directory / "base.qcow2", "500k")
    oracle.qemu_io(
        directory / "base.qcow2", "write -P 201 3k 90k", "write -z 50k 20k", "write -P 202 200k 99k", "discard 220k 8k"
    )
    oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", "cluster_size=512", directory / "other.qcow2", "1500k")
    oracle.qemu_io(directory / "other.qcow2", "write -P 203 0 40k", "write -P 201 40k 20k", "write -P 204 490k 900k")
    oracle.qemu_img("create", "-q", "-f", "raw", directory / "base.raw", "155k")
    oracle.qemu_io(directory / "base.raw", "write -P 205 20k 135k", format="raw")
