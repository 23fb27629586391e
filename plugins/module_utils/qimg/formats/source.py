# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What a driver gets while it opens an image: its options, and the files that the image names."""
from __future__ import annotations

from abc import ABC, abstractmethod

from ..errors import ImageError, LimitError, OptionError
from ..option_text import take_option
from ..references import (
    innermost_path,
    names_backing,
    names_file,
    no_such_node,
    parse_reference,
    plain_name,
    resolve_data_file,
    resolve_reference,
)
from ..storage import locks
from ..storage.protocols import node_with, with_driver
from . import check_driver
from .driver import INFO, READ, SOURCE, ImageSource
from .naming import display_name, whole_node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..crypto.objects import ObjectStore
    from ..limits import Limits
    from ..references import Node
    from ..storage.base import Storage
    from ..storage.cache import CacheMode
    from .base import Image
    from .driver import Purpose
    from .watcher import Watcher


class OpensNodes(ABC):
    """What opens the files that images name; see :class:`~qimg.formats.opening.Opener`."""

    limits: Limits
    watcher: Watcher
    secrets: ObjectStore | None
    force_share: bool

    @abstractmethod
    def open_node(
        self, node: Node, name: str | None, purpose: Purpose, backing: bool, writable: bool, cache: CacheMode
    ) -> Image:
        """Open an image.

        :param name: what to call it; ``None``: find a name
        :param backing: whether to open its backing chain
        """

    @abstractmethod
    def open_child(self, node: Node, purpose: Purpose, writable: bool, cache: CacheMode) -> Storage:
        """Open what lies beneath a format; it is not locked yet."""

    @abstractmethod
    def check_reference(self, node: Node, referrer: str, target: str, role: str) -> None:
        """Ask the reference policy about every file that a node would have opened.

        :param referrer: the image that names it
        :param target: its name, resolved
        :raises ReferenceDeniedError: it may not be opened
        """


class OpenedSource(ImageSource):
    """An image whose storage is open and locked.

    :param opener: opens the files that the image names
    :param options: the options of its node that no one has taken yet
    :param is_named: whether ``filename`` is the name that the user gave
    :param open_backing: whether to open its backing chain
    :param cache: how its files are read and written
    """

    def __init__(
        self,
        opener: OpensNodes,
        storage: Storage,
        filename: str,
        format: str,
        node: Node,
        options: Node,
        purpose: Purpose,
        probed: bool,
        is_named: bool,
        open_backing: bool,
        cache: CacheMode,
    ) -> None:
        super().__init__(storage, filename, format, node, opener.limits, purpose, probed)
        self._opener = opener
        self._options = options
        self._is_named = is_named
        self._open_backing = open_backing
        self._cache = cache
        #: Where the image is, for names that are relative to it.
        self._location = innermost_path(node) or filename

    def name_of(self, image: Image) -> str:
        return self.filename if self._is_named else display_name(whole_node(image))

    def take(self, option: str, default: Any = None) -> Any:
        place, last = self._place(option)
        value = default if place is None else take_option(place, last, default)
        self._drop_empty(option)
        return value

    def take_node(self, option: str) -> Node | str | None:
        place, last = self._place(option)
        value = None if place is None else place.pop(last, None)
        self._drop_empty(option)
        # As in QEMU, an empty list of options is none, and a number is no node.
        return value if isinstance(value, str) or (isinstance(value, dict) and value) else None

    def _place(self, option: str) -> tuple[Node | None, str]:
        """The dictionary that has an option, and its key there; ``None``: there is no such dictionary."""
        *path, last = option.split(".")
        place: Any = self._options
        for step in path:
            place = place.get(step)
            if not isinstance(place, dict):
                return None, last
        return place, last

    def _drop_empty(self, option: str) -> None:
        """Drop the dictionaries around an option that have become empty."""
        path = option.split(".")[:-1]
        while path:
            place, last = self._place(".".join(path))
            if place is None or place.get(last) != {}:
                return
            del place[last]
            path.pop()

    def take_all(self) -> Node:
        return self._options

    def secret(self, option: str) -> bytes | None:
        name = self.take(option)
        if name is None:
            return None
        if self._opener.secrets is None:
            raise OptionError("No secret with id '%s'" % name, path=self.filename)
        return self._opener.secrets.secret(str(name))

    def open_file(self, key: str, stored_name: str | None, role: str, holds_metadata: bool = False) -> Storage:
        override = self.take_node(key)
        if isinstance(override, str):
            raise no_such_node({**self._options, key: override}, key)
        if isinstance(override, dict):
            node = with_driver(override)
        elif stored_name:
            target = resolve_data_file(self._location, stored_name)
            child = parse_reference(target).get("file")
            if not isinstance(child, dict):
                raise OptionError("Its %s '%s' is not the name of a file" % (role, target), path=self.filename)
            node = self.found_nodes[key] = child
            self._opener.check_reference(node, self._location, target, role)
        else:
            raise OptionError("'%s' is required for this image" % key, path=self.filename)
        storage = self._opener.open_child(node, self.purpose, self.storage.writable, self._cache)
        try:
            storage.lock(self._intent(holds_metadata))
        except BaseException:
            storage.close()
            raise
        return storage

    def _intent(self, holds_metadata: bool) -> locks.LockIntent:
        """The locks of a further file.

        :param holds_metadata: whether it holds more than guest data
        """
        if self._opener.force_share:
            return locks.FORCE_SHARE
        if self.storage.writable:
            return locks.WRITE_IMAGE if holds_metadata else locks.WRITE_DATA_FILE
        if self.purpose == SOURCE or holds_metadata:
            return locks.READ_IMAGE
        return locks.READ_DATA_FILE

    def open_backing(self, stored_name: str | None, stored_format: str | None) -> Image | None:
        if not self._open_backing:
            return None
        override = stored_name
        if self._options.get("backing", "") is None or names_backing(self._options):
            override = self._options.pop("backing")
        elif stored_name:
            # A number, say, is neither a name nor a description, and counts for nothing where there is a backing file.
            self._options.pop("backing", None)
        if not override:
            return None
        target = None
        if stored_name and not (isinstance(override, dict) and names_file(override)):
            target = resolve_reference(self._location, stored_name)
        try:
            if isinstance(override, dict):
                return self._open_backing_node(target, stored_format, override)
            if override is not stored_name:
                raise no_such_node({**self._options, "backing": override}, "backing")
            return self._open_backing_node(target, stored_format, {})
        except LimitError:
            # Said once, not by each image of a chain that is too long.
            raise
        except ImageError as error:
            error.reason = "Could not open backing file: %s" % error.reason
            error.path = self.filename
            raise

    def _open_backing_node(self, target: str | None, stored_format: str | None, override: Node) -> Image:
        purpose = self.purpose if self.purpose in (SOURCE, INFO) else READ
        node, name = override, None
        if target is not None:
            check_driver(target, stored_format or None)
            self._opener.check_reference(parse_reference(target), self._location, target, "backing file")
            node = node_with(target, stored_format or None, override)
            name = plain_name(target) if not override else None
        elif stored_format:
            # Whatever other file it is, the image says what is in it.
            node = {"driver": stored_format, **override}
        return self._opener.open_node(node, name, purpose, True, False, self._cache)

    def warn(self, text: str) -> None:
        self._opener.watcher.warning(text)

    def notice(self, line: str) -> None:
        self._opener.watcher.notice(line)
