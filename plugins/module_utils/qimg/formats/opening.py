# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Opening images: storage, format, backing chain."""
from __future__ import annotations

from ..errors import ImageError, LimitError, OptionError
from ..limits import DEFAULT_LIMITS, Limits
from ..option_text import check_choice, take_boolean
from ..policy import DEFAULT_POLICY, ReferencePolicy
from ..references import (
    display_name,
    first_key,
    innermost_path,
    leaves,
    local_path,
    named,
    names_backing,
    names_file,
    no_such_node,
    parse_reference,
    plain_name,
    resolve_data_file,
    resolve_reference,
    shown_reference,
)
from ..storage import locks
from ..storage.cache import WRITEBACK, CacheMode
from ..storage.hints import NO_HINTS, FileHints
from ..storage.local import LocalFile
from ..storage.protocols import (
    PROTOCOLS,
    Connections,
    node_of,
    node_with,
    open_storage,
    with_driver,
)
from . import check_driver, get_format
from .chain import chain_too_long, infinite_loop
from .nested import ImageStorage, whole_node
from .node_options import settle_backing, take_opening_options, take_refused_backing, take_working_options
from .probing import probe_storage
from .watcher import Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from ..crypto.objects import ObjectStore
    from ..references import Node, Reference
    from ..storage.base import Storage
    from ..storage.ownership import Ownership
    from ..storage.scratch import Rehearsal
    from .base import Format, Image
    from .new_files import NewFiles

    Purpose = Literal["info", "read", "source", "check", "write", "resize", "merge"]

# What an image is opened for.
INFO: Purpose = "info"  #: only its header: no data file, no secrets
READ: Purpose = "read"  #: guest data
SOURCE: Purpose = "source"  #: guest data that nobody may change meanwhile
CHECK: Purpose = "check"  #: its metadata, even if they are broken
WRITE: Purpose = "write"  #: to be changed
RESIZE: Purpose = "resize"  #: to be changed, its size too
MERGE: Purpose = "merge"  #: to be changed, and nobody may change its size
PURPOSES = (INFO, READ, SOURCE, CHECK, WRITE, RESIZE, MERGE)

_WRITING = (WRITE, RESIZE, MERGE)
_RAW_INTENTS = {RESIZE: locks.RESIZE_RAW, MERGE: locks.MERGE_RAW}

_PROBED_RAW = """\
WARNING: Image format was not specified for '%s' and probing guessed raw.
         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.
         Specify the 'raw' format explicitly to remove the restrictions."""


class Opener:
    """Opens images and what they refer to, all under the same rules; threads may share one.

    :param policy: which files an image may make us open
    :param limits: what images may ask of this process
    :param force_share: read although others may be writing
    :param reuse: images that are open already, by the identity of their file: they are taken instead of opened again
    :param cache: how reads and writes reach the medium
    :param secrets: where to find passwords
    :param watcher: is told of warnings
    :param ownership: owner and permissions of new files
    """

    def __init__(
        self,
        policy: ReferencePolicy = DEFAULT_POLICY,
        limits: Limits = DEFAULT_LIMITS,
        force_share: bool = False,
        reuse: dict[tuple[int, int], Image] | None = None,
        cache: CacheMode = WRITEBACK,
        secrets: ObjectStore | None = None,
        watcher: Watcher | None = None,
        ownership: Ownership | None = None,
    ) -> None:
        self.policy = policy
        self.limits = limits
        self.force_share = force_share
        self.reuse = reuse or {}
        self.cache = cache
        self.secrets = secrets
        self.watcher = watcher or Watcher()
        self.ownership = ownership
        #: Whether nothing that this opens for writing is really changed.
        self.rehearses = False
        #: How requests are sent to local files, and whether discarded clusters are freed, where nodes do not say it.
        self.aio = "threads"
        self.discard = "ignore"
        #: What earlier rehearsals have left, and takes what this one leaves; ``None``: nothing.
        self.rehearsal: Rehearsal | None = None
        self._connections = Connections()
        #: Files that images name and that may be opened -> the image, and what it calls the file.
        self._referred: dict[str, tuple[str, str]] = {}
        #: The files that may not be met below, and those that are being opened (``None``: an image of another kind).
        self._above: list[tuple[int, int]] = []
        self._chain: list[tuple[int, int] | None] = []
        #: The names that nodes have been given.
        self._node_names: set[str] = set()

    def variant(self, **changes: Any) -> Opener:
        """The same with other values for some of its attributes."""
        other = Opener()
        vars(other).update({**vars(self), **changes})
        return other

    def below(self, image: Image) -> Opener:
        """The same for what is to become the backing file of an open image: to meet that image again is a loop."""
        identity = image.storage.identity
        return self.variant(reuse={}, _above=[] if identity is None else [identity])

    def rehearsing(self) -> Opener:
        """The same, but what it opens for writing, or makes new, is changed in memory only.

        All rights and locks are taken as for the real thing, so that every error shows but for those of a full disk.
        """
        from ..storage.scratch import Rehearsal

        return self.variant(rehearses=True, reuse={}, rehearsal=self.rehearsal or Rehearsal())

    def new_files(self, path: str, driver: str, sync: bool = True, hints: FileHints = NO_HINTS) -> NewFiles:
        """The files of a new image; see :class:`~qimg.formats.new_files.NewFiles`."""
        from .new_files import NewFiles

        rehearsal = self.rehearsal if self.rehearses else None
        files = NewFiles(path, driver, self, self.open_storage, sync, rehearsal, self.cache, hints, self.ownership)
        if files.warning and not self.rehearses:
            self.watcher.warning(files.warning)
        return files

    def open_storage(self, node: Node, writable: bool, cache: CacheMode) -> Storage:
        """Open what a protocol node describes; it is not locked yet.

        :raises OptionError: an unknown option
        :raises StorageError: it cannot be opened
        """
        find_credentials = self.secrets.tls_credentials if self.secrets is not None else None

        def really_open() -> Storage:
            storage = open_storage(node, writable, cache, self._connections, find_credentials, self.aio)
            reference = self._referred.get(str(node.get("filename")))
            if reference is not None and isinstance(storage, LocalFile):
                try:
                    self.policy.check_opened(reference[0], storage.fd, reference[1])
                except ImageError:
                    storage.close()
                    raise
            return storage

        if self.rehearsal is None:
            return really_open()
        return self.rehearsal.open(local_path({"file": node}), really_open, writable, writable and self.rehearses)

    def open(
        self,
        reference: Reference,
        format: str | None = None,
        purpose: Purpose = READ,
        backing: bool = True,
        writable: bool | None = None,
    ) -> Image:
        """Open an image.

        :param reference: a file name in any of QEMU's spellings, a path, or a node
        :param format: its format; ``None``: detect it
        :param purpose: what for; one of the constants above
        :param backing: whether to open its backing chain
        :param writable: for ``CHECK``, whether to repair
        :raises ImageError: it cannot be opened; nothing stays open
        """
        check_choice("purpose", purpose, PURPOSES)
        reference = named(reference)
        if writable is None:
            writable = purpose in _WRITING
        # Threads that share an opener have chains of their own.
        opening = self.variant(_chain=list(self._above), _node_names=set())
        try:
            check_driver(reference, format)
            node = node_of(reference, format)
            return opening._open_node(node, plain_name(reference), purpose, backing, writable, self.cache)
        except ImageError as error:
            if error.while_opening is None:
                error.while_opening = shown_reference(reference)
            raise
        except RecursionError as error:
            # A raised limit, or a caller who is deep in calls himself.
            raise LimitError(
                "The backing chain has more images than this program can open one inside the other",
                path=shown_reference(reference),
                remedy="commit or rebase some of its images",
            ) from error

    def check_backing(self, referrer: str, target: str) -> None:
        """Ask the policy about a backing file that will be opened for itself.

        :param referrer: the image that names it
        :param target: its name, resolved
        :raises ReferenceDeniedError: it may not be opened
        """
        self._check(parse_reference(target), referrer, target, "backing file")

    def _check(self, node: Node, referrer: str, target: str, role: str) -> None:
        """Ask the policy about every file that a node would have us open."""
        for leaf in leaves(node):
            path = local_path({"file": leaf})
            if path is None:
                self.policy.check_remote(referrer, target, role)
            else:
                self.policy.check_file(referrer, path, role)
                self._referred[path] = (referrer, role)

    def _open_node(
        self, node: Node, name: str | None, purpose: Purpose, backing: bool, writable: bool, cache: CacheMode
    ) -> Image:
        """Open a node.

        :param name: what to call it; ``None``: find a name
        """
        node = dict(node)
        protocol = node["driver"] if node.get("driver") in PROTOCOLS else None
        driver = node.get("driver") if protocol is None else "raw"
        row = get_format(driver) if driver is not None else None
        settle_backing(node, self.watcher.warning)
        if isinstance(node.get("file"), str):
            # It is found out before anything else.
            raise no_such_node(node, "file")
        if writable and take_boolean(dict(node), "read-only"):
            # Whatever else is wrong with it comes first.
            self._open_node(node, name, READ, backing, False, cache).abandon()
            raise OptionError("Block node is read-only")
        how = take_opening_options(node, writable, cache, self.force_share)
        if protocol is not None:
            # Its bytes, as they are.
            node = {"driver": driver, "file": {"discard": self.discard, **node}}
        child = node["file"] = self._child_node(node, driver)
        entered = len(self._chain)
        beneath = {**how.inherited, **child}
        storage = self._open_child(beneath, purpose, writable, how.cache, backing or protocol is None)
        # What lies below is not known before it is open.
        own = {key: value for key, value in node.items() if key not in ("backing", "data-file")}
        try:
            filename = name if name is not None else display_name(own if protocol is None else child)
            identity = storage.identity
            if identity is not None:
                if identity in self.reuse:
                    storage.close()
                    return self.reuse[identity]
                self._enter(identity, filename)
            probed = row is None
            if row is None:
                driver = probe_storage(storage, filename)
                row = get_format(driver)
            take_working_options(node, self.discard, self._node_names)
            if probed and driver == "raw" and writable:
                self.watcher.notice(_PROBED_RAW % (name or display_name(child)))
            if name is None:
                filename = display_name(dict(own, driver=driver) if protocol is None else child)
            self._lock(storage, row, purpose, writable, how.force_share)
            rest = {key: value for key, value in node.items() if key not in ("driver", "file")}
            if not backing and rest.get("backing", "") is None:
                # It would not be opened anyway.
                del rest["backing"]
            children = Children(self, rest, filename, purpose, backing, probed, how.cache, node)
            image: Image = row.open(storage, filename, rest, children)
            image.node = dict(node, driver=driver)
            image.found_nodes = children.found
            if name is None and protocol is None:
                # Now it is known what there is below it.
                image.filename = display_name(whole_node(image))
            if protocol is not None:
                image.format = protocol
            elif image.cluster_size is None:
                image.cluster_size = storage.cluster_size
            if rest.get("backing", "") is None:
                # No backing file, for a format that has none.
                del rest["backing"]
            if backing and names_backing(rest):
                image.abandon()
                raise OptionError("Driver doesn't support backing files", path=filename)
            if rest:
                image.abandon()
                raise OptionError(
                    "Block format '%s' does not support the option '%s'" % (driver, first_key(rest)), path=filename
                )
            return image
        except BaseException:
            storage.close()
            raise
        finally:
            del self._chain[entered:]

    def _child_node(self, node: Node, driver: str | None) -> Node:
        child = node.get("file")
        if isinstance(child, dict) and child:
            return with_driver(child)
        if driver is None:
            raise OptionError("Must specify either driver or file")
        take_working_options(node, self.discard, self._node_names)
        raise OptionError("A block device must be specified for \"file\"")

    def _open_child(
        self, node: Node, purpose: Purpose, writable: bool, cache: CacheMode, backing: bool = True
    ) -> Storage:
        """Open what lies beneath a format: a protocol, or another format.

        :param backing: whether a protocol that is to have a backing file is told that it cannot
        """
        node = dict(node)
        if node.get("driver", "file") not in PROTOCOLS:
            self._enter(None, display_name(node))
            # For whoever looks at what lies on top only, this is data.
            below = READ if purpose == INFO else purpose
            return ImageStorage(self._open_node(node, None, below, True, writable, cache))
        how = take_opening_options(node, writable, cache, self.force_share)
        take_working_options(node, "unmap", self._node_names)
        settle_backing(node, self.watcher.warning)
        refused = take_refused_backing(node, backing)
        storage = how.open_storage(node, writable, self.open_storage)
        if refused:
            storage.close()
            raise OptionError("Driver doesn't support backing files")
        return storage

    def _enter(self, identity: tuple[int, int] | None, filename: str) -> None:
        if identity is not None and identity in self._chain:
            raise infinite_loop(filename)
        if len(self._chain) >= self.limits.max_chain:
            raise chain_too_long(filename, self.limits)
        self._chain.append(identity)

    def _lock(self, storage: Storage, row: Format, purpose: Purpose, writable: bool, force_share: bool) -> None:
        raw = row.passes_locks_through
        if writable:
            storage.lock(_RAW_INTENTS.get(purpose, locks.WRITE_RAW) if raw else locks.WRITE_IMAGE)
        elif force_share:
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
    purpose: Purpose = READ,
    opener: Opener | None = None,
) -> Image:
    """Open an image with its backing chain.

    :param reference: a file name in any of QEMU's spellings, a path, or a node
    :param format: its format; ``None``: detect it
    :param purpose: what for: ``read``, ``source`` (while nobody may change even a raw image), ``write``, ``resize``
        (its size too) or ``info`` (its header only); ``check`` and ``merge`` are for operations
    :param opener: which files may be opened, and how
    :returns: the guest disk, to be used in a ``with`` block
    :raises ImageError: it cannot be opened; nothing stays open
    """
    return (opener or Opener()).open(reference, format, purpose)


class Children:
    """What a format may ask for while it opens an image: the files that the image names."""

    def __init__(
        self,
        opener: Opener,
        node: Node,
        filename: str,
        purpose: Purpose,
        backing: bool,
        probed: bool,
        cache: CacheMode,
        whole: Node,
    ) -> None:
        self._opener = opener
        self._cache = cache
        #: Where the image is, for names that are relative to it.
        self._location = innermost_path(whole) or filename
        self._node = node
        self._filename = filename
        self._open_backing = backing
        self.purpose = purpose
        #: Whether the format was found out rather than told.
        self.probed = probed
        self.limits = opener.limits
        self.watcher = opener.watcher
        self.secrets = opener.secrets
        #: Nodes of the files that the image itself names, by the options that would name others.
        self.found: Node = {}

    def open_file(self, key: str, stored_name: str | None, role: str) -> Storage:
        """Open a further file of the image itself.

        :param key: the node option by which a user can name another one
        :param stored_name: the name in the image
        :param role: for messages: ``data file``
        """
        override = self._node.pop(key, None)
        if isinstance(override, str):
            raise no_such_node({**self._node, key: override}, key)
        if override:
            node = with_driver(override)
        elif stored_name:
            target = resolve_data_file(self._location, stored_name)
            child = parse_reference(target).get("file")
            if not isinstance(child, dict):
                raise OptionError("Its %s '%s' is not the name of a file" % (role, target), path=self._filename)
            node = self.found[key] = child
            self._opener._check(node, self._location, target, role)
        else:
            raise OptionError("'%s' is required for this image" % key, path=self._filename)
        writable = self.purpose in _WRITING
        storage = self._opener._open_child(node, self.purpose, writable, self._cache)
        try:
            if self._opener.force_share:
                storage.lock(locks.FORCE_SHARE)
            else:
                intent = locks.READ_IMAGE if self.purpose == SOURCE else locks.READ_DATA_FILE
                storage.lock(locks.WRITE_DATA_FILE if writable else intent)
        except BaseException:
            storage.close()
            raise
        return storage

    def open_backing(self, stored_name: str | None, stored_format: str | None) -> Image | None:
        """Open the backing file, unless the caller does not want it or there is none."""
        if not self._open_backing:
            return None
        override = stored_name
        if self._node.get("backing", "") is None or names_backing(self._node):
            override = self._node.pop("backing")
        elif stored_name:
            # A number, say, is neither a name nor a description, and counts for nothing where there is a backing file.
            self._node.pop("backing", None)
        if not override:
            return None
        target = None
        if stored_name and not (isinstance(override, dict) and names_file(override)):
            target = resolve_reference(self._location, stored_name)
        try:
            if isinstance(override, dict):
                return self._open_backing_node(target, stored_format, override)
            if override is not stored_name:
                raise no_such_node({**self._node, "backing": override}, "backing")
            return self._open_backing_node(target, stored_format, {})
        except LimitError:
            # Said once, not by each image of a chain that is too long.
            raise
        except ImageError as error:
            error.reason = "Could not open backing file: %s" % error.reason
            error.path = self._filename
            raise

    def _open_backing_node(self, target: str | None, stored_format: str | None, override: Node) -> Image:
        purpose = self.purpose if self.purpose in (SOURCE, INFO) else READ
        node, name = override, None
        if target is not None:
            check_driver(target, stored_format or None)
            self._opener.check_backing(self._location, target)
            node = node_with(target, stored_format or None, override)
            name = plain_name(target) if not override else None
        elif stored_format:
            # Whatever other file it is, the image says what is in it.
            node = {"driver": stored_format, **override}
        return self._opener._open_node(node, name, purpose, True, False, self._cache)
