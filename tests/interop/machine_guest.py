# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest does with its disk, on two copies of an image."""
from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from machine_choices import BYTES, PLACES, SECTOR, WHOLE_CLUSTERS
from machine_copies import copy
from two_copies import TwoCopies

from qimg.formats.base import ABSENT, ZERO
from qimg.formats.driver import READ, WRITE
from qimg.formats.opening import Opener
from support import oracle
from support.in_process import inside


class GuestRules(TwoCopies):
    """Writing, discarding, reading, and dying meanwhile."""

    @rule(places=st.lists(PLACES, min_size=1, max_size=3), byte=BYTES)
    def write(self, places: list[tuple[int, int, int]], byte: int) -> None:
        ranges = self.ranges(places)

        def ours(path: str) -> None:
            with Opener().open(path, "qcow2", WRITE) as image:
                for offset, length in ranges:
                    image.write(offset, bytes((byte,)) * length)

        assert self.step(ours, ["write -P %d %d %d" % (byte, *one) for one in ranges])
        self.forgive_copied_zeroes()
        for offset, length in ranges:
            self.put(offset, bytes((byte,)) * length)

    @rule(places=st.lists(PLACES, min_size=1, max_size=3), unmap=st.booleans())
    def write_zeroes(self, places: list[tuple[int, int, int]], unmap: bool) -> None:
        ranges = self.ranges(places)

        def ours(path: str) -> None:
            with Opener().open(path, "qcow2", WRITE) as image:
                for offset, length in ranges:
                    image.write_zeroes(offset, length, unmap)

        assert self.step(ours, ["write -z %s %d %d" % ("-u" if unmap else "", *one) for one in ranges])
        self.forgive_copied_zeroes()
        for offset, length in ranges:
            self.put(offset, bytes(length))

    @rule(places=st.lists(PLACES, min_size=1, max_size=2))
    def discard(self, places: list[tuple[int, int, int]]) -> None:
        ranges = [(offset // SECTOR * SECTOR, -(-length // SECTOR) * SECTOR) for offset, length in self.ranges(places)]

        def ours(path: str) -> None:
            with Opener().open(path, "qcow2", WRITE) as image:
                for offset, length in ranges:
                    image.discard(offset, length)

        assert self.step(ours, ["discard %d %d" % one for one in ranges])
        # What a discarded range reads as is the image's business; all else is not.
        found = oracle.read_guest("i.qcow2", self.directory / "raw", cwd=self.theirs)
        expected = self.content
        for offset, length in ranges:
            expected = expected[:offset] + found[offset : offset + length] + expected[offset + length :]
        self.content = expected

    @precondition(lambda self: "data_file" not in self.choice.options and len(self.content) > 0)
    @rule(places=st.lists(WHOLE_CLUSTERS, min_size=1, max_size=2), byte=BYTES)
    def write_compressed(self, places: list[tuple[int, int]], byte: int) -> None:
        size, cluster = len(self.content), self.choice.cluster_size
        wanted = {
            min(where * (size // cluster) // 1000 + number, (size - 1) // cluster)
            for where, count in places
            for number in range(count)
        }
        todo = []
        with inside(self.ours), Opener().open("i.qcow2", "qcow2", READ) as image:
            for number in sorted(wanted):
                length = min(cluster, size - number * cluster)
                if all(run.kind in (ABSENT, ZERO) for run in image.runs(number * cluster, length)):
                    todo.append((number * cluster, length))
        if not todo:
            return

        def ours(path: str) -> None:
            with Opener().open(path, "qcow2", WRITE) as image:
                compress = image.compressor()  # type: ignore[attr-defined]
                for offset, length in todo:
                    plain = (bytes((byte,)) * length).ljust(cluster, b"\0")
                    image.write_compressed(offset, compress(plain), memoryview(plain))  # type: ignore[attr-defined]

        assert self.step(ours, ["write -c -P %d %d %d" % (byte, *one) for one in todo])
        for offset, length in todo:
            self.put(offset, bytes((byte,)) * length)

    @rule(where=st.integers(0, 1000), length=st.integers(0, 70000))
    def read_a_part(self, where: int, length: int) -> None:
        start = where * len(self.content) // 1000
        stop = min(len(self.content), start + length)
        with inside(self.ours), Opener().open("i.qcow2", "qcow2", READ) as image:
            assert image.read(start, stop - start) == self.content[start:stop]

    @precondition(lambda self: self.choice.options.get("lazy_refcounts") == "on" and not self.bitmaps)
    @rule(places=st.lists(PLACES, min_size=1, max_size=2), byte=BYTES)
    def die_while_refcounts_are_lazy(self, places: list[tuple[int, int, int]], byte: int) -> None:
        ranges = self.ranges(places)
        words = [word for one in ranges for word in ("-c", "write -P %d %d %d" % (byte, *one))]
        oracle.run("qemu-io", "-f", "qcow2", *words, "-c", "flush", "-c", "sigraise 9", "i.qcow2", cwd=self.theirs)
        copy(self.theirs, self.ours)
        for offset, length in ranges:
            self.put(offset, bytes((byte,)) * length)
        self.dirty = bool(oracle.info("i.qcow2", cwd=self.theirs)["dirty-flag"])
