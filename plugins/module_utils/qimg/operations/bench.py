# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Timing simple requests to an image, several at once."""
from __future__ import annotations

import threading
import time
from collections import namedtuple

from ..errors import ImageError, OptionError, StorageError
from ..formats.chain import read_extents
from ..formats.driver import READ, WRITE
from ..formats.opening import Opener
from .parallel import work_together
from .pieces import source_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..formats.base import Image
    from ..references import Reference

MAX_NUMBER = (1 << 31) - 1
#: At most this many threads wait for the system at once, and they have at most this many bytes of buffers.
_MAX_THREADS = 64
_MAX_BUFFER_BYTES = 256 << 20
#: In place of the number and the offset of a request.
_NO_MORE: tuple[int, int | None] = (0, None)


class BenchRequest(
    namedtuple(
        "BenchRequest",
        [
            "reference",
            "format",
            "count",
            "depth",
            "size",
            "offset",
            "step",
            "write",
            "pattern",
            "flush_interval",
            "drain",
        ],
        defaults=(None, 75000, 64, 4096, 0, None, False, 0, 0, True),
    )
):
    """What to send; its fields are the arguments of :func:`bench`."""

    __slots__ = ()

    reference: Reference
    format: str | None
    count: int
    depth: int
    size: int
    offset: int
    step: int | None
    write: bool
    pattern: int
    flush_interval: int
    drain: bool

    @property
    def stride(self) -> int:
        """Bytes from the beginning of one request to that of the next."""
        return self.step or self.size

    def check(self) -> None:
        """Refuse what makes no sense.

        :raises OptionError: in qemu-img's words
        """
        for what, value, minimum, maximum in (
            ("request count", self.count, 1, MAX_NUMBER),
            ("queue depth", self.depth, 1, MAX_NUMBER),
            ("buffer size", self.size, 1, MAX_NUMBER),
            ("offset", self.offset, 0, (1 << 63) - 1),
            ("step_size", self.stride, 0, MAX_NUMBER),
            ("pattern byte", self.pattern, 0, 255),
            ("flush interval", self.flush_interval, 0, MAX_NUMBER),
        ):
            if not minimum <= value <= maximum:
                raise OptionError("Invalid %s specified. Must be between %d and %d." % (what, minimum, maximum))
        if self.flush_interval and not self.write:
            raise OptionError("--flush-interval is only available in write tests")
        if 0 < self.flush_interval < self.depth:
            raise OptionError("Flush interval can't be smaller than depth")


def bench(
    reference: Reference,
    format: str | None = None,
    *,
    count: int = 75000,
    depth: int = 64,
    size: int = 4096,
    offset: int = 0,
    step: int | None = None,
    write: bool = False,
    pattern: int = 0,
    flush_interval: int = 0,
    drain: bool = True,
    opener: Opener | None = None,
) -> float:
    """Send simple requests to an image, and wait until all of them are done.

    :param reference: the image
    :param format: its format; ``None``: detect it
    :param count: how many requests
    :param depth: how many of them are under way at once
    :param size: bytes of each
    :param offset: guest offset in bytes where the first begins
    :param step: how many bytes later the next one begins (beyond the end of the disk it starts over); ``None``, 0:
        ``size``
    :param write: whether they write over what is there; otherwise they read
    :param pattern: the byte that is written, as a number
    :param flush_interval: flush after so many writes; 0: never
    :param drain: send nothing while a flush waits for earlier requests
    :param opener: which files may be opened, and how
    :returns: how many seconds that took
    :raises OptionError: one of the numbers makes no sense
    :raises ImageError: the image cannot be opened, or a request failed, for instance because it goes over the end
    """
    request = BenchRequest(
        reference, format, count, depth, size, offset, step, write, pattern, flush_interval, drain
    )
    return send(request, opener or Opener())


def send(request: BenchRequest, opener: Opener, before_first: Callable[[], None] | None = None) -> float:
    """The same for requests that are described already.

    :param before_first: called when the image is open
    """
    request.check()
    with opener.open(request.reference, request.format, WRITE if request.write else READ) as image:
        if before_first is not None:
            before_first()
        started = time.monotonic()
        _Run(request, image).run()
        return time.monotonic() - started


class _Run:
    """The requests to one image.  Whatever looks at or changes its metadata happens under one lock."""

    def __init__(self, request: BenchRequest, image: Image) -> None:
        self._request = request
        self._image = image
        self._size = image.size
        #: Who holds this sends what comes next; while somebody keeps it, nothing is sent.
        self._turn = threading.Lock()
        self._offsets_left = enumerate(self._offsets(), 1)
        self._failure: BaseException | None = None
        self._metadata = threading.Lock()
        #: Writes that were sent and are not done; a flush waits until there are none.
        self._unwritten = 0
        self._written = threading.Condition(self._metadata)
        self._data = bytes((request.pattern,)) * request.size if request.write else b""

    def run(self) -> None:
        """Send everything, in order, never more than allowed at once."""
        request = self._request
        # Each thread takes the next request itself: handing them out one by one costs more than a read that is cached.
        work = self._write_all if request.write else self._read_all
        count = max(1, min(request.depth, request.count, _MAX_THREADS, _MAX_BUFFER_BYTES // request.size))
        work_together(count, lambda: self._guarded(work), self._stop)
        if self._failure is not None:
            raise self._failure

    def _guarded(self, work: Callable[[], None]) -> None:
        """Work; what goes wrong stops all threads, and is raised when they have stopped."""
        try:
            work()
        except BaseException as error:
            self._stop(error)

    def _stop(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error

    def _read_all(self) -> None:
        image, size = self._image, self._request.size
        view = memoryview(bytearray(size))
        try:
            while self._failure is None:
                # Nothing changes the metadata, so that they may be looked at in the same turn.
                with self._turn:
                    _number, offset = next(self._offsets_left, _NO_MORE)
                    if offset is None:
                        return
                    self._check(offset)
                    runs = source_runs(image, read_extents(image, offset, size), -offset)
                    parts = [(run.start, run.length, run.reader()) for run in runs]
                for start, length, reader in parts:
                    reader(view[start : start + length])
        except ImageError as error:
            raise _failed(error) from error

    def _write_all(self) -> None:
        interval, drain = self._request.flush_interval, self._request.drain
        while self._failure is None:
            with self._turn:
                number, offset = next(self._offsets_left, _NO_MORE)
                if offset is None:
                    return
                with self._metadata:
                    self._unwritten += 1
                flush = interval and number % interval == 0
                if flush and drain:
                    self._write(offset)
                    self._flush()
                    continue
            self._write(offset)
            if flush:
                self._flush()

    def _offsets(self) -> Iterator[int]:
        offset, size = self._request.offset, self._size
        for _number in range(self._request.count):
            yield offset
            offset += self._request.stride
            if offset >= size > 0:
                offset %= size

    def _check(self, offset: int) -> None:
        if offset + self._request.size > self._size:
            import errno
            import os

            raise StorageError(
                "Failed request: %s" % os.strerror(errno.EIO),
                path=self._image.filename,
                errno=errno.EIO,
                remedy="a request of %d bytes at offset %d goes over the end of the disk (%d bytes)"
                % (self._request.size, offset, self._size),
            )

    def _write(self, offset: int) -> None:
        try:
            self._check(offset)
            with self._metadata:
                places = self._image.place(offset, self._request.size)
            done = 0
            for storage, host, length in places:
                storage.write(host, memoryview(self._data)[done : done + length])
                done += length
        except ImageError as error:
            raise _failed(error) from error
        finally:
            with self._metadata:
                self._unwritten -= 1
                self._written.notify_all()

    def _flush(self) -> None:
        try:
            with self._metadata:
                while self._unwritten:
                    self._written.wait()
                self._image.flush()
        except ImageError as error:
            raise _failed(error) from error


def _failed(error: ImageError) -> ImageError:
    failure = type(error)("Failed request: %s" % error.words, path=error.path, errno=error.errno, remedy=error.remedy)
    failure.offset = error.offset
    return failure
