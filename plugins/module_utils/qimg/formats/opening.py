# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Opening images: storage, format, backing chain; and the files of new images."""
from __future__ import annotations

from ..errors import ImageError, LimitError, OptionError
from ..limits import DEFAULT_LIMITS, Limits
from ..policy import DEFAULT_POLICY, ReferencePolicy
from ..references import nest, parse_reference, protocol_of, resolve_reference
from ..storage import locks
from ..storage.local import LocalFile
from ..storage.replace import NewFile
from ..storage.scratch import ScratchFile
from . import get_format
from .probing import PROBE_BYTES, probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Union

    from ..references import Node
    from ..storage.base import Storage
    from .base import Format, Image

    Reference = Union[str, Node]

# What an image is opened for.
INFO = "info"  #: only its header: no backing file, no data file, no secrets
READ = "read"  #: guest data
SOURCE = "source"  #: guest data that nobody may change meanwhile
CHECK = "check"  #: its metadata, even if they are broken
WRITE = "write"  #: to be changed
RESIZE = "resize"  #: to be changed, its size too


class Opener:
    """Opens an image and what it refers to, all under the same rules.

    :param policy: which files an image may make us open
    :param force_share: read although others may be writing
    :param reuse: images that are open already, by the identity of their file: they are taken instead of opened again
    """

    def __init__(
        self,
        policy: ReferencePolicy = DEFAULT_POLICY,
        limits: Limits = DEFAULT_LIMITS,
        force_share: bool = False,
        reuse: dict[tuple[int, int], Image] | None = None,
    ) -> None:
        self.policy = policy
        self.limits = limits
        self.force_share = force_share
        self.reuse = reuse or {}
        #: Whether nothing that this opens for writing is really changed.
        self.rehearses = False
        self._chain: list[tuple[int, int]] = []

    def variant(self, **changes: Any) -> Opener:
        """The same with other values for some of its attributes."""
        other = Opener()
        vars(other).update(vars(self))
        vars(other).update(changes, _chain=[])
        return other

    def rehearsing(self) -> Opener:
        """The same, but what it opens for writing, or makes new, is changed in memory only.

        All rights and locks are taken as for the real thing, so that every error shows but for those of a full disk.
        """
        return self.variant(rehearses=True, reuse={})

    def new_files(self, path: str, sync: bool = True) -> NewFiles:
        """The files of a new image; see :class:`NewFiles`."""
        return NewFiles(path, sync, self.rehearses)

    def open_storage(self, path: str, writable: bool) -> Storage:
        """Open a file or a block device; it is not locked yet.

        :raises StorageError: it cannot be opened
        """
        file = LocalFile.open(path, writable)
        return ScratchFile(file) if writable and self.rehearses else file

    def open(
        self,
        reference: Reference,
        format: str | None = None,
        purpose: str = READ,
        backing: bool = True,
        writable: bool | None = None,
    ) -> Image:
        """Open an image.

        :param reference: a file name in any of QEMU's spellings, or a node
        :param format: its format; ``None``: find out
        :param backing: whether to open its backing chain
        :param writable: for ``CHECK``, whether to repair
        :raises ImageError: it cannot be opened; nothing stays open
        """
        node = dict(parse_reference(reference) if isinstance(reference, str) else nest(reference))
        if format is not None:
            node["driver"] = format
        if writable is None:
            writable = purpose in (WRITE, RESIZE)
        filename = reference if isinstance(reference, str) else display_name(node)
        if filename.startswith("json:"):
            filename = display_name(node)
        return self._open_node(node, filename, purpose, backing, writable)

    def check_backing(self, referrer: str, target: str) -> None:
        """Ask the policy about a backing file that will be opened for itself.

        :param referrer: the image that names it
        :param target: its name, resolved
        :raises ReferenceDeniedError: it may not be opened
        """
        child = parse_reference(target).get("file")
        path = child.get("filename") if isinstance(child, dict) and child.get("driver", "file") == "file" else None
        if path is None:
            self.policy.check_remote(referrer, target, "backing file")
        else:
            self.policy.check_file(referrer, str(path), "backing file")

    def _open_node(self, node: Node, filename: str, purpose: str, backing: bool, writable: bool) -> Image:
        if writable and self.force_share:
            raise OptionError("force-share=on can only be used with read-only images", path=filename)
        storage = self._open_storage(node, filename, writable)
        try:
            identity = storage.identity
            if identity is not None:
                if identity in self.reuse:
                    storage.close()
                    return self.reuse[identity]
                self._enter(identity, filename)
            driver = node.pop("driver", None)
            probed = driver is None
            if driver is None:
                driver = probe(storage.read(0, min(PROBE_BYTES, storage.size)), filename)
            row = get_format(driver)
            self._lock(storage, row, purpose, writable)
            children = Children(self, node, filename, purpose, backing, probed)
            image: Image = row.open(storage, filename, node, children)
            if node:
                leftover = sorted(node)[0]
                image.abandon()
                raise OptionError(
                    "Block format '%s' does not support the option '%s'" % (driver, leftover), path=filename
                )
            if identity is not None:
                self._chain.pop()
            return image
        except BaseException:
            storage.close()
            raise

    def _enter(self, identity: tuple[int, int], filename: str) -> None:
        if identity in self._chain:
            raise ImageError(
                "Backing file '%s' creates an infinite loop." % filename,
                path=filename,
                remedy="rebase one of the images to another backing file",
            )
        if len(self._chain) >= self.limits.max_chain:
            raise LimitError(
                "The backing chain has more than %d images" % self.limits.max_chain,
                path=filename,
                remedy="commit or rebase some of its images, or raise the limit max_chain",
            )
        self._chain.append(identity)

    def _open_storage(self, node: Node, filename: str, writable: bool) -> Storage:
        child = node.pop("file", None)
        if not isinstance(child, dict):
            raise OptionError("A block device must be specified for \"file\"", path=filename)
        child = dict(child)
        driver = child.pop("driver", "file")
        if driver not in ("file", "host_device"):
            raise OptionError("Unknown driver '%s'" % driver, path=filename)
        path = child.pop("filename", None)
        if not path:
            raise OptionError("The 'file' block driver requires a file name", path=filename)
        for ignored in ("locking", "aio", "cache"):
            child.pop(ignored, None)
        if child:
            raise OptionError(
                "Block protocol 'file' doesn't support the option '%s'" % sorted(child)[0], path=filename
            )
        return self.open_storage(path, writable)

    def _lock(self, storage: Storage, row: Format, purpose: str, writable: bool) -> None:
        raw = row.passes_locks_through
        if writable:
            raw_intent = locks.RESIZE_RAW if purpose == RESIZE else locks.WRITE_RAW
            storage.lock(raw_intent if raw else locks.WRITE_IMAGE)
        elif self.force_share:
            if purpose != INFO:
                storage.lock(locks.FORCE_SHARE)
        elif purpose == INFO:
            if not raw:
                storage.lock(locks.READ_METADATA)
        elif raw and purpose != SOURCE:
            storage.lock(locks.READ_RAW)
        else:
            storage.lock(locks.READ_IMAGE)


def open_image(
    reference: Reference,
    format: str | None = None,
    purpose: str = READ,
    policy: ReferencePolicy = DEFAULT_POLICY,
    limits: Limits = DEFAULT_LIMITS,
    force_share: bool = False,
) -> Image:
    """Open an image with its backing chain; see :meth:`Opener.open`.

    :raises ImageError: it cannot be opened; nothing stays open
    """
    return Opener(policy, limits, force_share).open(reference, format, purpose)


class Children:
    """What a format may ask for while it opens an image: the files that the image names."""

    def __init__(
        self, opener: Opener, node: Node, filename: str, purpose: str, backing: bool, probed: bool
    ) -> None:
        self._opener = opener
        self._node = node
        self._filename = filename
        self._open_backing = backing
        self.purpose = purpose
        #: Whether the format was found out rather than told.
        self.probed = probed
        self.limits = opener.limits

    def open_file(self, key: str, stored_name: str | None, role: str) -> Storage:
        """Open a further file of the image itself.

        :param key: the node option by which a user can name another one
        :param stored_name: the name in the image
        :param role: for messages: ``data file``
        """
        override = self._node.pop(key, None)
        if isinstance(override, dict):
            override = override.get("filename")
        if override:
            path = str(override)
        elif stored_name:
            path = resolve_reference(self._filename, stored_name)
            path = path[len("file:") :] if path.startswith("file:") else path
            self._opener.policy.check_file(self._filename, path, role)
        else:
            raise OptionError("'%s' is required for this image" % key, path=self._filename)
        writable = self.purpose in (WRITE, RESIZE)
        storage = self._opener.open_storage(path, writable)
        try:
            if self._opener.force_share:
                storage.lock(locks.FORCE_SHARE)
            else:
                storage.lock(locks.WRITE_DATA_FILE if writable else locks.READ_DATA_FILE)
        except BaseException:
            storage.close()
            raise
        return storage

    def open_backing(self, stored_name: str | None, stored_format: str | None) -> Image | None:
        """Open the backing file, unless the caller does not want it or there is none."""
        override = self._node.pop("backing", self._node)
        if not self._open_backing or override is None or override == "":
            return None
        node: Node | None = None
        if isinstance(override, dict) and override is not self._node:
            node = dict(override)
        if not stored_name and node is None:
            return None
        try:
            return self._open_backing_node(stored_name, stored_format, node)
        except ImageError as error:
            error.reason = "Could not open backing file: %s" % error.reason
            error.path = self._filename
            raise

    def _open_backing_node(self, stored_name: str | None, stored_format: str | None, node: Node | None) -> Image:
        purpose = SOURCE if self.purpose == SOURCE else READ
        if node is not None and "file" in node:
            return self._opener.open(node, None, purpose)
        target = resolve_reference(self._filename, stored_name or "")
        parsed = parse_reference(target)
        self._opener.check_backing(self._filename, target)
        if node:
            parsed.update(node)
        if stored_format and "driver" not in parsed:
            parsed["driver"] = stored_format
        filename = display_name(parsed) if target.startswith("json:") else target
        return self._opener._open_node(parsed, filename, purpose, True, False)


def display_name(node: Node) -> str:
    """The plain file name of a node, if it has nothing else; otherwise its ``json:`` form."""
    child = node.get("file")
    if isinstance(child, dict) and set(node) <= {"driver", "file"} and set(child) <= {"driver", "filename"}:
        return str(child.get("filename", ""))
    import json

    return "json:" + json.dumps(node)


class NewFiles:
    """The files of an image that is being made: all of them get their names at the end, the main one last.

    :param path: the image's own name
    :param sync: whether the content must be on the medium before the names are taken
    :param rehearse: only find out whether it would work; see :class:`~qimg.storage.replace.NewFile`
    """

    def __init__(self, path: str, sync: bool = True, rehearse: bool = False) -> None:
        self._sync = sync
        self._rehearse = rehearse
        self._path = path
        self._main = NewFile(path, sync, rehearse)
        self._others: list[NewFile] = []

    @property
    def main(self) -> Storage:
        """Where the image itself goes."""
        return self._main.storage

    def add(self, name: str, role: str) -> Storage:
        """A further file, named as the image will name it."""
        path = resolve_reference(self._path, name)
        if protocol_of(path) not in (None, "file"):
            raise OptionError("A %s must be a local file, not '%s'" % (role, name), path=self._path)
        other = NewFile(path[len("file:") :] if path.startswith("file:") else path, self._sync, self._rehearse)
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
