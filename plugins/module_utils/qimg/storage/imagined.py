# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A device that only says whether there is room in it, and a file that has room for everything."""
from __future__ import annotations

import errno
import os

from ..errors import StorageError
from ..limits import SECTOR
from ..sizes import round_up
from .base import Storage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .base import Buffer
    from .locks import LockIntent


class ImaginedDevice(Storage):
    """Takes what would be written to a device, up to its end, and keeps nothing: all of it reads as zeroes.

    :param device: what it stands for; it is not touched
    """

    writable = True
    is_device = True

    def __init__(self, device: Storage) -> None:
        self._device = device
        self.name = device.name
        self.can_preallocate = device.can_preallocate
        self.protocol = device.protocol
        self.plural = device.plural
        self.alignment = device.alignment
        self._end = round_up(device.size, SECTOR)

    @property
    def size(self) -> int:
        return self._device.size

    @property
    def reads_zero_when_new(self) -> bool:
        return self._device.reads_zero_when_new

    def read_into(self, offset: int, buffer: Buffer) -> None:
        memoryview(buffer)[:] = bytes(len(buffer))

    def write(self, offset: int, data: Buffer) -> None:
        self._check_room(offset, len(data))

    def write_zeroes(self, offset: int, length: int, deallocate: bool = True) -> None:
        self._check_room(offset, length)

    def copy_from(self, source: Storage, source_offset: int, offset: int, length: int) -> bool:
        self._check_room(offset, length)
        return True

    def truncate(self, size: int) -> None:
        # A device stays as long as it is.
        self._device.truncate(size)

    def flush(self) -> None:
        """Nothing is kept."""

    def lock(self, intent: LockIntent) -> None:
        """Who has the device has locked it."""

    def close(self) -> None:
        """The device stays open."""

    def _check_room(self, offset: int, length: int) -> None:
        if offset + length > self._end:
            raise StorageError(
                "Could not write '%s': %s" % (self.name, os.strerror(errno.ENOSPC)),
                path=self.name,
                errno=errno.ENOSPC,
                offset=offset,
                remedy="it has only %d bytes, and nothing was written: use a larger one" % self._device.size,
            )


class ImaginedFile(Storage):
    """Takes what would be written to a new file, of any length, and keeps nothing: all of it reads as zeroes.

    :param name: what it would be called
    """

    writable = True

    def __init__(self, name: str) -> None:
        self.name = name
        self._size = 0

    @property
    def size(self) -> int:
        return self._size

    def read_into(self, offset: int, buffer: Buffer) -> None:
        memoryview(buffer)[:] = bytes(len(buffer))

    def write(self, offset: int, data: Buffer) -> None:
        self._size = max(self._size, offset + len(data))

    def write_zeroes(self, offset: int, length: int, deallocate: bool = True) -> None:
        self._size = max(self._size, offset + length)

    def copy_from(self, source: Storage, source_offset: int, offset: int, length: int) -> bool:
        self._size = max(self._size, offset + length)
        return True

    def preallocate(self, offset: int, length: int, mode: str) -> None:
        """There is room."""

    def truncate(self, size: int) -> None:
        self._size = size

    def flush(self) -> None:
        """Nothing is kept."""

    def lock(self, intent: LockIntent) -> None:
        """Nobody else knows of it."""

    def close(self) -> None:
        """There is nothing to let go of."""
