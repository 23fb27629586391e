# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Replacing an image and its further files (a data file, extents) in what looks like one step.

Their names can only be taken one after the other, and in between the old image would show the new data.  So each old
further file gets a second, hidden name first, and the old image is changed to refer to that: from then on it is whole,
whatever takes the other name.  What is left is one rename, that of the new image.  A process that is killed before it
leaves the old image, with its data under the hidden names; the next replacement of that image removes them.

Where this cannot be done, because the file system has no hard links, or the old image cannot store the names, the old
files are renamed out of the way: a process that is killed then leaves no image, which is better than one with the wrong
data.
"""
from __future__ import annotations

import os

from ..errors import ImageError, StorageError
from ..references import local_path, parse_reference, protocol_of, resolve_data_file
from . import get_driver
from .capabilities import RenamesFiles
from .driver import INFO
from .opening import Opener
from .probing import PROBE_BYTES, probe
from .source import OpenedSource
from .watcher import Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..storage.in_place import ExistingTarget
    from ..storage.kept import KeptFile
    from ..storage.replace import NewFile
    from .base import Image, ImageFile


class ReplacedFiles:
    """Files whose names are taken by the further files of a new image that replaces no image.

    :param image: the new image
    :param files: the files
    """

    def __init__(self, image: NewFile | ExistingTarget, files: list[KeptFile]) -> None:
        self._image = image
        self._files = files
        self._linked: list[KeptFile] = []

    def part(self) -> None:
        """Keep the files under hidden names, where the file system has hard links.

        :raises StorageError: that failed; :meth:`rejoin` undoes what was done
        """
        for file in self._files:
            if file.link():
                self._linked.append(file)

    def rejoin(self) -> None:
        """Undo :meth:`part`, unless the image has got its name.

        :raises StorageError: that is not possible; then a file has its hidden name
        """
        if not self._image.has_name:
            for file in self._linked:
                file.link_back()
                file.remove()

    def forget(self) -> None:
        """Remove the hidden names, once the new files have the others."""
        for file in self._files:
            file.remove()
            file.remove_older()


class ReplacedImage:
    """An image and other files, whose names a new image and its further files are going to take.

    :param path: the name of the image
    :param image: the image, whose name is taken last
    :param others: the other files; only some of them may belong to the image
    :param opener: opens the image, for what its header says
    """

    def __init__(self, path: str, image: KeptFile, others: list[KeptFile], opener: Opener) -> None:
        self._path = path
        self._kept_image, self._others = image, others
        self._identity = image.storage.identity
        self._opener = opener
        #: The files that have their hidden names instead of their own.
        self._aside: list[KeptFile] = []
        #: The old image, once it is open.
        self._image: Image | None = None
        #: What it calls by hidden names for now: the further file, and where it is kept.
        self._renamed: list[tuple[ImageFile, KeptFile]] = []

    def part(self) -> None:
        """Detach the old image from the names of its further files.

        :raises StorageError: that is not possible; :meth:`rejoin` undoes what was done
        """
        try:
            self._image = self._open()
        except StorageError:
            raise
        except ImageError:
            # Nothing tells which of the files belong together.
            self._put_aside(self._others)
            return
        own = [(file, kept) for file in self._image.files() for kept in self._others if self._is_same(file.name, kept)]
        for file, kept in own:
            if not self._rename(self._image, file, kept):
                self._put_aside([kept for _file, kept in own])
                return

    def _open(self) -> Image:
        """The old image, in the storage that is open and locked already."""
        storage = self._kept_image.storage
        driver = get_driver(probe(storage.read(0, min(PROBE_BYTES, storage.size)), self._path))
        # Its further files are locked as well, by whoever is about to replace them.
        opener = self._opener.variant(watcher=Watcher(), force_share=True)
        source = OpenedSource(
            opener, storage, self._path, driver.name, {}, {}, INFO, True, True, False, opener.cache
        )
        return driver.open(source)

    def _is_same(self, stored: str | None, kept: KeptFile) -> bool:
        """Whether the old image means a file that is going to be replaced."""
        path = self._path_of(stored) if stored else None
        return path is not None and os.path.exists(path) and os.path.samefile(path, kept.target)

    def _rename(self, image: Image, file: ImageFile, kept: KeptFile) -> bool:
        """Change the old image to refer to one of its files by the hidden name; whether that can be done."""
        stored = file.name
        if not isinstance(image, RenamesFiles) or stored is None or not kept.link():
            return False
        name = os.path.join(os.path.dirname(stored), os.path.basename(kept.path))
        if protocol_of(stored) is not None or not self._is_same(name, kept):
            # It is seen from somewhere else, by a symbolic link for instance.
            name = kept.path
        try:
            image.rename_file(file.key, name)
        except ImageError as error:
            if any(other.name == name for other in image.files()):
                # The change is there, though not yet on the medium for sure.
                self._renamed.append((file, kept))
            else:
                kept.remove()
            if isinstance(error, StorageError):
                raise
            # It cannot store the name.
            return False
        self._renamed.append((file, kept))
        return True

    def _put_aside(self, others: list[KeptFile]) -> None:
        """Rename the image and its files out of the way."""
        for file in (self._kept_image, *others):
            file.move()
            self._aside.append(file)

    def rejoin(self) -> None:
        """Undo :meth:`part`, unless the image's name is another file's by now.

        :raises StorageError: that is not possible; then the old image is whole, if it is there
        """
        if self._renamed and self._has_name():
            for file, kept in self._renamed:
                kept.link_back()
                self._image.rename_file(file.key, file.name)  # type: ignore[union-attr]
                kept.remove()
        if self._aside and not os.path.lexists(self._kept_image.target):
            for aside in reversed(self._aside):
                aside.move_back()

    def _has_name(self) -> bool:
        """Whether the old image still has its name."""
        try:
            status = os.stat(self._kept_image.target)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def forget(self) -> None:
        """Remove what is left of the old files, once the new ones have their names."""
        for file in (self._kept_image, *self._others):
            file.remove()
            file.remove_older()

    def _path_of(self, stored: str) -> str | None:
        """The local file that the old image means by a name."""
        try:
            return local_path(parse_reference(resolve_data_file(self._path, stored)))
        except ImageError:
            return None
