# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Files and block devices without the page cache (``O_DIRECT``).

The kernel then takes only whole blocks, from and to aligned memory.  Requests that are so already go straight through;
all others go through a bounce buffer, and a write that begins or ends inside a block reads the block first.
"""
from __future__ import annotations

import errno
import os
import threading

from ..sizes import round_up
from . import linux
from .buffers import aligned_buffer
from .local import LocalFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .base import Buffer
    from .cache import CacheMode

#: Blocks of this many bytes are good for every medium.
_LARGEST_BLOCK = 4096
_BOUNCE = 1 << 20


class DirectFile(LocalFile):
    """A file or block device that is read and written without the page cache."""

    def __init__(self, fd: int, name: str, writable: bool, cache: CacheMode, locking: bool = True) -> None:
        super().__init__(fd, name, writable, cache, locking)
        self.alignment = self.memory_alignment = self._find_alignment()
        #: Two writers must not complete the same block from what the medium had.
        self._completing = threading.Lock()
        self._per_thread = threading.local()

    def _find_alignment(self) -> int:
        """The smallest block that the medium takes."""
        if self.is_device:
            try:
                return linux.logical_block_size(self._fd)
            except OSError:
                return _LARGEST_BLOCK
        if not self.size:
            # Nothing to try it with.
            return _LARGEST_BLOCK
        probe = aligned_buffer(_LARGEST_BLOCK)
        block = 512
        while block < _LARGEST_BLOCK:
            try:
                os.preadv(self._fd, (probe[:block],), 0)
                return block
            except OSError as error:
                if error.errno != errno.EINVAL:
                    break
            block *= 2
        return _LARGEST_BLOCK

    def read_into(self, offset: int, buffer: Buffer) -> None:
        view = memoryview(buffer)
        if offset >> 63:
            view[:] = bytes(len(view))
            return
        try:
            if self._is_aligned(offset, len(view)):
                try:
                    self._read_blocks(offset, view)
                    return
                except OSError as error:
                    # The memory is not aligned.
                    if error.errno != errno.EINVAL:
                        raise
            self._read_bounced(offset, view)
        except OSError as error:
            raise self._failed(error, "Could not read", offset) from error

    def write(self, offset: int, data: Buffer) -> None:
        view = memoryview(data)
        try:
            if self._is_aligned(offset, len(view)):
                try:
                    self._write_blocks(offset, view)
                    return
                except OSError as error:
                    if error.errno != errno.EINVAL:
                        raise
            self._write_bounced(offset, view)
        except OSError as error:
            raise self._failed(error, "Could not write", offset) from error

    def _is_aligned(self, offset: int, length: int) -> bool:
        return not offset % self.alignment and not length % self.alignment

    def _read_blocks(self, offset: int, view: memoryview) -> None:
        """Fill whole blocks; what lies beyond the end of the file is zero."""
        done = 0
        while done < len(view):
            got = os.preadv(self._fd, (view[done:],), offset + done)
            done += got
            if not got or done % self.alignment:
                # The end of the file.
                view[done:] = bytes(len(view) - done)
                return

    def _write_blocks(self, offset: int, view: memoryview) -> None:
        done = 0
        while done < len(view):
            written = os.pwrite(self._fd, view[done:], offset + done)
            if written % self.alignment:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            done += written

    def _read_bounced(self, offset: int, view: memoryview) -> None:
        bounce = self._bounce()
        done = 0
        while done < len(view):
            start = (offset + done) // self.alignment * self.alignment
            skip = offset + done - start
            length = min(len(view) - done, len(bounce) - skip)
            blocks = bounce[: round_up(skip + length, self.alignment)]
            self._read_blocks(start, blocks)
            view[done : done + length] = blocks[skip : skip + length]
            done += length

    def _write_bounced(self, offset: int, view: memoryview) -> None:
        bounce = self._bounce()
        done = 0
        while done < len(view):
            start = (offset + done) // self.alignment * self.alignment
            skip = offset + done - start
            length = min(len(view) - done, len(bounce) - skip)
            blocks = bounce[: round_up(skip + length, self.alignment)]
            part = view[done : done + length]
            if skip or skip + length < len(blocks):
                with self._completing:
                    self._complete_and_write(start, blocks, skip, part)
            else:
                blocks[:] = part
                self._write_blocks(start, blocks)
            done += length

    def _complete_and_write(self, start: int, blocks: memoryview, skip: int, part: memoryview) -> None:
        """Write whole blocks of which only a part is new."""
        end = skip + len(part)
        if not self.is_device and start + len(blocks) > self.size:
            # Whole blocks would make the file longer than wanted.
            self._write_through_cache(start + skip, part)
            return
        if skip:
            self._read_blocks(start, blocks[: self.alignment])
        if end < len(blocks) and (not skip or len(blocks) > self.alignment):
            self._read_blocks(start + len(blocks) - self.alignment, blocks[-self.alignment :])
        blocks[skip:end] = part
        self._write_blocks(start, blocks)

    def _write_through_cache(self, offset: int, data: memoryview) -> None:
        """Write the unaligned end of a file, and leave nothing of it in the page cache."""
        fd = os.open("/proc/self/fd/%d" % self._fd, os.O_WRONLY | os.O_CLOEXEC)
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(fd, data[done:], offset + done)
            os.fdatasync(fd)
            os.posix_fadvise(fd, offset, len(data), os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)

    def _bounce(self) -> memoryview:
        if not hasattr(self._per_thread, "buffer"):
            self._per_thread.buffer = aligned_buffer(_BOUNCE)
        buffer: memoryview = self._per_thread.buffer
        return buffer
