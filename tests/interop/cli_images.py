# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images on which command lines are compared; all made by real qemu-img and qemu-io."""
from __future__ import annotations

import os
import struct

from support import oracle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def build(directory: Path) -> None:
    """All images of the table of command lines."""

    def create(name: str, *options: str, size: str = "10M", format: str = "qcow2") -> None:
        oracle.qemu_img("create", "-q", "-f", format, *options, name, *([size] if size else []), cwd=directory)

    def write(name: str, *commands: str, format: str = "qcow2") -> None:
        oracle.qemu_io(name, *commands, format=format, cwd=directory)

    create("data.qcow2")
    write("data.qcow2", "write -P 4 0 1M", "write -P 5 3500k 100k", "write -z 5M 1M")
    create("empty.qcow2")
    create("other.qcow2")
    write("other.qcow2", "write -P 4 1M 1M")
    create("over.qcow2", "-b", "other.qcow2", "-F", "qcow2", size="")
    write("over.qcow2", "write -P 5 1500k 1M", "discard 1M 64k")
    create("top.qcow2", "-b", "over.qcow2", "-F", "qcow2", size="12M")
    write("top.qcow2", "write -P 6 2M 64k", "write -P 7 11M 64k")
    create("thin.qcow2", "-b", "other.qcow2", "-F", "qcow2", "-o", "extended_l2=on", size="")
    create("parts.qcow2", "-b", "thin.qcow2", "-F", "qcow2", "-o", "cluster_size=4k", size="")
    write("parts.qcow2", "write -P 8 1M 4k")
    create("lost.qcow2", "-u", "-b", "nowhere", "-F", "raw", size="1M")
    create("v2.qcow2", "-o", "compat=0.10", size="1M")
    write("v2.qcow2", "write -P 1 64k 64k")
    create("v2-snapshot.qcow2", "-o", "compat=0.10", size="1M")
    oracle.qemu_img("snapshot", "-c", "s", "v2-snapshot.qcow2", cwd=directory)
    create("snapshots.qcow2", size="1M")
    write("snapshots.qcow2", "write -P 1 0 64k")
    oracle.qemu_img("snapshot", "-c", "s1", "snapshots.qcow2", cwd=directory)
    write("snapshots.qcow2", "write -P 2 0 64k")
    oracle.qemu_img("snapshot", "-c", "with space", "snapshots.qcow2", cwd=directory)
    oracle.qemu_img("snapshot", "-c", "1", "snapshots.qcow2", cwd=directory)
    create("accents.qcow2", size="1M")
    oracle.qemu_img("snapshot", "-c", "Müßiggänger", "accents.qcow2", cwd=directory)
    create("crowded.qcow2", "-o", "refcount_bits=2", size="1M")
    write("crowded.qcow2", "write -P 1 0 64k")
    for snapshot in ("s1", "s2"):
        oracle.qemu_img("snapshot", "-c", snapshot, "crowded.qcow2", cwd=directory)
    create("bitmaps.qcow2", size="1M")
    oracle.qemu_img("snapshot", "-c", "s1", "bitmaps.qcow2", cwd=directory)
    oracle.qemu_img("bitmap", "--add", "bitmaps.qcow2", "b0", cwd=directory)
    oracle.qemu_img("bitmap", "--add", "--disable", "-g", "4k", "bitmaps.qcow2", "b1", cwd=directory)
    create("in-use.qcow2", size="1M")
    for bitmap in ("b0", "b1"):
        oracle.qemu_img("bitmap", "--add", "in-use.qcow2", bitmap, cwd=directory)
    # Nobody closes it.
    oracle.run("qemu-io", "-f", "qcow2", "-c", "write 0 512", "-c", "sigraise 9", "in-use.qcow2", cwd=directory)
    create("torn.qcow2", "-o", "cluster_size=4k", size="64k")
    write("torn.qcow2", "write -z -u 0 64k", "write -P 1 0 512")
    oracle.qemu_img("snapshot", "-c", "s0", "torn.qcow2", cwd=directory)
    write("torn.qcow2", "discard 32k 32k")
    # It has a leaked cluster, and has lost its last table.
    os.truncate(directory / "torn.qcow2", 32256)
    create("external.qcow2", "-o", "data_file=external.raw", size="1M")
    write("external.qcow2", "write -P 9 128k 64k")
    create("unnamed.qcow2", "-o", "data_file=unnamed.raw", size="1M")
    oracle.qemu_img("amend", "-o", "data_file=", "unnamed.qcow2", cwd=directory)
    create("narrow.qcow2", "-o", "refcount_bits=1", size="1M")
    write("narrow.qcow2", "write -P 3 0 64k")
    create("subclusters.qcow2", "-o", "extended_l2=on,cluster_size=64k", size="2M")
    write("subclusters.qcow2", "write -P 3 2k 2k", "write -P 3 256k 128k")
    create("lazy.qcow2", "-o", "lazy_refcounts=on,cluster_size=4k", size="1M")
    create("cut.qcow2", size="1M")
    write("cut.qcow2", "write -P 8 0 1M")
    oracle.qemu_img("resize", "-q", "--shrink", "cut.qcow2", "100k", cwd=directory)
    create("odd.raw", format="raw", size="1000")
    create("over-odd.qcow2", "-b", "odd.raw", "-F", "raw", size="")
    write("over-odd.qcow2", "write -P 4 0 512")
    create("sparse.raw", format="raw", size="10M")
    write("sparse.raw", "write -P 4 1M 1M", format="raw")
    oracle.qemu_img("convert", "-O", "qcow2", "-c", "data.qcow2", "packed.qcow2", cwd=directory)
    (directory / "nothing").write_bytes(b"")
    (directory / "bytes").write_bytes(b"not an image, and not a whole sector")
    (directory / "folder").mkdir()
    os.mkfifo(directory / "pipe")
    oracle.qemu_img(
        "create", "-q", "-f", "qcow2", "-o", "data_file=beside.raw", "outside.qcow2", "1M", cwd=directory / "folder"
    )
    create("v2-over.qcow2", "-o", "compat=0.10", "-b", "other.qcow2", "-F", "qcow2", size="1M")
    (directory / "short.qcow2").write_bytes((directory / "data.qcow2").read_bytes()[:300])
    (directory / "c:olon-over.qcow2").write_bytes((directory / "over.qcow2").read_bytes())
    _damage(directory)
    for name in (b"with space", b"c:olon", b"new\nline", b"b\xff\xc3\xa9", b"com,ma"):
        path = os.path.join(os.fsencode(directory), name + b".qcow2")
        with open(path, "wb") as file:
            file.write((directory / "v2.qcow2").read_bytes())


def _damage(directory: Path) -> None:
    """Images with a leaked cluster, with one that nobody counts, with one that begins inside of a cluster, …"""
    content = bytearray((directory / "data.qcow2").read_bytes())
    refcount_table = struct.unpack_from(">Q", content, 48)[0]
    block = struct.unpack_from(">Q", content, refcount_table)[0]
    leaky = bytearray(content) + bytes(65536)
    struct.pack_into(">H", leaky, block + 2 * (len(content) // 65536 + 1), 1)
    (directory / "leaky.qcow2").write_bytes(leaky + bytes(2 * 65536))
    broken = bytearray(content)
    struct.pack_into(">H", broken, block + 2 * 6, 0)
    (directory / "broken.qcow2").write_bytes(broken)

    overlap = bytearray((directory / "data.qcow2").read_bytes())
    (l1,) = struct.unpack_from(">Q", overlap, 40)
    (l2,) = struct.unpack_from(">Q", overlap, l1)
    struct.pack_into(">Q", overlap, l2 & (1 << 56) - 1, 1 << 63 | l1)
    (directory / "overlap.qcow2").write_bytes(overlap)
    unaligned = bytearray(content)
    unaligned[(l2 & (1 << 56) - 1) + 3 * 8 + 6] |= 2
    (directory / "unaligned.qcow2").write_bytes(unaligned)
    directory_lost = bytearray((directory / "bitmaps.qcow2").read_bytes())
    count = directory_lost.index(struct.pack(">II", 0x23852875, 24)) + 8
    directory_lost[count : count + 4] = bytes(4)
    (directory / "directory.qcow2").write_bytes(directory_lost)
    marked = bytearray(content)
    marked[79] |= 2
    (directory / "marked.qcow2").write_bytes(marked)
    unknown = bytearray(content)
    unknown[72] |= 0x80
    (directory / "unknown.qcow2").write_bytes(unknown)
