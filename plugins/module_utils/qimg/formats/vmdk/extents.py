# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The extents of a VMDK: the parts of the guest disk, each with a file."""
from __future__ import annotations

from abc import ABC, abstractmethod

from ..base import DATA, Extent, without_holes
from .grains import GrainMap
from .layout import HOSTED, Header, corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...storage.base import Buffer, Storage
    from ..base import Image, Pieces


class Part(ABC):
    """A part of the guest disk; offsets are those of the guest disk.

    :param start: where it begins there
    :param size: guest bytes
    :param storage: its file
    :param name: of the file, as the descriptor has it
    :param kind: as the descriptor has it; empty for a file that has the descriptor too
    """

    grain: int | None = None
    compressed = False

    def __init__(self, start: int, size: int, storage: Storage, name: str, kind: str) -> None:
        self.start = start
        self.size = size
        self.storage = storage
        self.name = name
        self.kind = kind

    @abstractmethod
    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        """What it has for a range that is inside."""

    def encoded_reader(self, offset: int, length: int) -> Callable[[Buffer], None]:
        """As :meth:`Image.encoded_reader`."""
        raise NotImplementedError("A flat extent has no compressed grains")

    @property
    def can_write(self) -> bool:
        """Whether the guest's data can be changed in place."""
        return True

    @property
    def reads_zero_when_new(self) -> bool:
        """Whether what was never written of a new extent reads as zeroes."""
        return True

    @abstractmethod
    def place(self, offset: int, length: int) -> Pieces:
        """As :meth:`Image.place <qimg.formats.base.Image.place>`."""

    @abstractmethod
    def write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        """As :meth:`Image.write_zeroes <qimg.formats.base.Image.write_zeroes>`."""

    @abstractmethod
    def discard(self, offset: int, length: int) -> None:
        """As :meth:`Image.discard <qimg.formats.base.Image.discard>`."""

    @abstractmethod
    def flush(self) -> None:
        """Have data, and then the tables that name them, on the medium."""


class FlatPart(Part):
    """A file, or a part of one, that has the guest's bytes as they are.

    :param host: where they begin in the file
    """

    def __init__(self, start: int, size: int, storage: Storage, name: str, kind: str, host: int) -> None:
        super().__init__(start, size, storage, name, kind)
        self.host = host
        if host + size > storage.size:
            raise corrupt(
                storage.name, "File truncated, expecting at least %d bytes for the extent" % (host + size)
            )

    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        return without_holes(Extent(offset, length, DATA, self.storage, self.host + offset - self.start))

    @property
    def reads_zero_when_new(self) -> bool:
        return self.storage.reads_zero_when_new

    def place(self, offset: int, length: int) -> Pieces:
        return [(self.storage, self.host + offset - self.start, length)]

    def write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        self.storage.write_zeroes(self.host + offset - self.start, length, deallocate)

    def discard(self, offset: int, length: int) -> None:
        self.storage.discard(self.host + offset - self.start, length)

    def flush(self) -> None:
        self.storage.flush()


class SparsePart(Part):
    """A sparse extent.

    :param header: checked
    :param backing: what answers for absent grains
    :param cache_bytes: memory for its tables
    :param is_new: nobody has the file yet
    """

    def __init__(
        self,
        start: int,
        size: int,
        storage: Storage,
        name: str,
        kind: str,
        header: Header,
        backing: Image | None,
        cache_bytes: int,
        is_new: bool = False,
    ) -> None:
        super().__init__(start, size, storage, name, kind)
        self.header = header
        self.grain = header.grain
        self.compressed = header.compressed
        if header.capacity < size:
            raise corrupt(
                storage.name,
                "The extent has %d bytes, and its descriptor says %d" % (header.capacity, size),
            )
        self._backing = backing
        self._cache_bytes = cache_bytes
        self.map = GrainMap(storage, header, size, start, backing, cache_bytes, is_new)

    def with_header(self, header: Header, size: int) -> SparsePart:
        """The extent with a header that was changed in its file; all its tables are on the medium."""
        return SparsePart(
            self.start, size, self.storage, self.name, self.kind, header, self._backing, self._cache_bytes
        )

    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        return self.map.runs(offset, length)

    def encoded_reader(self, offset: int, length: int) -> Callable[[Buffer], None]:
        return self.map.encoded_reader(offset, length)

    @property
    def can_write(self) -> bool:
        return self.header.kind == HOSTED and not self.compressed and self.header.version < 3

    def place(self, offset: int, length: int) -> Pieces:
        return self.map.place(offset, length)

    def write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        self.map.write_zeroes(offset, length, deallocate)

    def discard(self, offset: int, length: int) -> None:
        self.map.discard(offset, length)

    def flush(self) -> None:
        self.map.flush()
