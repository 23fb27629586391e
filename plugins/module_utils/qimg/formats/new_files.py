# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The files of an image that is being made."""
from __future__ import annotations

import os

from ..errors import OptionError, StorageError
from ..references import PATH_PROTOCOLS, driver_of, parse_protocol_name, resolve_data_file, resolve_reference
from ..storage.cache import WRITEBACK, CacheMode
from ..storage.hints import NO_HINTS, FileHints
from ..storage.in_place import ExistingTarget, KeptTarget
from ..storage.protocols import driver_of_path
from ..storage.replace import NewFile
from .driver import INFO, NewImage
from .replaced_files import ReplacedFiles, ReplacedImage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Any

    from ..references import Node
    from ..storage.base import Storage
    from ..storage.ownership import Ownership
    from ..storage.scratch import Rehearsal
    from .base import Image
    from .opening import Opener

    OpenStorage = Callable[[Node, bool, CacheMode], Storage]


class NewFiles:
    """The files of an image that is being made: all of them get their names at the end, the main one last.

    What is not a local file (a device, an export of a server) has to be there already, and is written in place.

    :param path: the image's own name
    :param driver: the protocol that its name is for
    :param opener: opens the image that is going to be replaced
    :param open_storage: opens what is not a local file, for writing
    :param sync: whether the content must be on the medium before the names are taken
    :param rehearsal: only find out whether it would work; see :class:`~qimg.storage.replace.NewFile`
    :param cache: how what is written reaches the medium
    :param hints: what the file system should know about the main file
    :param ownership: of all of them
    :raises StorageError: the target cannot be written
    """

    def __init__(
        self,
        path: str,
        driver: str,
        opener: Opener,
        open_storage: OpenStorage,
        sync: bool = True,
        rehearsal: Rehearsal | None = None,
        cache: CacheMode = WRITEBACK,
        hints: FileHints = NO_HINTS,
        ownership: Ownership | None = None,
    ) -> None:
        self._ownership = ownership
        self._open_storage = open_storage
        self._opener = opener
        self._sync = sync
        self._rehearsal = rehearsal
        self._cache = cache
        self.path = path
        self._driver = driver
        self._main = self._target(path, driver, hints)
        self._others: list[NewFile | ExistingTarget | KeptTarget] = []
        #: Old files that have not got their names back yet, because that failed.
        self._parted: Sequence[ReplacedImage | ReplacedFiles] = []

    @property
    def warning(self) -> str | None:
        """What the file system would not take of the hints, if somebody should know."""
        return self._main.warning

    @property
    def is_device(self) -> bool:
        """Whether the image itself goes to a device, whose length is what it is."""
        return self._main.storage.is_device

    @property
    def protocol(self) -> str:
        """Which kind of place the image itself goes to: QEMU's driver."""
        return self._main.storage.protocol

    @property
    def room(self) -> int | None:
        """How many bytes there are for the image itself; ``None``: its file grows."""
        return self._main.storage.size if self.is_device else None

    @property
    def can_preallocate(self) -> bool:
        """Whether space can be reserved where the image itself goes."""
        return self._main.storage.can_preallocate

    @property
    def main(self) -> Storage:
        """Where the image itself goes; there is nothing in it."""
        return self.main_of(0)

    def main_of(self, least: int) -> Storage:
        """The same for an image that is known to become at least ``least`` bytes long.

        :raises StorageError: a device is shorter than that; it is untouched
        """
        return self._main.begin(least)

    def add(self, name: str, least: int, role: str) -> Storage:
        """A further file, named as the image will name it, of at least ``least`` bytes.

        :param role: for messages: ``data file``, ``extent``
        :raises OptionError: it is the image itself
        :raises StorageError: it cannot be written, or is a device that is shorter; then it is untouched
        """
        resolved, driver = self._resolved(name, role)
        other = self._target(resolved, driver, NO_HINTS)
        self._others.append(other)
        try:
            return other.begin(least)
        except StorageError as error:
            error.reason = "Could not resize image: %s" % error.reason
            raise

    def keep(self, name: str, least: int, role: str) -> Storage:
        """The same for a file that is there and keeps its content.

        :raises OptionError: it is the image itself
        :raises StorageError: it is not there, cannot be written, or is a device that is shorter
        """
        resolved, driver = self._resolved(name, role)
        node = parse_protocol_name(resolved, driver)
        other = KeptTarget(lambda: self._open_storage(node, True, self._cache))
        self._others.append(other)
        return other.begin(least)

    def _resolved(self, name: str, role: str) -> tuple[str, str]:
        """Where a further file is, and its protocol.

        :raises OptionError: it is the image itself
        """
        resolved = resolve_data_file(self.path, name)
        driver = target_driver(resolved)
        if driver == self._driver and _place(resolved, driver) == _place(self.path, driver):
            raise OptionError("An image cannot be its own %s" % role, path=self.path, remedy="name another file")
        return resolved, driver

    @property
    def keeps_content(self) -> bool:
        """Whether there are bytes in one of the files already."""
        return any(isinstance(other, KeptTarget) for other in self._others)

    def trial(self) -> NewFiles:
        """Where to try out making the image, so that nothing is lost if that fails.

        These files themselves, if they do not get their names; what stands for a device that would be written in place,
        and for further files, which are taken to have room.
        """
        if not self.is_device:
            return self
        from ..storage.imagined import ImaginedDevice

        device = self._main.storage

        def imagine(_node: Node, _writable: bool, _cache: CacheMode) -> Storage:
            return ImaginedDevice(device)

        return _TriedFiles(self.path, self._driver, self._opener, imagine)

    def _target(self, name: str, driver: str, hints: FileHints) -> NewFile | ExistingTarget:
        if driver == "file":
            path = parse_protocol_name(name, driver)["filename"]
            return NewFile(path, self._sync, self._rehearsal, self._cache, hints, self._ownership)
        cache = self._cache._replace(no_flush=self._cache.no_flush or not self._sync)
        return ExistingTarget(
            name, driver, lambda: self._open_storage(parse_protocol_name(name, driver), True, cache)
        )

    def require_new(self) -> None:
        """See :meth:`~qimg.storage.replace.NewFile.require_new`; for the image itself."""
        self._main.require_new()

    def require_new_others(self) -> None:
        """The same for the further files that there are so far."""
        for other in self._others:
            other.require_new()

    def backdate(self) -> int | None:
        """See :meth:`~qimg.storage.replace.NewFile.backdate`."""
        return self._main.backdate()

    def commit(self) -> None:
        """Have all files take their names.

        Whoever is killed meanwhile leaves the old image with the old data, or the new image with the new data.

        :raises StorageError: the old files, if any, are still there
        """
        replacing = any(file.replaces for file in (*self._others, self._main))
        for file in (*self._others, self._main):
            file.settle(replacing)
        replaced = self._replaced_files()
        try:
            for each in replaced:
                each.part()
            for file in (*self._others, self._main):
                file.commit()
        except BaseException:
            self._parted = replaced
            self._rejoin()
            raise
        for each in replaced:
            each.forget()

    def _rejoin(self) -> None:
        """Undo what was done to the old files, as far as that is possible now."""
        waiting: list[ReplacedImage | ReplacedFiles] = []
        for each in self._parted:
            try:
                each.rejoin()
            except StorageError:
                # The old image is whole, with its data under the hidden names; what failed may work when the new files
                # have given back their space.
                waiting.append(each)
        self._parted = waiting

    def _replaced_files(self) -> list[ReplacedImage] | list[ReplacedFiles]:
        """What must not be seen half replaced."""
        others = [kept for kept in (other.replaced for other in self._others) if kept is not None]
        if not others:
            return []
        image = self._main.replaced
        if image is None:
            return [ReplacedFiles(self._main, others)]
        return [ReplacedImage(self.path, image, others, self._opener)]

    def __enter__(self) -> NewFiles:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            for other in self._others:
                other.__exit__(exception_type, exception, traceback)
        finally:
            self._main.__exit__(exception_type, exception, traceback)
            self._rejoin()


class CreatedImage(NewImage):
    """An image that a driver creates in new files.

    :param files: the files of the image
    :param filename: the name of the image
    :param format: its driver
    :param options: its creation options with their defaults
    :param backing: the open image below it, if that is known
    :param opener: has the limits and the secrets
    """

    def __init__(
        self,
        files: NewFiles,
        filename: str,
        format: str,
        options: dict[str, Any],
        backing: Image | None,
        opener: Opener,
    ) -> None:
        super().__init__(filename, format, None, opener.limits)
        self._files = files
        self._opener = opener
        self.options = options
        self.backing = backing

    def main(self, least: int = 0) -> Storage:
        return self._files.main_of(least)

    def add(self, key: str, name: str, least: int, role: str) -> Storage:
        return self._files.add(name, least, role)

    def keep(self, key: str, name: str, least: int, role: str) -> Storage:
        return self._files.keep(name, least, role)

    def secret(self, option: str) -> bytes | None:
        name = self.options.get(option)
        if name is None:
            return None
        if self._opener.secrets is None:
            raise OptionError("No secret with id '%s'" % name, path=self.filename)
        return self._opener.secrets.secret(str(name))

    def open_backing(self, stored_name: str, stored_format: str | None) -> Image:
        return self._opener.open(resolve_reference(self.filename, stored_name), stored_format, INFO, backing=False)

    @property
    def is_device(self) -> bool:
        return self._files.is_device

    @property
    def protocol(self) -> str:
        return self._files.protocol

    @property
    def room(self) -> int | None:
        return self._files.room

    @property
    def can_preallocate(self) -> bool:
        return self._files.can_preallocate


def target_driver(name: str, protocol: str | None = None) -> str:
    """The protocol of a new image; there is no ``json:`` for what does not exist yet.

    :param protocol: the one that its format is for (``None``: its name says which)
    :raises OptionError: an unknown protocol
    """
    return protocol or driver_of(name) or driver_of_path(name)


def target_exists(name: str, rehearsal: Rehearsal | None, protocol: str | None = None) -> bool:
    """Whether there is something where a new image is to be.

    :param protocol: see :func:`target_driver`
    :raises OptionError: an unknown protocol
    """
    driver = target_driver(name, protocol)
    if driver not in PATH_PROTOCOLS:
        return True
    path: str = parse_protocol_name(name, driver)["filename"]
    return os.path.exists(path) if rehearsal is None else rehearsal.exists(path)


class _TriedFiles(NewFiles):
    """Where it is tried out whether an image fits on a device."""

    def add(self, name: str, least: int, role: str) -> Storage:
        from ..storage.imagined import ImaginedFile

        return ImaginedFile(name)

    keep = add


def _place(name: str, driver: str) -> Any:
    """The same for all names of one place."""
    node = parse_protocol_name(name, driver)
    return os.path.realpath(node["filename"]) if driver in PATH_PROTOCOLS else node
