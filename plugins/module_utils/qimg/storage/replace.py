# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""New files that appear under their name only when they are complete.

A new file has no name while it is written (``O_TMPFILE``), so that even a ``kill -9`` leaves nothing behind.  Where
the file system does not know ``O_TMPFILE`` it gets a hidden name beside the target instead.
"""
from __future__ import annotations

import errno
import os
import stat

from ..errors import MismatchError, StorageError
from .cache import WRITEBACK, CacheMode
from .hints import NO_HINTS, FileHints
from .in_place import empty
from .kept import NO_LINKS, KeptFile, hidden_name, hidden_prefix, remove_unused
from .local import LocalFile, names_a_descriptor, not_a_file, open_flags, sync_directory, sync_to_medium
from .local_choice import file_class
from .locks import CREATE, REPLACE, ImageLock
from .ownership import Ownership, copy_ownership

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from .base import Storage
    from .scratch import Rehearsal, ScratchContent

_NEW_FILE_MODE = 0o644

#: Nobody puts other files in one place so often by chance.
_MAX_EXCHANGES = 100

#: File times move in steps that are shorter than this on every file system that we know (FAT's are two seconds).
CLOCK_STEP_NS = 2 * 1000000000


class NewFile:
    """A file that is to take the name ``path``, replacing what may be there.

    Use as a context manager: leaving it without :meth:`commit` leaves no trace.  A name that is only a descriptor
    (``/dev/fd/3``) cannot be replaced: its file is written in place.

    :param path: the wanted name; of a symbolic link, the file that it leads to is replaced
    :param sync: whether the content must be on the medium before the name is taken; without that, only what replaces an
        old file must be, unless ``cache`` flushes nothing
    :param rehearsal: only find out whether it would work: the file never gets its name, what is there does not change,
        and what would be there is kept in the rehearsal
    :param cache: how what is written reaches the medium
    :param hints: what the file system should know about it
    :param ownership: what it shall be before anybody can see it; of what is written in place, it is not changed
    :raises StorageError: the directory does not exist or cannot be written, or ``path`` is a directory
    :raises ImageInUseError: another process uses what is at ``path``
    """

    def __init__(
        self,
        path: str,
        sync: bool = True,
        rehearsal: Rehearsal | None = None,
        cache: CacheMode = WRITEBACK,
        hints: FileHints = NO_HINTS,
        ownership: Ownership | None = None,
    ) -> None:
        self.path = path
        #: What the file system would not take of ``hints``, if somebody should know.
        self.warning: str | None = None
        #: Whether an old file only gives way to what is on the medium.
        self._keeps_old = sync or not cache.no_flush
        self._is_durable = False
        self._cache = cache._replace(no_flush=cache.no_flush or not sync)
        self._hints = hints
        self._ownership = ownership
        self.storage: Storage
        self._rehearsal = rehearsal
        self._sync = sync
        self._replaced: LocalFile | None = None
        self._temporary: str | None = None
        self._in_place = False
        self._committed = False
        self._must_be_new = False
        #: Our own descriptor of the new file: whoever writes it may close the storage before it gets its name.
        self._fd = -1
        self._target = os.path.realpath(path)
        self._directory = os.path.dirname(self._target)

        existing = self._open_existing()
        if existing is not None and self._stays():
            self._in_place = True
            self._fd = os.dup(existing.fd)
            self.storage = _scratch_file(existing) if rehearsal is not None else existing
        else:
            self._replaced = existing
            if rehearsal is not None and rehearsal.assumes(self._directory):
                self.storage = _unplaced_file(path)
                return
            try:
                self._check_exchange()
                nameless = self._open_nameless()
            except BaseException:
                if existing is not None:
                    existing.close()
                raise
            self._fd = os.dup(nameless.fd)
            self.storage = _scratch_file(nameless, disposable=True) if rehearsal is not None else nameless

    def begin(self, least: int) -> Storage:
        """Where to write, with nothing in it.

        :param least: how many bytes there will be at least
        :raises StorageError: a device has less than that; it is untouched
        """
        if self._in_place:
            empty(self.storage, least)
        return self.storage

    @property
    def replaced(self) -> KeptFile | None:
        """What is going to be replaced; ``None``: nothing is."""
        if self._replaced is None or self._rehearsal is not None:
            return None
        return KeptFile(self._replaced, self._target)

    @property
    def has_name(self) -> bool:
        """Whether the name is that of the new file already."""
        try:
            return os.path.samestat(os.stat(self._target), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def require_new(self) -> None:
        """Have :meth:`commit` replace nothing: what takes the name in the meantime is somebody else's."""
        self._must_be_new = True

    def _open_existing(self) -> LocalFile | None:
        """What is there now, locked against everybody who could be using it."""
        for _attempt in range(_MAX_EXCHANGES):
            existing = self._lock_existing()
            if existing is None or self._is_at_target(existing):
                return existing
            # Between opening and locking it, somebody put another file there: that one has to be locked.
            existing.close()
        raise self._cannot_create(OSError(errno.EBUSY, os.strerror(errno.EBUSY)))

    def _stays(self) -> bool:
        """Whether what is there cannot be replaced."""
        return names_a_descriptor(self.path)

    def _is_at_target(self, file: LocalFile) -> bool:
        """Whether the name still leads to a file."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(file.fd))
        except OSError:
            return False

    def _lock_existing(self) -> LocalFile | None:
        if self.path.endswith("/") and os.path.isdir(os.path.dirname(self.path.rstrip("/")) or "."):
            # Only a directory has such a name; the real path does not show it.
            raise self._cannot_create(OSError(errno.EISDIR, os.strerror(errno.EISDIR)))
        try:
            # By the name that we were given: the real path of a pipe, or of no name at all, is something else.
            status = os.stat(self.path)
        except FileNotFoundError as error:
            if not self.path:
                raise self._cannot_create(error) from error
            return None
        except OSError as error:
            raise self._cannot_create(error) from error
        if stat.S_ISDIR(status.st_mode):
            raise self._cannot_create(OSError(errno.EISDIR, os.strerror(errno.EISDIR)))
        if stat.S_ISFIFO(status.st_mode):
            raise StorageError(
                "Could not resize file: '%s' is a pipe, and not a regular file" % self.path,
                path=self.path,
                remedy="name another file, and read that",
            )
        try:
            existing = file_class(self._cache).open(self.path, True, self._cache)
        except StorageError as error:
            if error.errno is None:
                raise
            raise self._cannot_create(OSError(error.errno, os.strerror(error.errno))) from error
        try:
            if existing.is_device:
                raise not_a_file(self.path)
            existing.lock(CREATE if self._stays() else REPLACE)
        except BaseException:
            existing.close()
            raise
        return existing

    def _check_exchange(self) -> None:
        """Refuse early what only the directory forbids: somebody who may write a file need not be able to replace it.

        :raises StorageError: no file can be put beside the one that is there, or take its name
        """
        if self._replaced is None:
            return
        status = os.stat(self._directory)
        owners = (0, status.st_uid, os.fstat(self._replaced.fd).st_uid)
        number = None
        if not os.access(self._directory, os.W_OK | os.X_OK, effective_ids=True):
            number = errno.EACCES
        elif status.st_mode & stat.S_ISVTX and os.geteuid() not in owners:
            number = errno.EPERM
        if number is not None:
            failure = self._cannot_create(OSError(number, os.strerror(number)))
            failure.reason += " (a new file is to take its place, which its directory does not allow)"
            failure.remedy = "change who may write to the directory, or convert into the image that is there"
            raise failure

    def _open_nameless(self) -> LocalFile:
        flags = open_flags(self._cache) | os.O_RDWR
        try:
            try:
                fd = os.open(self._directory, os.O_TMPFILE | flags, _NEW_FILE_MODE)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
                    raise
                remove_unused(self._directory, self._hidden_prefix())
                fd = self._open_hidden(flags)
        except OSError as error:
            raise self._cannot_create(error) from error
        self.warning = self._hints.apply(fd)
        storage = file_class(self._cache)(fd, self.path, True, self._cache)
        try:
            if self._replaced is not None:
                copy_ownership(self._replaced.fd, fd)
            if self._ownership is not None:
                self._ownership.apply(fd)
        except OSError as error:
            storage.close()
            self._remove_temporary()
            failure = self._cannot_create(error)
            if error.errno == errno.EPERM:
                failure.remedy = "only root can give files to others; everybody else, to a group that he is in"
            raise failure from error
        return storage

    def _open_hidden(self, flags: int) -> int:
        """A new file with a hidden name, locked so that nobody takes it for one that was left behind."""
        for _attempt in range(_MAX_EXCHANGES):
            name = hidden_name(self._directory, self._hidden_prefix())
            fd = os.open(name, os.O_CREAT | os.O_EXCL | flags, _NEW_FILE_MODE)
            try:
                ImageLock(fd, name).acquire(CREATE)
                # Somebody may have taken it for one before it was locked.
                is_ours = os.fstat(fd).st_nlink > 0
            except StorageError as error:
                is_ours = False
                if error.errno != errno.EAGAIN:
                    os.close(fd)
                    _unlink(name)
                    raise
            if is_ours:
                self._temporary = name
                return fd
            os.close(fd)
            _unlink(name)
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def _hidden_prefix(self) -> str:
        return hidden_prefix(os.path.basename(self._target), "qimg")

    def backdate(self) -> int:
        """Set the modification time back by more than the clock's step, so that every later write shows in it.

        :returns: the time that it has now, in nanoseconds
        """
        if self._fd < 0:
            # Rehearsed, in a directory that does not exist.
            return 0
        status = os.fstat(self._fd)
        os.utime(self._fd, ns=(status.st_atime_ns, status.st_mtime_ns - CLOCK_STEP_NS))
        return os.fstat(self._fd).st_mtime_ns

    @property
    def replaces(self) -> bool:
        """Whether an old file is going to give way."""
        return self._replaced is not None

    def settle(self, replacing: bool = False) -> None:
        """Do already what :meth:`commit` may need long for, or fail at: put the content on the medium, hold the name.

        :param replacing: whether a file that belongs to this one replaces an old file
        :raises StorageError: that failed; whatever has the name is untouched
        """
        if self._rehearsal is not None:
            return
        try:
            if self._sync or replacing or self.replaces:
                self._make_durable()
        except OSError as error:
            raise self._cannot_create(error) from error
        if not self._in_place:
            self._find_replaced()

    def _make_durable(self) -> None:
        """Put the content on the medium, unless the caller wants to do without."""
        if self._keeps_old:
            sync_to_medium(self._fd, os.fsync)
            self._is_durable = True

    def commit(self) -> None:
        """Put the content on the medium, then take the name in one step.

        :raises StorageError: the old file, if any, is still there and untouched
        """
        if self._rehearsal is not None:
            content: ScratchContent = self.storage.content  # type: ignore[attr-defined]
            content.is_new = not self._in_place
            self._rehearsal.keep(self._target, content)
            self._close()
            return
        self.settle()
        try:
            if not self._in_place:
                self._take_name()
                if self._is_durable:
                    sync_directory(self._directory)
        except OSError as error:
            raise self._cannot_create(error) from error
        self._committed = True
        self._close()

    def _take_name(self) -> None:
        """Take the name, which may be that of another file by now.

        :raises ImageInUseError: that one is being used
        :raises MismatchError: there is one, and nothing may be replaced
        """
        for _attempt in range(_MAX_EXCHANGES):
            self._find_replaced()
            try:
                if self._replaced is None:
                    # From what has come since, a link takes no name away.
                    self._link(self._target)
                    self._remove_temporary()
                    return
                if not self._is_durable:
                    # It was not there before.
                    self._make_durable()
                # A link cannot replace a file, a rename can.
                hidden = self._temporary or self._link_hidden()
            except FileExistsError:
                continue
            except OSError as error:
                if self._temporary is None or error.errno not in NO_LINKS:
                    raise
                hidden = self._temporary
            os.replace(hidden, self._target)
            self._temporary = None
            return
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def _link(self, name: str) -> None:
        # Naming a directory, though the path is absolute, makes Python follow the symbolic link in /proc.
        os.link("/proc/self/fd/%d" % self._fd, name, src_dir_fd=self._fd, follow_symlinks=True)

    def _link_hidden(self) -> str:
        """Give a file without a name a hidden one."""
        remove_unused(self._directory, self._hidden_prefix())
        name = hidden_name(self._directory, self._hidden_prefix())
        # So that nobody takes it for one that was left behind.
        ImageLock(self._fd, name).acquire(CREATE)
        self._link(name)
        self._temporary = name
        return name

    def _find_replaced(self) -> None:
        """Hold what has the name now."""
        if self._replaced is None or not self._is_at_target(self._replaced):
            newcomer = self._open_existing()
            if self._replaced is not None:
                self._replaced.close()
            self._replaced = newcomer
        if self._must_be_new and self._replaced is not None:
            raise MismatchError(
                "Somebody else has made it in the meantime", path=self.path, remedy="look at it and try again"
            )

    def _close(self) -> None:
        self.storage.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._replaced is not None:
            self._replaced.close()
            self._replaced = None
        self._remove_temporary()

    def _remove_temporary(self) -> None:
        if self._temporary is not None:
            _unlink(self._temporary)
            self._temporary = None

    def _cannot_create(self, error: OSError) -> StorageError:
        failure = StorageError.from_os_error(error, self.path, "Could not create '%s'" % self.path)
        if error.errno == errno.ENOENT:
            failure.remedy = "make its directory first"
        return failure

    def __enter__(self) -> NewFile:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._committed:
            self._close()


def _scratch_file(file: LocalFile, disposable: bool = False) -> Storage:
    """What takes the changes of a rehearsal, and is imported only for one."""
    from .scratch import ScratchFile

    return ScratchFile(file, disposable=disposable)


def _unplaced_file(path: str) -> Storage:
    """What takes a new file in a rehearsal if there is no directory for it."""
    from .scratch import NoFile, ScratchContent, ScratchFile

    content = ScratchContent(0)
    return ScratchFile(NoFile(path, content), content)


def _unlink(name: str) -> None:
    try:
        os.unlink(name)
    except FileNotFoundError:
        # Somebody else has cleaned up.
        pass
    except OSError as error:
        raise StorageError.from_os_error(error, name, "Could not remove '%s'" % name) from error
