# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The files of an image that is being made."""
from __future__ import annotations

from ..errors import OptionError
from ..references import local_path, parse_target, resolve_reference
from ..storage.cache import WRITEBACK, CacheMode
from ..storage.hints import NO_HINTS, FileHints
from ..storage.replace import NewFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from ..storage.base import Storage


class NewFiles:
    """The files of an image that is being made: all of them get their names at the end, the main one last.

    :param path: the image's own name
    :param sync: whether the content must be on the medium before the names are taken
    :param rehearse: only find out whether it would work; see :class:`~qimg.storage.replace.NewFile`
    :param cache: how what is written reaches the medium
    :param hints: what the file system should know about the main file
    :raises OptionError: the name is not that of a local file
    """

    def __init__(
        self,
        path: str,
        sync: bool = True,
        rehearse: bool = False,
        cache: CacheMode = WRITEBACK,
        hints: FileHints = NO_HINTS,
    ) -> None:
        self._sync = sync
        self._rehearse = rehearse
        self._cache = cache
        self._path = path
        self._main = NewFile(_local_target(path, "new image"), sync, rehearse, cache, hints)
        self._others: list[NewFile] = []

    @property
    def main(self) -> Storage:
        """Where the image itself goes."""
        return self._main.storage

    def add(self, name: str, role: str) -> Storage:
        """A further file, named as the image will name it."""
        path = resolve_reference(self._path, name)
        other = NewFile(_local_target(path, role), self._sync, self._rehearse, self._cache)
        self._others.append(other)
        return other.storage

    def backdate(self) -> int:
        """See :meth:`~qimg.storage.replace.NewFile.backdate`."""
        return self._main.backdate()

    def commit(self) -> None:
        """Have all files take their names.

        :raises StorageError: the old files, if any, are still there
        """
        for other in self._others:
            other.commit()
        self._main.commit()

    def __enter__(self) -> NewFiles:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for file in (*self._others, self._main):
            file.__exit__(exception_type, exception, traceback)


def _local_target(name: str, role: str) -> str:
    path = local_path({"file": parse_target(name)})
    if path is None:
        raise OptionError("A %s must be a local file, not '%s'" % (role, name), path=name)
    return path
