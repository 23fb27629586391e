# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Opening images: storage, format, backing chain."""
from __future__ import annotations

from collections import namedtuple

from ..errors import ImageError, LimitError, OptionError, UnsupportedFeatureError, UnsupportedOperationError
from ..limits import DEFAULT_LIMITS, Limits
from ..option_text import check_choice, take_boolean
from ..policy import DEFAULT_POLICY, ReferencePolicy
from ..references import (
    first_key,
    leaves,
    local_path,
    named,
    names_backing,
    no_such_node,
    parse_reference,
    plain_name,
)
from ..storage import locks
from ..storage.cache import WRITEBACK, CacheMode
from ..storage.local import LocalFile
from ..storage.protocols import PROTOCOLS, Connections, node_of, open_storage, with_driver
from . import check_driver, format_names, get_driver
from .chain import chain_too_long, infinite_loop
from .driver import INFO, MERGE, PURPOSES, READ, RESIZE, SOURCE, WRITING
from .naming import display_name, shown_reference
from .nested import ImageStorage
from .node_options import settle_backing, take_opening_options, take_refused_backing, take_working_options
from .probing import probe_storage
from .source import OpenedSource, OpensNodes
from .watcher import Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..crypto.objects import ObjectStore
    from ..references import Node, Reference
    from ..storage.base import Storage
    from ..storage.ownership import Ownership
    from ..storage.scratch import Rehearsal
    from .base import Image
    from .driver import Driver, Purpose
    from .node_options import OpeningOptions

_RAW_INTENTS = {RESIZE: locks.RESIZE_RAW, MERGE: locks.MERGE_RAW}

_PROBED_RAW = """\
WARNING: Image format was not specified for '%s' and probing guessed raw.
         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.
         Specify the 'raw' format explicitly to remove the restrictions."""


class _Wanted(
    namedtuple(
        "_Wanted", ["node", "child", "name", "driver", "protocol", "how", "backing", "purpose", "writable"]
    )
):
    """A node that is going to be opened.

    ``child`` is the node beneath it; ``name`` is what the user calls it (``None``: nothing); ``driver`` is that of its
    format (``None``: to be detected), ``protocol`` the protocol that the node itself names; ``how`` are its
    :class:`.OpeningOptions`; the others are the arguments of :meth:`Opener.open_node`.
    """

    __slots__ = ()

    node: Node
    child: Node
    name: str | None
    driver: Driver | None
    protocol: str | None
    how: OpeningOptions
    backing: bool
    purpose: Purpose
    writable: bool


class Opener(OpensNodes):
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
            writable = purpose in WRITING
        # Threads that share an opener have chains of their own.
        opening = self.variant(_chain=list(self._above), _node_names=set())
        try:
            check_driver(reference, format)
            node = node_of(reference, format)
            return opening.open_node(node, plain_name(reference), purpose, backing, writable, self.cache)
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
        self.check_reference(parse_reference(target), referrer, target, "backing file")

    def check_reference(self, node: Node, referrer: str, target: str, role: str) -> None:
        for leaf in leaves(node):
            path = local_path({"file": leaf})
            if path is None:
                self.policy.check_remote(referrer, target, role)
            else:
                self.policy.check_file(referrer, path, role)
                self._referred[path] = (referrer, role)

    def open_node(
        self, node: Node, name: str | None, purpose: Purpose, backing: bool, writable: bool, cache: CacheMode
    ) -> Image:
        wanted = self._settle(dict(node), name, purpose, backing, writable, cache)
        entered = len(self._chain)
        beneath = {**wanted.how.inherited, **wanted.child}
        storage = self.open_child(beneath, purpose, writable, wanted.how.cache, backing or wanted.protocol is None)
        try:
            return self._open_in(storage, wanted)
        except BaseException:
            storage.close()
            raise
        finally:
            del self._chain[entered:]

    def _settle(
        self, node: Node, name: str | None, purpose: Purpose, backing: bool, writable: bool, cache: CacheMode
    ) -> _Wanted:
        """Find out what a node describes, before anything is opened.

        :raises OptionError: it describes nothing that can be opened so
        """
        protocol = node["driver"] if node.get("driver") in PROTOCOLS else None
        driver = node.get("driver") if protocol is None else "raw"
        found = get_driver(driver) if driver is not None else None
        settle_backing(node, self.watcher.warning)
        if isinstance(node.get("file"), str):
            # It is found out before anything else.
            raise no_such_node(node, "file")
        if writable and take_boolean(dict(node), "read-only"):
            # Whatever else is wrong with it comes first.
            self.open_node(node, name, READ, backing, False, cache).abandon()
            raise OptionError("Block node is read-only")
        how = take_opening_options(node, writable, cache, self.force_share)
        if protocol is not None:
            # Its bytes, as they are.
            node = {"driver": driver, "file": {"discard": self.discard, **node}}
            found = get_driver(protocol)
        child = node["file"] = self._child_node(node, driver)
        return _Wanted(node, child, name, found, protocol, how, backing, purpose, writable)

    def _open_in(self, storage: Storage, wanted: _Wanted) -> Image:
        """Open what a node describes in the storage beneath it, or take the image of that file that is open already."""
        node, child, name, driver, protocol, how, backing, purpose, writable = wanted
        # What lies below is known only when it is open.
        shown = child
        if protocol is None:
            keys = ("backing", *(driver.child_keys if driver is not None else ()))
            shown = {key: value for key, value in node.items() if key not in keys}
        filename = name if name is not None else display_name(shown)
        reused = self._reuse_or_enter(storage, filename)
        if reused is not None:
            storage.close()
            return reused
        probed = driver is None
        if driver is None:
            driver = _probed_driver(storage, filename)
        if writable and not driver.can_write:
            raise UnsupportedOperationError(
                "Image is read-only",
                path=filename,
                format=driver.name,
                remedy="images of this format can only be read: convert it to another one",
            )
        take_working_options(node, self.discard, self._node_names)
        if probed and driver.name == "raw" and writable:
            self.watcher.notice(_PROBED_RAW % (name or display_name(child)))
        if name is None:
            filename = display_name(dict(shown, driver=driver.name) if protocol is None else child)
        self._lock(storage, driver, purpose, writable, how.force_share)
        options = {key: value for key, value in node.items() if key not in ("driver", "file")}
        if not backing and options.get("backing", "") is None:
            # It would not be opened anyway.
            del options["backing"]
        source = OpenedSource(
            self, storage, filename, driver.name, dict(node, driver=driver.name if protocol is None else "raw"),
            options, purpose, probed, name is not None or protocol is not None, backing, how.cache,
        )
        image: Image = driver.open(source)
        try:
            _refuse_rest(options, driver, backing, filename)
        except OptionError:
            image.abandon()
            raise
        return image

    def _reuse_or_enter(self, storage: Storage, filename: str) -> Image | None:
        """The image that is open already in the file of a storage; without one, the file joins the chain."""
        identity = storage.identity
        if identity is None:
            return None
        if identity in self.reuse:
            return self.reuse[identity]
        self._enter(identity, filename)
        return None

    def _child_node(self, node: Node, driver: str | None) -> Node:
        child = node.get("file")
        if isinstance(child, dict) and child:
            return with_driver(child)
        if driver is None:
            raise OptionError("Must specify either driver or file")
        take_working_options(node, self.discard, self._node_names)
        raise OptionError("A block device must be specified for \"file\"")

    def open_child(
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
            return ImageStorage(self.open_node(node, None, below, True, writable, cache))
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

    def _lock(self, storage: Storage, driver: Driver, purpose: Purpose, writable: bool, force_share: bool) -> None:
        raw = driver.shares_writers
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


def _probed_driver(storage: Storage, filename: str) -> Driver:
    """The driver of the format that a storage seems to hold.

    :raises UnsupportedFeatureError: there is none for it here
    """
    name = probe_storage(storage, filename)
    if name not in format_names():
        raise UnsupportedFeatureError(
            "Images of the format '%s' are not supported" % name,
            path=filename,
            format=name,
            remedy="convert it with the program that made it, or name the format raw to use its bytes as they are",
        )
    return get_driver(name)


def _refuse_rest(options: Node, driver: Driver, backing: bool, filename: str) -> None:
    """Refuse the options of a node that its driver did not take.

    :param backing: whether the backing chain was to be opened
    :raises OptionError: naming one of them
    """
    if options.get("backing", "") is None:
        # No backing file, for a format that has none.
        del options["backing"]
    if backing and names_backing(options):
        raise OptionError("Driver doesn't support backing files", path=filename)
    if options:
        raise OptionError(
            "Block format '%s' does not support the option '%s'" % (driver.name, first_key(options)), path=filename
        )


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
