# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A raw image: the bytes of a file are the bytes of the guest disk."""
from __future__ import annotations

import errno

from ...errors import OptionError, StorageError, UnsupportedOperationError
from ...limits import SECTOR
from ...sizes import round_up
from ...storage import base
from ...storage.base import Storage
from ..base import DATA, DATA_ZERO, UNALLOCATED, ZERO, ZERO_ALLOCATED, Extent, Image
from ..capabilities import Resizable
from ..nested import ImageStorage
from ..probing import PROBE_BYTES, probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...storage.base import Buffer
    from ...storage.locks import LockIntent
    from ..base import Origin


#: What the storage says of a run -> what the image says.
_KINDS = {
    base.HOLE: ZERO_ALLOCATED,
    base.BYTES: DATA,
    base.ALLOCATED_ZERO: DATA_ZERO,
    base.UNKNOWN: UNALLOCATED,
    base.NOWHERE: ZERO,
}


class RawImage(Image, Resizable):
    """A guest disk in a plain file or block device, or in a part of one.

    :param offset: where the guest disk begins in the storage, bytes
    :param size: its length in bytes; ``None``: up to the end of the storage
    :param probed: nobody said that it is raw: then nothing may be written that would make it look like another format
    """

    is_mapped_by_storage = True

    def __init__(
        self, origin: Origin, storage: Storage, offset: int = 0, size: int | None = None, probed: bool = False
    ) -> None:
        self.dirty = storage.dirty
        self._offset = offset
        self._fixed_size = size
        self.reads_sectors = probed
        self.is_plain = size is None and not offset
        if origin.format == "raw":
            self.cluster_size = storage.cluster_size
        super().__init__(origin, ProbedStorage(storage) if probed and storage.writable else storage)
        filename = self.filename
        end = round_up(storage.size, SECTOR)
        if offset > end:
            raise OptionError(
                "Offset (%d) cannot be greater than size of the containing file (%d)" % (offset, end),
                path=filename,
            )
        if size is not None:
            if end - offset < size:
                raise OptionError(
                    "The sum of offset (%d) and size (%d) has to be smaller or equal to the  actual size of the "
                    "containing file (%d)" % (offset, size, end),
                    path=filename,
                )
            if size % SECTOR:
                raise OptionError("Specified size is not multiple of 512", path=filename)

    @property
    def size(self) -> int:  # type: ignore[override]
        if self._fixed_size is not None:
            return self._fixed_size
        return round_up(round_up(self.storage.size, SECTOR) - self._offset, SECTOR)

    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        shift = self._offset
        for start, piece, kind in self.storage.extents(offset + shift, length):
            if kind in (base.UNKNOWN, base.NOWHERE):
                yield Extent(start - shift, piece, _KINDS[kind], None, None)
            else:
                yield Extent(start - shift, piece, _KINDS[kind], self.storage, start)

    def located_runs(self, offset: int, length: int) -> Iterator[Extent]:
        if not isinstance(self.storage, ImageStorage):
            yield from self.runs(offset, length)
            return
        for run in self.storage.located_runs(offset + self._offset, length):
            yield run._replace(start=run.start - self._offset)

    def _read_into(self, offset: int, view: memoryview) -> None:
        self.storage.read_into(offset + self._offset, view)

    def encoded_reader(self, offset: int, length: int) -> Callable[[Buffer], None]:
        return lambda buffer: self.read_into(offset, buffer)

    def _place(self, offset: int, length: int) -> list[tuple[Storage, int, int]]:
        return [(self.storage, offset + self._offset, length)]

    def _write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        self.storage.write_zeroes(offset + self._offset, length, deallocate)

    def zero_quickly(self, offset: int, length: int) -> bool:
        return self.storage.zero_quickly(offset + self._offset, length)

    def _discard(self, offset: int, length: int) -> None:
        self.storage.discard(offset + self._offset, length)

    def _flush(self) -> None:
        self.storage.flush()

    @property
    def reads_zero_when_new(self) -> bool:
        return self.storage.reads_zero_when_new

    def check_resize(self) -> None:
        self._check_not_fixed()
        if self.storage.is_device and self.size + self._offset != self.storage.size:
            # It ends inside a sector, and cannot get the rest of it.
            raise self._cannot_resize()

    def _check_not_fixed(self) -> None:
        if self._fixed_size is not None:
            raise UnsupportedOperationError("Cannot resize fixed-size raw disks", path=self.filename)

    def resize(self, size: int, preallocation: str = "off") -> None:
        self._check_not_fixed()
        old = self.storage.size
        end = size + self._offset
        if self.storage.is_device and end != old:
            if self.storage.protocol == "host_device" and preallocation != "off":
                raise UnsupportedOperationError(
                    "Preallocation mode '%s' unsupported for this non-regular file" % preallocation, path=self.filename
                )
            raise self._cannot_resize()
        if preallocation == "metadata":
            raise UnsupportedOperationError("Unsupported preallocation mode: metadata", path=self.filename)
        try:
            if end > old and preallocation != "off":
                self.storage.preallocate(old, end - old, preallocation)
            self.storage.truncate(end)
            self.storage.flush()
        except BaseException:
            if self.storage.size > old:
                self.storage.truncate(old)
            raise

    def _cannot_resize(self) -> StorageError:
        return StorageError("Cannot resize %s" % self.storage.plural, path=self.filename)


class ProbedStorage(Storage):
    """A storage whose first sector must not begin to look like an image format.

    A guest that can write a qcow2 header into a raw disk whose format is guessed could have any file opened as its
    backing file the next time.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.name = storage.name
        self.writable = storage.writable
        self.is_device = storage.is_device
        self.protocol = storage.protocol
        self.plural = storage.plural

    @property
    def identity(self) -> tuple[int, int] | None:
        return self._storage.identity

    def write(self, offset: int, data: Buffer) -> None:
        if offset < PROBE_BYTES:
            head = bytearray(self._storage.read(0, PROBE_BYTES))
            view = memoryview(data)[: PROBE_BYTES - offset]
            head[offset : offset + len(view)] = view
            if probe(bytes(head), self.name) != "raw":
                raise StorageError(
                    "Could not write '%s': Operation not permitted" % self.name,
                    path=self.name,
                    errno=errno.EPERM,
                    remedy="say that the format is raw, if the guest disk is to hold another image",
                )
        self._storage.write(offset, data)
        # What may not be written byte by byte is written in whole sectors: a file that ends in one becomes longer.
        end = round_up(offset + len(data), SECTOR)
        if end > self._storage.size:
            self._storage.truncate(end)

    def copy_from(self, source: Storage, source_offset: int, offset: int, length: int) -> bool:
        if offset < PROBE_BYTES:
            return False
        return self._storage.copy_from(source, source_offset, offset, length)

    @property
    def size(self) -> int:
        return self._storage.size

    def read_into(self, offset: int, buffer: Buffer) -> None:
        self._storage.read_into(offset, buffer)

    def write_zeroes(self, offset: int, length: int, deallocate: bool = True) -> None:
        self._storage.write_zeroes(offset, length, deallocate)

    def discard(self, offset: int, length: int) -> None:
        self._storage.discard(offset, length)

    def preallocate(self, offset: int, length: int, mode: str) -> None:
        self._storage.preallocate(offset, length, mode)

    def zero_quickly(self, offset: int, length: int) -> bool:
        return self._storage.zero_quickly(offset, length)

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        return self._storage.extents(offset, length)

    @property
    def reads_zero_when_new(self) -> bool:
        return self._storage.reads_zero_when_new

    @property
    def allocated_size(self) -> int | None:
        return self._storage.allocated_size

    def flush(self) -> None:
        self._storage.flush()

    def truncate(self, size: int) -> None:
        self._storage.truncate(size)

    def lock(self, intent: LockIntent) -> None:
        self._storage.lock(intent)

    def close(self) -> None:
        self._storage.close()
