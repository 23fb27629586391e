# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Changing files without changing them: how changes are rehearsed."""
from __future__ import annotations

import errno
import os
import threading

from ..errors import StorageError
from ..intervals import IntervalSet
from .base import BYTES, HOLE, OFF, Storage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from .base import Buffer
    from .locks import LockIntent

_BLOCK = 64 << 10


class ScratchContent:
    """What a rehearsed file holds beside what the file itself does, if there is one.

    :param size: bytes
    """

    def __init__(self, size: int) -> None:
        self.size = size
        #: What no longer comes from the file, and the blocks that hold it; where there is no block, it is zero.
        self.replaced = IntervalSet()
        self.blocks: dict[int, bytearray] = {}
        #: Whether guest data that the real thing would copy are missing.
        self.lacks_data = False
        #: Whether there is no file of that name yet.
        self.is_new = False
        self.mutex = threading.Lock()

    def document(self) -> dict[str, Any]:
        """All of it as plain data, for :meth:`from_document`."""
        from base64 import b64encode
        from zlib import compress

        return {
            "size": self.size,
            "replaced": [list(run) for run in self.replaced],
            "blocks": {
                str(index): b64encode(compress(block)).decode("ascii")
                for index, block in self.blocks.items()
                if any(block)
            },
            "lacks_data": self.lacks_data,
            "is_new": self.is_new,
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> ScratchContent:
        """The opposite of :meth:`document`."""
        from base64 import b64decode
        from zlib import decompress

        content = cls(document["size"])
        for start, end in document["replaced"]:
            content.replaced.add(start, end)
        for index, block in document["blocks"].items():
            content.blocks[int(index)] = bytearray(decompress(b64decode(block)))
        content.lacks_data = document["lacks_data"]
        content.is_new = document["is_new"]
        return content


class NoFile(Storage):
    """What is beneath a rehearsed file that does not exist: nothing."""

    writable = True

    def __init__(self, name: str, content: ScratchContent) -> None:
        self.name = name
        self._content = content

    @property
    def identity(self) -> tuple[int, int]:
        return -1, id(self._content)

    @property
    def size(self) -> int:
        return 0

    def read_into(self, offset: int, buffer: Buffer) -> None:
        memoryview(buffer)[:] = bytes(len(buffer))

    def write(self, offset: int, data: Buffer) -> None:
        """Nothing is kept."""

    def truncate(self, size: int) -> None:
        """Nothing is kept."""

    def flush(self) -> None:
        """Nothing is kept."""

    def lock(self, intent: LockIntent) -> None:
        """Nobody else can be using it."""

    def close(self) -> None:
        """Nothing is open."""


class Rehearsal:
    """What rehearsed changes have left behind, so that later ones can build on them.

    Files are known by their real paths; what is not known here is as it is.  What is known of a file counts as long as
    the file itself stays what it was when it was first rehearsed to change it.

    :param documents: what earlier rehearsals have left, from :meth:`documents`
    """

    def __init__(self, documents: dict[str, Any] | None = None) -> None:
        #: Directories that do not exist, and were taken to be there; ``None``: that is an error.
        self.assumed_directories: list[str] | None = None
        self._files: dict[str, ScratchContent | None] = {}
        self._found: dict[str, list[int] | None] = {}
        for path, document in (documents or {}).items():
            if document["found"] == _state_of(path):
                content = document["content"]
                self._files[path] = None if content is None else ScratchContent.from_document(content)
                self._found[path] = document["found"]

    def documents(self) -> dict[str, Any]:
        """All of it as plain data, by path."""
        return {
            path: {"found": self._found[path], "content": None if content is None else content.document()}
            for path, content in self._files.items()
        }

    def files(self) -> list[str]:
        """The real paths of all files that would be there and have been made or changed."""
        return [path for path, content in self._files.items() if content is not None]

    def copy(self) -> Rehearsal:
        """The same, for changes that nobody shall build on."""
        other = Rehearsal(self.documents())
        other.assumed_directories = self.assumed_directories
        return other

    def assumes(self, directory: str) -> bool:
        """Whether a directory is not there, and taken to be there nevertheless."""
        if self.assumed_directories is None or os.path.exists(directory):
            return False
        if directory not in self.assumed_directories:
            self.assumed_directories.append(directory)
        return True

    def exists(self, path: str) -> bool:
        """Whether there would be a file."""
        path = os.path.realpath(path)
        return self._files[path] is not None if path in self._files else os.path.exists(path)

    def content(self, path: str) -> ScratchContent | None:
        """What a file would hold; ``None``: what it really does, if it is there."""
        return self._files.get(os.path.realpath(path))

    def is_gone(self, path: str) -> bool:
        """Whether a file would have been removed."""
        path = os.path.realpath(path)
        return path in self._files and self._files[path] is None

    def open(
        self, path: str | None, really_open: Callable[[], Storage], writable: bool, changes: bool
    ) -> Storage:
        """Open a file as it would be.

        :param path: ``None`` if it is no local file
        :param really_open: opens what is there
        :param changes: whether what is written to it shall be remembered, and not be written
        :raises StorageError: it would be gone, or cannot be opened
        """
        content = self.content(path) if path is not None else None
        if path is not None and self.is_gone(path):
            error = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            raise StorageError.from_os_error(error, path, "Could not open '%s'" % path)
        is_new = path is not None and content is not None and content.is_new
        storage = NoFile(str(path), content) if is_new and content is not None else really_open()
        if content is None and not changes:
            return storage
        scratch = ScratchFile(storage, content, writable)
        if path is not None and changes:
            self.keep(path, scratch.content)
        return scratch

    def keep(self, path: str, content: ScratchContent | None) -> None:
        """Remember what a file would hold; ``None``: it would be gone."""
        path = os.path.realpath(path)
        if path not in self._files:
            self._found[path] = _state_of(path)
        self._files[path] = content


def _state_of(path: str) -> list[int] | None:
    """What changes when somebody really changes a file; ``None``: there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_ino, status.st_size, status.st_mtime_ns]


class ScratchFile(Storage):
    """A file whose changes are kept in memory; the file itself is never written to.

    Meant for changes of metadata: memory is used for everything that is written, but not for zeroes.

    :param file: owned from now on
    :param content: what has been changed before, and takes the changes; ``None``: nothing has
    :param writable: whether it may be changed
    :param disposable: the file itself is thrown away afterwards: its length may really change, so that the limit of
        its file system is met
    """

    def __init__(
        self,
        file: Storage,
        content: ScratchContent | None = None,
        writable: bool = True,
        disposable: bool = False,
    ) -> None:
        self._file = file
        self._disposable = disposable
        self.content = content if content is not None else ScratchContent(file.size)
        self._mutex = self.content.mutex
        self.name = file.name
        self.writable = writable
        self.is_device = file.is_device
        self.can_preallocate = file.can_preallocate
        self.protocol = file.protocol
        self.plural = file.plural

    @property
    def lacks_data(self) -> bool:
        """See :class:`Storage`; it is a matter of the content, whoever has it open."""
        return self.content.lacks_data

    @lacks_data.setter
    def lacks_data(self, value: bool) -> None:
        self.content.lacks_data = value

    @property
    def identity(self) -> tuple[int, int] | None:
        return self._file.identity

    @property
    def size(self) -> int:
        return self.content.size

    @property
    def reads_zero_when_new(self) -> bool:
        return self._file.reads_zero_when_new

    @property
    def allocated_size(self) -> int | None:
        return self._file.allocated_size

    def lock(self, intent: LockIntent) -> None:
        self._file.lock(intent)

    def read_into(self, offset: int, buffer: Buffer) -> None:
        view = memoryview(buffer)
        with self._mutex:
            self._file.read_into(offset, view)
            end = offset + len(view)
            position = offset
            while position < end:
                run = self.content.replaced.next_run(position)
                if run is None or run[0] >= end:
                    break
                start, stop = max(run[0], offset), min(run[1], end)
                self._read_replaced(start, view[start - offset : stop - offset])
                position = stop
            if end > self.content.size:
                first = max(0, self.content.size - offset)
                view[first:] = bytes(len(view) - first)

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        if not self.content.is_new:
            yield from super().extents(offset, length)
            return
        position, end = offset, offset + length
        for index in sorted(self.content.blocks):
            start, stop = max(position, index * _BLOCK), min(end, (index + 1) * _BLOCK)
            if start < stop:
                if position < start:
                    yield position, start - position, HOLE
                yield start, stop - start, BYTES
                position = stop
        if position < end:
            yield position, end - position, HOLE

    def _read_replaced(self, offset: int, view: memoryview) -> None:
        done = 0
        while done < len(view):
            index, inside = divmod(offset + done, _BLOCK)
            length = min(_BLOCK - inside, len(view) - done)
            block = self.content.blocks.get(index)
            view[done : done + length] = block[inside : inside + length] if block is not None else bytes(length)
            done += length

    def write(self, offset: int, data: Buffer) -> None:
        view = memoryview(data)
        with self._mutex:
            done = 0
            while done < len(view):
                index, inside = divmod(offset + done, _BLOCK)
                length = min(_BLOCK - inside, len(view) - done)
                block = self.content.blocks.setdefault(index, bytearray(_BLOCK))
                block[inside : inside + length] = view[done : done + length]
                done += length
            self._replace(offset, offset + len(view))

    def write_zeroes(self, offset: int, length: int, deallocate: bool = True) -> None:
        if length > 0:
            with self._mutex:
                self._clear(offset, offset + length)

    def _clear(self, start: int, end: int) -> None:
        """Have a range read as zeroes."""
        touched = range(start // _BLOCK, -(-end // _BLOCK))
        for index in [index for index in self.content.blocks if index in touched]:
            first = max(0, start - index * _BLOCK)
            last = min(_BLOCK, end - index * _BLOCK)
            if last - first == _BLOCK:
                del self.content.blocks[index]
            else:
                self.content.blocks[index][first:last] = bytes(last - first)
        self._replace(start, end)

    def _replace(self, start: int, end: int) -> None:
        if start < end:
            self.content.replaced.add(start, end)
            self.content.size = max(self.content.size, end)

    def preallocate(self, offset: int, length: int, mode: str) -> None:
        if mode != OFF:
            self.write_zeroes(offset, length)

    def truncate(self, size: int) -> None:
        if self._disposable or self.is_device:
            self._file.truncate(size)
        if self.is_device:
            return
        with self._mutex:
            self._clear(min(size, self.content.size), max(size, self.content.size))
            self.content.size = size

    def flush(self) -> None:
        """Nothing is meant to last."""

    def close(self) -> None:
        self._file.close()
