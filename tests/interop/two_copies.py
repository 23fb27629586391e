# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two copies of one image that the same is done to, by us and by QEMU, and what both must say of them afterwards."""
from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant
from machine_choices import SECTOR, Choice, choices
from machine_copies import DOCUMENTS, ELSEWHERE, copy, files, look, settle_holes, without_holes

from qimg.errors import ImageError
from qimg.operations import create
from support import oracle
from support.in_process import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: How many changes are made to an image.
STEPS = 20


class TwoCopies(RuleBasedStateMachine):
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

    def step(self, ours: Callable[[str], Any], *theirs: Any, theirs_may_say: str | None = None) -> bool:
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

    def ranges(self, places: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
        ranges = []
        for where, count, skew in places:
            size = len(self.content)
            offset = min(size - SECTOR, where * (size // SECTOR) // 1000 * SECTOR) + skew
            ranges.append((offset, max(1, min(count * SECTOR - 2 * skew, size - offset))))
        return ranges

    def put(self, offset: int, data: bytes) -> None:
        self.content = self.content[:offset] + data + self.content[offset + len(data) :]

    def believe(self) -> None:
        """What the guest reads follows from what lies below; QEMU knows."""
        self.content = oracle.read_guest("i.qcow2", self.directory / "raw", cwd=self.theirs)

    def forget_snapshots(self) -> None:
        self.snapshots = [(id, name, None) for id, name, _content in self.snapshots]

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
        self.step(
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
            self.put(0, below)

    def forgive_copied_zeroes(self) -> None:
        """Of a cluster that a snapshot has too, QEMU copies the subclusters that are zero as well."""
        if "extended_l2" in self.choice.options and self.snapshots:
            self.compared = ("info", "check")

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
