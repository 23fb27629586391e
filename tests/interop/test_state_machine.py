# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One qcow2 image of any creation options, changed at random: each step by us and by QEMU, on identical copies.

After each step both copies are looked at by both programs: guest content (a model knows what is right), ``check``,
``info`` and ``map`` must be the same on the same file to the last byte; between the copies they must be the same but
for where in the file things lie.  Then the copy of one side, chosen at random, is what both go on with.

``QIMG_MACHINE_EXAMPLES`` says how many images; ``--hypothesis-profile=thorough --hypothesis-seed=N`` takes other ones
each time.
"""
from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from machine_choices import (
    BITMAP_NAMES,
    BYTES,
    LARGEST,
    NAMES,
    PLACES,
    SECTOR,
    WHOLE_CLUSTERS,
    Choice,
    build_bases,
    choices,
)
from machine_copies import (
    DOCUMENTS,
    ELSEWHERE,
    copy,
    damage_a_refcount,
    files,
    look,
    settle_holes,
    without_holes,
)

from qimg.errors import ImageError
from qimg.formats.base import ABSENT, ZERO
from qimg.formats.opening import READ, WRITE, Opener
from qimg.operations import amend, bitmap, check, commit, create, rebase, resize, snapshot
from qimg.operations.bitmap import BitmapAction
from qimg.operations.conversion_request import ConvertRequest
from qimg.operations.convert import plan_convert
from support import oracle
from support.in_process import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from qimg.operations.check import Repair
    from qimg.operations.resize import Preallocation

pytestmark = pytest.mark.oracle

EXAMPLES = int(os.environ.get("QIMG_MACHINE_EXAMPLES", "16"))
STEPS = 20


@pytest.fixture(scope="module", autouse=True)
def bases(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make the images that lie below once."""
    Machine.bases = tmp_path_factory.mktemp("bases")
    build_bases(Machine.bases)


class Machine(RuleBasedStateMachine):
    """Two copies of an image with the files that it refers to, and what the guest should read."""

    bases: Path

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.ours, self.theirs = self.directory / "ours", self.directory / "qemu"
        for directory in (self.ours, self.theirs):
            shutil.copytree(self.bases, directory)
        self.choice: Any = None
        self.content = b""
        #: For each step to come, a bit that says whose copy both go on with.
        self.leaders = 0
        #: What a step cannot be expected to do alike: the names of the things that are compared.
        self.compared = DOCUMENTS
        #: Snapshots as (id, name, content); the content is None where it shows something that has changed below.
        self.snapshots: list[tuple[str, str, Any]] = []
        self.bitmaps: set[str] = set()
        self.backing: Any = None
        #: Whether the refcounts on disk were left behind by a program that died.
        self.dirty = False

    def teardown(self) -> None:
        shutil.rmtree(self.directory)

    # Doing the same on both sides

    def _step(self, ours: Callable[[str], Any], *theirs: Any, theirs_may_say: str | None = None) -> bool:
        """Do the same on both sides; whether it was done (otherwise both refused it, and ours has changed nothing).

        :param theirs_may_say: a pattern of what QEMU says when it cannot do what we can
        """
        leader, follower = (self.ours, self.theirs) if self.leaders & 1 else (self.theirs, self.ours)
        self.leaders >>= 1
        self.compared = DOCUMENTS
        if files(leader) != files(follower):
            copy(leader, follower)
        before = files(self.ours)
        error = None
        try:
            with inside(self.ours):
                ours("i.qcow2")
        except ImageError as refused:
            error = refused
        if isinstance(theirs[0], list):
            words = [word for command in theirs[0] for word in ("-c", command)]
            answer = oracle.run("qemu-io", "-f", "qcow2", *words, "i.qcow2", cwd=self.theirs)
            failed = answer.code != 0 or "failed" in answer.stdout
        else:
            answer = oracle.ask_qemu_img(*theirs, cwd=self.theirs)
            failed = answer.code != 0
        note("%s: %s" % (theirs, answer.stderr.strip() or "done"))
        for directory in (self.ours, self.theirs):
            settle_holes(directory)
        if failed and theirs_may_say is not None and re.search(theirs_may_say, answer.stderr) and error is None:
            copy(self.ours, self.theirs)
            return True
        assert (error is not None) == failed, "%r: ours: %s; qemu: %s" % (theirs, error, answer)
        if failed:
            # Whoever opens a dirty image for writing repairs it first, even if the change is then refused.
            assert self.dirty or files(self.ours) == before, "ours has changed something: %s" % error
            copy(self.ours, self.theirs)
            if self.dirty:
                self.dirty = bool(oracle.info("i.qcow2", cwd=self.theirs)["dirty-flag"])
        else:
            self.dirty = False
        return not failed

    def _ranges(self, places: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
        ranges = []
        for where, count, skew in places:
            size = len(self.content)
            offset = min(size - SECTOR, where * (size // SECTOR) // 1000 * SECTOR) + skew
            ranges.append((offset, max(1, min(count * SECTOR - 2 * skew, size - offset))))
        return ranges

    def _put(self, offset: int, data: bytes) -> None:
        self.content = self.content[:offset] + data + self.content[offset + len(data) :]

    @initialize(choice=choices(), leaders=st.integers(0, (1 << STEPS) - 1))
    def create(self, choice: Choice, leaders: int) -> None:
        self.choice = choice
        self.leaders = leaders
        words = ["-o", ",".join("%s=%s" % option for option in choice.options.items())]
        backing_format = None
        if choice.backing is not None:
            self.backing = choice.backing
            backing_format = choice.backing.split(".")[1]
            words += ["-b", choice.backing, "-F", backing_format]
        self._step(
            lambda path: create.plan_create(
                path, "qcow2", choice.size, choice.options, choice.backing, backing_format
            ).apply(),
            "create", "-q", "-f", "qcow2", *words, "i.qcow2", choice.size,
        )  # fmt: skip
        assert [file.stat().st_size for file in sorted(self.ours.iterdir())] == [
            file.stat().st_size for file in sorted(self.theirs.iterdir())
        ]
        self.content = bytes(choice.size)
        if choice.backing is not None:
            below = oracle.read_guest(self.theirs / choice.backing, self.directory / "raw")[: choice.size]
            self._put(0, below)

    def _forgive_copied_zeroes(self) -> None:
        """Of a cluster that a snapshot has too, QEMU copies the subclusters that are zero as well."""
        if "extended_l2" in self.choice.options and self.snapshots:
            self.compared = ("info", "check")

    # What a guest does

    @rule(places=st.lists(PLACES, min_size=1, max_size=3), byte=BYTES)
    def write(self, places: list[tuple[int, int, int]], byte: int) -> None:
        ranges = self._ranges(places)

        def ours(path: str) -> None:
            with Opener().open(path, "qcow2", WRITE) as image:
                for offset, length in ranges:
                    image.write(offset, bytes((byte,)) * length)

        assert self._step(ours, ["write -P %d %d %d" % (byte, *one) for one in ranges])
        self._forgive_copied_zeroes()
        for offset, length in ranges:
            self._put(offset, bytes((byte,)) * length)

    @rule(places=st.lists(PLACES, min_size=1, max_size=3), unmap=st.booleans())
    def write_zeroes(self, places: list[tuple[int, int, int]], unmap: bool) -> None:
        ranges = self._ranges(places)

        def ours(path: str) -> None:
            with Opener().open(path, "qcow2", WRITE) as image:
                for offset, length in ranges:
                    image.write_zeroes(offset, length, unmap)

        assert self._step(ours, ["write -z %s %d %d" % ("-u" if unmap else "", *one) for one in ranges])
        self._forgive_copied_zeroes()
        for offset, length in ranges:
            self._put(offset, bytes(length))

    @rule(places=st.lists(PLACES, min_size=1, max_size=2))
    def discard(self, places: list[tuple[int, int, int]]) -> None:
        ranges = [(offset // SECTOR * SECTOR, -(-length // SECTOR) * SECTOR) for offset, length in self._ranges(places)]

        def ours(path: str) -> None:
            with Opener().open(path, "qcow2", WRITE) as image:
                for offset, length in ranges:
                    image.discard(offset, length)

        assert self._step(ours, ["discard %d %d" % one for one in ranges])
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

        assert self._step(ours, ["write -c -P %d %d %d" % (byte, *one) for one in todo])
        for offset, length in todo:
            self._put(offset, bytes((byte,)) * length)

    @rule(where=st.integers(0, 1000), length=st.integers(0, 70000))
    def read_a_part(self, where: int, length: int) -> None:
        start = where * len(self.content) // 1000
        stop = min(len(self.content), start + length)
        with inside(self.ours), Opener().open("i.qcow2", "qcow2", READ) as image:
            assert image.read(start, stop - start) == self.content[start:stop]

    @precondition(lambda self: self.choice.options.get("lazy_refcounts") == "on" and not self.bitmaps)
    @rule(places=st.lists(PLACES, min_size=1, max_size=2), byte=BYTES)
    def die_while_refcounts_are_lazy(self, places: list[tuple[int, int, int]], byte: int) -> None:
        ranges = self._ranges(places)
        words = [word for one in ranges for word in ("-c", "write -P %d %d %d" % (byte, *one))]
        oracle.run("qemu-io", "-f", "qcow2", *words, "-c", "flush", "-c", "sigraise 9", "i.qcow2", cwd=self.theirs)
        copy(self.theirs, self.ours)
        for offset, length in ranges:
            self._put(offset, bytes((byte,)) * length)
        self.dirty = bool(oracle.info("i.qcow2", cwd=self.theirs)["dirty-flag"])

    # Snapshots

    @rule(name=NAMES)
    def take_snapshot(self, name: str) -> None:
        done = self._step(lambda path: snapshot.create_snapshot(path, name), "snapshot", "-c", name, "i.qcow2")
        if done:
            id = str(max((int(each[0]) for each in self.snapshots), default=0) + 1)
            self.snapshots.append((id, name, self.content))

    def _spoken(self, data: st.DataObject) -> str:
        """What to call a snapshot."""
        return str(data.draw(st.sampled_from(sorted({word for each in self.snapshots for word in each[:2]}))))

    def _index(self, spoken: str, columns: tuple[int, ...]) -> int | None:
        """Which snapshot has this id (column 0) or this name (column 1)."""
        for column in columns:
            for index, each in enumerate(self.snapshots):
                if each[column] == spoken:
                    return index
        return None

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def apply_snapshot(self, data: st.DataObject) -> None:
        spoken = self._spoken(data)
        index = self._index(spoken, (0, 1))
        assert index is not None
        done = self._step(lambda path: snapshot.apply_snapshot(path, spoken), "snapshot", "-a", spoken, "i.qcow2")
        assert done == (not self.bitmaps)
        if done:
            self.content = self.snapshots[index][2]
            if self.content is None:
                self._believe()

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def delete_snapshot(self, data: st.DataObject) -> None:
        spoken = self._spoken(data)
        index = self._index(spoken, (1,))
        if index is not None:
            find = snapshot.find_by_name
            assert self._step(
                lambda path: snapshot.plan_delete_snapshot(path, spoken, find=find).apply(),
                "snapshot",
                "-d",
                spoken,
                "i.qcow2",
            )
            del self.snapshots[index]

    def _believe(self) -> None:
        """What the guest reads follows from what lies below; QEMU knows."""
        self.content = oracle.read_guest("i.qcow2", self.directory / "raw", cwd=self.theirs)

    # Bitmaps

    @rule(name=BITMAP_NAMES, granularity=st.sampled_from([512, 65536]), off=st.booleans())
    def add_bitmap(self, name: str, granularity: int, off: bool) -> None:
        actions = [BitmapAction(bitmap.ADD, granularity)] + ([BitmapAction(bitmap.DISABLE)] if off else [])
        words = ["--add", "-g", granularity] + (["--disable"] if off else [])
        if self._step(lambda path: bitmap.plan_bitmap(path, name, actions).apply(), "bitmap", *words, "i.qcow2", name):
            self.bitmaps.add(name)

    @precondition(lambda self: self.bitmaps)
    @rule(name=BITMAP_NAMES, kind=st.sampled_from([bitmap.CLEAR, bitmap.ENABLE, bitmap.DISABLE]))
    def change_bitmap(self, name: str, kind: str) -> None:
        actions = [BitmapAction(kind)]
        done = self._step(
            lambda path: bitmap.plan_bitmap(path, name, actions).apply(), "bitmap", "--" + kind, "i.qcow2", name
        )
        assert done or name not in self.bitmaps or self.dirty

    @precondition(lambda self: self.bitmaps)
    @rule(source=BITMAP_NAMES, name=BITMAP_NAMES)
    def merge_bitmaps(self, source: str, name: str) -> None:
        actions = [BitmapAction(bitmap.MERGE, source=source)]
        self._step(
            lambda path: bitmap.plan_bitmap(path, name, actions).apply(),
            "bitmap", "--merge", source, "i.qcow2", name,
        )  # fmt: skip

    @rule(name=BITMAP_NAMES)
    def remove_bitmap(self, name: str) -> None:
        actions = [BitmapAction(bitmap.REMOVE)]
        done = self._step(
            lambda path: bitmap.plan_bitmap(path, name, actions).apply(), "bitmap", "--remove", "i.qcow2", name
        )
        assert done == (name in self.bitmaps)
        self.bitmaps.discard(name)

    # Size, backing file, options

    @rule(share=st.integers(1, 1000), preallocation=st.sampled_from(["off", "off", "metadata", "falloc", "full"]))
    def resize(self, share: int, preallocation: Preallocation) -> None:
        largest = LARGEST[self.choice.cluster_size.bit_length() - 1]
        size = max(1, share * (largest // SECTOR) // 1000) * SECTOR
        if size == len(self.content):
            return
        if size < len(self.content):
            preallocation = "off"
        if self._step(
            lambda path: resize.plan_resize(path, size, shrink=True, preallocation=preallocation).apply(),
            "resize", "-q", "--shrink", "--preallocation", preallocation, "i.qcow2", size,
            # Version 2 has no zero clusters; we write zeroes where a longer backing file would show.
            theirs_may_say="Failed to zero out new clusters: Operation not supported",
        ):  # fmt: skip
            extended = "extended_l2" in self.choice.options
            if len(self.content) % self.choice.cluster_size and (self.backing is not None or extended):
                # qemu-img writes zeroes into the last cluster although it is all zero already, and we say that
                # subclusters are zero where a disk that was larger before may have left something.
                self.compared = ("info",)
            old, self.content = self.content, self.content[:size].ljust(size, b"\0")
            if size > len(old):
                found = oracle.read_guest("i.qcow2", self.directory / "raw", cwd=self.theirs)
                loses_data = extended and preallocation != "off"
                if found != self.content and (found[: len(old)] == old or loses_data):
                    # qemu-img shows again what it cut off before, or loses a last cluster that is compressed.
                    copy(self.ours, self.theirs)

    @precondition(lambda self: not self.dirty)
    @rule(
        to=st.sampled_from([None, "base.qcow2", "base.raw", "other.qcow2"]),
        how=st.sampled_from(["copy", "compress", "unsafe"]),
    )
    def rebase(self, to: str | None, how: str) -> None:
        unsafe = how == "unsafe"
        compress = how == "compress" and "data_file" not in self.choice.options
        words = (["-u"] if unsafe else []) + (["-c"] if compress else [])
        format = None if to is None else to.split(".")[1]
        words += ["-b", to or ""] + (["-F", format] if format else [])
        if not self._step(
            lambda path: rebase.plan_rebase(path, to, format, "qcow2", unsafe, compress).apply(),
            "rebase", "-f", "qcow2", *words, "i.qcow2",
            # It crashes where clusters have subclusters, or cannot compress what has a place already.
            theirs_may_say="Assertion|Error while writing to COW image: Input/output error",
        ):  # fmt: skip
            return
        self.backing = to
        self._forget_snapshots()
        if unsafe:
            self._believe()
        elif oracle.info("i.qcow2", cwd=self.ours)["format-specific"]["data"]["compat"] == "0.10":
            # qemu-img loses zeroes when an image of version 2 that had no backing file gets one.
            copy(self.ours, self.theirs)
        else:
            # We say that clusters are zero where qemu-img writes zeroes, and copy no more than what differs.
            self.compared = ("info",)

    @precondition(lambda self: not self.dirty)
    @rule(share=st.integers(1, 1000), upgrade=st.booleans())
    def amend_size(self, share: int, upgrade: bool) -> None:
        largest = LARGEST[self.choice.cluster_size.bit_length() - 1]
        size = max(1, share * (largest // SECTOR) // 1000) * SECTOR
        if size <= len(self.content) or self.backing is not None:
            # How qemu-img clears the rest of a cluster is a matter of resize, above.
            return
        options: dict[str, Any] = {"size": size, **({"compat": "1.1"} if upgrade else {})}
        words = ",".join("%s=%s" % option for option in options.items())
        if self._step(
            lambda path: amend.plan_amend(path, options).apply(), "amend", "-q", "-f", "qcow2", "-o", words, "i.qcow2"
        ):
            if len(self.content) % self.choice.cluster_size:
                # We clear the rest of the last cluster, which then is not compressed any more.
                self.compared = ("info",)
            old, self.content = self.content, self.content.ljust(size, b"\0")
            found = oracle.read_guest("i.qcow2", self.directory / "raw", cwd=self.theirs)
            if found != self.content and found[: len(old)] == old:
                # qemu-img shows again what it cut off before.
                copy(self.ours, self.theirs)

    def _forget_snapshots(self) -> None:
        self.snapshots = [(id, name, None) for id, name, _content in self.snapshots]

    @precondition(lambda self: self.backing is not None)
    @rule(keep=st.booleans())
    def commit(self, keep: bool) -> None:
        if self._step(
            lambda path: commit.plan_commit(path, "qcow2", keep=keep).apply(),
            "commit", "-q", "-f", "qcow2", *(["-d"] if keep else []), "i.qcow2",
        ):  # fmt: skip
            self._forget_snapshots()
            # Zeroes in the overlay become zero clusters in the base, where qemu-img copies them.
            self.compared = ("info",)
            for name in ("base.qcow2", "other.qcow2", "base.raw"):
                with Opener().open(str(self.ours / name)) as one, Opener().open(str(self.theirs / name)) as other:
                    assert one.size == other.size
                    assert one.read(0, one.size) == other.read(0, one.size)

    @precondition(lambda self: self.choice.cluster_size <= 65536 and not self.dirty)
    @rule(
        options=st.sampled_from(
            [
                {"compat": "0.10"},
                {"compat": "1.1"},
                {"compat": "0.10", "refcount_bits": "16"},
                {"compat": "0.10", "refcount_bits": "16", "lazy_refcounts": "off"},
                {"lazy_refcounts": "on"},
                {"lazy_refcounts": "off"},
                {"refcount_bits": "1"},
                {"refcount_bits": "2"},
                {"refcount_bits": "8"},
                {"refcount_bits": "16"},
                {"refcount_bits": "64"},
                {"data_file_raw": "off"},
                {"data_file_raw": "on"},
            ]
        )
    )
    def amend(self, options: dict[str, str]) -> None:
        words = ",".join("%s=%s" % option for option in options.items())
        if self._step(
            lambda path: amend.plan_amend(path, options).apply(), "amend", "-q", "-f", "qcow2", "-o", words, "i.qcow2"
        ):
            if "lazy_refcounts" in options:
                self.choice.options["lazy_refcounts"] = options["lazy_refcounts"]
            if options.get("compat") == "0.10":
                if self.bitmaps:
                    # qemu-img leaves bitmaps that nobody can use, and loses their clusters.
                    copy(self.ours, self.theirs)
                self.bitmaps = set()
                self.choice.options["lazy_refcounts"] = "off"

    @rule(repair=st.sampled_from(["leaks", "all"]))
    def repair(self, repair: Repair) -> None:
        self._step(lambda path: check.check(path, "qcow2", repair), "check", "-q", "-r", repair, "i.qcow2")
        if self.bitmaps and self.snapshots:
            # qemu-img forgets the snapshots.
            copy(self.ours, self.theirs)

    @precondition(lambda self: not self.dirty and not (self.bitmaps and self.snapshots))
    @rule(where=st.integers(0, 1000), value=BYTES)
    def damage_refcounts_and_repair(self, where: int, value: int) -> None:
        damage_a_refcount(self.ours / "i.qcow2", where, value)
        copy(self.ours, self.theirs)
        assert self._step(lambda path: check.check(path, "qcow2", "all"), "check", "-q", "-r", "all", "i.qcow2")

    @precondition(lambda self: not self.dirty)
    @rule(compress=st.booleans(), keeps_backing=st.booleans())
    def convert_to_the_same_name(self, compress: bool, keeps_backing: bool) -> None:
        options = {"cluster_size": str(self.choice.cluster_size)}
        if "extended_l2" in self.choice.options:
            options["extended_l2"] = "on"
        words = ["-O", "qcow2", "-o", ",".join("%s=%s" % option for option in options.items())]
        words += ["-c"] if compress else []
        backing = self.backing if keeps_backing else None
        backing_format = None
        if backing is not None:
            backing_format = backing.split(".")[1]
            words += ["-B", backing, "-F", backing_format]

        def ours(path: str) -> None:
            request = ConvertRequest(
                (path,), "qcow2", "new", "qcow2", options,
                compress=compress, backing_file=backing, backing_format=backing_format,
            )  # fmt: skip
            plan_convert(request).apply()

        assert self._step(ours, "convert", "-f", "qcow2", *words, "i.qcow2", "new")
        if compress and backing is not None:
            # qemu-img compresses the zeroes at the end of a disk whose last cluster is not whole.
            self.compared = ("info",)
        for directory in (self.ours, self.theirs):
            (directory / "new").replace(directory / "i.qcow2")
        self.choice = self.choice._replace(options=options, backing=backing)
        self.backing = backing
        self.snapshots, self.bitmaps = [], set()

    # Looking at it

    @invariant()
    def everybody_sees_the_same(self) -> None:
        if self.choice is None:
            return
        theirs = look(self.theirs / "i.qcow2", self.directory / "raw", self.dirty)
        assert theirs.content == self.content
        if files(self.ours) != files(self.theirs):
            ours = look(self.ours / "i.qcow2", self.directory / "raw", self.dirty)
            assert ours.content == self.content
            for name in self.compared:
                one, other = (getattr(seen, name) for seen in (ours, theirs))
                if name == "map":
                    one, other = (without_holes(extents) for extents in (one, other))
                assert ELSEWHERE[name](one) == ELSEWHERE[name](other), name


TestMachine = Machine.TestCase
# What fails is shown as it was found: to make it smaller takes many minutes in which nothing is said.
TestMachine.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=STEPS, phases=[Phase.generate], report_multiple_bugs=False
)
