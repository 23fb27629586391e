# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Places for bytes, by their node: the table of protocols."""
from __future__ import annotations

import os
import stat

from ..errors import OptionError, StorageError
from ..option_text import parse_number, take_boolean, take_option
from ..references import first_key, nest, parse_protocol_name, parse_reference
from .cache import CacheMode
from .local_choice import file_class

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..errors import ImageError
    from .base import Storage
    from .local import LocalFile
    from .nbd.client import FindCredentials, NbdClient

#: Drivers that are places for bytes, not formats.
PROTOCOLS = ("file", "host_device", "host_cdrom", "nbd")


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


def driver_of_path(path: str) -> str:
    """The protocol for a path of which nothing else is known."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return "file"
    return "host_device" if stat.S_ISBLK(mode) or stat.S_ISCHR(mode) else "file"


def with_driver(node: dict[str, Any]) -> dict[str, Any]:
    """A node whose driver is known; where nothing says it, the file itself does.

    :raises OptionError: there is no file either
    """
    if "driver" in node:
        return node
    if "filename" not in node:
        raise OptionError("Must specify either driver or file")
    return dict(node, driver=driver_of_path(str(node["filename"])))


def node_of(reference: str | dict[str, Any], format: str | None) -> dict[str, Any]:
    """The node that a user, or an image, means.

    :param format: of the image, ``None``: not known; a protocol takes a name as it is, whatever it looks like
    :raises OptionError: it contradicts itself
    """
    if isinstance(reference, str) and format in PROTOCOLS and not reference.startswith("json:"):
        return parse_protocol_name(reference, format)
    node = parse_reference(reference) if isinstance(reference, str) else nest(reference)
    if format is not None:
        node["driver"] = format
    return node


def node_with(name: str, format: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """The node that an image means by a name, with options that a user adds; these do not say which file it is.

    :raises OptionError: the options do not go with a name
    """
    child = options.get("file")
    if child is None:
        if options.get("driver") in PROTOCOLS:
            return {**_place(name, options), **options}
        return {**node_of(name, format), **options}
    if not isinstance(child, dict):
        raise OptionError("Cannot reference an existing block device with additional options or a new filename")
    node = node_of(name, format)
    driver = child.get("driver")
    if driver is None:
        beneath = node.get("file", {})
    elif driver in PROTOCOLS:
        beneath = _place(name, child)
    elif "file" in child:
        raise OptionError("Can't specify 'file' and 'filename' options at the same time")
    else:
        beneath = {"file": node.get("file")}
    return {**node, **options, "file": {**beneath, **child}}


def _place(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The node that a name is for the protocol of some options, which must not say the same once more."""
    place = [key for key in ("host", "port", "path", "server") if options["driver"] == "nbd" and key in options]
    if place:
        raise OptionError("Option '%s' cannot be used with a file name" % first_key({place[0]: options[place[0]]}))
    return parse_protocol_name(name, options["driver"])


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
    return _open_file(driver, options, writable, cache, aio)


def _open_file(driver: str, options: dict[str, Any], writable: bool, cache: CacheMode, aio: str) -> LocalFile:
    path = take_option(options, "filename")
    if not path:
        raise OptionError("The '%s' block driver requires a file name" % driver)
    locking = take_option(options, "locking", "auto")
    if locking not in ("on", "off", "auto"):
        raise OptionError("invalid parameter value: %s" % locking)
    # Threads do the work whatever is asked for, but what contradicts itself is an error.
    aio = take_option(options, "aio", aio)
    if aio not in ("threads", "native", "io_uring"):
        raise OptionError("invalid parameter value: %s" % aio)
    parse_number("aio-max-batch", take_option(options, "aio-max-batch", 0))
    for name in ("drop-cache", "x-check-cache-dropped"):
        take_boolean(options, name)
    manager = take_option(options, "pr-manager")
    if manager is not None:
        # They are programs that send SCSI commands for QEMU; none of the objects here is one.
        raise OptionError("No persistent reservation manager with id '%s'" % manager)
    storage = file_class(cache).open(str(path), writable, cache, locking != "off")
    error: ImageError | None = None
    if aio == "native" and not cache.direct:
        error = OptionError("aio=native was specified, but it requires cache.direct=on, which was not specified.")
    elif storage.is_device != (driver != "file"):
        kind = "either a character or block device" if driver != "file" else "a regular file"
        error = StorageError("'%s' driver requires '%s' to be %s" % (driver, path, kind), path=str(path))
    elif options:
        error = OptionError("Block protocol '%s' doesn't support the option '%s'" % (driver, first_key(options)))
    if error is not None:
        storage.close()
        raise error
    storage.protocol = driver
    return storage
