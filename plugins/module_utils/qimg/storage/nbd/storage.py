# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""An export as a storage: any offset and length, turned into requests that the server allows."""
from __future__ import annotations

import errno
import threading

from ...errors import StorageError
from ...limits import SECTOR
from ...sizes import round_up
from ..base import ALLOCATED_ZERO, BYTES, HOLE, NOWHERE, UNKNOWN, Storage
from ..zeros import is_zero
from . import layout
from .connection import Connection, Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..base import Buffer
    from ..cache import CacheMode
    from ..locks import LockIntent

#: Data move in requests of this length at most, several at a time, so that server, network and we all have work.
_PIECE = 2 << 20
#: Requests without data may be longer; this is the most that every server of today takes, and a multiple of any block.
_LONG_PIECE = 1 << 30
_MAX_INT32 = (1 << 31) - 1

# What the metadata context says -> what the storage says.
_KINDS = {
    0: BYTES,
    layout.NBD_STATE_HOLE: UNKNOWN,
    layout.NBD_STATE_ZERO: ALLOCATED_ZERO,
    layout.NBD_STATE_HOLE | layout.NBD_STATE_ZERO: HOLE,
}


class NbdStorage(Storage):
    """An export of an NBD server.  Its size is fixed, and the server does the locking.

    :param connection: may be shared with other storages of the same export
    :param number: the same for all storages of the same export
    :param cache: how writes reach the server's medium
    :param release: called when the storage is closed and has no more use for the connection
    :raises StorageError: it shall be written, and the server exports it for reading only
    """

    is_device = True
    is_map_told = True
    protocol = "nbd"
    plural = "NBD nodes"
    dirty = None

    def __init__(
        self,
        connection: Connection,
        name: str,
        number: int,
        writable: bool,
        cache: CacheMode,
        release: Callable[[], None],
    ) -> None:
        self.name = name
        self._number = number
        self.writable = writable
        self._connection: Connection | None = connection
        self._release: Callable[[], None] | None = release
        export = connection.export
        flags = export.flags
        self.is_read_only = bool(flags & layout.NBD_FLAG_READ_ONLY)
        if writable and self.is_read_only:
            raise StorageError(
                "Could not open image: Permission denied",
                path=name,
                errno=errno.EACCES,
                remedy="the server exports it for reading only",
            )
        self._size: int = export.size
        self.alignment = export.minimum
        self._request_sizes = {
            "opt-transfer": export.preferred,
            "max-transfer": min(export.maximum, layout.DEFAULT_MAXIMUM),
        }
        if export.minimum > 1:
            self._request_sizes["max-write-zeroes"] = self._request_sizes["max-transfer"]
            self._request_sizes["max-discard"] = _MAX_INT32 // export.minimum * export.minimum
        self._flags = flags
        self._has_status = export.context_id is not None
        # Without a way to flush, each write has to last by itself, and the other way round.
        can_flush, can_last = flags & layout.NBD_FLAG_SEND_FLUSH, flags & layout.NBD_FLAG_SEND_FUA
        each_lasts = can_last and (cache.writethrough or not can_flush) and not cache.no_flush
        self._write_flags = layout.NBD_CMD_FLAG_FUA if each_lasts else 0
        self._flushes = bool(can_flush) and not cache.no_flush
        self._flushes_each = self._flushes and cache.writethrough and not each_lasts
        self._piece = _whole_blocks(min(_PIECE, export.maximum), export.preferred, export.minimum)
        self._zero_piece = _whole_blocks(min(_LONG_PIECE, export.maximum), export.preferred, export.minimum)
        #: Held while blocks are read, changed and written back for the sake of a part of them.
        self._partial = threading.Lock()

    @property
    def size(self) -> int:
        return self._size

    def request_sizes(self) -> dict[str, int]:
        return self._request_sizes

    @property
    def identity(self) -> tuple[int, int] | None:
        return (-1, self._number)

    @property
    def reads_zero_when_new(self) -> bool:
        return False

    @property
    def _server(self) -> Connection:
        if self._connection is None:
            raise StorageError("'%s' is closed" % self.name, path=self.name)
        return self._connection

    def check_reopening(self) -> None:
        if self.is_read_only:
            raise StorageError(
                "Can't reopen read-only NBD mount as read/write",
                path=self.name,
                errno=errno.EACCES,
                remedy="the server exports it for reading only",
            )

    def lock(self, intent: LockIntent) -> None:
        """Nothing: who may use an export together is the server's business."""

    def close(self) -> None:
        # Nothing of the client is kept: its connections end with the last who has a use for them.
        release, self._connection, self._release = self._release, None, None
        if release is not None:
            release()

    # Reading

    def read_into(self, offset: int, buffer: Buffer) -> None:
        view = memoryview(buffer)
        inside = max(0, min(len(view), self._size - offset))
        if inside < len(view):
            view[inside:] = bytes(len(view) - inside)
            view = view[:inside]
        if not self._is_aligned(offset, len(view)):
            self._read_parts(offset, view)
        elif len(view):
            self._server.perform("Could not read", self._requests(layout.NBD_CMD_READ, offset, view))

    def _requests(self, command: int, offset: int, view: memoryview, flags: int = 0) -> Iterator[Request]:
        position = 0
        while position < len(view):
            # Cut at multiples of the piece's length, so that but for the first all are whole preferred blocks.
            length = min(len(view) - position, self._piece - (offset + position) % self._piece)
            yield Request(command, offset + position, length, view[position : position + length], flags)
            position += length

    def _read_parts(self, offset: int, view: memoryview) -> None:
        """Read the whole blocks around a range, piece by piece, and take the range from them."""
        done = 0
        while done < len(view):
            start = offset + done
            first = self._rounded_down(start)
            length = min(self._piece, self._rounded_up(offset + len(view)) - first)
            whole = memoryview(bytearray(length))
            self.read_into(first, whole)
            part = min(len(view) - done, first + length - start)
            view[done : done + part] = whole[start - first : start - first + part]
            done += part

    # Writing

    def write(self, offset: int, data: Buffer) -> None:
        view = memoryview(data)
        if offset + len(view) > self._size:
            self._check_room(offset, len(view))
            inside = max(0, self._size - offset)
            if not is_zero(view[inside:]):
                raise self._full(offset)
            view = view[:inside]
        if not self._is_aligned(offset, len(view)):
            self._write_parts(offset, view)
        elif len(view):
            self._change("Could not write", self._requests(layout.NBD_CMD_WRITE, offset, view, self._write_flags))

    def _write_parts(self, offset: int, view: memoryview) -> None:
        """Write whole blocks as they are; complete those at the ends with what they hold now."""
        end = offset + len(view)
        first, last = self._rounded_up(offset), self._rounded_down(end)
        if first < last:
            self.write(first, view[first - offset : last - offset])
        else:
            # All within one block, or two of which neither is whole.
            first = last = min(first, end)
        with self._partial:
            self._write_within_block(offset, view[: first - offset])
            self._write_within_block(last, view[last - offset :])

    def _write_within_block(self, offset: int, view: memoryview) -> None:
        if len(view):
            start = self._rounded_down(offset)
            block = bytearray(self._rounded_up(offset + 1) - start)
            self.read_into(start, block)
            block[offset - start : offset - start + len(view)] = view
            self.write(start, block)

    def write_zeroes(self, offset: int, length: int, deallocate: bool = True) -> None:
        self._check_room(offset, length)
        length = min(length, self._size - offset)
        if length <= 0:
            return
        if not self._flags & layout.NBD_FLAG_SEND_WRITE_ZEROES:
            super().write_zeroes(offset, length, deallocate)
            return
        end = offset + length
        first, last = self._rounded_up(offset), self._rounded_down(end)
        if first >= last:
            super().write_zeroes(offset, length, deallocate)
            return
        flags = self._write_flags | (0 if deallocate else layout.NBD_CMD_FLAG_NO_HOLE)
        requests = self._long_requests(layout.NBD_CMD_WRITE_ZEROES, first, last, self._zero_piece, flags)
        self._change("Could not write", requests)
        super().write_zeroes(offset, first - offset, deallocate)
        super().write_zeroes(last, end - last, deallocate)

    def _change(self, what: str, requests: Iterator[Request]) -> None:
        self._server.perform(what, requests)
        if self._flushes_each:
            self.flush()

    def _long_requests(self, command: int, start: int, end: int, piece: int, flags: int = 0) -> Iterator[Request]:
        while start < end:
            length = min(end - start, piece - start % piece)
            yield Request(command, start, length, flags=flags)
            start += length

    def zero_quickly(self, offset: int, length: int) -> bool:
        if not self._flags & layout.NBD_FLAG_SEND_FAST_ZERO or not self._is_aligned(offset, length):
            return False
        flags = self._write_flags | layout.NBD_CMD_FLAG_FAST_ZERO
        # For this one request the largest block does not count.
        requests = self._long_requests(layout.NBD_CMD_WRITE_ZEROES, offset, offset + length, _LONG_PIECE, flags)
        try:
            self._change("Could not write", requests)
        except StorageError as error:
            if error.errno in (errno.ENOTSUP, errno.EINVAL):
                return False
            raise
        return True

    def discard(self, offset: int, length: int) -> None:
        start, end = self._rounded_up(offset), self._rounded_down(min(offset + length, self._size))
        if start < end and self._flags & layout.NBD_FLAG_SEND_TRIM:
            requests = self._long_requests(layout.NBD_CMD_TRIM, start, end, _LONG_PIECE, self._write_flags)
            self._server.perform("Could not discard", requests)

    def flush(self) -> None:
        if self._flushes:
            self._server.perform("Could not flush", (Request(layout.NBD_CMD_FLUSH),))

    def truncate(self, size: int) -> None:
        if size > self._size:
            raise StorageError(
                "Cannot grow %s" % self.plural, path=self.name, remedy="use an export of at least %d bytes" % size
            )

    # What is where

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        end = offset + length
        inside = min(end, self._size)
        while offset < inside:
            if not self._has_status:
                yield offset, inside - offset, BYTES
                break
            for size, flags in self._status(offset, inside):
                size = min(size, inside - offset)
                if size > 0:
                    yield offset, size, _KINDS[flags & 3]
                    offset += size
        if max(offset, inside) < end:
            start = max(offset, inside)
            yield start, end - start, NOWHERE

    def _status(self, offset: int, end: int) -> Iterator[tuple[int, int]]:
        """Lengths and flags of the blocks from an offset on, as far as the server says."""
        first = self._rounded_down(offset)
        request = Request(layout.NBD_CMD_BLOCK_STATUS, first, min(_LONG_PIECE, self._rounded_up(end) - first))
        self._server.perform("Could not find data in", (request,))
        numbers = iter(request.extents or ())
        skip = offset - first
        for size, flags in self._in_whole_blocks(first, zip(numbers, numbers)):
            if size > skip:
                yield size - skip, flags
            skip = max(0, skip - size)

    def _in_whole_blocks(self, start: int, blocks: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """What the server says, block by block of what it reads and writes: a block of which it says several things
        holds data, as far as we can know it."""
        end = start
        for size, flags in blocks:
            end = min(self._size, end + size)
            whole = self._rounded_down(end)
            if start < whole:
                yield whole - start, flags
                start = whole
            if start < end:
                yield self._rounded_up(end) - start, 0
                start = self._rounded_up(end)

    # Blocks

    # The last block of an export may be shorter: where the export ends, a request may end.

    def _is_aligned(self, offset: int, length: int) -> bool:
        return offset % self.alignment == 0 and self._rounded_up(offset + length) == offset + length

    def _rounded_up(self, offset: int) -> int:
        return min(self._size, -(-offset // self.alignment) * self.alignment)

    def _rounded_down(self, offset: int) -> int:
        return offset if offset == self._size else offset // self.alignment * self.alignment

    def _check_room(self, offset: int, length: int) -> None:
        """Refuse what lies beyond the end; but a raw image ends with a whole sector, though the export may not."""
        if offset + length > round_up(self._size, SECTOR):
            raise self._full(offset)

    def _full(self, offset: int) -> StorageError:
        failure = StorageError.from_os_error(
            OSError(errno.ENOSPC, ""), self.name, "Could not write '%s'" % self.name
        )
        failure.offset = offset
        failure.remedy = "the export has only %d bytes: use a larger one" % self._size
        return failure


def _whole_blocks(length: int, preferred: int, minimum: int) -> int:
    """The most bytes, not over ``length``, that are whole preferred blocks; whole smallest ones if none fits."""
    if length >= preferred:
        return length // preferred * preferred
    return length // minimum * minimum
