# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recording what an operation does to its files, and what a crash in the middle of it may leave behind."""
from __future__ import annotations

import os
import random
from collections import namedtuple

from qimg.errors import StorageError
from qimg.storage.local import LocalFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

#: What a medium writes in one step.
SECTOR = 512

#: One thing done to one file: ``kind`` is write, zero (a hole or zeroes within the file), truncate or flush.
Event = namedtuple("Event", ["path", "kind", "offset", "data"])
#: What is called, with what: the files' names and contents.
Files = "dict[Path, bytes]"


class Recorder:
    """Has every change of the given files recorded while it is entered.

    It replaces the methods of :class:`LocalFile`, so that nothing above knows; what the kernel would copy by itself is
    read and written instead.

    :param paths: files that are watched; what happens to others is not recorded
    :param fail_at: the number of the event that fails instead of happening; ``None``: none fails
    :param error: ``errno`` of that failure
    """

    def __init__(self, paths: list[Path], fail_at: int | None = None, error: int = 28) -> None:
        self.events: list[Event] = []
        self._watched = {(os.stat(path).st_dev, os.stat(path).st_ino): path for path in paths}
        self._fail_at = fail_at
        self._error = error
        self._seen = 0
        #: What failed instead of happening.
        self.failure: Event | None = None
        self._saved: dict[str, Any] = {}
        #: Called with the number of events so far before each event happens.
        self.before_event: Callable[[int], None] | None = None

    @property
    def failed(self) -> bool:
        """Whether the failure that was asked for has happened."""
        return self.failure is not None

    @property
    def failed_at_header(self) -> bool:
        """Whether the failure leaves open what the beginning of the file says: it was written, or put on the medium."""
        failure = self.failure
        if failure is None or failure.kind not in ("write", "flush"):
            return False
        before = self.events[self._fail_at - 1] if self._fail_at else None
        written = failure if failure.kind == "write" else before
        return written is not None and written.kind == "write" and written.offset == 0

    def __enter__(self) -> Recorder:
        for name in ("write", "write_zeroes", "discard", "truncate", "preallocate", "flush", "copy_from"):
            self._saved[name] = getattr(LocalFile, name)
        recorder, saved = self, self._saved

        def write(file: LocalFile, offset: int, data: Any) -> None:
            recorder._happen(file, "write", offset, bytes(data))
            saved["write"](file, offset, data)

        def write_zeroes(file: LocalFile, offset: int, length: int, deallocate: bool = True) -> None:
            if length > 0:
                recorder._zero(file, offset, length)
                size = file.size
                _overwrite(file, offset, length, saved["write"])
                if size < offset + length:
                    saved["truncate"](file, offset + length)

        def discard(file: LocalFile, offset: int, length: int) -> None:
            inside = min(length, file.size - offset)
            if inside > 0:
                recorder._happen(file, "zero", offset, inside)
                _overwrite(file, offset, inside, saved["write"])

        def truncate(file: LocalFile, size: int) -> None:
            recorder._happen(file, "truncate", size, b"")
            saved["truncate"](file, size)

        def preallocate(file: LocalFile, offset: int, length: int, mode: str) -> None:
            if mode == "off" or length <= 0:
                return
            if file.size < offset + length:
                recorder._happen(file, "truncate", offset + length, b"")
                saved["truncate"](file, offset + length)
            if mode == "full":
                recorder._happen(file, "zero", offset, length)
                _overwrite(file, offset, length, saved["write"])

        def flush(file: LocalFile) -> None:
            if not file.cache.no_flush:
                recorder._happen(file, "flush", 0, b"")

        def copy_from(file: LocalFile, source: Any, source_offset: int, offset: int, length: int) -> bool:
            return False

        for name, function in (
            ("write", write), ("write_zeroes", write_zeroes), ("discard", discard), ("truncate", truncate),
            ("preallocate", preallocate), ("flush", flush), ("copy_from", copy_from),
        ):
            setattr(LocalFile, name, function)
        return self

    def __exit__(self, *exception: object) -> None:
        for name, function in self._saved.items():
            setattr(LocalFile, name, function)

    def _zero(self, file: LocalFile, offset: int, length: int) -> None:
        if file.size < offset + length:
            self._happen(file, "truncate", offset + length, b"")
        self._happen(file, "zero", offset, length)

    def _happen(self, file: LocalFile, kind: str, offset: int, data: Any) -> None:
        status = os.fstat(file.fd)
        path = self._watched.get((status.st_dev, status.st_ino))
        if path is None:
            return
        if self.before_event is not None:
            self.before_event(self._seen)
        if self._seen == self._fail_at:
            self._seen += 1
            self.failure = Event(path, kind, offset, data)
            raise StorageError(
                "Could not write '%s': %s" % (file.name, os.strerror(self._error)), path=file.name, errno=self._error
            )
        self._seen += 1
        self.events.append(Event(path, kind, offset, data))


def _overwrite(file: LocalFile, offset: int, length: int, write: Callable[..., None]) -> None:
    """Zero what is within the file, without holes: the tests' files are small."""
    length = min(length, file.size - offset)
    if length > 0:
        write(file, offset, bytes(length))


def apply_event(content: bytearray, event: Event) -> None:
    """What one event does to the content of its file."""
    if event.kind == "write":
        end = event.offset + len(event.data)
        if end > len(content):
            content.extend(bytes(end - len(content)))
        content[event.offset : end] = event.data
    elif event.kind == "zero":
        end = min(event.offset + event.data, len(content))
        if end > event.offset:
            content[event.offset : end] = bytes(end - event.offset)
    elif event.kind == "truncate":
        if event.offset < len(content):
            del content[event.offset :]
        else:
            content.extend(bytes(event.offset - len(content)))


def apply_all(files: dict[Path, bytes], events: list[Event]) -> dict[Path, bytes]:
    """The files after some events."""
    contents = {path: bytearray(content) for path, content in files.items()}
    for event in events:
        if event.kind != "flush":
            apply_event(contents[event.path], event)
    return {path: bytes(content) for path, content in contents.items()}


def prefixes(files: dict[Path, bytes], events: list[Event]) -> Iterator[tuple[str, dict[Path, bytes]]]:
    """What a killed process leaves: the files after each number of events."""
    contents = {path: bytearray(content) for path, content in files.items()}
    yield "before everything", {path: bytes(content) for path, content in contents.items()}
    for number, event in enumerate(events):
        if event.kind == "flush":
            continue
        apply_event(contents[event.path], event)
        yield "after event %d (%s at %d)" % (number, event.kind, event.offset), {
            path: bytes(content) for path, content in contents.items()
        }


def power_losses(
    files: dict[Path, bytes], events: list[Event], seed: int, samples: int
) -> Iterator[tuple[str, dict[Path, bytes]]]:
    """What a machine that loses power leaves: of what no flush has covered, any sectors in any order.

    A flush of one file says nothing about another.
    """
    chance = random.Random(seed)
    epochs = [number for number, event in enumerate(events) if event.kind == "flush"] + [len(events)]
    for sample in range(samples):
        stop = chance.choice(epochs) if chance.random() < 0.5 else chance.randrange(len(events) + 1)
        durable: list[Event] = []
        pending: list[Event] = []
        for event in events[:stop]:
            if event.kind == "flush":
                durable += [other for other in pending if other.path == event.path]
                pending = [other for other in pending if other.path != event.path]
            else:
                pending.append(event)
        pieces = [piece for event in pending for piece in _sectors(event)]
        share = chance.choice((0.05, 0.3, 0.5, 0.7, 0.95))
        survivors = [piece for piece in pieces if chance.random() < share]
        if chance.random() < 0.5:
            survivors = _reordered(survivors, chance)
        yield "sample %d (seed %d): power lost before event %d" % (sample, seed, stop), apply_all(
            files, durable + survivors
        )


def _sectors(event: Event) -> list[Event]:
    """An event as the steps in which a medium takes it."""
    if event.kind == "truncate":
        return [event]
    length = len(event.data) if event.kind == "write" else event.data
    pieces = []
    position = event.offset
    end = event.offset + length
    while position < end:
        stop = min(end, (position // SECTOR + 1) * SECTOR)
        data = event.data[position - event.offset : stop - event.offset] if event.kind == "write" else stop - position
        pieces.append(Event(event.path, event.kind, position, data))
        position = stop
    return pieces


def _reordered(pieces: list[Event], chance: random.Random) -> list[Event]:
    """The pieces in another order; of one sector, the last one wins as it did in memory."""
    numbered = list(enumerate(pieces))
    chance.shuffle(numbered)
    last: dict[tuple[Path, int], int] = {}
    for number, piece in enumerate(pieces):
        if piece.kind != "truncate":
            last[piece.path, piece.offset // SECTOR] = number
    return [
        piece for number, piece in numbered
        if piece.kind == "truncate" or last[piece.path, piece.offset // SECTOR] == number
    ]
