# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""One connection in its transmission phase: requests of several threads at once, answered in any order.

No thread of its own reads the replies.  Of the threads that wait for one, the first reads for all: each reply goes
straight into the buffer of the request that it answers, and when the reader's own request is answered, the next
waiting thread takes over.  A single thread thus never waits for another.
"""
from __future__ import annotations

import errno
import sys
import threading
from array import array
from collections import deque

from ...errors import StorageError, StorageLostError
from ...intervals import IntervalSet
from ...nbd_names import MAX_STRING
from ..zeros import ZEROS
from . import layout
from .negotiation import ProtocolError, readable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Union

    from .negotiation import Export
    from .wire import Wire

    Bytes = Union[bytes, bytearray, memoryview]

#: How many requests one thread has under way.
_WINDOW = 16
#: Limits of what a sane server answers one request with.
_MAX_PIECES = 1024
_MAX_ERROR_CHUNKS = 64
_MAX_STATUS_BYTES = 16 << 20

#: Requests whose replies can fill the socket.
_BULKY = (layout.NBD_CMD_READ, layout.NBD_CMD_BLOCK_STATUS)


class Request:
    """One command to the server, and what became of it.

    :param buffer: for a read, what to fill; for a write, what to send
    """

    __slots__ = (
        "buffer", "command", "done", "error", "error_chunks", "error_message", "error_offset", "extents", "flags",
        "length", "lost", "next", "offset", "pieces",
    )  # fmt: skip

    def __init__(
        self, command: int, offset: int = 0, length: int = 0, buffer: memoryview | None = None, flags: int = 0
    ) -> None:
        self.command = command
        self.offset = offset
        self.length = length
        self.buffer = buffer
        self.flags = flags
        self.done = False
        #: The error value of the protocol; 0: none.
        self.error = 0
        self.error_message = ""
        self.error_offset: int | None = None
        self.error_chunks = 0
        #: Why there will be no answer.
        self.lost: StorageError | None = None
        #: Of a block status: lengths and flags in turn.
        self.extents: array[int] | None = None
        #: Of a read: everything before this offset has arrived, and the pieces that came out of order.
        self.next = offset
        self.pieces: IntervalSet | None = None


class Connection:
    """An export that answers requests.

    :param wire: owned from now on
    :param name: the export's, for messages
    :param silence: seconds without a sign of life, while an answer is owed, after which the server is given up
    """

    def __init__(self, wire: Wire, export: Export, name: str, silence: float) -> None:
        self.export = export
        self._wire = wire
        self._name = name
        self._turn = threading.Condition(threading.Lock())
        self._sending = threading.Lock()
        self._waiting: dict[int, Request] = {}
        self._bulky = 0
        self._is_read = False
        #: Whether the server has said that it is about to go.
        self._is_unwanted = False
        self._next_cookie = 1
        self._lost: StorageError | None = None
        self._header = memoryview(bytearray(layout.SIMPLE_REPLY.size))
        wire.set_timeout(silence)

    @property
    def is_usable(self) -> bool:
        """Whether requests can be expected to be answered."""
        if self._lost is not None or self._is_unwanted:
            return False
        return bool(self._waiting) or self._wire.is_quiet

    def perform(self, what: str, requests: Iterable[Request]) -> None:
        """Have requests answered, several at a time; all that were sent have been answered when this returns.

        :param what: what they are for, for messages: ``Could not read``
        :raises StorageError: the server reports an error for one of them
        :raises StorageLostError: the connection is broken
        """
        under_way: deque[Request] = deque()
        failed: Request | None = None
        for request in requests:
            if len(under_way) == _WINDOW:
                failed = self._finish(under_way.popleft(), failed)
            if failed is not None:
                break
            self._send(request)
            under_way.append(request)
        while under_way:
            failed = self._finish(under_way.popleft(), failed)
        if failed is not None:
            raise failed.lost or self._reported(what, failed)

    def _finish(self, request: Request, failed: Request | None) -> Request | None:
        self._read_until(lambda: request.done)
        return failed or (request if request.error or request.lost else None)

    def _reported(self, what: str, request: Request) -> StorageError:
        """The error of the server as one of ours."""
        number = request.error if request.error in layout.ERROR_VALUES else errno.EINVAL
        failure = StorageError.from_os_error(OSError(number, ""), self._name, "%s '%s'" % (what, self._name))
        failure.offset = request.offset if request.error_offset is None else request.error_offset
        if request.error_message:
            failure.hint = "server reported: %s" % request.error_message
        return failure

    # Sending

    def _send(self, request: Request) -> None:
        with self._sending:
            if request.command == layout.NBD_CMD_WRITE:
                # While a server waits for us to take its data, it may not take ours: nobody would go on.
                self._read_until(lambda: not self._bulky)
            with self._turn:
                if self._lost is not None:
                    request.lost = self._lost
                    request.done = True
                    return
                cookie = self._next_cookie
                self._next_cookie += 1
                self._waiting[cookie] = request
                self._bulky += request.command in _BULKY
            header = layout.REQUEST.pack(
                layout.REQUEST_MAGIC, request.flags, request.command, cookie, request.offset, request.length
            )
            payload: Bytes = b""
            if request.command == layout.NBD_CMD_WRITE and request.buffer is not None:
                payload = request.buffer
            try:
                self._wire.send(header, payload)
            except OSError as error:
                self._lose(error)
            except BaseException as error:
                # Interrupted: the server would take the next request for the rest of this one.
                self._lose(error)
                raise

    # Receiving

    def _read_until(self, finished: Callable[[], bool]) -> None:
        """Wait for something that a reply brings about, reading replies if nobody else does."""
        with self._turn:
            while not finished() and self._lost is None:
                if self._is_read:
                    self._turn.wait()
                    continue
                self._is_read = True
                self._turn.release()
                try:
                    self._read_reply()
                except (OSError, ProtocolError) as error:
                    self._lose(error)
                except BaseException as error:
                    self._lose(error)
                    raise
                finally:
                    self._turn.acquire()
                    self._is_read = False
                    self._turn.notify_all()

    def _lose(self, why: BaseException) -> None:
        """Give the connection up; threads that wait for the server wake up."""
        if isinstance(why, ProtocolError):
            self._end("The NBD server broke the rules of the protocol: %s" % why)
        else:
            self._end("Lost the connection to the NBD server: %s" % (getattr(why, "strerror", None) or why))
        self._wire.interrupt()

    def _end(self, reason: str) -> None:
        """From now on every request fails, those under way included."""
        with self._turn:
            if self._lost is None:
                self._lost = StorageLostError(
                    reason,
                    path=self._name,
                    errno=errno.EIO,
                    remedy="see whether the server still runs, and try again",
                )
            for request in self._waiting.values():
                request.lost = self._lost
                request.done = True
            self._waiting.clear()
            self._bulky = 0
            self._turn.notify_all()

    def _read_reply(self) -> None:
        """One message of the server."""
        self._wire.receive_into(self._header)
        magic, word, cookie = layout.SIMPLE_REPLY.unpack(self._header)
        request = self._waiting.get(cookie)
        if magic not in (layout.SIMPLE_REPLY_MAGIC, layout.STRUCTURED_REPLY_MAGIC):
            raise ProtocolError("a reply begins with 0x%08x" % magic)
        if request is None:
            raise ProtocolError("it answers what nobody asked")
        if magic == layout.SIMPLE_REPLY_MAGIC:
            self._take_simple(request, word)
            self._answered(cookie, request)
            return
        if not self.export.structured:
            raise ProtocolError("it sends structured replies that were not agreed on")
        flags, kind = word >> 16, word & 0xFFFF
        self._take_chunk(request, kind)
        if flags & layout.NBD_REPLY_FLAG_DONE:
            self._check_complete(request)
            self._answered(cookie, request)
        elif kind == layout.NBD_REPLY_TYPE_NONE:
            raise ProtocolError("a reply goes on after its end")

    def _answered(self, cookie: int, request: Request) -> None:
        with self._turn:
            # Another thread may just have given the connection up.
            if self._waiting.pop(cookie, None) is not None:
                self._bulky -= request.command in _BULKY
            request.done = True
            self._is_unwanted |= request.error == layout.NBD_ESHUTDOWN

    def _take_simple(self, request: Request, error: int) -> None:
        request.error = error
        if error:
            return
        if request.command == layout.NBD_CMD_READ and not self.export.structured and request.buffer is not None:
            self._wire.receive_into(request.buffer)
        elif request.command in _BULKY:
            raise ProtocolError("it answers a request for data without data")

    def _take_chunk(self, request: Request, kind: int) -> None:
        if kind == layout.NBD_REPLY_TYPE_OFFSET_DATA:
            length, offset = layout.LENGTH_AND_OFFSET.unpack(self._wire.receive(layout.LENGTH_AND_OFFSET.size))
            length -= layout.OFFSET.size
            self._wire.receive_into(self._place(request, offset, length))
            return
        (length,) = layout.LENGTH.unpack(self._wire.receive(layout.LENGTH.size))
        if kind & layout.CHUNK_IS_ERROR:
            self._take_error(request, kind, length)
        elif kind == layout.NBD_REPLY_TYPE_OFFSET_HOLE:
            if length != layout.HOLE.size:
                raise ProtocolError("a hole is described in %d bytes" % length)
            offset, size = layout.HOLE.unpack(self._wire.receive(length))
            _clear(self._place(request, offset, size))
        elif kind == layout.NBD_REPLY_TYPE_BLOCK_STATUS:
            self._take_status(request, length)
        elif kind != layout.NBD_REPLY_TYPE_NONE or length:
            raise ProtocolError("a reply has a part of the unknown type %d" % kind)

    def _place(self, request: Request, offset: int, length: int) -> memoryview:
        """Where data of a reply go; each byte may come once."""
        start, end = offset - request.offset, offset - request.offset + length
        if request.command != layout.NBD_CMD_READ or request.buffer is None:
            raise ProtocolError("it sends data that nobody asked for")
        if length <= 0 or start < 0 or end > request.length:
            raise ProtocolError("it sends data from outside of what was asked for")
        if offset == request.next and request.pieces is None:
            request.next = offset + length
        else:
            if request.pieces is None:
                request.pieces = IntervalSet()
                request.pieces.add(request.offset, request.next)
            known = request.pieces.next_run(offset)
            if known is not None and known[0] < offset + length:
                raise ProtocolError("it sends the same data twice")
            request.pieces.add(offset, offset + length)
            if sum(1 for _piece in request.pieces) > _MAX_PIECES:
                raise ProtocolError("it sends data in too many pieces")
        return request.buffer[start:end]

    def _take_error(self, request: Request, kind: int, length: int) -> None:
        has_offset = kind == layout.NBD_REPLY_TYPE_ERROR_OFFSET
        shortest = layout.ERROR.size + (layout.OFFSET.size if has_offset else 0)
        if not shortest <= length <= shortest + MAX_STRING + layout.OFFSET.size:
            raise ProtocolError("an error is described in %d bytes" % length)
        payload = self._wire.receive(length)
        error, message_length = layout.ERROR.unpack_from(payload)
        message = payload[layout.ERROR.size : layout.ERROR.size + message_length]
        if message_length > length - shortest or not error:
            raise ProtocolError("an error has no sound description")
        request.error_chunks += 1
        if request.error_chunks > _MAX_ERROR_CHUNKS:
            raise ProtocolError("a reply has too many errors")
        if not request.error:
            request.error = error
            request.error_message = readable(message)
            if has_offset:
                (offset,) = layout.OFFSET.unpack_from(payload, layout.ERROR.size + message_length)
                if request.offset <= offset < request.offset + request.length:
                    request.error_offset = offset

    def _take_status(self, request: Request, length: int) -> None:
        if request.command != layout.NBD_CMD_BLOCK_STATUS or request.extents is not None:
            raise ProtocolError("it describes blocks that nobody asked about")
        if length < 12 or length % 8 != 4 or length > _MAX_STATUS_BYTES:
            raise ProtocolError("blocks are described in %d bytes" % length)
        payload = self._wire.receive(length)
        (context_id,) = layout.LENGTH.unpack_from(payload)
        if context_id != self.export.context_id:
            raise ProtocolError("it describes blocks in a way that was not asked for")
        extents = array("I", payload[layout.LENGTH.size :])
        if sys.byteorder == "little":
            extents.byteswap()
        if 0 in extents[::2]:
            raise ProtocolError("it describes a block of no length")
        request.extents = extents

    def _check_complete(self, request: Request) -> None:
        """Whether a reply that says that it is complete, and no error, has everything."""
        if request.error:
            return
        if request.command == layout.NBD_CMD_READ:
            end = request.offset + request.length
            if request.pieces is None:
                complete = request.next == end
            else:
                complete = list(request.pieces) == [(request.offset, end)]
            if not complete:
                raise ProtocolError("it sends less data than was asked for")
        elif request.command == layout.NBD_CMD_BLOCK_STATUS and request.extents is None:
            raise ProtocolError("it does not describe the blocks that were asked about")

    # The end

    def close(self) -> None:
        """Tell the server, if it is still there, and let go of the connection.  What is under way is lost."""
        is_orderly = self._lost is None and not self._waiting
        self._end("The connection to the NBD server is closed")
        if is_orderly:
            try:
                self._wire.send(layout.REQUEST.pack(layout.REQUEST_MAGIC, 0, layout.NBD_CMD_DISC, 0, 0, 0))
            except OSError:
                # It has gone first.
                pass
        self._wire.interrupt()
        self._wire.close()


def _clear(view: memoryview) -> None:
    for start in range(0, len(view), len(ZEROS)):
        piece = view[start : start + len(ZEROS)]
        piece[:] = memoryview(ZEROS)[: len(piece)]
