# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Cutting what a source has into pieces that fit the target's unit of allocation."""
from __future__ import annotations

from collections import namedtuple

from ..formats.base import ABSENT, DATA, ZERO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..formats.base import Extent, Image

#: No more stretches are added to a piece of so many parts.
_ENOUGH_PARTS = 32


class SourceRun(namedtuple("SourceRun", ["start", "length", "kind", "storage", "offset", "layer", "layer_start"])):
    """A run of guest bytes to be moved to ``start`` of the target.

    ``kind`` is ``DATA``, ``ZERO`` or ``ABSENT`` (leave the target as it is).  Data lie at ``offset`` of ``storage``;
    where that is ``None``, they can be read from ``layer_start`` of the image ``layer``.
    """

    __slots__ = ()

    def part(self, position: int, length: int) -> SourceRun:
        """``length`` bytes of the run, from ``position`` in it."""
        start, whole, kind, storage, offset, layer, layer_start = self
        if length == whole:
            return self
        offset = None if offset is None else offset + position
        fields = (start + position, length, kind, storage, offset, layer, layer_start + position)
        return tuple.__new__(SourceRun, fields)

    def reader(self) -> Callable[[memoryview], None]:
        """What fills a buffer with the run, and looks at no metadata any more: bytes of data, otherwise zeroes."""
        storage, offset = self.storage, self.offset
        if storage is not None:
            return lambda part: storage.read_into(offset, part)
        if self.kind == DATA and self.layer is not None:
            encoded: Callable[[memoryview], None] = self.layer.encoded_reader(self.layer_start, self.length)
            return encoded
        return lambda part: part.__setitem__(slice(None), bytes(len(part)))


class WholeDisk:
    """The layer of a run of which nobody could say what has it: the disk as a whole."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self.read_into = image.read_into

    def encoded_reader(self, offset: int, length: int) -> Callable[[memoryview], None]:
        """What fills a buffer; as :meth:`~qimg.formats.base.Image.encoded_reader`."""
        content = self._image.read(offset, length)
        return lambda part: part.__setitem__(slice(None), content)


def source_runs(image: Image, extents: Iterator[Extent], shift: int = 0) -> Iterator[SourceRun]:
    """The runs of a source image.

    :param extents: as :func:`~qimg.formats.chain.chain_extents` gives them for ``image``
    :param shift: what to add to guest offsets of the source to get those of the target
    """
    layers = image.layers()
    new = tuple.__new__
    for extent in extents:
        start, length, _kind, storage, offset, depth = extent
        _data, zero, present, _compressed = extent.state
        if not zero:
            yield new(SourceRun, (start + shift, length, DATA, storage, offset, layers[depth], start))
        else:
            yield new(SourceRun, (start + shift, length, ZERO if present else ABSENT, None, None, image, start))


def split_run(run: SourceRun, position: int) -> Iterator[SourceRun]:
    """The run in two parts, if ``position`` lies inside of it."""
    before = position - run.start
    if 0 < before < run.length:
        yield run.part(0, before)
        yield run.part(before, run.length - before)
    else:
        yield run


class Piece:
    """Target bytes that one thread moves at once: stretches of them, with what is zero or absent left out."""

    __slots__ = ("index", "length", "parts", "readers")

    def __init__(self, first: SourceRun) -> None:
        self.index = 0
        self.length = first.length
        self.parts = [first]
        #: For each part, what fills a buffer with it.
        self.readers: list[Callable[[memoryview], None]] = []

    @property
    def end(self) -> int:
        """Where its last stretch ends in the target."""
        last = self.parts[-1]
        return int(last.start + last.length)

    def add(self, run: SourceRun) -> None:
        """Append a run, which must begin where the piece ends or later."""
        self.parts.append(run)
        self.length += run.length

    def stretches(self) -> list[tuple[int, int, int]]:
        """Neighbouring parts together: where they begin in the target and in the piece, and their length."""
        found: list[tuple[int, int, int]] = []
        target = position = done = 0
        for part in self.parts:
            start = part.start
            if done > position and start != target + done - position:
                found.append((target, position, done - position))
                position = done
            if done == position:
                target = start
            done += part.length
        found.append((target, position, done - position))
        return found


class PieceCutter:
    """Cuts runs into pieces of whole units, and says what is zero or absent over whole units.

    :param unit: bytes that the target allocates together (a power of two)
    :param piece_bytes: length of a stretch of a piece at the most (a power of two, at least ``unit``); all of them
        together are at most :attr:`most_bytes`
    :param zeroes_are_data: whether zero runs are to be written like data
    :param units_are_whole: whether a unit with any data must be in a piece as a whole, what is absent from it included
    :param on_zero: called with start and length of zeroes that are in no piece
    :param on_absent: called with the length of what is absent and in no piece
    """

    def __init__(
        self,
        unit: int,
        piece_bytes: int,
        zeroes_are_data: bool,
        units_are_whole: bool,
        on_zero: Callable[[int, int], None],
        on_absent: Callable[[int], None],
    ) -> None:
        self._unit = unit
        self._piece_bytes = piece_bytes
        self._zeroes_are_data = zeroes_are_data
        self._units_are_whole = units_are_whole
        self._on_zero = on_zero
        self._on_absent = on_absent
        self._piece: Piece | None = None
        #: No more stretches are added to a piece of so many bytes.
        self._enough_bytes = piece_bytes // 2
        self.most_bytes = self._enough_bytes + piece_bytes

    def pieces(self, runs: Iterator[SourceRun]) -> Iterator[Piece]:
        """The pieces of a sequence of runs without gaps, in order."""
        pending: list[SourceRun] = []
        for run in runs:
            if run.kind == ZERO and self._zeroes_are_data:
                run = run._replace(kind=DATA, layer=None)
            position = 0
            while position < run.length:
                start = run.start + position
                left = run.length - position
                inner = start % self._unit
                if pending or inner:
                    length = min(left, self._unit - inner)
                    pending.append(run.part(position, length))
                    if inner + length == self._unit:
                        yield from self._mixed_unit(pending)
                        pending = []
                else:
                    length = left // self._unit * self._unit
                    if length:
                        yield from self._whole_units(run.part(position, length))
                    else:
                        length = left
                        pending.append(run.part(position, length))
                position += length
        if pending:
            yield from self._mixed_unit(pending)
        yield from self._finish_piece()

    def _whole_units(self, run: SourceRun) -> Iterator[Piece]:
        if run.kind == DATA:
            yield from self._data(run)
        elif run.kind == ZERO:
            self._on_zero(run.start, run.length)
        else:
            self._on_absent(run.length)

    def _mixed_unit(self, parts: list[SourceRun]) -> Iterator[Piece]:
        """One unit of several runs, or the beginning or end of the disk."""
        kinds = {part.kind for part in parts}
        if kinds == {ZERO}:
            # At once: only a whole unit of the target can become zero without being written.
            self._on_zero(parts[0].start, sum(part.length for part in parts))
        elif DATA not in kinds:
            for part in parts:
                yield from self._whole_units(part)
        elif ABSENT in kinds and not self._units_are_whole:
            # What is absent must stay so: the target completes the unit from its backing file.
            for part in parts:
                yield from self._whole_units(part)
        else:
            for part in parts:
                yield from self._data(part)

    def _data(self, run: SourceRun) -> Iterator[Piece]:
        position = 0
        while position < run.length:
            start = run.start + position
            length = min(run.length - position, self._piece_bytes - start % self._piece_bytes)
            part = run.part(position, length)
            piece = self._piece
            if piece is not None and start != piece.end:
                # Small stretches are moved together: taking turns for each takes as long as moving it.
                if piece.length > self._enough_bytes or len(piece.parts) >= _ENOUGH_PARTS:
                    yield piece
                    piece = None
            if piece is None:
                self._piece = Piece(part)
            else:
                piece.add(part)
            position += length
            if (start + length) % self._piece_bytes == 0:
                yield from self._finish_piece()

    def _finish_piece(self) -> Iterator[Piece]:
        if self._piece is not None:
            piece, self._piece = self._piece, None
            yield piece


def runs_on_top(runs: Iterator[SourceRun], target: Image) -> Iterator[SourceRun]:
    """The runs of a source for a target that lies on top of a backing file: where that has ended, zeroes are there
    already."""
    target_end = target.backing.size if target.backing is not None else target.size
    for run in runs:
        if run.kind != ZERO:
            yield run
            continue
        for part in split_run(run, target_end):
            yield part._replace(kind=ABSENT) if part.start >= target_end else part
