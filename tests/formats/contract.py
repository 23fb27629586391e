# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every format has to do, whatever it is: a format joins with a subclass of :class:`FormatContract`.

The rules are those that operations rely on: a map that covers every byte and says where it lies, writes that can be
read back by us and by qemu-img, changes that a crash leaves old or new, headers that cannot make us use memory or read
on and on, and further files that are opened only if the reference policy allows it.
"""
from __future__ import annotations

import os
import random
import tracemalloc
from pathlib import Path

import pytest

import qimg
from qimg.errors import ImageError, ReferenceDeniedError
from qimg.formats import base, get_driver
from qimg.formats.capabilities import Checkable, Resizable
from qimg.formats.driver import CHECK, INFO, READ, RESIZE, WRITE
from qimg.formats.opening import Opener
from qimg.policy import DENY, FOLLOW, SAME_DIRECTORY, ReferencePolicy
from qimg.storage.local import LocalFile
from support import oracle
from support.recording import Recorder, power_losses, prefixes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from qimg.formats.base import Image
    from qimg.formats.driver import Purpose

SECTOR = 512
#: Values that a count, a size or an offset of a hostile header may have.
ABSURD = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40, (1 << 63) - 512, (1 << 64) - 1)
#: What opening a small hostile image and asking it everything may use.
MOST_BYTES = 64 << 20
MOST_REQUESTS = 20_000


class Work:
    """Counts the requests to local files while it is entered, and refuses more than a small image deserves."""

    def __init__(self) -> None:
        self._patch = pytest.MonkeyPatch()
        self.requests = 0

    def __enter__(self) -> Work:
        real = LocalFile.read_into

        def read_into(file: LocalFile, offset: int, buffer: Any) -> None:
            self.requests += 1
            assert self.requests <= MOST_REQUESTS, "a small image is read in more than %d requests" % MOST_REQUESTS
            real(file, offset, buffer)

        self._patch.setattr(LocalFile, "read_into", read_into)
        tracemalloc.start()
        return self

    def __exit__(self, *exception: object) -> None:
        _now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self._patch.undo()
        if exception[0] is None:
            assert peak <= MOST_BYTES, "a small image takes %d bytes of memory" % peak


class FormatContract:
    """The tests of one format, with one set of creation options.

    A subclass sets ``format``, and what else is not as here; its name begins with ``Test``.
    """

    format: str
    #: Creation options.
    options: dict[str, Any] = {}
    #: Guest bytes of the images.
    size = 3 * (1 << 20) + 5 * SECTOR
    #: Whether qemu-img can open what is written here, and check it.
    qemu_reads = True
    qemu_checks = False
    #: Whether the disk can be made larger and smaller in place.
    grows = shrinks = False
    #: Whether a killed process may leave unused space behind, which a check calls leaks.
    may_leak = True
    #: Where a file holds what a hostile image would change, and how many bytes of it.
    header_start = 0
    header_bytes = 512

    # What a subclass may have to do in another way

    def create(self, path: Path, size: int | None = None) -> None:
        """Make an empty image."""
        qimg.create(str(path), self.format, self.size if size is None else size, self.options)

    def files(self, path: Path) -> list[Path]:
        """The files of an image, the one that names it first."""
        return [path]

    def naming_images(self, directory: Path, outside: Path) -> Iterator[Path]:
        """Images in ``directory`` that name the file ``outside``, one for each way in which the format can do that."""
        yield from ()

    def open(self, path: Path, purpose: Purpose = READ) -> Image:
        return Opener(ReferencePolicy(FOLLOW)).open(str(path), self.format, purpose)

    # Reading and writing

    def test_a_new_image_is_zero_and_its_map_covers_it(self, tmp_path: Path) -> None:
        path = tmp_path / "i"
        self.create(path)
        with self.open(path) as image:
            assert image.format == self.format
            size = image.size
            assert self.size <= size < self.size + (4 << 20)
            check_map(image, bytes(size))
        if self.qemu_reads:
            assert oracle.info(path, "-f", self.format)["virtual-size"] == size

    @pytest.mark.parametrize("seed", range(3))
    def test_random_writes_read_back_as_from_plain_bytes(self, seed: int, tmp_path: Path) -> None:
        path = tmp_path / "i"
        self.create(path)
        chance = random.Random(seed)
        with self.open(path) as image:
            model = bytearray(image.size)
        for _time in range(3):
            with self.open(path, WRITE) as image:
                for _step in range(12):
                    change_at_random(image, model, chance)
            with self.open(path) as image:
                check_map(image, bytes(model))
            self.check_is_clean(path)
        if self.qemu_reads:
            assert oracle.read_guest(path, tmp_path / "raw", self.format)[: len(model)] == bytes(model)
        if self.qemu_checks:
            assert oracle.is_clean(path, "-f", self.format)

    def test_what_qemu_writes_reads_as_qemu_wrote_it(self, tmp_path: Path) -> None:
        if not self.qemu_reads or not get_driver(self.format).can_write:
            return
        path = tmp_path / "i"
        self.create(path)
        end = self.size // SECTOR * SECTOR
        commands = ["write -P 1 0 64k", "write -P 2 %d 1k" % (end - 1024), "write -P 3 1000k 3k", "write -z 32k 4k"]
        oracle.qemu_io(path, *commands, format=self.format)
        expected = oracle.read_guest(path, tmp_path / "raw", self.format)
        with self.open(path) as image:
            check_map(image, expected.ljust(image.size, b"\0")[: image.size])
        self.check_is_clean(path)

    def test_what_is_given_up_changes_no_flushed_data(self, tmp_path: Path) -> None:
        path = tmp_path / "i"
        self.create(path)
        with self.open(path, WRITE) as image:
            image.write(4096, b"kept" * 1024)
        image = self.open(path, WRITE)
        image.write(1 << 20, b"lost" * 1024)
        image.abandon()
        with self.open(path) as image:
            assert image.read(4096, 4096) == b"kept" * 1024
            assert image.read(1 << 20, 4096) in (b"lost" * 1024, bytes(4096))
        self.check_is_clean(path, self.may_leak)

    def test_ranges_beyond_the_disk_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "i"
        self.create(path)
        with self.open(path, WRITE) as image:
            for offset, length in ((image.size, 1), (image.size - 1, 2), (-1, 1), (1 << 62, SECTOR)):
                with pytest.raises(ImageError):
                    image.read(offset, length)
                with pytest.raises(ImageError):
                    image.write(offset, bytes(length))

    def test_a_read_only_image_is_not_changed(self, tmp_path: Path) -> None:
        path = tmp_path / "i"
        self.create(path)
        before = [file.read_bytes() for file in self.files(path)]
        with self.open(path) as image:
            with pytest.raises(ImageError):
                image.write(0, b"x" * SECTOR)
        assert [file.read_bytes() for file in self.files(path)] == before

    @pytest.mark.parametrize("change", ["grow", "shrink"])
    def test_a_resize_keeps_what_stays_and_zeroes_what_comes(self, change: str, tmp_path: Path) -> None:
        if not (self.grows if change == "grow" else self.shrinks):
            return
        path = tmp_path / "i"
        self.create(path)
        chance = random.Random(7)
        with self.open(path, WRITE) as image:
            model = bytearray(image.size)
            for _step in range(10):
                change_at_random(image, model, chance)
            write_and_note(image, model, len(model) - 4096, b"end!" * 1024)
        size = (5 << 20) + SECTOR if change == "grow" else 1 << 20
        for wanted in (size, self.size, size) if self.grows and self.shrinks else (size,):
            with self.open(path, RESIZE) as image:
                assert isinstance(image, Resizable)
                image.check_resize()
                image.resize(wanted)
            with self.open(path) as image:
                assert image.size >= wanted
                del model[image.size :]
                model.extend(bytes(image.size - len(model)))
                check_map(image, bytes(model))
            self.check_is_clean(path)
        if self.qemu_reads:
            assert oracle.read_guest(path, tmp_path / "raw", self.format)[: len(model)] == bytes(model)

    # Crashes

    def test_interrupted_writes_leave_a_whole_image_with_old_or_new_sectors(self, tmp_path: Path) -> None:
        path = tmp_path / "i"
        self.create(path)
        with self.open(path, WRITE) as image:
            image.write(0, b"old0" * 16384)
            image.write(1 << 20, b"old1" * 512)
        before = {file: file.read_bytes() for file in self.files(path)}
        old = self.content(path)
        with Recorder(list(before)) as recorder:
            with self.open(path, WRITE) as image:
                image.write(1024, b"new0" * 512)
                image.write((1 << 20) - 1024, b"new1" * 1024)
                image.flush()
                image.write(2 << 20, b"new2" * 1024)
                image.write_zeroes(0, 512)
        self.judge_states(path, before, recorder.events, old, self.content(path))

    def test_an_interrupted_resize_leaves_the_old_disk_or_the_new_one(self, tmp_path: Path) -> None:
        for change, size in (("grow", 5 << 20), ("shrink", 1 << 20)):
            if not (self.grows if change == "grow" else self.shrinks):
                continue
            path = tmp_path / change
            self.create(path)
            with self.open(path, WRITE) as image:
                image.write(0, b"data" * 1024)
            before = {file: file.read_bytes() for file in self.files(path)}
            old = self.content(path)
            with Recorder(list(before)) as recorder:
                with self.open(path, RESIZE) as image:
                    assert isinstance(image, Resizable)
                    image.resize(size)
            new = self.content(path)
            for what, files in states(before, recorder.events):
                restore(files)
                found = self.content(path)
                assert found in (old, new), "%s: neither the old disk nor the new one" % what
                self.check_is_clean(path, self.may_leak, what)

    def judge_states(
        self, path: Path, before: dict[Path, bytes], events: list[Any], old: bytes, new: bytes
    ) -> None:
        """Look at what a crash at each moment would leave."""
        for what, files in states(before, events):
            restore(files)
            try:
                found = self.content(path)
            except ImageError as error:
                raise AssertionError("%s: %s" % (what, error)) from error
            assert len(found) == len(old), what
            for offset in range(0, len(found), SECTOR):
                sector = found[offset : offset + SECTOR]
                if sector not in (old[offset : offset + SECTOR], new[offset : offset + SECTOR]):
                    raise AssertionError("%s: the sector at %d is neither old nor new" % (what, offset))
            self.check_is_clean(path, self.may_leak, what)

    def content(self, path: Path) -> bytes:
        with self.open(path) as image:
            return image.read(0, image.size)

    def check_is_clean(self, path: Path, may_leak: bool = False, what: str = "") -> None:
        """Ask the format's own check, if it has one."""
        with self.open(path, CHECK) as image:
            if isinstance(image, Checkable):
                result = image.check()
                assert not result.corruptions and not result.check_errors, "%s: %r" % (what, result)
                assert may_leak or not result.leaks, "%s: %r" % (what, result)

    # Hostile images

    def test_absurd_header_fields_are_answered_with_little_work(self, tmp_path: Path) -> None:
        path = tmp_path / "i"
        self.create(path)
        with self.open(path, WRITE) as image:
            image.write(0, b"data" * 16384)
        whole = path.read_bytes()
        chance = random.Random(11)
        positions = list(range(self.header_start, min(len(whole), self.header_start + self.header_bytes) - 8, 4))
        for position in chance.sample(positions, min(len(positions), 30)):
            for value in ABSURD:
                for width, order in ((4, "little"), (4, "big"), (8, "little"), (8, "big")):
                    if value >> 8 * width or chance.random() < 0.5:
                        continue
                    word = value.to_bytes(width, order)  # type: ignore[arg-type]
                    self.ask_everything(path, whole[:position] + word + whole[position + width :])

    def test_truncated_and_noisy_files_are_answered_with_little_work(self, tmp_path: Path) -> None:
        path = tmp_path / "i"
        self.create(path)
        with self.open(path, WRITE) as image:
            image.write(0, b"data" * 16384)
        whole = path.read_bytes()
        chance = random.Random(12)
        for length in (0, 1, 4, 511, 512, 1024, 4096, 65536, len(whole) // 2, len(whole) - 1):
            self.ask_everything(path, whole[:length])
        for _time in range(40):
            noisy = bytearray(whole)
            for _change in range(chance.randrange(1, 6)):
                position = chance.randrange(self.header_start, min(len(noisy), self.header_start + self.header_bytes))
                noisy[position] = chance.randrange(256)
            self.ask_everything(path, bytes(noisy))

    def ask_everything(self, path: Path, content: bytes) -> None:
        """Open a hostile image for each purpose: it works, or ends in one of our errors, with little work."""
        path.write_bytes(content)
        with Work():
            for purpose in (INFO, READ, CHECK, WRITE):
                try:
                    with Opener(ReferencePolicy(DENY)).open(str(path), self.format, purpose) as image:
                        image.format_specific()
                        for _extent in zip(range(1000), image.runs(0, min(image.size, 1 << 30))):
                            pass
                        image.read(0, min(image.size, 1 << 16))
                        if purpose == CHECK and isinstance(image, Checkable):
                            image.check()
                except ImageError:
                    pass

    # Further files

    def test_every_file_that_an_image_names_passes_the_policy(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "images").mkdir()
        outside = tmp_path / "outside"
        outside.write_bytes(b"secret".ljust(1 << 20, b"\0"))
        real = os.open

        def watched(name: Any, *arguments: Any, **options: Any) -> int:
            fd: int = real(name, *arguments, **options)
            status = os.fstat(fd)
            assert not os.path.samestat(status, outside.stat()), "a file was opened that the policy forbids"
            return fd

        for path in self.naming_images(tmp_path / "images", outside):
            monkeypatch.setattr(os, "open", watched)
            for mode in (SAME_DIRECTORY, DENY):
                for purpose in (READ, WRITE):
                    with pytest.raises(ReferenceDeniedError, match="outside"):
                        Opener(ReferencePolicy(mode)).open(str(path), self.format, purpose).abandon()
            monkeypatch.undo()


def check_map(image: Image, expected: bytes) -> None:
    """See that an image reads as expected, that its runs cover it, and that each says where its bytes lie."""
    assert image.read(0, image.size) == expected
    position = 0
    for run in image.runs(0, image.size):
        assert run.start == position and run.length > 0, "the map has a gap or an overlap at %d" % position
        position += run.length
        wanted = expected[run.start : position]
        if run.kind in (base.DATA, base.DATA_ZERO):
            assert run.storage is not None and run.offset is not None
            assert run.storage.read(run.offset, run.length) == wanted, "the map is wrong at %d" % run.start
        if run.zero and run.kind not in (base.ABSENT, base.ABSENT_ALLOCATED):
            assert not any(wanted), "the map calls data zero at %d" % run.start
        if run.kind in (base.ABSENT, base.ABSENT_ALLOCATED) and image.backing is None:
            assert not any(wanted), "the map calls data absent at %d" % run.start
    assert position == image.size, "the map ends at %d" % position
    for offset, length in ((SECTOR, 3 * SECTOR), (image.size - SECTOR, SECTOR), (70_001, 9)):
        assert sum(run.length for run in image.runs(offset, length)) == length
        assert image.read(offset, length) == expected[offset : offset + length]


def change_at_random(image: Image, model: bytearray, chance: random.Random) -> None:
    """One guest request, to an image and to what models it."""
    length = chance.choice((1, SECTOR, 4096, 65536, chance.randrange(1, 300_000)))
    offset = chance.choice((0, chance.randrange(len(model)), chance.randrange(len(model)) // 65536 * 65536))
    length = min(length, len(model) - offset)
    kind = chance.choice(("write", "write", "zero", "flush"))
    if kind == "write":
        write_and_note(image, model, offset, chance.randbytes(length))
    elif kind == "zero":
        image.write_zeroes(offset, length, deallocate=chance.random() < 0.5)
        model[offset : offset + length] = bytes(length)
    else:
        image.flush()
    assert image.read(offset, length) == model[offset : offset + length]


def write_and_note(image: Image, model: bytearray, offset: int, data: bytes) -> None:
    image.write(offset, data)
    model[offset : offset + len(data)] = data


def states(before: dict[Path, bytes], events: list[Any]) -> Iterator[tuple[str, dict[Path, bytes]]]:
    """What a killed process, and a machine without power, may leave."""
    yield from prefixes(before, events)
    yield from power_losses(before, events, seed=1, samples=40)


def restore(files: dict[Path, bytes]) -> None:
    for path, content in files.items():
        path.write_bytes(content)
