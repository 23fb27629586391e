# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Local files and block devices."""
from __future__ import annotations

import errno
import os
import stat

from ..errors import NO_SPACE_REMEDY, StorageError
from ..limits import SECTOR
from . import linux
from .base import BYTES, FALLOC, HOLE, OFF, Storage
from .cache import WRITEBACK, CacheMode
from .locks import ImageLock, LockIntent
from .zeros import ZEROS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .base import Buffer

#: ``copy_file_range`` says with these that it cannot do it here, as opposed to failing.
_CANNOT_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.ETXTBSY, errno.EPERM)
#: Preallocating by writing: in pieces of this many bytes.
_FILL_PIECE = 64 << 10
#: Bytes at the start of a new file that are written even if there is nothing in it.
_FIRST_BLOCK = 4096
#: Symbolic links that the kernel follows.
_MAX_LINKS = 40


class LocalFile(Storage):
    """A regular file or a block device, by its descriptor.

    :param fd: owned from now on
    :param name: what the user called it
    :param cache: how the descriptor was opened, and whether :meth:`flush` may do nothing
    :param locking: whether to take QEMU's locks
    """

    def __init__(
        self, fd: int, name: str, writable: bool, cache: CacheMode = WRITEBACK, locking: bool = True
    ) -> None:
        self.name = name
        self.writable = writable
        self.cache = cache
        self._fd = fd
        self._lock = ImageLock(fd, name) if locking else None
        #: Where data were last found, and where they end.
        self._known_data = (0, 0)
        mode = os.fstat(fd).st_mode
        self.is_device = not stat.S_ISREG(mode)
        self.can_preallocate = not self.is_device
        if self.is_device:
            self.protocol, self.plural = "host_device", "device files"

    @classmethod
    def open(cls, path: str, writable: bool = False, cache: CacheMode = WRITEBACK, locking: bool = True) -> LocalFile:
        """Open an existing file or block device.

        :raises StorageError: it cannot be opened, or is neither a file nor a block device
        """
        try:
            # O_NONBLOCK: opening a named pipe must not wait for its other end before we can refuse it.
            fd = os.open(path, open_flags(cache) | os.O_NONBLOCK | (os.O_RDWR if writable else os.O_RDONLY))
        except OSError as error:
            failure = StorageError.from_os_error(error, path, "Could not open '%s'" % path)
            if error.errno == errno.EINVAL and cache.direct:
                failure.remedy = "its file system may not support direct I/O: choose another cache mode"
            raise failure from error
        try:
            mode = os.fstat(fd).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode) or stat.S_ISCHR(mode)):
                raise not_a_file(path)
            if stat.S_ISREG(mode):
                _check_length(fd, path)
            return cls(fd, path, writable, cache, locking)
        except BaseException:
            os.close(fd)
            raise

    @property
    def fd(self) -> int:
        """The descriptor, for what only the operating system can do with it."""
        return self._fd

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode: the same for every name of one file."""
        status = os.fstat(self._fd)
        return (status.st_dev, status.st_ino)

    @property
    def size(self) -> int:
        if self.is_device:
            return os.lseek(self._fd, 0, os.SEEK_END)
        return os.fstat(self._fd).st_size

    @property
    def reads_zero_when_new(self) -> bool:
        return not self.is_device

    @property
    def allocated_size(self) -> int | None:
        return os.fstat(self._fd).st_blocks * 512

    @property
    def free_space(self) -> int | None:
        if self.is_device:
            return None
        status = os.fstatvfs(self._fd)
        return (status.f_bavail if os.geteuid() else status.f_bfree) * status.f_frsize

    def lock(self, intent: LockIntent) -> None:
        if self._lock is not None:
            self._lock.acquire(intent)

    def read_into(self, offset: int, buffer: Buffer) -> None:
        view = memoryview(buffer)
        if offset >> 63:
            # Beyond what any file can have; the system would not even take the number.
            view[:] = bytes(len(view))
            return
        try:
            done = os.preadv(self._fd, (view,), offset)
            while done < len(view):
                got = os.preadv(self._fd, (view[done:],), offset + done) if done else 0
                if not got:
                    view[done:] = bytes(len(view) - done)
                    return
                done += got
        except OSError as error:
            raise self._failed(error, "Could not read", offset) from error

    def write(self, offset: int, data: Buffer) -> None:
        view = memoryview(data)
        try:
            done = os.pwrite(self._fd, view, offset)
            while done < len(view):
                done += os.pwrite(self._fd, view[done:], offset + done)
        except OSError as error:
            raise self._failed(error, "Could not write", offset) from error

    def flush(self) -> None:
        if self.cache.no_flush:
            return
        try:
            sync_to_medium(self._fd, os.fdatasync)
        except OSError as error:
            raise self._failed(error, "Could not flush") from error

    def truncate(self, size: int) -> None:
        if self.is_device:
            if size > self.size:
                raise StorageError(
                    "Cannot grow device files", path=self.name, remedy="use a device of at least %d bytes" % size
                )
            return
        begins = size > 0 and self.size == 0
        self._known_data = (0, 0)
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise StorageError.from_os_error(error, self.name, "Could not resize file") from error
        if begins:
            # As QEMU: who wants to know which blocks the medium takes under O_DIRECT finds out by reading the first
            # one, and some file systems read a hole of any alignment.  Without space, a hole has to do.
            try:
                self.write(0, memoryview(ZEROS)[: min(size, _FIRST_BLOCK)])
            except StorageError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise

    def write_zeroes(self, offset: int, length: int, deallocate: bool = True) -> None:
        if length <= 0:
            return
        self._known_data = (0, 0)
        grows = not self.is_device and offset + length > self.size
        try:
            if self.is_device:
                done = not (offset | length) % SECTOR and linux.zero_out(self._fd, offset, length)
            else:
                done = linux.zero_range(self._fd, offset, length, deallocate)
        except OSError as error:
            raise self._failed(error, "Could not write zeroes to", offset) from error
        if not done:
            super().write_zeroes(offset, length, deallocate)
        elif grows and deallocate:
            # Punching a hole never moves the end of the file.
            self.truncate(max(self.size, offset + length))

    def discard(self, offset: int, length: int) -> None:
        if length <= 0:
            return
        self._known_data = (0, 0)
        try:
            if self.is_device:
                linux.discard_blocks(self._fd, offset, length)
            else:
                linux.zero_range(self._fd, offset, length, deallocate=True)
        except OSError:
            # The content no longer matters, whether or not the file system could take its space back (that itself may
            # need space).
            pass

    def preallocate(self, offset: int, length: int, mode: str) -> None:
        if mode == OFF or length <= 0:
            return
        if mode == FALLOC:
            try:
                os.posix_fallocate(self._fd, offset, length)
            except OSError as error:
                raise self._not_reserved(error.errno, "Could not preallocate new data") from error
            return
        end = offset + length
        if end > self.size:
            self.truncate(end)
        try:
            while offset < end:
                piece = min(_FILL_PIECE, end - offset)
                self.write(offset, memoryview(ZEROS)[:piece])
                offset += piece
            self.flush()
        except StorageError as error:
            raise self._not_reserved(error.errno, "Could not write zeros for preallocation") from error

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        end = offset + length
        if self.is_device:
            if length:
                yield offset, length, BYTES
            return
        # A file system may have to look at every page of a long run to find its end (tmpfs does): once is enough for
        # all requests that lie in it.  What another process has made a hole since still reads right as data.
        start, stop = self._known_data
        if start <= offset < min(stop, end):
            stop = min(stop, end)
            yield offset, stop - offset, BYTES
            offset = stop
        while offset < end:
            data = self._seek(offset, os.SEEK_DATA)
            if data is None or data >= end:
                yield offset, end - offset, HOLE
                return
            if data > offset:
                yield offset, data - offset, HOLE
            hole = self._seek(data, os.SEEK_HOLE)
            if hole is not None:
                self._known_data = (data, hole)
            stop = end if hole is None else min(hole, end)
            yield data, stop - data, BYTES
            offset = stop

    def _seek(self, offset: int, whence: int) -> int | None:
        """The next data or hole; ``None`` at or beyond the end of the file."""
        try:
            return os.lseek(self._fd, offset, whence)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            if error.errno == errno.EINVAL:
                # No such seek on this file system: everything is data.
                return offset if whence == os.SEEK_DATA else None
            raise self._failed(error, "Could not find data", offset) from error

    def copy_from(self, source: Storage, source_offset: int, offset: int, length: int) -> bool:
        if not isinstance(source, LocalFile) or source.cache.direct or self.cache.direct:
            return False
        inside = max(0, min(length, source.size - source_offset))
        done = 0
        try:
            while done < inside:
                moved = os.copy_file_range(
                    source._fd, self._fd, inside - done, source_offset + done, offset + done
                )
                if not moved:
                    return False
                done += moved
        except OSError as error:
            if error.errno in _CANNOT_COPY:
                return False
            raise self._failed(error, "Could not copy to", offset + done) from error
        if inside < length:
            self.write_zeroes(offset + inside, length - inside)
        return True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _not_reserved(self, number: int | None, what: str) -> StorageError:
        failure = StorageError.from_os_error(OSError(number, ""), self.name, what)
        if number == errno.ENOSPC:
            failure.remedy = NO_SPACE_REMEDY
        return failure

    def _failed(self, error: OSError, what: str, offset: int | None = None) -> StorageError:
        failure = StorageError.from_os_error(error, self.name, "%s '%s'" % (what, self.name))
        failure.offset = offset
        if error.errno == errno.ENOSPC:
            failure.remedy = NO_SPACE_REMEDY
        return failure


def names_a_descriptor(path: str) -> bool:
    """Whether a name stands for an open descriptor (``/dev/fd/3``, ``/dev/stdout``): then it is that file which is
    meant, and not whatever else may take its name."""
    for _link in range(_MAX_LINKS):
        directory = os.path.realpath(os.path.dirname(path))
        if directory.startswith("/proc/") and directory.endswith("/fd"):
            return True
        if not os.path.islink(path):
            return False
        path = os.path.join(directory, os.readlink(path))
    return False


def sync_to_medium(fd: int, sync: Callable[[int], None]) -> None:
    """Put what was written on the medium, by ``os.fsync`` or ``os.fdatasync``; ``/dev/null`` and its like have none.

    :raises OSError: something could not be written
    """
    try:
        sync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def sync_directory(directory: str) -> None:
    """Put the names in a directory on the medium."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network file systems cannot sync a directory; they sync names by themselves.
        if error.errno not in (errno.EINVAL, errno.EROFS):
            raise
    finally:
        os.close(fd)


def open_flags(cache: CacheMode) -> int:
    """How a descriptor has to be opened for a cache mode."""
    return os.O_CLOEXEC | (os.O_DIRECT if cache.direct else 0) | (os.O_DSYNC if cache.writethrough else 0)


def _check_length(fd: int, path: str) -> None:
    """Refuse what has no length, though it is a file (much in ``/proc``): it would look as if there were nothing in it.

    :raises StorageError: it has none
    """
    try:
        os.lseek(fd, 0, os.SEEK_END)
    except OSError as error:
        failure = StorageError.from_os_error(error, path, "Could not refresh total sector count")
        failure.remedy = "copy what it says to a file"
        raise failure from error


def not_a_file(path: str) -> StorageError:
    """The error for what is something else."""
    return StorageError(
        "'file' driver requires '%s' to be a regular file" % path,
        path=path,
        errno=errno.EINVAL,
        remedy="name an image file or a block device",
    )
