# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Finding the images that lie on another one, and would read differently if that changed.

Nothing in an image tells which others name it as their backing file, so other files have to be looked at: of each, the
first bytes.  No file that one of them names is opened; its name is resolved, and compared by device and inode.
"""
from __future__ import annotations

import os
import stat
from collections import namedtuple

from ..errors import ImageError, LimitError, OptionError
from ..formats import format_names, get_driver
from ..formats.opening import Opener
from ..formats.probing import PROBE_BYTES, probe
from ..references import leaves, local_path, parse_reference, resolve_reference, text_of
from ..storage.cache import WRITEBACK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Union

    from ..references import FileName
    from .plan import Plan

    #: What is the same for all names of one file: device and inode; the path of one that is not there (yet).
    Key = Union[tuple[str, int, int], str]
    Read = Callable[[int, int], bytes]

#: So many files are looked at in one search; that takes some seconds.
MAX_FILES = 100000
#: Opening all of these may take long (drives without a medium), and those that hold images have other names too.
_DEVICES = "/dev"


class Dependant(namedtuple("Dependant", ["path", "role", "name"])):
    """An image that lies on another one, itself or through images between.

    ``path`` is its path; ``role`` is what the file that it names is to it (``backing file``, ``data file``), ``name``
    how it names that.
    """

    __slots__ = ()

    path: str
    role: str
    name: str


def dependants(
    path: FileName,
    directories: Iterable[FileName] = (),
    images: Iterable[FileName] = (),
    *,
    above: tuple[str, ...] = (),
    opener: Opener | None = None,
) -> list[Dependant]:
    """The images that lie on an image, directly or through others that are looked at too.

    Looked at are all files in the directory of the image (where its path leads through a symbolic link, in that of the
    link too), in ``directories``, without those below, and ``images``.  What cannot be read is left out.

    :param path: the image; one that is no local file has none
    :param directories: further directories
    :param images: further images
    :param above: images that do not count, topmost first; those that depend on the topmost only do not count either
    :param opener: knows the files that rehearsals have made
    :returns: sorted by path, each file once
    :raises LimitError: there are more than :data:`MAX_FILES` files
    """
    opener = opener or Opener()
    local = _local(text_of(path))
    if local is None:
        return []
    own = {os.path.dirname(os.path.abspath(local)), os.path.dirname(os.path.realpath(local))} - {_DEVICES}
    candidates = _Candidates(opener)
    for directory in (*sorted(own), *map(os.fsdecode, directories)):
        candidates.add_directory(directory)
    for image in map(text_of, images):
        candidates.add_file(_local(image))
    for file in opener.rehearsal.files() if opener.rehearsal is not None else ():
        candidates.add_file(file)
    direct: dict[Key, list[tuple[Key, Dependant]]] = {}
    for file in sorted(candidates.files):
        for key, dependant in _named_by(file, opener):
            direct.setdefault(key, []).append((_key(file), dependant))
    return _reached(_key(local), direct, [_key(_local(image) or image) for image in above])


def _reached(start: Key, direct: dict[Key, list[tuple[Key, Dependant]]], above: list[Key]) -> list[Dependant]:
    """All that lies on one file.

    :param direct: what names each file
    :param above: what does not count, topmost first
    """
    found: dict[Key, Dependant] = {}
    waiting = [start]
    passed = {start, *above[:1]}
    while waiting:
        for key, dependant in direct.get(waiting.pop(), ()):
            if key not in passed:
                passed.add(key)
                waiting.append(key)
                if key not in above:
                    found[key] = dependant
    return sorted(found.values())


def altered_dependants(
    plan: Plan,
    directories: Iterable[FileName] = (),
    images: Iterable[FileName] = (),
    opener: Opener | None = None,
) -> list[Dependant]:
    """The images that would read differently, or no longer, after a planned change.

    :param plan: the change
    :param directories: as for :func:`dependants`
    :param images: as for :func:`dependants`
    :param opener: knows the files that rehearsals have made
    :raises LimitError: there are too many files to be looked at
    """
    opener = opener or Opener()
    found: dict[str, Dependant] = {}
    for path, above in plan.altered:
        local = _local(path)
        exists = os.path.lexists if opener.rehearsal is None else opener.rehearsal.exists
        # Where there is nothing yet, whoever names it reads nothing yet.
        if local is not None and exists(local):
            for dependant in dependants(local, directories, images, above=above, opener=opener):
                found.setdefault(dependant.path, dependant)
    return [found[path] for path in sorted(found)]


class _Candidates:
    """The files that are looked at.

    :param opener: knows the files that would have been removed
    """

    def __init__(self, opener: Opener) -> None:
        self._rehearsal = opener.rehearsal
        self._directories: set[str] = set()
        self.files: set[str] = set()

    def add_directory(self, directory: str) -> None:
        """Add the files in a directory, if it can be read; those of subdirectories are not meant."""
        # The names in it are relative to where it is called so.
        directory = os.path.abspath(directory)
        if directory in self._directories:
            return
        self._directories.add(directory)
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        self.add_file(entry.path)
        except OSError:
            return

    def add_file(self, path: str | None) -> None:
        if path is None or (self._rehearsal is not None and self._rehearsal.is_gone(path)):
            return
        self.files.add(os.path.abspath(path))
        if len(self.files) > MAX_FILES:
            raise LimitError(
                "There are more than %d files among which images on it may be" % MAX_FILES,
                path=path,
                remedy="keep images in a directory of their own",
            )


def _named_by(path: str, opener: Opener) -> Iterator[tuple[Key, Dependant]]:
    """The files that an image names, if it is one; nothing if it cannot be read."""
    content = opener.rehearsal.content(path) if opener.rehearsal is not None else None
    try:
        if content is not None:
            storage = opener.open_storage({"driver": "file", "filename": path}, False, WRITEBACK)
            try:
                size = storage.size
                named = _named_in(lambda offset, length: storage.read(offset, max(0, min(length, size - offset))), path)
            finally:
                storage.close()
        else:
            named = _named_in_file(path)
    except (ImageError, OSError):
        return
    for role, name in named:
        try:
            nodes = list(leaves(parse_reference(resolve_reference(path, name))))
        except ImageError:
            continue
        for node in nodes:
            target = local_path({"file": node})
            if target is not None:
                yield _key(target), Dependant(path, role, name)


def _named_in_file(path: str) -> list[tuple[str, str]]:
    """The same of a file that is there.

    :raises OSError: it cannot be read
    :raises ImageError: its header is broken
    """
    if not _may_be_image(os.stat(path).st_mode):
        # To open what is something else may do something.
        return []
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not _may_be_image(os.fstat(fd).st_mode):
            return []
        return _named_in(lambda offset, length: os.pread(fd, length, offset), path)
    finally:
        os.close(fd)


def _may_be_image(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISBLK(mode)


def _named_in(read: Read, path: str) -> list[tuple[str, str]]:
    """The files that an image names, each with what it is to it."""
    format = probe(read(0, PROBE_BYTES), path)
    return get_driver(format).named_files(read) if format in format_names() else []


def _local(name: str) -> str | None:
    """The path of an image that is a local file."""
    try:
        return local_path(parse_reference(name))
    except OptionError:
        return None


def _key(path: str) -> Key:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return os.path.realpath(path)
    if stat.S_ISBLK(status.st_mode):
        return ("device", status.st_rdev, 0)
    return ("file", status.st_dev, status.st_ino)
