# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A storage whose sectors are enciphered in the storage beneath it."""
from __future__ import annotations

from ..limits import BUFFER_BYTES, SECTOR
from ..sizes import round_up
from ..storage.base import Storage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..crypto.sectors import SectorCipher
    from ..storage.base import Buffer
    from ..storage.locks import LockIntent


class EncipheredStorage(Storage):
    """The plain bytes of what lies enciphered in another storage, which it does not own.

    :param start: where the first sector lies, bytes
    """

    alignment = SECTOR

    def __init__(self, storage: Storage, start: int, cipher: SectorCipher) -> None:
        self._storage = storage
        self._start = start
        self._cipher = cipher
        self.name = storage.name
        self.writable = storage.writable
        self.is_device = storage.is_device
        self.protocol = storage.protocol
        self.plural = storage.plural

    @property
    def size(self) -> int:
        return max(0, self._storage.size - self._start)

    def read_into(self, offset: int, buffer: Buffer) -> None:
        view = memoryview(buffer)
        done = 0
        while done < len(view):
            place = offset + done
            first = place - place % SECTOR
            last = min(round_up(offset + len(view), SECTOR), first + BUFFER_BYTES)
            plain = self._read_sectors(first, last)[place - first : offset + len(view) - first]
            view[done : done + len(plain)] = plain
            done += len(plain)

    def _read_sectors(self, first: int, last: int) -> bytes:
        return self._cipher.decrypt(first // SECTOR, self._storage.read(self._start + first, last - first))

    def write(self, offset: int, data: Buffer) -> None:
        view = memoryview(data)
        done = 0
        while done < len(view):
            place = offset + done
            first = place - place % SECTOR
            last = min(round_up(offset + len(view), SECTOR), first + BUFFER_BYTES)
            piece = bytes(view[done : done + last - place])
            if place > first:
                piece = self._read_sectors(first, first + SECTOR)[: place - first] + piece
            done += min(last - place, len(view) - done)
            if len(piece) % SECTOR:
                end = first + len(piece)
                piece += self._read_sectors(last - SECTOR, last)[end - (last - SECTOR) :]
            self._storage.write(self._start + first, self._cipher.encrypt(first // SECTOR, piece))

    def truncate(self, size: int) -> None:
        self._storage.truncate(self._start + size)

    def flush(self) -> None:
        self._storage.flush()

    def lock(self, intent: LockIntent) -> None:
        self._storage.lock(intent)

    def close(self) -> None:
        """The storage beneath belongs to the image."""
