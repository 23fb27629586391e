# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The crash test for changes in a row of one open image, each of which may use again what an earlier one freed.

Wherever the last two, or the last one, are cut off, the image must be clean.  What manages the image (snapshots, size,
bitmaps, options) is there as a whole or not at all; what guests write may be there in part, sector by sector.

``QIMG_CRASH_SEQUENCES`` says how many sequences.
"""
from __future__ import annotations

import contextlib
import os
import random
from collections import namedtuple

import pytest
from test_crash_in_place import KIB, make, pattern

from qimg.errors import ImageError
from qimg.formats.base import ABSENT, ZERO
from qimg.formats.capabilities import HasBitmaps, HasSnapshots
from qimg.formats.driver import RESIZE
from support import oracle
from support.crashing import check_counters, opener
from support.recording import SECTOR, Recorder, power_losses, prefixes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    Work = Callable[[Any, random.Random], None]

SEQUENCES = int(os.environ.get("QIMG_CRASH_SEQUENCES", "24"))
#: How many power losses are looked at for each sequence.
SAMPLES = 30

#: What there is: the guest's bytes, and all else that a user sees.
Seen = namedtuple("Seen", ["content", "management"])

LAYOUTS: list[dict[str, Any]] = [
    {"cluster_size": 512},
    {"cluster_size": 1024, "refcount_bits": 64},
    {"cluster_size": 4096, "refcount_bits": 4},
    {"cluster_size": 4096, "compat": "0.10"},
    {"cluster_size": 16384, "extended_l2": True},
    {"cluster_size": 16384, "extended_l2": True, "refcount_bits": 2},
    {"cluster_size": 65536},
    {"cluster_size": 4096, "data_file": "data.raw", "snapshots": False},
    {"cluster_size": 16384, "extended_l2": True, "data_file": "data.raw", "snapshots": False},
    {"cluster_size": 4096, "data_file": "data.raw", "data_file_raw": True, "snapshots": False},
]


# Changes: each gets the open image and a source of chance


def _range(image: Any, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(image.size // SECTOR) * SECTOR
    return start, min(image.size - start, chance.choice((1, 3, 8, 16, 64, 129, 300)) * SECTOR)


def write(image: Any, chance: random.Random) -> None:
    for _ in range(chance.randrange(1, 4)):
        start, length = _range(image, chance)
        image.write(start, bytes([chance.randrange(1, 256)]) * length)


def write_zeroes(image: Any, chance: random.Random) -> None:
    for _ in range(chance.randrange(1, 3)):
        image.write_zeroes(*_range(image, chance), chance.random() < 0.6)


def discard(image: Any, chance: random.Random) -> None:
    for _ in range(chance.randrange(1, 3)):
        image.discard(*_range(image, chance))


def discard_and_write(image: Any, chance: random.Random) -> None:
    start, length = _range(image, chance)
    image.discard(start, length)
    image.write(start, bytes([chance.randrange(1, 256)]) * length)
    write(image, chance)


def write_compressed(image: Any, chance: random.Random) -> None:
    if image.has_other_files:
        write(image, chance)
        return
    compress, size = image.compressor(), image.cluster_size
    for number in range(image.size // size):
        free = all(run.kind in (ABSENT, ZERO) for run in image.runs(number * size, size))
        if free and chance.random() < 0.5:
            plain = bytes([chance.randrange(1, 256)]) * size
            image.write_compressed(number * size, compress(plain), memoryview(plain))


def take_snapshot(image: Any, chance: random.Random) -> None:
    image.create_snapshot("s%d" % chance.randrange(1000), 1, 2)


def apply_snapshot(image: Any, chance: random.Random) -> None:
    if image.snapshots:
        image.apply_snapshot(chance.choice(image.snapshots))


def delete_snapshot(image: Any, chance: random.Random) -> None:
    if image.snapshots:
        image.delete_snapshot(chance.choice(image.snapshots))


def resize(image: Any, chance: random.Random) -> None:
    mode = chance.choice(("off", "metadata", "falloc", "full"))
    size = chance.randrange(1, 900) * SECTOR
    image.resize(size, mode if size > image.size else "off")


def amend(image: Any, chance: random.Random) -> None:
    image.amend(chance.choice(({"refcount_bits": 32}, {"refcount_bits": 8}, {"compat": "1.1"}, {"compat": "0.10"})))


def change_bitmaps(image: Any, chance: random.Random) -> None:
    if not image.can_hold_bitmaps:
        return
    if image.bitmaps:
        image.remove_bitmap(image.bitmaps[0].name)
    else:
        image.add_bitmap("b", 4096)


def empty(image: Any, chance: random.Random) -> None:
    if image.backing is not None:
        image.make_empty()


def rename_backing(image: Any, chance: random.Random) -> None:
    # A smaller header has no room for both a long name and bitmaps.
    if image.backing_file is not None and image.cluster_size >= 4096:
        image.change_backing(chance.choice((None, "./" * 300 + "base.raw")), "raw")


GUEST: tuple[Work, ...] = (write, write_zeroes, discard, discard_and_write, write_compressed)
MANAGEMENT: tuple[Work, ...] = (
    take_snapshot, apply_snapshot, delete_snapshot, resize, amend, change_bitmaps, empty, rename_backing,
)


def look(path: Path) -> Seen:
    with opener().open(str(path)) as image:
        content = image.read(0, image.size)
        assert isinstance(image, HasSnapshots) and isinstance(image, HasBitmaps)
        snapshots = image.snapshots
        management: list[object] = [image.size, image.backing_file, snapshots, [each.name for each in image.bitmaps]]
        management.append(sorted(image.creation_options().items(), key=str))
    for snapshot in snapshots:
        with opener().open(str(path)) as image:
            image.view_snapshot(snapshot)  # type: ignore[attr-defined]
            management.append(image.read(0, min(image.size, snapshot.disk_size)))
    return Seen(content, management)


class Watched:
    """An image that notes what the guest reads after each change of its own."""

    def __init__(self, image: Any, moments: list[bytes]) -> None:
        self._image = image
        self._moments = moments

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._image, name)
        if name not in ("write", "write_zeroes", "discard", "write_compressed"):
            return found

        def watched(*arguments: Any) -> None:
            found(*arguments)
            self._moments.append(self._image.read(0, self._image.size))

        return watched


class Sequence:
    """Two changes of one image; every state of its files that there may be during the second one."""

    def __init__(self, directory: Path, seed: int) -> None:
        chance = random.Random(seed)
        layout = dict(chance.choice(LAYOUTS))
        backing = None
        if chance.random() < 0.4 and not layout.get("data_file_raw"):
            backing = pattern(directory / "base.raw", chance.choice((130, 400)) * KIB)
        self.path = make(directory / "i.qcow2", 200 * KIB, backing=backing, **layout)
        self.files = [self.path] + [directory / "data.raw"] * ("data_file" in layout)
        self.seed = seed
        #: What is done before, through the same open image: all of it is on disk.
        self.earlier = [chance.choice(GUEST + MANAGEMENT) for _ in range(chance.randrange(3))]
        self.works = [chance.choice(GUEST + MANAGEMENT) for _ in range(2)]
        self.flushes_between = chance.random() < 0.6
        names = ["%s flushed" % work.__name__ for work in self.earlier]
        names.append((" flushed, " if self.flushes_between else " then ").join(work.__name__ for work in self.works))
        below = "" if backing is None else ", above %d KiB" % (backing.stat().st_size // KIB)
        self.name = "seed %d: %s%s: %s" % (seed, layout, below, ", ".join(names))

    def run(self) -> None:
        made = self._files()
        states = []
        for works in [], self.works[:1]:
            self._restore(made)
            with self._opened() as image:
                self._do(image, works)
            states.append(look(self.path))
        self._restore(made)
        moments: list[bytes] = []
        recorder = Recorder(self.files)
        with self._opened() as image:
            recorded = self.works
            if self.flushes_between:
                self._do(image, self.works[:1])
                image.flush()
                del states[0]
                recorded = self.works[1:]
            start = self._files()
            with recorder:
                self._do(Watched(image, moments), recorded)
                image.flush()
        states.append(look(self.path))
        samples = [*prefixes(start, recorder.events), *power_losses(start, recorder.events, self.seed, SAMPLES)]
        for number, (what, files) in enumerate(samples):
            self._restore(files)
            self._judge("%s: %s" % (self.name, what), states, moments, number % 16 == 3)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        """The image, to be changed, after all that is done before."""
        with opener().open(str(self.path), purpose=RESIZE) as image:
            for work in self.earlier:
                self._do(image, [work])
                image.flush()
            yield image

    def _do(self, image: Any, works: list[Work]) -> None:
        for work in works:
            try:
                work(image, random.Random("%d %s" % (self.seed, work.__name__)))
            except ImageError:
                # It cannot be done to such an image, and has changed nothing.
                pass

    def _files(self) -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in self.files}

    @staticmethod
    def _restore(files: dict[Path, bytes]) -> None:
        for file, content in files.items():
            file.write_bytes(content)

    def _judge(self, what: str, states: list[Seen], moments: list[bytes], ask_oracle: bool) -> None:
        try:
            assert check_counters(self.path) == (0, 0, 0), "%s: not clean" % what
            seen = look(self.path)
        except ImageError as error:
            raise AssertionError("%s: %s" % (what, error)) from error
        if ask_oracle and oracle.missing() is None:
            answer = oracle.ask_qemu_img("check", oracle.alone(self.path), cwd=self.path.parent)
            assert answer.code == 0, "%s: %s" % (what, answer)
        possible = [state.content for state in states if state.management == seen.management]
        assert possible, "%s: neither old nor new" % what
        if len(possible) > 1:
            # The guest wrote while all else stayed as it is.
            possible += moments
        for start in range(0, len(seen.content), SECTOR):
            piece = seen.content[start : start + SECTOR]
            found = any(content[start : start + SECTOR] == piece for content in possible)
            assert found, "%s: sector at %d" % (what, start)


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_two_changes(tmp_path: Path, seed: int) -> None:
    Sequence(tmp_path, seed).run()
