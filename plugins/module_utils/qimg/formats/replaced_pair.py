# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Replacing an image and its data file, which are two files, in what looks like one step.

Their names can only be taken one after the other, and in between the old image would show the new data.  So the old
data file gets a second, hidden name first, and the old image is changed to refer to that: from then on it is whole,
whatever takes the other name.  What is left is one rename, that of the new image.  Whoever is killed before it leaves
the old image, with its data under the hidden name; what replaces that image later removes them too.

Where this cannot be done, because the file system knows no second names, or the old image has no room for the name,
both old files get hidden names: whoever is killed then leaves no image, which is better than one with the wrong data.
"""
from __future__ import annotations

import os

from ..errors import ImageError, StorageError
from ..references import local_path, parse_reference, protocol_of, resolve_data_file
from . import get_format
from .capabilities import Amendable
from .opening import INFO, Children
from .probing import PROBE_BYTES, probe
from .watcher import Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..storage.in_place import ExistingTarget
    from ..storage.kept import KeptFile
    from ..storage.replace import NewFile
    from .base import Image
    from .opening import Opener


class ReplacedData:
    """A file whose name is taken by the data file of a new image that replaces none.

    :param image: the new image
    :param data: the file
    """

    def __init__(self, image: NewFile | ExistingTarget, data: KeptFile) -> None:
        self._image = image
        self._kept_data = data
        self._is_kept = False

    def part(self) -> None:
        """Keep the file under a hidden name, where the file system knows second names.

        :raises StorageError: that failed; :meth:`rejoin` undoes what was done
        """
        self._is_kept = self._kept_data.link()

    def rejoin(self) -> None:
        """Undo :meth:`part`, unless the image has got its name.

        :raises StorageError: that is not possible; then the file has its hidden name
        """
        if self._is_kept and not self._image.has_name:
            self._kept_data.link_back()
            self._kept_data.remove()

    def forget(self) -> None:
        """Remove what is left of the file, once the new ones have their names."""
        self._kept_data.remove()
        self._kept_data.remove_older()


class ReplacedPair:
    """An image and another file, whose names a new image and its data file are going to take.

    :param path: how the user calls the image
    :param image: the image, whose name is taken last
    :param data: the other file
    :param opener: opens the image, for what its header says
    """

    def __init__(self, path: str, image: KeptFile, data: KeptFile, opener: Opener) -> None:
        self._path = path
        self._kept_image, self._kept_data = image, data
        self._identity = image.storage.identity
        self._opener = opener
        #: What has its hidden name instead of its own.
        self._aside: list[KeptFile] = []
        #: The old image, while it calls its data file by the hidden name, and what it called that before.
        self._changed: tuple[Image, str] | None = None

    def part(self) -> None:
        """Have the old image not notice when the other file is replaced.

        :raises StorageError: that is not possible; :meth:`rejoin` undoes what was done
        """
        try:
            image = self._open()
        except StorageError:
            raise
        except ImageError:
            # Only whoever can open it knows whether the two belong together.
            self._put_aside()
            return
        stored = image.creation_options().get("data_file")
        if stored and self._is_data_file(stored) and not self._rename_data_file(image, stored):
            self._put_aside()

    def _open(self) -> Image:
        """The old image, in the storage that is open and locked already."""
        storage = self._kept_image.storage
        row = get_format(probe(storage.read(0, min(PROBE_BYTES, storage.size)), self._path))
        opener = self._opener.variant(watcher=Watcher())
        children = Children(opener, {}, self._path, INFO, False, True, opener.cache, {})
        image: Image = row.open(storage, self._path, {}, children)
        return image

    def _is_data_file(self, stored: str) -> bool:
        """Whether the old image means the file that is going to be replaced."""
        path = self._path_of(stored)
        return path is not None and os.path.exists(path) and os.path.samefile(path, self._kept_data.target)

    def _rename_data_file(self, image: Image, stored: str) -> bool:
        """Have the old image call its data file by the hidden name; whether that can be done."""
        if not isinstance(image, Amendable) or not self._kept_data.link():
            return False
        name = os.path.join(os.path.dirname(stored), os.path.basename(self._kept_data.path))
        if protocol_of(stored) is not None or not self._is_data_file(name):
            # It is seen from somewhere else, by a symbolic link for instance.
            name = self._kept_data.path
        try:
            image.amend({"data_file": name})
        except ImageError as error:
            if image.creation_options()["data_file"] != name:
                self._kept_data.remove()
            if isinstance(error, StorageError):
                raise
            # Its header has no room for the name.
            return False
        self._changed = image, stored
        return True

    def _put_aside(self) -> None:
        """Have both not under their names any more."""
        for file in (self._kept_image, self._kept_data):
            file.move()
            self._aside.append(file)

    def rejoin(self) -> None:
        """Undo :meth:`part`, unless the image's name is another file's by now.

        :raises StorageError: that is not possible; then the old image is whole, if it is there
        """
        if self._changed is not None:
            image, stored = self._changed
            if self._has_name():
                self._kept_data.link_back()
                image.amend({"data_file": stored})  # type: ignore[attr-defined]
                self._kept_data.remove()
        elif not os.path.lexists(self._kept_image.target):
            for file in reversed(self._aside):
                file.move_back()

    def _has_name(self) -> bool:
        """Whether the old image still has its name."""
        try:
            status = os.stat(self._kept_image.target)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def forget(self) -> None:
        """Remove what is left of the two, once the new ones have their names."""
        for file in (self._kept_image, self._kept_data):
            file.remove()
            file.remove_older()

    def _path_of(self, stored: str) -> str | None:
        """The local file that the old image means by a name."""
        try:
            return local_path(parse_reference(resolve_data_file(self._path, stored)))
        except ImageError:
            return None
