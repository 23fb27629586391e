# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A connected socket as something that whole messages go through: one thread may receive while another sends."""
from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from typing import Union

    Bytes = Union[bytes, bytearray, memoryview]

#: Shorter payloads are put after their header in memory, as TLS would send two records for two pieces.
_JOIN_BYTES = 16 << 10


class Wire(ABC):
    """Whole messages in and out.  Every method raises ``OSError`` once the peer is gone or silent for too long."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    @abstractmethod
    def set_timeout(self, seconds: float) -> None:
        """How long to wait for the peer without any progress before ``TimeoutError``."""

    @abstractmethod
    def receive_some(self, view: memoryview) -> int:
        """Receive into the beginning of ``view``: how many bytes, at least one, as many as there are in time."""

    @abstractmethod
    def send(self, header: bytes, payload: Bytes = b"") -> None:
        """Send all of both."""

    def receive_into(self, view: memoryview) -> None:
        """Fill ``view``."""
        while len(view):
            view = view[self.receive_some(view) :]

    def receive(self, length: int) -> bytes:
        """``length`` bytes."""
        buffer = bytearray(length)
        self.receive_into(memoryview(buffer))
        return bytes(buffer)

    @property
    @abstractmethod
    def is_quiet(self) -> bool:
        """Whether the peer has neither sent anything that nobody has read yet, nor gone."""

    def interrupt(self) -> None:
        """Have every thread that waits for the peer see it gone."""
        try:
            # Not the method of the TLS socket, which would take the session away from under a waiting thread.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            # Gone already: that is what was wanted.
            pass

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


def _gone() -> ConnectionError:
    return ConnectionResetError("Unexpected end-of-file before all data were read")


def _silent() -> TimeoutError:
    return TimeoutError("the server has stopped answering")


class PlainWire(Wire):
    """A socket as it is.  It stays blocking, so that the system moves whole payloads in one call."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(connected)
        connected.setblocking(True)

    @property
    def raw(self) -> socket.socket:
        """The socket, to be wrapped for TLS."""
        return self._socket

    def set_timeout(self, seconds: float) -> None:
        # The socket's own timeouts; Python's would make every call two.
        interval = struct.pack("ll", int(seconds), int(seconds % 1 * 1000000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, interval)

    def receive_some(self, view: memoryview) -> int:
        try:
            got = self._socket.recv_into(view, 0, socket.MSG_WAITALL)
        except BlockingIOError:
            raise _silent() from None
        if not got:
            raise _gone()
        return got

    def send(self, header: bytes, payload: Bytes = b"") -> None:
        rest = memoryview(payload)
        try:
            sent = self._socket.sendmsg([header, rest], (), socket.MSG_NOSIGNAL)
            while sent < len(header):
                sent += self._socket.send(header[sent:], socket.MSG_NOSIGNAL)
            rest = rest[sent - len(header) :]
            while len(rest):
                rest = rest[self._socket.send(rest, socket.MSG_NOSIGNAL) :]
        except BlockingIOError:
            raise _silent() from None

    @property
    def is_quiet(self) -> bool:
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


class TlsWire(Wire):
    """A socket with TLS on it.

    One TLS session must not be used by two threads at once, and a thread that waits for the peer inside of it would
    keep the other out.  So it never waits: the threads wait outside, for the socket, and take turns.
    """

    def __init__(self, secured: ssl.SSLSocket) -> None:
        super().__init__(secured)
        import select
        import ssl

        self._ssl = ssl
        self._select = select
        self._session: ssl.SSLSocket = secured
        self._turn = threading.Lock()
        self._seconds = 0.0
        secured.setblocking(False)

    def set_timeout(self, seconds: float) -> None:
        self._seconds = seconds

    def receive_some(self, view: memoryview) -> int:
        while True:
            try:
                with self._turn:
                    got = self._session.recv_into(view)
            except self._ssl.SSLWantReadError:
                self._wait(self._select.POLLIN)
                continue
            except self._ssl.SSLWantWriteError:
                self._wait(self._select.POLLOUT)
                continue
            except self._ssl.SSLEOFError:
                # In GnuTLS's words, as QEMU prints them.
                raise ConnectionResetError(
                    "Cannot read from TLS channel: The TLS connection was non-properly terminated."
                ) from None
            if not got:
                raise _gone()
            return got

    def send(self, header: bytes, payload: Bytes = b"") -> None:
        rest = memoryview(payload)
        if len(rest) <= _JOIN_BYTES:
            self._send_all(memoryview(b"".join((header, rest))))
            return
        self._send_all(memoryview(header))
        self._send_all(rest)

    def _send_all(self, view: memoryview) -> None:
        while len(view):
            try:
                with self._turn:
                    sent = self._session.send(view)
            except self._ssl.SSLWantWriteError:
                self._wait(self._select.POLLOUT)
                continue
            except self._ssl.SSLWantReadError:
                self._wait(self._select.POLLIN)
                continue
            except self._ssl.SSLEOFError:
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
            view = view[sent:]

    def _wait(self, event: int) -> None:
        poll = self._select.poll()
        poll.register(self._session, event)
        if not poll.poll(self._seconds * 1000 or None):
            raise _silent()

    @property
    def is_quiet(self) -> bool:
        try:
            with self._turn:
                # Session tickets and the like are consumed here; only a message of the protocol is not quiet.
                self._session.recv(1)
        except self._ssl.SSLWantReadError:
            return True
        except OSError:
            return False
        return False
