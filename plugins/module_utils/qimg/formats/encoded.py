# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Guest disks that are only read, and of which QEMU tells nothing but that they hold data."""
from __future__ import annotations

from abc import abstractmethod

from .base import ENCODED, Extent, Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..storage.base import Buffer, Storage
    from .base import Origin


class EncodedImage(Image):
    """An image whose map is one run of data without a place.

    :param size: guest bytes
    """

    #: QEMU does not say whether it was closed.
    dirty: bool | None = None

    def __init__(self, origin: Origin, storage: Storage, size: int) -> None:
        self.size = size
        super().__init__(origin, storage)

    @abstractmethod
    def read_guest(self, offset: int, view: memoryview) -> None:
        """Fill ``view`` from a range that is inside the disk; may be called by several threads at once.

        :raises CorruptImageError: the data cannot be decoded
        """

    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        if length:
            yield Extent(offset, length, ENCODED, None, None)

    def _read_into(self, offset: int, view: memoryview) -> None:
        self.read_guest(offset, view)

    def encoded_reader(self, offset: int, length: int) -> Callable[[Buffer], None]:
        return lambda buffer: self.read_guest(offset, memoryview(buffer))
