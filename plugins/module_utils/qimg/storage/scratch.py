# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Changing a file without changing it: how a change is rehearsed."""
from __future__ import annotations

import threading

from ..intervals import IntervalSet
from .base import OFF, Storage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .base import Buffer
    from .locks import LockIntent

_BLOCK = 64 << 10


class ScratchFile(Storage):
    """A file whose changes are kept in memory and forgotten when it is closed.

    Meant for changes of metadata: memory is used for everything that is written, but not for zeroes.

    :param file: owned from now on; never written to
    :param disposable: the file itself is thrown away afterwards: its length may really change, so that the limit of
        its file system is met
    """

    def __init__(self, file: Storage, disposable: bool = False) -> None:
        self._file = file
        self._disposable = disposable
        self._size = file.size
        #: What no longer comes from the file, and the blocks that hold it; where there is no block, it is zero.
        self._replaced = IntervalSet()
        self._blocks: dict[int, bytearray] = {}
        self._mutex = threading.Lock()
        self.name = file.name
        self.writable = True
        self.is_device = file.is_device
        self.protocol = file.protocol
        self.plural = file.plural

    @property
    def identity(self) -> tuple[int, int] | None:
        return self._file.identity

    @property
    def size(self) -> int:
        return self._size

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
                run = self._replaced.next_run(position)
                if run is None or run[0] >= end:
                    break
                start, stop = max(run[0], offset), min(run[1], end)
                self._read_replaced(start, view[start - offset : stop - offset])
                position = stop
            if end > self._size:
                first = max(0, self._size - offset)
                view[first:] = bytes(len(view) - first)

    def _read_replaced(self, offset: int, view: memoryview) -> None:
        done = 0
        while done < len(view):
            index, inside = divmod(offset + done, _BLOCK)
            length = min(_BLOCK - inside, len(view) - done)
            block = self._blocks.get(index)
            view[done : done + length] = block[inside : inside + length] if block is not None else bytes(length)
            done += length

    def write(self, offset: int, data: Buffer) -> None:
        view = memoryview(data)
        with self._mutex:
            done = 0
            while done < len(view):
                index, inside = divmod(offset + done, _BLOCK)
                length = min(_BLOCK - inside, len(view) - done)
                block = self._blocks.setdefault(index, bytearray(_BLOCK))
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
        for index in [index for index in self._blocks if index in touched]:
            first = max(0, start - index * _BLOCK)
            last = min(_BLOCK, end - index * _BLOCK)
            if last - first == _BLOCK:
                del self._blocks[index]
            else:
                self._blocks[index][first:last] = bytes(last - first)
        self._replace(start, end)

    def _replace(self, start: int, end: int) -> None:
        if start < end:
            self._replaced.add(start, end)
            self._size = max(self._size, end)

    def preallocate(self, offset: int, length: int, mode: str) -> None:
        if mode != OFF:
            self.write_zeroes(offset, length)

    def truncate(self, size: int) -> None:
        if self._disposable or self.is_device:
            self._file.truncate(size)
        if self.is_device:
            return
        with self._mutex:
            self._clear(min(size, self._size), max(size, self._size))
            self._size = size

    def flush(self) -> None:
        """Nothing is meant to last."""

    def close(self) -> None:
        self._file.close()
