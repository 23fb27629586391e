# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running an operation, and looking at every state that a crash during it could leave."""
from __future__ import annotations

import hashlib
import os
import random

from qimg.errors import ImageError
from qimg.formats.capabilities import HasBitmaps, HasSnapshots
from qimg.formats.driver import CHECK
from qimg.formats.opening import Opener
from qimg.formats.qcow2.check.checker import CheckFailedError
from qimg.policy import FOLLOW, ReferencePolicy
from support import oracle
from support.recording import Event, Recorder, power_losses, prefixes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import Any

#: How many random states of power losses are looked at for each operation; more by environment.
SAMPLES = int(os.environ.get("QIMG_CRASH_SAMPLES", "60"))
#: How many states of each operation qemu-img checks too.
ORACLE_SAMPLES = int(os.environ.get("QIMG_CRASH_ORACLE_SAMPLES", "5"))


def opener() -> Opener:
    """An opener that follows every reference."""
    return Opener(ReferencePolicy(FOLLOW))


def digest(content: bytes) -> str:
    """A short name for a content."""
    return hashlib.sha256(content).hexdigest()[:16]


def view(path: Path) -> tuple[Any, ...]:
    """Everything that a user can see of an image: size, content, names, snapshots with content, bitmaps."""
    with opener().open(str(path)) as image:
        seen: list[Any] = [image.size, digest(image.read(0, image.size)), image.backing_file, image.backing_format]
        snapshots = image.snapshots if isinstance(image, HasSnapshots) else []
        bitmaps = image.bitmaps if isinstance(image, HasBitmaps) else []
        seen.append(tuple(bitmaps))
        seen.append(tuple(sorted(image.creation_options().items(), key=str)))
    for snapshot in snapshots:
        with opener().open(str(path)) as image:
            assert isinstance(image, HasSnapshots)
            image.view_snapshot(snapshot)
            seen.append((snapshot, digest(image.read(0, min(image.size, snapshot.disk_size)))))
    return tuple(seen)


def check_counters(path: Path) -> tuple[int, int, int]:
    """What our check finds: corruptions, leaks, check errors; all -1 if it cannot be made."""
    with opener().open(str(path), purpose=CHECK, backing=False) as image:
        try:
            result = image.check()  # type: ignore[attr-defined]
        except CheckFailedError:
            return -1, -1, -1
        return result.corruptions, result.leaks, result.check_errors


def allocated(path: Path, content: bytes) -> bytes:
    """What a qcow2 image consists of: the clusters that it counts."""
    with opener().open(str(path), purpose=CHECK, backing=False) as image:
        metadata = image.metadata  # type: ignore[attr-defined]
        size = metadata.geometry.cluster_size
        clusters = range(-(-len(content) // size))
        counts = [metadata.refcounts.get(cluster) for cluster in clusters]
    return b"".join(content[number * size : (number + 1) * size] for number in clusters if counts[number])


class CrashTest:
    """One operation on some files.

    :param files: what the operation may change, all in one directory
    :param images: those of them that are qcow2 images, to be checked
    :param operate: does the operation
    :param look: what a user sees; must be one of the allowed views at every moment
    :param between: whether something in between of the old and the new view is allowed as well
    :param one_step: the operation is one change of the image: one that fails leaves no trace but in free clusters
    """

    def __init__(
        self,
        files: Iterable[Path],
        images: Iterable[Path],
        operate: Callable[[], Any],
        look: Callable[[], Any],
        between: Callable[[Any, Any, Any], bool] | None = None,
        one_step: bool = False,
    ) -> None:
        self.files = list(files)
        self.images = list(images)
        self.operate = operate
        self.look = look
        self._between = between
        self._one_step = one_step
        self.before = {path: path.read_bytes() for path in self.files}
        self.counters_before = [check_counters(path) for path in self.images]
        self.allocated_before = [allocated(path, self.before[path]) for path in self.images]
        self.old = look()
        self.new: Any = None
        self.events: list[Event] = []

    def run(self, seed: int = 0) -> None:
        """Look at every prefix, and at some power losses, and at every failing write."""
        with Recorder(self.files) as recorder:
            self.operate()
        events = self.events = recorder.events
        assert any(event.kind == "write" for event in events), "the operation writes nothing"
        self.new = self.look()
        self.counters_after = [check_counters(path) for path in self.images]
        after = {path: path.read_bytes() for path in self.files}
        try:
            asked = set(random.Random(seed).sample(range(len(events) + 1), min(ORACLE_SAMPLES, len(events) + 1)))
            for number, (what, files) in enumerate(prefixes(self.before, events)):
                self._judge(what, files, number in asked)
            for number, (what, files) in enumerate(power_losses(self.before, events, seed, SAMPLES)):
                self._judge(what, files, number < ORACLE_SAMPLES)
            self._fail_everywhere(len(events))
        finally:
            self._restore(after)

    def _judge(self, what: str, files: dict[Path, bytes], ask_oracle: bool) -> None:
        self._restore(files)
        try:
            self._judge_files(what, ask_oracle)
        except ImageError as error:
            raise AssertionError("%s: %s" % (what, error)) from error

    def _judge_files(self, what: str, ask_oracle: bool) -> None:
        for path, before, after in zip(self.images, self.counters_before, self.counters_after):
            found = check_counters(path)
            assert found in (before, after), "%s: check finds %s in %s" % (what, found, path.name)
            if ask_oracle and oracle.missing() is None and found == (0, 0, 0):
                answer = oracle.ask_qemu_img("check", oracle.alone(path))
                assert answer.code == 0, "%s: %s%s" % (what, answer.stdout, answer.stderr)
        seen = self.look()
        if seen not in (self.old, self.new) and (self._between is None or not self._between(self.old, seen, self.new)):
            raise AssertionError("%s: neither old nor new:\n%s\n%s\n%s" % (what, self.old, seen, self.new))

    def _fail_everywhere(self, events: int) -> None:
        """An error of the system, at any moment, must leave a whole image and be said."""
        for number in range(events):
            self._restore(self.before)
            with Recorder(self.files, fail_at=number) as recorder:
                try:
                    self.operate()
                except ImageError:
                    pass
                else:
                    # Giving freed space back may fail without harm.
                    was_said = not recorder.failed or recorder.events[-1:] == []
                    assert was_said, "failure of event %d was not said" % number
            what = "event %d failed" % number
            self._judge_files(what, number % 7 == 0)
            if self._one_step and recorder.failed and not recorder.failed_at_header and self.look() == self.old:
                self._judge_remains(what)

    def _judge_remains(self, what: str) -> None:
        """What failed has taken no space, and only what was free may be different."""
        for path, old in zip(self.images, self.allocated_before):
            content = path.read_bytes()
            assert len(content) <= len(self.before[path]), "%s: %s has become longer" % (what, path.name)
            assert allocated(path, content) == old, "%s: %s is no longer the same" % (what, path.name)

    def _restore(self, files: dict[Path, bytes]) -> None:
        for path, content in files.items():
            with open(path, "r+b") as file:
                file.write(content)
                file.truncate(len(content))
