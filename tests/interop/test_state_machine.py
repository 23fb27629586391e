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

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from machine_choices import BYTES, LARGEST, SECTOR, build_bases
from machine_copies import copy, damage_a_refcount
from machine_guest import GuestRules
from machine_snapshots import BitmapRules, SnapshotRules
from two_copies import STEPS

from qimg.formats.opening import Opener
from qimg.operations import amend, check, commit, rebase, resize
from qimg.operations.conversion_request import ConvertRequest
from qimg.operations.convert import plan_convert
from support import oracle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qimg.operations.check import Repair
    from qimg.operations.resize import Preallocation

pytestmark = pytest.mark.oracle

EXAMPLES = int(os.environ.get("QIMG_MACHINE_EXAMPLES", "16"))


@pytest.fixture(scope="module", autouse=True)
def bases(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make the images that lie below once."""
    Machine.bases = tmp_path_factory.mktemp("bases")
    build_bases(Machine.bases)


class Machine(GuestRules, SnapshotRules, BitmapRules):
    """What is done to the image as a whole: size, backing file, options, repairs."""

    @rule(share=st.integers(1, 1000), preallocation=st.sampled_from(["off", "off", "metadata", "falloc", "full"]))
    def resize(self, share: int, preallocation: Preallocation) -> None:
        largest = LARGEST[self.choice.cluster_size.bit_length() - 1]
        size = max(1, share * (largest // SECTOR) // 1000) * SECTOR
        if size == len(self.content):
            return
        if size < len(self.content):
            preallocation = "off"
        if self.step(
            lambda path: resize.plan_resize(path, size, shrink=True, preallocation=preallocation).apply(),
            "resize", "-q", "--shrink", "--preallocation", preallocation, "i.qcow2", size,
            # Version 2 has no zero clusters; we write zeroes where a longer backing file would show.
            # qemu-img finds a file with free clusters at its end too long for what it is to reserve.
            theirs_may_say="Failed to zero out new clusters: Operation not supported|Cannot use preallocation",
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
        if not self.step(
            lambda path: rebase.plan_rebase(path, to, format, "qcow2", unsafe, compress).apply(),
            "rebase", "-f", "qcow2", *words, "i.qcow2",
            # It crashes where clusters have subclusters, or cannot compress what has a place already.
            theirs_may_say="Assertion|Error while writing to COW image: Input/output error",
        ):  # fmt: skip
            return
        self.backing = to
        self.forget_snapshots()
        if unsafe:
            self.believe()
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
        if self.step(
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

    @precondition(lambda self: self.backing is not None)
    @rule(keep=st.booleans())
    def commit(self, keep: bool) -> None:
        if self.step(
            lambda path: commit.plan_commit(path, "qcow2", keep=keep).apply(),
            "commit", "-q", "-f", "qcow2", *(["-d"] if keep else []), "i.qcow2",
        ):  # fmt: skip
            self.forget_snapshots()
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
        if self.step(
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
        self.step(lambda path: check.check(path, "qcow2", repair), "check", "-q", "-r", repair, "i.qcow2")
        if self.bitmaps and self.snapshots:
            # qemu-img forgets the snapshots.
            copy(self.ours, self.theirs)

    @precondition(lambda self: not self.dirty and not (self.bitmaps and self.snapshots))
    @rule(where=st.integers(0, 1000), value=BYTES)
    def damage_refcounts_and_repair(self, where: int, value: int) -> None:
        damage_a_refcount(self.ours / "i.qcow2", where, value)
        copy(self.ours, self.theirs)
        assert self.step(lambda path: check.check(path, "qcow2", "all"), "check", "-q", "-r", "all", "i.qcow2")

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

        assert self.step(ours, "convert", "-f", "qcow2", *words, "i.qcow2", "new")
        if compress and backing is not None:
            # qemu-img compresses the zeroes at the end of a disk whose last cluster is not whole.
            self.compared = ("info",)
        for directory in (self.ours, self.theirs):
            (directory / "new").replace(directory / "i.qcow2")
        self.choice = self.choice._replace(options=options, backing=backing)
        self.backing = backing
        self.snapshots, self.bitmaps = [], set()


TestMachine = Machine.TestCase
# What fails is shown as it was found: to make it smaller takes many minutes in which nothing is said.
TestMachine.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=STEPS, phases=[Phase.generate], report_multiple_bugs=False
)
