# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""System calls that Python's standard library does not offer: hole punching and block device ioctls.

Each function says by its result whether the system could do it; the caller has a slower way.
"""
from __future__ import annotations

import errno
import fcntl
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# <linux/falloc.h>
_FALLOC_FL_KEEP_SIZE = 0x01
_FALLOC_FL_PUNCH_HOLE = 0x02
_FALLOC_FL_ZERO_RANGE = 0x10

# <linux/fs.h>
_BLKDISCARD = 0x1277
_BLKZEROOUT = 0x127F
_BLKSSZGET = 0x1268

_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EINVAL, errno.ENODEV, errno.EPERM)

_libc: Any = None


def zero_range(fd: int, offset: int, length: int, deallocate: bool) -> bool:
    """Make a range of a regular file read as zeroes by ``fallocate(2)``.

    :param deallocate: punch a hole (the file does not grow) or keep the space allocated (it grows if it has to)
    :returns: whether it was done
    """
    mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE if deallocate else _FALLOC_FL_ZERO_RANGE
    return _fallocate(fd, mode, offset, length)


def _fallocate(fd: int, mode: int, offset: int, length: int) -> bool:
    global _libc
    # Imported here: ctypes costs as much as half of an interpreter start, and most commands never punch.
    import ctypes

    if _libc is None:
        try:
            _libc = ctypes.CDLL(None, use_errno=True)
            _libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong)
        except (AttributeError, OSError):
            _libc = False
    if not _libc:
        return False
    while _libc.fallocate(fd, mode, offset, length) != 0:
        number = ctypes.get_errno()
        if number == errno.EINTR:
            continue
        if number in _UNSUPPORTED:
            return False
        raise OSError(number, os.strerror(number))
    return True


def zero_out(fd: int, offset: int, length: int) -> bool:
    """Zero a range of a block device inside the kernel (``BLKZEROOUT``)."""
    return _block_range_ioctl(fd, _BLKZEROOUT, offset, length)


def discard_blocks(fd: int, offset: int, length: int) -> bool:
    """Tell a block device that a range is no longer needed (``BLKDISCARD``)."""
    return _block_range_ioctl(fd, _BLKDISCARD, offset, length)


def _block_range_ioctl(fd: int, request: int, offset: int, length: int) -> bool:
    try:
        fcntl.ioctl(fd, request, struct.pack("QQ", offset, length))
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def logical_block_size(fd: int) -> int:
    """Logical sector size of a block device in bytes."""
    return int(struct.unpack("i", fcntl.ioctl(fd, _BLKSSZGET, b"\0\0\0\0"))[0])
