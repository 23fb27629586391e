# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Files with hidden names beside their own, and what a new file replaces, kept under such a name for a while."""
from __future__ import annotations

import errno
import os
import stat

from ..errors import StorageError
from .local import sync_directory
from .locks import CREATE, ImageLock, locks_supported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .local import LocalFile

#: What a file system says that knows no second names of files (FAT, some of FUSE).
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
_RANDOM_BYTES = 4
#: So much of a file's own name is in its hidden one, which may have no more than 255 bytes.
_SHOWN_BYTES = 200
_HEX_DIGITS = frozenset("0123456789abcdef")


class KeptFile:
    """A file whose name another one is about to take.

    Its hidden name is none that :class:`~qimg.storage.replace.NewFile` takes for left behind: an image may refer to it.

    :param storage: the file, held
    :param target: its name
    """

    def __init__(self, storage: LocalFile, target: str) -> None:
        self.storage = storage
        self.target = target
        self._directory, base = os.path.split(target)
        self._prefix = hidden_prefix(base, "qimg-old")
        self.path = hidden_name(self._directory, self._prefix)

    def link(self) -> bool:
        """Give it the hidden name beside its own; whether the file system knows such a thing.

        :raises StorageError: that failed
        """
        try:
            # Naming a directory, though the path is absolute, makes Python follow the symbolic link in /proc.
            os.link("/proc/self/fd/%d" % self.storage.fd, self.path, src_dir_fd=self.storage.fd, follow_symlinks=True)
            sync_directory(self._directory)
        except OSError as error:
            if error.errno in NO_LINKS:
                return False
            raise self._failed("keep", error) from error
        return True

    def link_back(self) -> None:
        """Give it its own name again, which may be another file's by now.

        :raises StorageError: that failed
        """
        try:
            if not os.path.exists(self.target) or not os.path.samefile(self.path, self.target):
                name = hidden_name(self._directory, self._prefix)
                os.link(self.path, name)
                os.replace(name, self.target)
                sync_directory(self._directory)
        except OSError as error:
            raise self._failed("put back", error) from error

    def move(self) -> None:
        """Give it the hidden name instead of its own.

        :raises StorageError: that failed
        """
        try:
            os.rename(self.target, self.path)
            sync_directory(self._directory)
        except OSError as error:
            raise self._failed("put aside", error) from error

    def move_back(self) -> None:
        """Give it its own name again, whoever has that now.

        :raises StorageError: that failed
        """
        try:
            os.replace(self.path, self.target)
            sync_directory(self._directory)
        except OSError as error:
            raise self._failed("put back", error) from error

    def remove(self) -> None:
        """Take the hidden name away: nobody needs the file under it any more."""
        try:
            os.unlink(self.path)
        except OSError:
            # It only takes space.
            pass

    def remove_older(self) -> None:
        """Remove the hidden names that older files with the same own name still have, because somebody was killed.

        Whoever replaces a file takes it away from all images that refer to it, by whatever name.
        """
        remove_unused(self._directory, self._prefix)

    def _failed(self, what: str, error: OSError) -> StorageError:
        return StorageError.from_os_error(error, self.target, "Could not %s '%s'" % (what, self.target))


def hidden_prefix(base: str, mark: str) -> str:
    """What the hidden names beside a file begin with.

    :param base: the file's name, which may be as long as a name may be
    """
    return ".%s.%s-" % (os.fsdecode(os.fsencode(base)[:_SHOWN_BYTES]), mark)


def hidden_name(directory: str, prefix: str) -> str:
    """A new one."""
    return os.path.join(directory, prefix + os.urandom(_RANDOM_BYTES).hex())


def remove_unused(directory: str, prefix: str) -> None:
    """Remove what processes that were killed left behind under hidden names, unless somebody is using it."""
    if not locks_supported():
        # Nobody can tell whether a file is still being written.
        return
    for name in os.listdir(directory):
        random = name[len(prefix) :]
        if not name.startswith(prefix) or len(random) != 2 * _RANDOM_BYTES or not _HEX_DIGITS.issuperset(random):
            continue
        path = os.path.join(directory, name)
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            # Not ours to remove.
            continue
        try:
            if stat.S_ISREG(os.fstat(fd).st_mode):
                ImageLock(fd, path).acquire(CREATE)
                os.unlink(path)
        except (OSError, StorageError):
            # It is in use, or we may not.
            continue
        finally:
            os.close(fd)
