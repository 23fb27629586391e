# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The engine that moves guest data from one image to another, for every operation that does.

It takes runs of guest data as the source's map gives them, cuts them into pieces, and has a few threads move the
pieces.  Reading, looking for zeroes, compressing and writing happen side by side; everything that touches metadata
(the source's map, the target's allocation) happens under one lock, and in guest order, so that the target is laid out
in order too.
"""
from __future__ import annotations

import threading
import time
from collections import namedtuple

from ..errors import UNUSABLE, StorageLostError
from ..formats.base import ABSENT
from ..formats.capabilities import Compressing
from ..limits import BUFFER_BYTES, SECTOR
from ..storage.buffers import aligned_buffer
from ..storage.zeros import DEFAULT_GRAIN, data_runs, is_zero
from .parallel import useful_threads, work_together
from .pieces import Piece, PieceCutter, SourceRun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from ..errors import ImageError
    from ..formats.base import Image
    from ..storage.base import Storage

    Explain = Callable[[ImageError, str, int], ImageError]
    #: Storage, offset in it, offset in the piece, length, offset in the target.
    Places = list[tuple[Storage, int, int, int, int]]
    Result = TypeVar("Result")


# What was being done when something failed.
READING, WRITING = "reading", "writing"
LOOKING = "reading block status"


class CopyOptions(
    namedtuple(
        "CopyOptions",
        ["sparse_grain", "compress", "offload", "rate", "salvage", "threads"],
    )
):
    """How to copy.

    :param sparse_grain: runs of at least so many zero bytes are not copied as data; 0: everything is written
    :param compress: store whole clusters compressed
    :param offload: have the kernel copy without looking at the data (implies no search for zeroes in data)
    :param rate: bytes per second at the most; 0: no limit
    :param salvage: called with each unreadable offset and the error, which says so; zeroes take the place of what
        cannot be read; ``None``: an error ends the copy
    :param threads: how many copy at once
    """

    __slots__ = ()


def copy_options(
    sparse_grain: int = DEFAULT_GRAIN,
    compress: bool = False,
    offload: bool = False,
    rate: int = 0,
    salvage: Callable[[int, ImageError], None] | None = None,
    threads: int | None = None,
) -> CopyOptions:
    """Options with their usual values.

    :param threads: how many copy at once; ``None``: as many as the machine has use for
    """
    return CopyOptions(sparse_grain, compress, offload, rate, salvage, threads or useful_threads())


class _Stopped(Exception):
    """Another thread has failed."""


class _ReadFailed(Exception):
    """The source could not be read."""

    def __init__(self, error: ImageError) -> None:
        super().__init__()
        self.error = error


class Copier:
    """Copies runs into one target image.

    :param target: open for writing; the caller flushes and closes it
    :param target_is_zero: whether every byte of the target that was not written yet reads as zero, so that zeroes need
        not be written
    :param progress: called with the number of guest bytes that are done
    :param explain: has an error say what was being done (``READING``, ``WRITING``), and at which guest offset
    """

    def __init__(
        self,
        target: Image,
        target_is_zero: bool,
        options: CopyOptions,
        progress: Callable[[int], None] | None = None,
        explain: Explain | None = None,
    ) -> None:
        self._target = target
        self._target_is_zero = target_is_zero
        self._options = options
        self._progress = progress
        self._explain = explain or at_offset
        self._unit = target.cluster_size if options.compress and target.cluster_size else target.write_unit
        self._piece_bytes = max(BUFFER_BYTES, self._unit)
        self._most_bytes = 0
        self._compress = target.compressor() if options.compress and isinstance(target, Compressing) else None
        self._turn = threading.Condition()
        self._next_index = 0
        self._next_turn = 0
        self._done = 0
        self._moved = 0
        self._failure: BaseException | None = None
        self._started = time.monotonic()
        #: Buffers that no thread uses: pages that were touched once cost nothing the next time.
        self._spare_buffers: list[memoryview] = []

    def run(self, runs: Iterator[SourceRun]) -> None:
        """Copy everything; the first error of any thread ends it.  May be called again, for further runs.

        :raises ImageError: something could not be read or written
        """
        cutter = PieceCutter(
            self._unit,
            self._piece_bytes,
            not self._options.sparse_grain,
            self._compress is not None,
            self._zero_run,
            self._advance,
        )
        self._most_bytes = cutter.most_bytes
        pieces = cutter.pieces(runs)
        work_together(self._options.threads, lambda: self._work(pieces), self._stop)
        if self._failure is not None:
            raise self._failure

    # One thread

    def _work(self, pieces: Iterator[Piece]) -> None:
        buffer: memoryview | None = None
        moved = 0
        try:
            while True:
                with self._turn:
                    if moved:
                        self._advance(moved)
                    if self._failure is not None:
                        return
                    piece = next(pieces, None)
                    if piece is None:
                        if buffer is not None:
                            self._spare_buffers.append(buffer)
                        return
                    piece.index = self._next_index
                    self._next_index += 1
                    piece.readers = [_reader(run) for run in piece.parts]
                    self._keep_to_rate(piece.length)
                    if buffer is None:
                        spare = self._spare_buffers
                        buffer = spare.pop() if spare else aligned_buffer(self._most_bytes)
                self._move(piece, buffer)
                moved = piece.length
        except _Stopped:
            return
        except BaseException as error:  # pylint: disable=broad-except
            self._stop(error)

    def _stop(self, error: BaseException) -> None:
        with self._turn:
            if self._failure is None:
                self._failure = error
            self._turn.notify_all()

    def _move(self, piece: Piece, buffer: memoryview) -> None:
        view = buffer[: piece.length]
        try:
            if self._options.offload and all(part.storage is not None for part in piece.parts):
                self._copy_in_kernel(piece, view)
                return
            self._load(piece, view)
            if self._compress is not None:
                self._move_compressed(piece, view)
                return
            stretches = [
                (target, position, length, self._data_units(view[position : position + length]))
                for target, position, length in piece.stretches()
            ]
            # From the buffer, where the bytes are in the processor's cache: copying in the kernel would fetch them
            # again.
            for storage, host, start, length, target in self._in_turn(piece, lambda: self._place_stretches(stretches)):
                self._write(storage, host, view[start : start + length], target)
        except _ReadFailed as failure:
            raise failure.error from None

    def _write(self, storage: Storage, host: int, data: memoryview, target: int) -> None:
        try:
            storage.write(host, data)
        except UNUSABLE as error:
            raise self._explain(error, WRITING, target) from error

    def _copy_in_kernel(self, piece: Piece, view: memoryview) -> None:
        """Have the kernel copy parts that all lie in files, as far as it can."""
        placed = self._in_turn(piece, lambda: [self._place(part.start, 0, part.length) for part in piece.parts])
        for part, places in zip(piece.parts, placed):
            for storage, host, start, length, target in places:
                try:
                    if storage.copy_from(part.storage, part.offset + start, host, length):
                        continue
                except UNUSABLE as error:
                    raise self._explain(error, WRITING, target) from error
                self._load_plain(part, start, view[:length])
                self._write(storage, host, view[:length], target)

    def _in_turn(self, piece: Piece, work: Callable[[], Result]) -> Result:
        """Do something with the target's metadata, when all earlier pieces have."""
        with self._turn:
            while self._next_turn != piece.index and self._failure is None:
                self._turn.wait()
            if self._failure is not None:
                raise _Stopped
            result = work()
            self._next_turn += 1
            self._turn.notify_all()
            return result

    def _load(self, piece: Piece, view: memoryview) -> None:
        position = 0
        for run, reader in zip(piece.parts, piece.readers):
            part = view[position : position + run.length]
            position += run.length
            try:
                reader(part)
            except UNUSABLE as error:
                if self._options.salvage is None or isinstance(error, StorageLostError):
                    raise _ReadFailed(self._explain(error, READING, run.start)) from error
                self._salvage(run, part)

    def _salvage(self, run: SourceRun, part: memoryview) -> None:
        """Read sector by sector what can be read; the rest is zeroes."""
        for position in range(0, run.length, SECTOR):
            piece = part[position : position + SECTOR]
            try:
                if run.storage is not None:
                    run.storage.read_into(run.offset + position, piece)
                else:
                    with self._turn:
                        run.layer.read_into(run.layer_start + position, piece)
            except StorageLostError as error:
                raise _ReadFailed(self._explain(error, READING, run.start + position)) from error
            except UNUSABLE as failure:
                piece[:] = bytes(len(piece))
                failure.offset = run.start + position
                failure.reason = "error while reading offset %d: %s" % (failure.offset, failure.words)
                if self._options.salvage is not None:
                    self._options.salvage(failure.offset, failure)

    def _data_units(self, view: memoryview) -> list[tuple[int, int]]:
        """The parts of a stretch that are not zero, rounded to the target's unit of allocation."""
        unit, length = self._unit, len(view)
        if not self._options.sparse_grain:
            return [(0, length)]
        units: list[tuple[int, int]] = []
        for run_start, run_end in data_runs(view, self._options.sparse_grain):
            run_start = run_start // unit * unit
            run_end = min(length, -(-run_end // unit) * unit)
            if units and run_start <= units[-1][1]:
                units[-1] = (units[-1][0], max(units[-1][1], run_end))
            else:
                units.append((run_start, run_end))
        return units

    def _place_stretches(self, stretches: list[tuple[int, int, int, list[tuple[int, int]]]]) -> Places:
        placed: Places = []
        for target, position, length, units in stretches:
            done = 0
            for start, end in units:
                self._zero(target + done, start - done)
                placed += self._place(target + start, position + start, end - start)
                done = end
            self._zero(target + done, length - done)
        return placed

    def _place(self, target: int, position: int, length: int) -> Places:
        """Where the target has ``length`` bytes from ``position`` of a piece that are to be at ``target``."""
        try:
            places = self._target.place(target, length)
        except UNUSABLE as error:
            raise self._explain(error, WRITING, target) from error
        placed: Places = []
        for storage, host, part in places:
            placed.append((storage, host, position, part, target))
            position += part
            target += part
        return placed

    def _zero(self, start: int, length: int) -> None:
        if length and not self._target_is_zero:
            try:
                self._target.write_zeroes(start, length)
            except UNUSABLE as error:
                raise self._explain(error, WRITING, start) from error

    def _load_plain(self, run: SourceRun, position: int, view: memoryview) -> None:
        """Read plain bytes of a run, from ``position`` in it."""
        try:
            run.storage.read_into(run.offset + position, view)
        except UNUSABLE as error:
            raise _ReadFailed(self._explain(error, READING, run.start + position)) from error

    def _move_compressed(self, piece: Piece, view: memoryview) -> None:
        unit = self._unit
        stretches = []
        for target, begin, length in piece.stretches():
            clusters: list[tuple[int, bytes | None, memoryview]] = []
            for position in range(0, length, unit):
                plain = view[begin + position : begin + min(position + unit, length)]
                if self._options.sparse_grain and is_zero(plain):
                    continue
                if len(plain) < unit:
                    # The last cluster of an image whose size is not a multiple of the cluster size.
                    plain = memoryview(bytes(plain) + bytes(unit - len(plain)))
                clusters.append((position, self._compress(plain) if self._compress else None, plain))
            stretches.append((target, length, clusters))

        def store() -> None:
            for target, length, clusters in stretches:
                done = 0
                for position, data, plain in clusters:
                    self._zero(target + done, position - done)
                    self._store_compressed(target + position, data, plain)
                    done = min(length, position + unit)
                self._zero(target + done, length - done)

        self._in_turn(piece, store)

    def _store_compressed(self, target: int, data: bytes | None, plain: memoryview) -> None:
        try:
            self._target.write_compressed(target, data, plain)  # type: ignore[attr-defined]
        except UNUSABLE as error:
            raise self._explain(error, WRITING, target) from error

    # Under the lock

    def _zero_run(self, start: int, length: int) -> None:
        self._zero(start, length)
        self._advance(length)

    def _advance(self, length: int) -> None:
        self._done += length
        if self._progress is not None:
            self._progress(self._done)

    def _keep_to_rate(self, length: int) -> None:
        """Wait until a piece may be moved; what is not moved (zeroes, holes) takes no time."""
        if self._options.rate:
            wait = self._moved / self._options.rate - (time.monotonic() - self._started)
            if wait > 0:
                time.sleep(wait)
            self._moved += length


def at_offset(error: ImageError, what: str, offset: int) -> ImageError:
    """The same error, saying at which guest offset it happened.

    :param what: ``READING``, ``WRITING`` or ``LOOKING``
    """
    where = "offset" if what == LOOKING else "byte"
    error.reason = "error while %s at %s %d: %s" % (what, where, offset, error.words)
    error.offset = offset
    return error


def _reader(run: SourceRun) -> Callable[[memoryview], None]:
    """What fills a buffer with a part of a piece; if it cannot even be found, this says so."""
    try:
        if run.kind == ABSENT:
            # Needed to complete a unit that is stored as a whole.
            content = run.layer.read(run.layer_start, run.length)
            return lambda part: part.__setitem__(slice(None), content)
        return run.reader()
    except UNUSABLE as error:
        return _failing(error)


def _failing(error: ImageError) -> Callable[[memoryview], None]:
    def fail(_part: memoryview) -> None:
        raise error

    return fail
