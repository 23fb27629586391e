# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""QEMU's image locks, so that a running VM sees us and we see it.

QEMU holds *shared* open-file-description (OFD) locks on single bytes and looks for others' by asking whether an
exclusive lock would be possible.  Byte ``100 + n`` says "I use permission n", byte ``200 + n`` says "I do not share
permission n with anybody".  An exclusive lock is never taken, and nothing is left behind by a process that is killed.
"""
from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections import namedtuple

from ..errors import ImageInUseError, StorageError

CONSISTENT_READ = 1 << 0
WRITE = 1 << 1
WRITE_UNCHANGED = 1 << 2
RESIZE = 1 << 3

#: Permission bit number -> how QEMU's messages call it.
_NAMES = ("consistent read", "write", "write unchanged", "resize")
_USES_BYTE = 100
_UNSHARED_BYTE = 200

# <fcntl.h> on Linux; the constants are missing from the fcntl module before Python 3.9.18/3.11.4 on some builds.
_F_OFD_GETLK = 36
_F_OFD_SETLK = 37

# struct flock on 64-bit Linux: l_type, l_whence, padding, l_start, l_len, l_pid (must be 0 for OFD locks), padding.
_FLOCK = struct.Struct("hhxxxxqqixxxx")


class LockIntent(namedtuple("LockIntent", ["uses", "unshared"])):
    """Which permissions we use, and which we do not let others use (both bit sets)."""

    __slots__ = ()


#: Read headers only (``info``): we need nothing, but nobody may be changing the image.
READ_METADATA = LockIntent(0, WRITE | RESIZE)
#: Read an image whose metadata must hold still.
READ_IMAGE = LockIntent(CONSISTENT_READ, WRITE | RESIZE)
#: Read a raw image: others may write to it.
READ_RAW = LockIntent(CONSISTENT_READ, 0)
#: Change an image that has metadata.
WRITE_IMAGE = LockIntent(CONSISTENT_READ | WRITE | RESIZE, WRITE | RESIZE)
#: Write guest data into a raw image.
WRITE_RAW = LockIntent(CONSISTENT_READ | WRITE, 0)
#: Write an overlay's content into a raw image, whose length must stay.
MERGE_RAW = LockIntent(CONSISTENT_READ | WRITE, RESIZE)
#: Change the length of a raw image.
RESIZE_RAW = LockIntent(CONSISTENT_READ | WRITE | RESIZE, 0)
#: Make a new image in a place that stays, a device for instance.
CREATE = LockIntent(WRITE | RESIZE, RESIZE)
#: Put a new image in the place of a file: whoever writes to that one would go on writing to what nobody sees any more.
REPLACE = LockIntent(WRITE | RESIZE, WRITE | RESIZE)
#: Read or write a file that holds only the data of an image.
READ_DATA_FILE = LockIntent(CONSISTENT_READ, RESIZE)
WRITE_DATA_FILE = LockIntent(CONSISTENT_READ | WRITE | RESIZE, RESIZE)
#: Read although a VM may be writing (``--force-share``).
FORCE_SHARE = LockIntent(CONSISTENT_READ, 0)

_ANOTHER = "another process is using the image: stop it (for a running VM, use the VM's own tools) and try again"
_OURS = (
    "the same operation is using this file for something else already, itself or as part of a backing chain: name "
    "different files"
)

_supported: bool | None = None


def _flock(kind: int, byte: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0)


def locks_supported() -> bool:
    """Whether this system has OFD locks; without them nothing is locked, as QEMU's ``locking=auto``."""
    global _supported
    if _supported is None:
        fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.fcntl(fd, _F_OFD_GETLK, _flock(fcntl.F_WRLCK, 0))
            _supported = True
        except OSError:
            _supported = False
        finally:
            os.close(fd)
    return _supported


class ImageLock:
    """The bytes that one open file holds.  They go when the file is closed.

    :param fd: a descriptor open for reading; it must stay open as long as the lock is to hold
    :param path: for messages
    """

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self._path = path
        self._held: set[int] = set()

    def acquire(self, intent: LockIntent) -> None:
        """Hold exactly what ``intent`` says from now on.

        Bytes are taken first and conflicts looked for afterwards, so that of two racing openers both fail rather than
        both succeed.  On failure what was held before is held still.

        :raises ImageInUseError: another process uses the image in a way that excludes ours
        :raises StorageError: another open file of this process does
        """
        if not locks_supported():
            return
        wanted = {_USES_BYTE + bit for bit in range(len(_NAMES)) if intent.uses >> bit & 1}
        wanted |= {_UNSHARED_BYTE + bit for bit in range(len(_NAMES)) if intent.unshared >> bit & 1}
        taken = []
        try:
            for byte in sorted(wanted - self._held):
                self._set(fcntl.F_RDLCK, byte)
                taken.append(byte)
            self._look_for_conflicts(intent)
        except StorageError:
            for byte in taken:
                self._set(fcntl.F_UNLCK, byte)
            raise
        for byte in self._held - wanted:
            self._set(fcntl.F_UNLCK, byte)
        self._held = wanted

    def _look_for_conflicts(self, intent: LockIntent) -> None:
        for bit, name in enumerate(_NAMES):
            if intent.uses >> bit & 1 and self._is_held_by_another(_UNSHARED_BYTE + bit):
                raise self._in_use('Failed to get "%s" lock' % name, _UNSHARED_BYTE + bit)
        for bit, name in enumerate(_NAMES):
            if intent.unshared >> bit & 1 and self._is_held_by_another(_USES_BYTE + bit):
                raise self._in_use('Failed to get shared "%s" lock' % name, _USES_BYTE + bit)

    def _is_held_by_another(self, byte: int) -> bool:
        try:
            answer = fcntl.fcntl(self._fd, _F_OFD_GETLK, _flock(fcntl.F_WRLCK, byte))
        except OSError as error:
            what = "Failed to look at the lock on byte %d" % byte
            raise StorageError.from_os_error(error, self._path, what) from error
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

    def _set(self, kind: int, byte: int) -> None:
        try:
            fcntl.fcntl(self._fd, _F_OFD_SETLK, _flock(kind, byte))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise self._in_use("Failed to lock byte %d" % byte, byte) from error
            raise StorageError.from_os_error(error, self._path, "Failed to lock byte %d" % byte) from error

    def _in_use(self, reason: str, byte: int) -> StorageError:
        ours = self._is_held_by_this_process(byte)
        return (StorageError if ours else ImageInUseError)(
            reason,
            path=self._path,
            errno=errno.EAGAIN,
            hint="Is another process using the image [%s]?" % self._path,
            remedy=_OURS if ours else _ANOTHER,
        )

    def _is_held_by_this_process(self, byte: int) -> bool:
        """Whether another of our own open files holds a byte; the system calls tell that somebody does, but not who."""
        status = os.fstat(self._fd)
        try:
            descriptors = [int(name) for name in os.listdir("/proc/self/fd")]
        except OSError:
            return False
        for fd in descriptors:
            try:
                if fd == self._fd or not os.path.samestat(os.fstat(fd), status):
                    continue
                with open("/proc/self/fdinfo/%d" % fd, encoding="ascii") as file:
                    lines = file.read().splitlines()
            except OSError:
                continue
            for line in lines:
                words = line.split()
                # lock: 1: OFDLCK  ADVISORY  READ -1 08:01:4711 100 100
                if words[:1] == ["lock:"] and "OFDLCK" in words and int(words[-2]) <= byte:
                    if words[-1] == "EOF" or byte <= int(words[-1]):
                        return True
        return False
