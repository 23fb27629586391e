# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""An image as a place for bytes, for another format on top of it."""
from __future__ import annotations

from ..errors import UnsupportedOperationError
from ..storage.base import BYTES, HOLE, Storage
from . import base as image_base
from .capabilities import HasSnapshots, Resizable
from .chain import chain_extents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..storage.base import Buffer
    from ..storage.locks import LockIntent
    from .base import Extent, Image


def with_snapshots(image: Image) -> HasSnapshots | None:
    """What keeps the snapshots of a disk: the image itself, or what lies beneath a format that has none.

    As in QEMU, they are the snapshots of all that lies beneath, even if only a part of it is shown.

    :returns: ``None`` if nothing does
    """
    while not isinstance(image, HasSnapshots):
        if not isinstance(image.storage, ImageStorage):
            return None
        image = image.storage.image
    return image


class ImageStorage(Storage):
    """The guest disk of an image as a storage: what ``driver=raw,file.driver=qcow2,…`` puts beneath raw.

    :param image: owned from now on
    """

    def __init__(self, image: Image) -> None:
        import threading

        self.image = image
        self.name = image.filename
        self.writable = image.writable
        self.cluster_size = image.cluster_size
        self.dirty = image.dirty
        #: An image is not made for several threads; a storage has to be.
        self._mutex = threading.Lock()

    @property
    def size(self) -> int:
        return self.image.size

    @property
    def allocated_size(self) -> int | None:
        return self.image.allocated_size

    @property
    def reads_zero_when_new(self) -> bool:
        return self.image.reads_zero_when_new

    def read_into(self, offset: int, buffer: Buffer) -> None:
        view = memoryview(buffer)
        inside = max(0, min(len(view), self.image.size - offset))
        with self._mutex:
            if inside:
                self.image.read_into(offset, view[:inside])
        view[inside:] = bytes(len(view) - inside)

    def write(self, offset: int, data: Buffer) -> None:
        with self._mutex:
            end = offset + len(memoryview(data))
            if end > self.image.size:
                self._resize(end)
            self.image.write(offset, data)

    def write_zeroes(self, offset: int, length: int, deallocate: bool = True) -> None:
        if length > 0:
            with self._mutex:
                if offset + length > self.image.size:
                    self._resize(offset + length)
                self.image.write_zeroes(offset, length, deallocate)

    def discard(self, offset: int, length: int) -> None:
        if length > 0:
            with self._mutex:
                self.image.discard(offset, length)

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        with self._mutex:
            extents = list(chain_extents(self.image, offset, length))
        for extent in extents:
            yield extent.start, extent.length, HOLE if extent.zero else BYTES

    def located_runs(self, offset: int, length: int) -> Iterator[Extent]:
        """What the image itself has for a range, and where; what lies below it is not looked at.

        Holes of its file are told, too: so does QEMU for whoever takes an image for a file.
        """
        with self._mutex:
            runs = list(self.image.located_runs(offset, length))
        backed = self.image.backing.size if self.image.backing is not None else 0
        for run in runs:
            if run.kind in (image_base.ABSENT, image_base.ABSENT_ALLOCATED) and run.start < backed:
                # It may be anything, and so may what follows, even beyond the end of the backing file.
                run = run._replace(kind=image_base.UNALLOCATED)
            if run.kind != image_base.DATA or run.storage is None or run.offset is None:
                yield run
                continue
            for start, piece, kind in run.storage.extents(run.offset, run.length):
                shift = start - run.offset
                state = image_base.DATA if kind == BYTES else image_base.DATA_ZERO
                yield run._replace(start=run.start + shift, length=piece, kind=state, offset=start)

    def flush(self) -> None:
        with self._mutex:
            self.image.flush()

    def truncate(self, size: int) -> None:
        with self._mutex:
            if size != self.image.size:
                self._resize(size)

    def _resize(self, size: int) -> None:
        if not isinstance(self.image, Resizable):
            raise UnsupportedOperationError(
                "Image format driver does not support resize", path=self.name, format=self.image.format
            )
        self.image.resize(size)

    def lock(self, intent: LockIntent) -> None:
        """The image holds its own locks, which exclude more than any intent does."""

    def close(self) -> None:
        self.image.abandon()
