# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Opening exports."""
from __future__ import annotations

import threading
from collections import namedtuple

from ...errors import OptionError
from ...option_text import parse_boolean
from ...references import first_key
from ..cache import WRITEBACK
from .address import take_address
from .connection import Connection
from .dialing import dial
from .negotiation import negotiate
from .storage import NbdStorage
from .tls import DEFAULT_USERNAME, PskCredentials, X509Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..cache import CacheMode
    from .address import NbdAddress
    from .tls import TlsCredentials

    FindCredentials = Callable[[str], TlsCredentials]


class Timeouts(namedtuple("Timeouts", ["connect", "handshake", "silence"])):
    """Seconds: for one attempt to reach the server, for the whole handshake, and without a sign of life while the
    server owes an answer."""

    __slots__ = ()


#: A server may need long to flush what it holds; a host that is gone is noticed by the system's keepalive long before.
DEFAULT_TIMEOUTS = Timeouts(30.0, 30.0, 3600.0)


#: A number for every export that this process has opened.
_NUMBERS: dict[NbdAddress, int] = {}


class NbdClient:
    """Opens exports.  All who open the same export share a connection, and it is kept for whoever opens it next.

    A server may serve one client only, or end with its first client, while an operation looks at an image, closes it
    and opens it again to change it.
    """

    def __init__(self, timeouts: Timeouts = DEFAULT_TIMEOUTS) -> None:
        self._timeouts = timeouts
        self._guard = threading.Lock()
        self._connections: dict[NbdAddress, Connection] = {}
        #: How many storages use each connection.
        self._users: dict[NbdAddress, int] = {}

    def open(
        self,
        options: dict[str, Any],
        writable: bool,
        cache: CacheMode = WRITEBACK,
        find_credentials: FindCredentials | None = None,
    ) -> NbdStorage:
        """Open an export.

        :param options: of the node, ``driver`` aside
        :param cache: how writes reach the server's medium
        :param find_credentials: gives the TLS credentials with an id
        :raises OptionError: an option is missing, wrong or unknown
        :raises StorageError: there is no such export, or it may not be written
        """
        options = dict(options)
        address = take_address(options)
        with self._guard:
            connection = self._connected(address, find_credentials)
            if options:
                raise OptionError(
                    "Block protocol 'nbd' doesn't support the option '%s'" % first_key(options), path=address.name
                )
            storage = NbdStorage(
                connection, address.name, _number(address), writable, cache, lambda: self._release(address, connection)
            )
            self._users[address] = self._users.get(address, 0) + 1
            return storage

    def _connected(self, address: NbdAddress, find_credentials: FindCredentials | None) -> Connection:
        connection = self._connections.get(address)
        if connection is not None:
            if connection.is_usable:
                return connection
            self._forget(address)
        # A server with room for one client only must not wait for the end of a connection that nobody uses.
        for other in list(self._connections):
            if other.server == address.server and not self._users.get(other):
                self._forget(other)
        connection = self._connect(address, _credentials(address, find_credentials))
        self._connections[address] = connection
        return connection

    def _release(self, address: NbdAddress, connection: Connection) -> None:
        """One storage less uses a connection."""
        with self._guard:
            if self._connections.get(address) is not connection:
                return
            self._users[address] -= 1
            if not self._users[address] and not connection.is_usable:
                self._forget(address)

    def _forget(self, address: NbdAddress) -> None:
        self._users.pop(address, None)
        self._connections.pop(address).close()

    def close(self) -> None:
        """Let go of all connections; what is still open can no longer be used."""
        with self._guard:
            for address in list(self._connections):
                self._forget(address)

    def __del__(self) -> None:
        self.close()

    def _connect(self, address: NbdAddress, credentials: TlsCredentials | None) -> Connection:
        plain = dial(address, self._timeouts.connect)
        wire, export = negotiate(plain, address, credentials, self._timeouts.handshake)
        return Connection(wire, export, address.name, self._timeouts.silence)


def _number(address: NbdAddress) -> int:
    return _NUMBERS.setdefault(address, len(_NUMBERS))


def _credentials(address: NbdAddress, find_credentials: FindCredentials | None) -> TlsCredentials | None:
    """The credentials that an address asks for; ``None``: no TLS."""
    if address.tls_credentials is not None:
        if find_credentials is None:
            raise OptionError("No TLS credentials with id '%s'" % address.tls_credentials, path=address.name)
        return find_credentials(address.tls_credentials)
    if address.tls is None:
        return None
    options = dict(address.tls)
    key_file = options.get("psk-file")
    if key_file is not None:
        return PskCredentials(key_file, options.get("username", DEFAULT_USERNAME))
    return X509Credentials(options.get("dir"), parse_boolean("tls-verify-peer", options.get("verify-peer", True)))
