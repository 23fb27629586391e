# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""An open LUKS image."""
from __future__ import annotations

from ...errors import OptionError
from ...limits import SECTOR
from ...sizes import round_up
from ..base import ENCODED, Extent, Image, ImageFile
from ..capabilities import Resizable
from ..enciphered import EncipheredStorage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ...crypto.sectors import SectorCipher
    from ...storage.base import Buffer, Storage
    from ..base import Origin
    from .layout import Header


class LuksImage(Image, Resizable):
    """A guest disk that is enciphered sector by sector, from ``payload_offset`` of the file to its end.

    :param detached: where the header is, if not in front of the disk
    :param cipher: ``None``: only what the header says is asked for
    """

    encrypted = True
    reads_sectors = True

    def __init__(
        self, origin: Origin, storage: Storage, detached: Storage | None, header: Header, cipher: SectorCipher | None
    ) -> None:
        self.header = header
        self._detached = detached
        self._start = header.payload_offset
        self._guest = None if cipher is None else EncipheredStorage(storage, self._start, cipher)
        super().__init__(origin, storage)
        if storage.size < self._start:
            raise OptionError("Its disk would begin beyond the end of the file", path=self.filename)

    @property
    def size(self) -> int:  # type: ignore[override]
        return round_up(self.storage.size - self._start, SECTOR)

    def files(self) -> list[ImageFile]:
        return [] if self._detached is None else [ImageFile("header", None, self._detached, "header")]

    @property
    def has_other_files(self) -> bool:
        return False

    def format_specific(self) -> dict[str, Any]:
        return self.header.specific(self._detached is not None)

    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        if length:
            yield Extent(offset, length, ENCODED, None, None)

    @property
    def guest(self) -> EncipheredStorage:
        """The plain bytes of the disk.

        :raises OptionError: it was opened without its passphrase
        """
        if self._guest is None:
            raise OptionError("Parameter 'key-secret' is required for cipher", path=self.filename)
        return self._guest

    def _read_into(self, offset: int, view: memoryview) -> None:
        self.guest.read_into(offset, view)

    def encoded_reader(self, offset: int, length: int) -> Callable[[Buffer], None]:
        return lambda buffer: self.guest.read_into(offset, buffer)

    def _place(self, offset: int, length: int) -> list[tuple[Storage, int, int]]:
        return [(self.guest, offset, length)]

    def _write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        self.guest.write_zeroes(offset, length, deallocate)

    def _flush(self) -> None:
        self.storage.flush()

    @property
    def reads_zero_when_new(self) -> bool:
        return False

    def resize(self, size: int, preallocation: str = "off") -> None:
        old = self.storage.size
        end = self._start + size
        try:
            if end > old and preallocation != "off":
                self.storage.preallocate(old, end - old, preallocation)
            self.storage.truncate(end)
            self.storage.flush()
        except BaseException:
            if self.storage.size > old:
                self.storage.truncate(old)
            raise
