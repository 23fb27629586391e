# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The types that every format and every operation shares: images and extents."""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections import namedtuple

from ..errors import OptionError, StorageError, UnsupportedOperationError
from ..limits import DEFAULT_LIMITS, SECTOR, Limits
from ..references import innermost_path, resolve_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ..references import Node
    from ..storage.base import Buffer, Storage

    #: Where guest bytes go: storage, offset in it, length; in guest order.
    Pieces = list[tuple[Storage, int, int]]

# What one image says about a run of guest bytes (its backing chain aside).
ABSENT = 0  #: nothing: the backing file answers, or zero without one
DATA = 1  #: plain bytes at ``offset`` of ``storage``
ZERO = 2  #: reads as zeroes, no space behind it
ZERO_ALLOCATED = 3  #: reads as zeroes, though space at ``offset`` is reserved
COMPRESSED = 4  #: bytes that only :meth:`Image.read_into` can produce
ENCODED = 5  #: not compressed, but not plain either (encrypted): only :meth:`Image.read_into` can produce them
ABSENT_ALLOCATED = 6  #: as ``ABSENT``, though space at ``offset`` is reserved (extended L2 entries)
DATA_ZERO = 7  #: plain bytes at ``offset`` of ``storage``, known to be zeroes
UNALLOCATED = 8  #: no space behind it, though it may read as anything: only :meth:`Image.read_into` tells


#: What each kind says in ``map``'s words: data, zero, present, compressed.
_STATES = (
    (False, True, False, False),
    (True, False, True, False),
    (False, True, True, False),
    (False, True, True, False),
    (True, False, True, True),
    (True, False, True, False),
    (False, True, False, False),
    (True, True, True, False),
    (False, False, False, False),
)


class Extent(namedtuple("Extent", ["start", "length", "kind", "storage", "offset", "depth"], defaults=(0,))):
    """What a guest disk has for a run of guest bytes: one image of a chain, or the chain as a whole.

    ``start`` and ``length`` are guest bytes, ``kind`` is one of the constants above; ``storage`` and ``offset``
    (``None`` where there is none) say where the bytes lie; ``depth`` counts the layers passed on the way down.
    """

    __slots__ = ()

    start: int
    length: int
    kind: int
    storage: Storage | None
    offset: int | None
    depth: int

    @property
    def state(self) -> tuple[bool, bool, bool, bool]:
        """The four properties below at once."""
        return _STATES[self.kind]

    @property
    def data(self) -> bool:
        """Whether there is space for it in a file."""
        return _STATES[self.kind][0]

    @property
    def zero(self) -> bool:
        """Whether it is known to read as zeroes."""
        return _STATES[self.kind][1]

    @property
    def present(self) -> bool:
        """Whether any layer that was asked has it."""
        return _STATES[self.kind][2]

    @property
    def compressed(self) -> bool:
        """Whether it is compressed."""
        return _STATES[self.kind][3]

    def document(self) -> dict[str, Any]:
        """One object of what ``map --output=json`` prints."""
        document = {
            "start": self.start,
            "length": self.length,
            "depth": self.depth,
            "present": self.present,
            "zero": self.zero,
            "data": self.data,
            "compressed": self.compressed,
        }
        if self.offset is not None:
            document["offset"] = self.offset
        return document


class Origin:
    """What an image comes from: its name, its node, and the limits that hold for it.

    :param filename: the name that messages and ``info`` show
    :param format: the driver by which it is opened
    :param node: all that it is opened by, options included; opening this opens the same again
    """

    def __init__(
        self, filename: str, format: str, node: Node | None = None, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self.filename = filename
        self.format = format
        self.node: Node = node or {}
        self.limits = limits
        #: Nodes of the further files that the image itself names, by the options that would name others.
        self.found_nodes: Node = {}

    def name_of(self, image: Image) -> str:
        """The name of the image, once it is known what lies below it."""
        return self.filename


class ImageFile(namedtuple("ImageFile", ["key", "name", "storage", "role"])):
    """A further file of an image, the backing file aside.

    ``key`` is the node option that would name another one (``data-file``, ``extents.0``); ``name`` is the name that the
    image stores, ``None`` where the user named it; ``storage`` is ``None`` where it was not opened; ``role`` is what
    messages call it.
    """

    __slots__ = ()

    key: str
    name: str | None
    storage: Storage | None
    role: str


class Image(ABC):
    """A guest disk: bytes at offsets from 0 to ``size``, whatever lies beneath.

    Use as a context manager: leaving it normally flushes and closes; leaving it by an exception closes without
    keeping what was not flushed.
    """

    #: Guest bytes.
    size: int
    #: Unit of allocation in bytes; ``None`` where the format has none.
    cluster_size: int | None = None
    #: Whether QEMU reads it in whole sectors only.
    reads_sectors = False
    #: How the image names its backing file, exactly as stored (``None``: it has none).
    backing_file: str | None = None
    #: The stored format of the backing file (``None``: not stored).
    backing_format: str | None = None
    #: Whether the guest disk is all of the storage, byte for byte, and so as long as that.
    is_plain = False
    #: Whether what it says of a range is only what its storage says: it has no metadata of its own.
    is_mapped_by_storage = False
    #: Whether the content is encrypted.
    encrypted: bool = False
    #: Whether it was last written by something that did not close it; ``None`` where the format cannot tell.
    dirty: bool | None = False
    _closed = False

    def __init__(self, origin: Origin, storage: Storage, backing: Image | None = None) -> None:
        """Set what all images have; a subclass sets its own attributes before it calls this.

        :param origin: what the image comes from
        :param storage: where its bytes lie; owned from now on
        :param backing: the opened backing file, which answers for absent runs; owned from now on
        """
        #: Name of the format, as ``-f`` takes it.
        self.format = origin.format
        #: All that it was opened by, options included; opening this opens the same again.
        self.node = origin.node
        #: Nodes of further files that it names itself and that were opened, by the options that would name others.
        self.found_nodes = origin.found_nodes
        self.storage = storage
        self.backing = backing
        self.writable = storage.writable
        #: The name by which it was opened, as messages and ``info`` show it.
        self.filename = origin.filename
        self.filename = origin.name_of(self)

    @property
    def full_backing_file(self) -> str | None:
        """The backing file's name, resolved against the image's own name; ``None`` where that is not possible."""
        name = self.backing_file
        try:
            return resolve_reference(innermost_path(self.node) or self.filename, name) if name else None
        except UnsupportedOperationError:
            return None

    @abstractmethod
    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        """What this image, without its backing chain, has for a range, in order and without gaps.

        Adjacent runs may be of the same kind.

        :raises CorruptImageError: the metadata of the range is broken
        """

    def located_runs(self, offset: int, length: int) -> Iterator[Extent]:
        """The same, for whoever asks where guest data lie: through images that this one lies on, down to a file."""
        return self.runs(offset, length)

    def read_into(self, offset: int, buffer: Buffer) -> None:
        """Fill ``buffer`` with guest bytes from ``offset``, backing chain included.

        :raises OptionError: the range is not inside the disk
        :raises StorageError: the bytes cannot be read
        :raises CorruptImageError: the metadata of the range is broken
        """
        view = memoryview(buffer)
        self._check_range(offset, len(view))
        self._read_into(offset, view)

    def _read_into(self, offset: int, view: memoryview) -> None:
        """As :meth:`read_into`, for a range that is inside the disk."""
        for start, length, kind, storage, host, _depth in self.runs(offset, len(view)):
            piece = view[start - offset : start - offset + length]
            if kind == DATA:
                storage.read_into(host, piece)
            elif kind == ABSENT or kind == ABSENT_ALLOCATED:
                self.read_backing_into(start, piece)
            elif kind == COMPRESSED or kind == ENCODED or kind == UNALLOCATED:
                self.encoded_reader(start, length)(piece)
            else:
                piece[:] = bytes(length)

    def read(self, offset: int, length: int) -> bytes:
        """``length`` guest bytes from ``offset``; errors as for :meth:`read_into`."""
        self._check_range(offset, length)
        buffer = bytearray(length)
        self._read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def _check_range(self, offset: int, length: int) -> None:
        """See that the guest disk has all bytes of a range, and that the image is still open."""
        self._check_open()
        if offset < 0 or length < 0 or offset + length > self.size:
            raise OptionError(
                "%d bytes at offset %d are not inside the disk, which has %d bytes" % (length, offset, self.size),
                path=self.filename,
            )

    def read_backing_into(self, offset: int, buffer: Buffer) -> None:
        """Fill ``buffer`` with what lies below this image: the backing file's bytes, zeroes beyond its end."""
        view = memoryview(buffer)
        inside = 0
        if self.backing is not None:
            inside = max(0, min(len(view), self.backing.size - offset))
            if inside:
                self.backing.read_into(offset, view[:inside])
        if inside < len(view):
            view[inside:] = bytes(len(view) - inside)

    def encoded_reader(self, offset: int, length: int) -> Callable[[Buffer], None]:
        """A function that fills a buffer from a run that is ``COMPRESSED``, ``ENCODED`` or ``UNALLOCATED``.

        The function may be called in another thread; it looks at no metadata that can change.
        """
        raise NotImplementedError("%s has no encoded runs" % self.format)

    def lookup_end(self, offset: int) -> int:
        """Up to which guest offset QEMU looks at once when it asks for the status of what is at ``offset``."""
        return self.size

    @property
    def allocated_size(self) -> int | None:
        """Bytes that the image occupies on its medium, all its files together."""
        storages = [self.storage, *(file.storage for file in self.files() if file.storage is not None)]
        sizes = [storage.allocated_size for storage in storages]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def files(self) -> list[ImageFile]:
        """The further files of the image (a data file, extents), the backing file aside, opened or not."""
        return []

    @property
    def has_other_files(self) -> bool:
        """Whether guest data lie in further files."""
        return bool(self.files())

    def creation_options(self) -> dict[str, Any]:
        """The creation options that can be told from the image, by their names, as they are now."""
        return {}

    def format_specific(self) -> dict[str, Any] | None:
        """The ``data`` of ``format-specific`` in ``info``; ``None`` where the format has none."""
        return None

    def cluster_limits(self) -> dict[str, int]:
        """What its clusters ask of requests, in bytes by their names in the document of ``info --limits``."""
        return {}

    @property
    def write_unit(self) -> int:
        """Guest bytes that are allocated together: writing less than that costs as much as writing all of it."""
        return self.cluster_size or SECTOR

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("The image has been closed", path=self.filename)

    # Writing: what everybody calls, and what formats that can write have beneath it.

    def place(self, offset: int, length: int) -> Pieces:
        """Find room for new plain bytes of a guest range: ``(storage, host offset, length)`` pieces in order.

        The caller must then write every byte of every piece before the next :meth:`flush`.  The range should be
        whole clusters; at its ends, partial clusters are completed with what they held before.
        """
        self.check_writable()
        self._check_range(offset, length)
        return self._place(offset, length)

    def write(self, offset: int, data: Buffer) -> None:
        """Write guest bytes; they are durable after the next :meth:`flush`.

        :raises OptionError: the range is not inside the disk
        :raises UnsupportedOperationError: the image is open for reading only
        :raises StorageError: for instance disk full; then the image is as it was at the last flush, but for
            overwritten data
        """
        view = memoryview(data)
        done = 0
        for storage, host, length in self.place(offset, len(view)):
            storage.write(host, view[done : done + length])
            done += length

    def write_zeroes(self, offset: int, length: int, deallocate: bool = True) -> None:
        """Make a guest range read as zeroes; errors as for :meth:`write`.

        :param deallocate: whether the space behind it may be given back
        """
        self.check_writable()
        self._check_range(offset, length)
        self._write_zeroes(offset, length, deallocate)

    def zero_quickly(self, offset: int, length: int) -> bool:
        """Make a guest range read as zeroes if that takes less time than writing it would.

        :returns: ``False`` when it does not; then nothing is known about the range
        """
        return False

    def discard(self, offset: int, length: int) -> None:
        """Say that the content of a guest range no longer matters; errors as for :meth:`write`."""
        self.check_writable()
        self._check_range(offset, length)
        self._discard(offset, length)

    def check_writable(self) -> None:
        """See that the image may be changed.

        :raises UnsupportedOperationError: it is open for reading only
        """
        if not self.writable:
            raise UnsupportedOperationError("The image is open for reading only", path=self.filename)

    def _place(self, offset: int, length: int) -> Pieces:
        raise self.unsupported("writing")

    def _write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        raise self.unsupported("writing")

    def _discard(self, offset: int, length: int) -> None:
        """Doing nothing is right."""

    def flush(self) -> None:
        """Make everything written so far durable, in one step.

        :raises StorageError: for instance disk full, as for :meth:`write`
        """
        self._check_open()
        if self.writable:
            self._flush()

    def _flush(self) -> None:
        """As :meth:`flush`, for an image that may be written to."""

    @property
    def reads_zero_when_new(self) -> bool:
        """Whether guest ranges of this image that were never written read as zeroes."""
        return self.backing is None

    def unsupported(self, what: str) -> UnsupportedOperationError:
        """The error for something that the format cannot do."""
        return UnsupportedOperationError(
            "Format driver '%s' does not support %s" % (self.format, what), path=self.filename, format=self.format
        )

    def layers(self) -> list[Image]:
        """This image and what lies below it, top first."""
        chain: list[Image] = []
        image: Image | None = self
        while image is not None:
            chain.append(image)
            image = image.backing
        return chain

    def close(self) -> None:
        """Flush (when writable) and let go of all files, the backing chain's too."""
        if self._closed:
            return
        try:
            self.flush()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let go of all files without keeping what was not flushed."""
        if self._closed:
            return
        self._closed = True
        self._release()
        if self.backing is not None:
            self.backing.abandon()

    def _release(self) -> None:
        """Close this image's own files."""
        self.storage.close()
        for file in self.files():
            if file.storage is not None:
                file.storage.close()

    def __enter__(self) -> Image:
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *rest: object) -> None:
        if exception_type is None:
            self.close()
        else:
            self.abandon()


def add_piece(pieces: Pieces, storage: Storage, host: int, length: int) -> None:
    """Add a host range, to the last one where they touch."""
    if pieces and pieces[-1][0] is storage and pieces[-1][1] + pieces[-1][2] == host:
        pieces[-1] = (storage, pieces[-1][1], pieces[-1][2] + length)
    else:
        pieces.append((storage, host, length))


def without_holes(run: Extent) -> Iterator[Extent]:
    """The parts of a run of data: those that the file system knows to be holes are known to be zeroes."""
    start, length, _kind, storage, host, _depth = run
    for offset, piece, is_data in storage.extents(host, length):
        yield Extent(start + offset - host, piece, DATA if is_data else DATA_ZERO, storage, offset)
