# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""New images where there is something already that cannot be replaced: a device, an export of a server."""
from __future__ import annotations

from ..errors import ImageError, StorageError
from ..limits import SECTOR
from .locks import CREATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .base import Storage

#: What makes no new files: protocol, and why what is there does not do.
NOT_CREATED = (
    "Protocol driver '%s' does not support creating new images, so an existing image must be selected as the target; "
    "however, opening the given target as an existing image failed: %s"
)


class ExistingTarget:
    """A storage that is there already and has no name that it could take at the end: a device, an export of a server.

    It has the interface of :class:`~qimg.storage.replace.NewFile`, but is written in place: whoever fails half way
    leaves half of an image.

    :param name: what the user called it
    :param protocol: its driver
    :param open_storage: opens it for writing
    :raises StorageError: it cannot be opened
    :raises ImageInUseError: another process uses it
    """

    #: Nobody gives it hints.
    warning = None
    #: Nothing: see :attr:`~qimg.storage.replace.NewFile.replaced`.
    replaced = None
    #: It had that from the start.
    has_name = True

    def __init__(self, name: str, protocol: str, open_storage: Callable[[], Storage]) -> None:
        try:
            self.storage = open_storage()
        except ImageError as error:
            error.reason = NOT_CREATED % (protocol, error.reason)
            error.path = name
            raise
        try:
            self.storage.lock(CREATE)
        except BaseException:
            self.storage.close()
            raise

    def require_new(self) -> None:
        """Nothing: it is not new, and whoever asks for an image there has seen that."""

    def begin(self, least: int) -> Storage:
        """See :meth:`~qimg.storage.replace.NewFile.begin`."""
        empty(self.storage, least)
        return self.storage

    def backdate(self) -> int | None:
        """It has no modification time."""
        return None

    #: No old file: what was there is gone as soon as writing begins.
    replaces = False

    def settle(self, replacing: bool = False) -> None:
        """Nothing: see :meth:`commit`."""

    def commit(self) -> None:
        """Nothing: whoever closed the image has flushed it."""

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.storage.close()


class KeptTarget:
    """A file of a new image that is there already, and keeps its content.

    It has the interface of :class:`~qimg.storage.replace.NewFile`.  At the end, it grows if it is too short.

    :param open_storage: opens it for writing
    :raises StorageError: it cannot be opened
    :raises ImageInUseError: another process uses it
    """

    warning = None
    replaced = None
    replaces = False
    has_name = True

    def __init__(self, open_storage: Callable[[], Storage]) -> None:
        self._open_storage = open_storage
        self.storage = open_storage()
        self._missing = False
        self._least = 0
        try:
            self.storage.lock(CREATE)
        except BaseException:
            self.storage.close()
            raise

    def require_new(self) -> None:
        """Nothing: that it is there was asked for."""

    def begin(self, least: int) -> Storage:
        """Where to write, with what was there before.

        :param least: how many bytes it has to have
        :raises StorageError: a device has less than that
        """
        if self.storage.is_device:
            self.storage.truncate(least)
        self._least, self._missing = least, self.storage.size < least
        return self.storage

    def settle(self, replacing: bool = False) -> None:
        """Nothing: whoever closed the image has flushed it."""

    def commit(self) -> None:
        """Grow, if it is shorter than the disk.

        :raises StorageError: it cannot
        """
        if not self._missing:
            return
        # Whoever closed the image has closed it, too.
        storage = self._open_storage()
        try:
            if storage.size < self._least:
                storage.truncate(self._least)
                storage.flush()
        finally:
            storage.close()

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.storage.close()


def empty(storage: Storage, least: int) -> None:
    """Have nothing be found where a new image is to be: of what cannot be made shorter, the first sector is cleared."""
    if storage.is_device:
        # Too short a device is refused here, before anything in it is lost.
        storage.truncate(least)
    storage.truncate(0)
    try:
        storage.write_zeroes(0, min(SECTOR, storage.size))
    except StorageError as error:
        error.reason = "Failed to clear the new image's first sector: %s" % error.words
        raise
