# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""NBD servers that follow a script, so that they can do what no server may."""
from __future__ import annotations

import socket
import struct
import threading
from contextlib import contextmanager

from support.nbd import unix_listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

MAGIC = b"NBDMAGIC"
OPTION = b"IHAVEOPT"
OPTION_REPLY = 0x3E889045565A9
ACK, INFO, META_CONTEXT = 1, 3, 4
STRUCTURED_REPLY, SET_META_CONTEXT, GO = 8, 10, 7
UNSUPPORTED = 0x80000001
FIXED_NEWSTYLE = 1
SIZE = 1 << 20
GREETING = MAGIC + OPTION + struct.pack(">H", FIXED_NEWSTYLE | 2)


def option_reply(option: int, kind: int, payload: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack(">QIII", OPTION_REPLY, option, kind, len(payload) if length is None else length) + payload


def export_info(size: int = SIZE, flags: int = 1) -> bytes:
    return struct.pack(">HQH", 0, size, flags)


def block_sizes(*sizes: int) -> bytes:
    return struct.pack(">HIII", 3, *sizes)


class Peer:
    """The server's end of a connection."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def take(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            piece = self._socket.recv(length - len(data))
            if not piece:
                raise ConnectionError
            data += piece
        return data

    def say(self, data: bytes) -> None:
        self._socket.sendall(data)

    def take_option(self) -> int:
        """The next option of the client."""
        header = self.take(16)
        assert header[:8] == OPTION
        option, length = struct.unpack(">II", header[8:])
        self.take(length)
        return int(option)

    def greet(self) -> None:
        self.say(GREETING)
        self.take(4)

    def welcome(
        self,
        structured: bool = True,
        context: bool = True,
        flags: int = 1,
        size: int = SIZE,
        instead: Mapping[int, bytes] = {},
    ) -> None:
        """The whole handshake, as a good server does it.

        :param instead: option -> what is said to it rather than what is right
        """
        self.greet()
        option = 0
        while option != GO:
            option = self.take_option()
            if option in instead:
                self.say(instead[option])
            elif option == STRUCTURED_REPLY and structured:
                self.say(option_reply(option, ACK))
            elif option == SET_META_CONTEXT and context:
                self.say(option_reply(option, META_CONTEXT, struct.pack(">I", 1) + b"base:allocation"))
                self.say(option_reply(option, ACK))
            elif option == GO:
                self.say(option_reply(option, INFO, export_info(size, flags)) + option_reply(option, ACK))
            else:
                self.say(option_reply(option, UNSUPPORTED))

    def take_request(self) -> tuple[bytes, int, int, int]:
        """The next request: cookie, command, offset, length."""
        magic, _flags, command, cookie, offset, length = struct.unpack(">IHH8sQI", self.take(28))
        assert magic == 0x25609513
        return cookie, command, offset, length


@contextmanager
def scripted(directory: Path, script: Callable[[Peer], object]) -> Iterator[dict[str, str]]:
    """A server that follows a script with its only client, then hangs up; gives the options that lead to it."""
    with unix_listener(directory, "s") as listener:

        def run() -> None:
            connected, _address = listener.accept()
            with connected:
                try:
                    script(Peer(connected))
                    # Whatever else the client has to say: the script is over.
                    connected.shutdown(socket.SHUT_WR)
                    while connected.recv(1 << 16):
                        pass
                except OSError:
                    # The client has gone first.
                    return

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield {"path": str(directory / "s")}
        thread.join(30)
        assert not thread.is_alive()
