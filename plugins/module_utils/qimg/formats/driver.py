# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The door for formats: what a format implements, and what it may ask for while it opens or creates an image."""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections import namedtuple

from ..errors import UnsupportedOperationError
from ..limits import SECTOR, Limits
from ..sizes import round_up
from .base import Origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    from ..references import Node
    from ..storage.base import Storage
    from .base import Image
    from .options import CreateOption

    Purpose = Literal["info", "read", "source", "check", "write", "resize", "merge"]
    Compression = Literal["never", "possible", "always"]

# What an image is opened for.
INFO: Purpose = "info"  #: only its header: no further file of its own, no secrets
READ: Purpose = "read"  #: guest data
SOURCE: Purpose = "source"  #: guest data that nobody may change meanwhile
CHECK: Purpose = "check"  #: its metadata, even if they are broken
WRITE: Purpose = "write"  #: to be changed
RESIZE: Purpose = "resize"  #: to be changed, its size too
MERGE: Purpose = "merge"  #: to be changed, and nobody may change its size
PURPOSES = (INFO, READ, SOURCE, CHECK, WRITE, RESIZE, MERGE)
#: Those for which an image is opened for writing.
WRITING = (WRITE, RESIZE, MERGE)

#: What messages call the image below another one.
BACKING_FILE = "backing file"

# Whether new images of a format store compressed clusters.
NEVER: Compression = "never"
POSSIBLE: Compression = "possible"  #: if they are asked to
ALWAYS: Compression = "always"  #: and nothing else


class Driver(ABC):
    """One format: its properties, and the ways to open and to create its images.  One instance per format.

    A driver opens nothing by itself: files come from the :class:`ImageSource` or the :class:`NewImage` that it is
    given.  It does not know what its images are opened for, beyond ``purpose``.
    """

    #: The name that ``-f`` takes.
    name: str
    #: Creation options, in the order in which ``-o help`` shows them.
    options: tuple[CreateOption, ...] = ()
    #: Node options that describe further files of the image, the backing file aside, as ``data-file`` does.
    child_keys: tuple[str, ...] = ()
    #: Node options that decide what the guest reads; they belong to the name of the image.
    content_options: tuple[str, ...] = ()
    #: Whether images can be written to.
    can_write = True
    #: Whether images can be created.
    can_create = True
    #: Whether others may write to an image while it is read.
    shares_writers = False
    #: Whether new images store compressed clusters.
    compression: Compression = NEVER
    #: The protocol that takes the name of an image as it is; ``None``: the name says which.
    protocol: str | None = None

    @abstractmethod
    def open(self, source: ImageSource) -> Image:
        """Open an image.

        :raises FormatError: it is not valid
        :raises OptionError: an option of its node is wrong
        """

    def create(self, new: NewImage) -> Image:
        """An empty image, open for writing.  It must be flushed or closed before its files take their names.

        :raises OptionError: the options contradict each other
        :raises StorageError: the files cannot be written
        """
        raise UnsupportedOperationError(
            "Format driver '%s' does not support image creation" % self.name, path=new.filename, format=self.name
        )

    def measure(self, options: dict[str, Any], size: int, source: Image | None) -> Measurement | None:
        """The size of a new file of ``size`` guest bytes, empty or with the content of ``source``.

        :returns: ``None`` if the format cannot tell
        """
        return None

    def main_file_size(self, options: dict[str, Any], size: int) -> int | None:
        """The bytes of the image's own file once everything has been written to; ``None``: the format cannot tell."""
        measurement = self.measure(options, size, None)
        return None if measurement is None else measurement.fully_allocated

    def further_files(self, filename: str, options: dict[str, Any]) -> list[tuple[str, str]]:
        """The further files that a new image is made of: what messages call each, and its name.

        :param filename: the name of the image; the names are relative to its directory
        """
        return []

    def named_files(self, read: Callable[[int, int], bytes]) -> list[tuple[str, str]]:
        """The files that an image names, by its header alone: what messages call each, and its name as it is stored.

        A format whose images can have backing files says so here.  The image need not be one that can be opened.

        :param read: gives the bytes at an offset, fewer where the file ends
        :raises FormatError: the header is broken
        """
        return []

    def is_whole(self, read: Callable[[int, int], bytes]) -> bool:
        """Whether a file that is recognized as this format is an image of its own, and not a part of another one.

        :param read: as for :meth:`named_files`
        """
        return True

    def disk_size(self, size: int, options: dict[str, Any]) -> int:
        """The guest bytes that a new disk gets which is to have ``size``: rounded up to what the format can say."""
        return round_up(size, SECTOR)

    def compression_with(self, options: dict[str, Any]) -> Compression:
        """Whether a new image with these creation options stores compressed clusters."""
        return self.compression

    def has_option(self, name: str) -> bool:
        """Whether there is a creation option of that name."""
        return any(option.name == name for option in self.options)


class Measurement(namedtuple("Measurement", ["required", "fully_allocated", "bitmaps"], defaults=(None,))):
    """How many bytes a new image would take.

    ``required``: with the content that it gets; ``fully_allocated``: when everything has been written to;
    ``bitmaps``: dirty bitmaps in addition, ``None`` where there can be none.
    """

    __slots__ = ()

    required: int
    fully_allocated: int
    bitmaps: int | None

    def document(self) -> dict[str, int]:
        """The object that ``measure --output=json`` prints."""
        document = {"required": self.required, "fully-allocated": self.fully_allocated}
        if self.bitmaps is not None:
            document["bitmaps"] = self.bitmaps
        return document


class ImageSource(Origin, ABC):
    """All that a driver may ask for while it opens an image.

    :param storage: where the bytes of the image lie
    :param purpose: what the image is opened for: one of :data:`PURPOSES`
    :param probed: whether the format was detected rather than named
    """

    def __init__(
        self, storage: Storage, filename: str, format: str, node: Node, limits: Limits, purpose: Purpose, probed: bool
    ) -> None:
        super().__init__(filename, format, node, limits)
        self.storage = storage
        self.purpose = purpose
        self.probed = probed

    @abstractmethod
    def take(self, option: str, default: Any = None) -> Any:
        """Take an option from the node: a text or a number.  What no driver takes is refused.

        :param option: its name; dots lead into nested options
        """

    @abstractmethod
    def take_node(self, option: str) -> Node | str | None:
        """Take the description of another node, or the name of one; ``None``: there is neither."""

    @abstractmethod
    def take_all(self) -> Node:
        """The options that nobody has taken yet, to be taken by deleting them."""

    @abstractmethod
    def secret(self, option: str) -> bytes | None:
        """Take an option that names a secret (``key-secret``), and get that secret; ``None``: it is not given.

        :raises OptionError: there is no such secret
        """

    @abstractmethod
    def open_file(self, key: str, stored_name: str | None, role: str, holds_metadata: bool = False) -> Storage:
        """Open a further file of the image.  What the image names has to pass the reference policy.

        :param key: the node option by which a user can name another file; dots lead into nested options
        :param stored_name: the name that the image has for it
        :param role: for messages: ``data file``, ``extent``
        :param holds_metadata: whether it holds more than guest data, and so is locked like the image itself
        :raises ReferenceDeniedError: the image may not have it opened
        """

    @abstractmethod
    def open_backing(self, stored_name: str | None, stored_format: str | None) -> Image | None:
        """Open the backing file; ``None``: there is none, or the caller does not want it.

        :raises ReferenceDeniedError: the image may not have it opened
        """

    @abstractmethod
    def warn(self, text: str) -> None:
        """Tell the user of something that is wrong and does not prevent the work."""

    @abstractmethod
    def notice(self, line: str) -> None:
        """Tell the user what is done to the image to be able to work with it."""


class NewImage(Origin, ABC):
    """All that a driver may ask for while it creates an image.

    ``options`` are the creation options with their defaults, of the declared types; ``backing`` is the open image
    below the new one, if that is known.
    """

    options: dict[str, Any]
    backing: Image | None

    @abstractmethod
    def main(self, least: int = 0) -> Storage:
        """Where the image itself goes: writable, and empty or a device.

        :param least: how many bytes it will have at least
        :raises StorageError: a device is shorter than that; it is untouched
        """

    @abstractmethod
    def add(self, key: str, name: str, least: int, role: str) -> Storage:
        """A further file of the image.

        :param key: the node option that would name another file, as in :meth:`ImageSource.open_file`
        :param name: as the image will name it
        :param least: how many bytes it will have at least
        :param role: for messages: ``data file``, ``extent``
        :raises OptionError: it is the image itself
        :raises StorageError: it cannot be written, or is a device that is shorter; then it is untouched
        """

    @abstractmethod
    def keep(self, key: str, name: str, least: int, role: str) -> Storage:
        """The same for a file that is there and keeps its content; if it is shorter than ``least``, it grows.

        :raises OptionError: it is the image itself
        :raises StorageError: it is not there, or cannot be written
        """

    @abstractmethod
    def secret(self, option: str) -> bytes | None:
        """The secret that a creation option (``key-secret``) names; ``None``: it is not given.

        :raises OptionError: there is no such secret
        """

    @abstractmethod
    def open_backing(self, stored_name: str, stored_format: str | None) -> Image:
        """Open the backing file that the image is going to name, for what its header says; the caller lets go of it.

        :raises ImageError: it cannot be opened
        """

    @property
    @abstractmethod
    def is_device(self) -> bool:
        """Whether the image itself goes to a device, whose length is what it is."""

    @property
    @abstractmethod
    def protocol(self) -> str:
        """The driver that QEMU has for the place of the image itself."""

    @property
    @abstractmethod
    def room(self) -> int | None:
        """How many bytes there are for the image itself; ``None``: its file grows."""

    @property
    @abstractmethod
    def can_preallocate(self) -> bool:
        """Whether space can be reserved where the image itself goes."""
