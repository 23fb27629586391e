# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Places for bytes, by their node: the table of protocols."""
from __future__ import annotations

from ..errors import OptionError, StorageError
from ..option_text import parse_boolean
from ..references import first_key
from .cache import CacheMode
from .local import LocalFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..errors import ImageError
    from .base import Storage
    from .nbd.client import FindCredentials, NbdClient

#: Drivers that are places for bytes, not formats.
PROTOCOLS = ("file", "host_device", "nbd")


class Connections:
    """The connections to servers, for all that one operation opens."""

    def __init__(self) -> None:
        self._nbd: NbdClient | None = None

    def open_nbd(
        self, options: dict[str, Any], writable: bool, cache: CacheMode, find_credentials: FindCredentials | None
    ) -> Storage:
        """Open an export; see :meth:`~qimg.storage.nbd.client.NbdClient.open`."""
        if self._nbd is None:
            # Few operations need it, and it needs the socket module.
            from .nbd.client import NbdClient

            self._nbd = NbdClient()
        return self._nbd.open(options, writable, cache, find_credentials)


def open_storage(
    node: dict[str, Any],
    writable: bool,
    cache: CacheMode,
    connections: Connections,
    find_credentials: FindCredentials | None = None,
    aio: str = "threads",
) -> Storage:
    """Open what a protocol node describes.

    :param node: ``driver`` and the protocol's options
    :param connections: what to share with other storages
    :param find_credentials: gives the TLS credentials with an id
    :param aio: what is in force where a node of a local file does not say it
    :raises OptionError: an option that the protocol does not have
    :raises StorageError: it cannot be opened
    """
    options = dict(node)
    driver = options.pop("driver", "file")
    if driver == "nbd":
        return connections.open_nbd(options, writable, cache, find_credentials)
    options.setdefault("aio", aio)
    return _open_file(driver, options, writable, cache)


def _open_file(driver: str, options: dict[str, Any], writable: bool, cache: CacheMode) -> LocalFile:
    path = options.pop("filename", None)
    if not path:
        raise OptionError("The '%s' block driver requires a file name" % driver)
    locking = options.pop("locking", "auto")
    if locking not in ("on", "off", "auto"):
        raise OptionError("invalid parameter value: %s" % locking)
    # Threads do the work whatever is asked for, but what contradicts itself is an error.
    aio = options.pop("aio")
    if aio not in ("threads", "native", "io_uring"):
        raise OptionError("invalid parameter value: %s" % aio)
    for name in ("drop-cache", "x-check-cache-dropped"):
        parse_boolean(name, options.pop(name, False))
    storage = LocalFile.open(str(path), writable, cache, locking != "off")
    error: ImageError | None = None
    if aio == "native" and not cache.direct:
        error = OptionError("aio=native was specified, but it requires cache.direct=on, which was not specified.")
    elif driver == "host_device" and not storage.is_device:
        error = StorageError(
            "'host_device' driver requires '%s' to be either a character or block device" % path, path=str(path)
        )
    elif options:
        error = OptionError("Block protocol '%s' doesn't support the option '%s'" % (driver, first_key(options)))
    if error is not None:
        storage.close()
        raise error
    return storage
