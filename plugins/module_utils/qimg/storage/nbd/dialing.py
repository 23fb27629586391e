# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Reaching a server."""
from __future__ import annotations

import errno
import os
import socket
import time

from ...errors import OptionError, StorageError
from ...sizes import decimal
from .address import FD, INET, UNIX
from .wire import PlainWire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .address import NbdAddress

#: Seconds between two attempts under ``open-timeout``.
_PAUSE = 0.25
#: TCP on several paths at once.  (``socket.IPPROTO_MPTCP`` came with Python 3.10.)
_IPPROTO_MPTCP = 262
#: Longest path of a Unix socket: ``sun_path``, less its final zero byte.
_MAX_UNIX_PATH = 107


def dial(address: NbdAddress, seconds: float) -> PlainWire:
    """Connect to the server of an export.

    :param seconds: how long one attempt may take
    :raises StorageError: it cannot be reached, not even by trying again for the address's ``open_timeout``
    :raises OptionError: it cannot be an address
    """
    server = dict(address.server)
    deadline = time.monotonic() + address.open_timeout
    while True:
        try:
            return PlainWire(_dial(server, address.name, seconds))
        except StorageError:
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            time.sleep(min(_PAUSE, left))


def _dial(server: dict[str, Any], name: str, seconds: float) -> socket.socket:
    if server["type"] == INET:
        return _dial_inet(server, name, seconds)
    if server["type"] == UNIX:
        return _dial_unix(server, name, seconds)
    if server["type"] == FD:
        return _take_descriptor(server["str"], name)
    return _dial_vsock(server, name, seconds)


def _dial_inet(server: dict[str, Any], name: str, seconds: float) -> socket.socket:
    host, port = server["host"], server["port"]
    where = "%s:%s" % (host, port)
    try:
        found = socket.getaddrinfo(host, port, _family(server), socket.SOCK_STREAM, 0, socket.AI_V4MAPPED)
    except socket.gaierror as error:
        raise StorageError(
            "address resolution failed for %s: %s" % (where, error.strerror), path=name, remedy="check host and port"
        ) from error
    except (UnicodeError, OverflowError, ValueError) as error:
        raise OptionError("'%s' cannot be the address of a server" % where, path=name) from error
    failure: OSError | None = None
    for family, kind, protocol, _canonical, place in found:
        try:
            unconnected = socket.socket(family, kind, _IPPROTO_MPTCP if server.get("mptcp") else protocol)
            connected = _connect(unconnected, place, seconds)
        except OSError as error:
            failure = error
            continue
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if server.get("keep-alive", True):
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connected
    raise _unreachable(failure, where, name)


def _family(server: dict[str, Any]) -> int:
    """Which of IPv4 and IPv6 the options leave."""
    if server.get("ipv4") is False or (server.get("ipv6") and not server.get("ipv4")):
        return socket.AF_INET6
    if server.get("ipv6") is False or (server.get("ipv4") and not server.get("ipv6")):
        return socket.AF_INET
    return socket.AF_UNSPEC


def _dial_unix(server: dict[str, Any], name: str, seconds: float) -> socket.socket:
    path = server["path"]
    encoded = os.fsencode(path)
    if not encoded:
        # The system would complain of the address rather than of the server that is not there.
        raise _unreachable(ConnectionRefusedError(errno.ECONNREFUSED, ""), path, name)
    if len(encoded) > _MAX_UNIX_PATH:
        raise StorageError(
            "UNIX socket path '%s' is too long" % path, path=name, hint="Path must be less than 108 bytes"
        )
    if server.get("abstract"):
        encoded = b"\0" + encoded
        if not server.get("tight", True):
            encoded = encoded.ljust(_MAX_UNIX_PATH + 1, b"\0")
    try:
        return _connect(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), encoded, seconds)
    except OSError as error:
        raise _unreachable(error, path, name) from error


def _dial_vsock(server: dict[str, Any], name: str, seconds: float) -> socket.socket:
    where = "%s:%s" % (server["cid"], server["port"])
    for what in ("cid", "port"):
        if not (server[what].isascii() and server[what].isdigit() and decimal(server[what]) < 1 << 32):
            raise OptionError("Failed to parse %s '%s'" % (what, server[what]), path=name)
    place = (decimal(server["cid"]), decimal(server["port"]))
    try:
        return _connect(socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM), place, seconds)
    except OSError as error:
        raise _unreachable(error, where, name) from error


def _take_descriptor(number: str, name: str) -> socket.socket:
    try:
        return socket.socket(fileno=os.dup(int(number)))
    except ValueError as error:
        raise OptionError("Unable to parse FD number %s" % number, path=name) from error
    except OverflowError as error:
        words = os.strerror(errno.ERANGE)
        raise OptionError("Unable to parse FD number %s: %s" % (number, words), path=name) from error
    except OSError as error:
        raise StorageError("File descriptor '%s' is not a socket" % number, path=name, errno=error.errno) from error


def _connect(unconnected: socket.socket, place: Any, seconds: float) -> socket.socket:
    try:
        unconnected.settimeout(seconds)
        unconnected.connect(place)
    except BaseException:
        unconnected.close()
        raise
    return unconnected


def _unreachable(error: Exception | None, where: str, name: str) -> StorageError:
    number = getattr(error, "errno", None)
    if isinstance(error, TimeoutError) and number is None:
        number = errno.ETIMEDOUT
    words = os.strerror(number) if number else str(error)
    return StorageError(
        "Failed to connect to '%s': %s" % (where, words),
        path=name,
        errno=number,
        remedy="check that an NBD server is listening there",
    )
