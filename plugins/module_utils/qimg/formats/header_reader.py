# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A file of which only the header is read, by who does not open it as an image."""
from __future__ import annotations

from ..errors import UnsupportedOperationError
from ..storage.base import Storage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..storage.base import Buffer
    from ..storage.locks import LockIntent

#: Nobody has asked how long it is.
_ANY_LENGTH = 1 << 62


class HeaderReader(Storage):
    """What :meth:`Driver.named_files <qimg.formats.driver.Driver.named_files>` is given, as a storage.

    :param read: gives the bytes at an offset, fewer where the file ends
    """

    name = ""
    writable = False

    def __init__(self, read: Callable[[int, int], bytes]) -> None:
        self._read = read

    @property
    def size(self) -> int:
        return _ANY_LENGTH

    def read_into(self, offset: int, buffer: Buffer) -> None:
        view = memoryview(buffer)
        view[:] = self._read(offset, len(view)).ljust(len(view), b"\0")

    def write(self, offset: int, data: Buffer) -> None:
        raise self._refusal()

    def flush(self) -> None:
        """There is nothing to be kept."""

    def truncate(self, size: int) -> None:
        raise self._refusal()

    def lock(self, intent: LockIntent) -> None:
        """A header is looked at as it is now."""

    def close(self) -> None:
        """The file is closed by who opened it."""

    def _refusal(self) -> UnsupportedOperationError:
        return UnsupportedOperationError("The header is only read")
