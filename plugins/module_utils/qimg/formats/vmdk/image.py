# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A VMDK as a guest disk: its extents one after the other."""
from __future__ import annotations

import os
from bisect import bisect_right

from ...errors import CorruptImageError, OptionError, UnsupportedOperationError
from ...limits import MAX_IMAGE_BYTES, SECTOR
from ...sizes import round_up
from ..base import Image, ImageFile, add_piece
from ..capabilities import Checkable, CheckResult, Compressing, RenamesFiles, Resizable
from .descriptor import SPLIT_BYTES, with_cid, with_extent, with_last_extent
from .extents import FlatPart, SparsePart
from .layout import embedded_descriptor, has_directory_at_end
from .stream import StreamPart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ...storage.base import Buffer, Storage
    from ..base import Extent, Origin, Pieces
    from .descriptor import Descriptor
    from .extents import Part


class VmdkImage(Image, Checkable, Compressing, RenamesFiles, Resizable):
    """A VMDK.

    :param parts: its extents, without gaps
    :param is_new: nobody has the image yet
    """

    def __init__(
        self,
        origin: Origin,
        storage: Storage,
        descriptor: Descriptor,
        parts: list[Part],
        backing: Image | None,
        is_new: bool = False,
    ) -> None:
        self._descriptor = descriptor
        #: Whether overlays are to know already that the content is another one.
        self._has_new_cid = is_new
        self._parts = parts
        self._starts = [part.start for part in parts]
        self.size = parts[-1].start + parts[-1].size
        self.cluster_size = parts[0].grain
        if descriptor.parent is not None:
            self.backing_file, self.backing_format = descriptor.parent, "vmdk"
        super().__init__(origin, storage, backing)

    @property
    def cid(self) -> int:
        """What an image on top of it knows it by."""
        return self._descriptor.cid

    def files(self) -> list[ImageFile]:
        return [
            ImageFile("extents.%d" % number, part.name, part.storage, "extent")
            for number, part in enumerate(self._parts)
            if part.storage is not self.storage
        ]

    def format_specific(self) -> dict[str, Any]:
        return {
            "cid": self._descriptor.cid,
            "parent-cid": self._descriptor.parent_cid,
            "create-type": self._descriptor.create_type,
            "extents": [_document(part, self.storage) for part in self._parts],
        }

    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        for part, start, size in self._by_part(offset, length):
            yield from part.runs(start, size)

    def encoded_reader(self, offset: int, length: int) -> Callable[[Buffer], None]:
        return self._parts[bisect_right(self._starts, offset) - 1].encoded_reader(offset, length)

    def creation_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"subformat": self._descriptor.create_type}
        if self.backing_file is not None:
            options.update(backing_file=self.backing_file, backing_fmt=self.backing_format)
        return options

    # Writing

    @property
    def write_unit(self) -> int:
        return self.cluster_size or SECTOR

    @property
    def reads_zero_when_new(self) -> bool:
        return self.backing is None and all(part.reads_zero_when_new for part in self._parts)

    def _by_part(self, offset: int, length: int) -> Iterator[tuple[Part, int, int]]:
        """The parts of the guest disk that a range touches: part, start and length."""
        end = offset + length
        index = bisect_right(self._starts, offset) - 1
        while offset < end:
            part = self._parts[index]
            stop = min(end, part.start + part.size)
            if stop > offset:
                yield part, offset, stop - offset
                offset = stop
            index += 1

    def _begin_writing(self) -> None:
        """Give the image a new content identifier, before its content changes: overlays know it by that."""
        if self._has_new_cid:
            return
        self._write_content_identifier(self._read_descriptor())

    def _write_content_identifier(self, text: bytes) -> None:
        """Write a descriptor, with a new content identifier."""
        cid = int.from_bytes(os.urandom(4), "little") & 0xFFFFFFFE
        self._write_descriptor(with_cid(text, cid))
        self._descriptor = self._descriptor._replace(cid=cid)
        self._has_new_cid = True

    def _descriptor_place(self) -> tuple[int, int | None]:
        """Where the descriptor is, and how much room it has; ``None``: it is a file of its own."""
        place = embedded_descriptor(self.storage)
        return (0, None) if place is None else place

    def _read_descriptor(self) -> bytes:
        offset, room = self._descriptor_place()
        if room is None:
            return self.storage.read(0, self.storage.size)
        return self.storage.read(offset, room).partition(b"\0")[0]

    def _write_descriptor(self, text: bytes) -> None:
        offset, room = self._descriptor_place()
        if room is None:
            self.storage.write(0, text)
            if not self.storage.is_device and self.storage.size > len(text):
                self.storage.truncate(len(text))
            return
        if len(text) > room:
            raise OptionError("The descriptor has no room for that", path=self.filename)
        self.storage.write(offset, text.ljust(room, b"\0"))

    def rename_file(self, key: str, name: str) -> None:
        self.check_writable()
        part = self._parts[int(key.partition(".")[2])]
        self._write_descriptor(with_extent(self._read_descriptor(), part.name, name))
        self.storage.flush()
        part.name = name

    def _place(self, offset: int, length: int) -> Pieces:
        self._begin_writing()
        pieces: Pieces = []
        for part, start, size in self._by_part(offset, length):
            for storage, host, count in part.place(start, size):
                add_piece(pieces, storage, host, count)
        return pieces

    def _write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        self._begin_writing()
        for part, start, size in self._by_part(offset, length):
            part.write_zeroes(start, size, deallocate)

    def _discard(self, offset: int, length: int) -> None:
        for part, start, size in self._by_part(offset, length):
            part.discard(start, size)

    def _flush(self) -> None:
        for part in self._parts:
            part.flush()
        self.storage.flush()

    def check_resize(self) -> None:
        last = self._parts[-1]
        reason = None
        if self.backing_file is not None:
            reason = "A disk with a parent cannot be resized"
        elif not all(part.can_write for part in self._parts) or (last.grain and has_directory_at_end(last.storage)):
            reason = "Its extents cannot be changed, and so the disk cannot be resized"
        elif any(part.storage.name == last.storage.name for part in self._parts[:-1]):
            reason = "Its last extent has no file of its own, and so the disk cannot be resized"
        if reason is not None:
            raise UnsupportedOperationError(reason, path=self.filename, remedy="convert it, and resize the copy")

    def resize(self, size: int, preallocation: str = "off") -> None:
        from . import resizing

        self.check_resize()
        resizing.check_mode(preallocation, self.filename)
        size = round_up(size, SECTOR)
        last, old = self._parts[-1], self.size
        if not isinstance(last, (FlatPart, SparsePart)):
            raise self.unsupported("resizing of streams")
        self._check_last_extent(size)
        self.flush()
        text = with_last_extent(self._read_descriptor(), size - last.start, size)
        # The descriptor names nothing that is not there.
        is_growing = size > old
        if is_growing:
            self._parts[-1] = resizing.grow(last, size - last.start)
        if is_growing or last.storage is not self.storage:
            self._write_content_identifier(text)
            self.storage.flush()
        if not is_growing:
            self._parts[-1] = resizing.shrink(last, size - last.start)
        if not is_growing and last.storage is self.storage:
            self._write_content_identifier(text)
            self.storage.flush()
        self.size = size
        if is_growing:
            resizing.allocate(self._parts[-1], old, preallocation)

    def _check_last_extent(self, size: int) -> None:
        """Whether a disk of ``size`` bytes differs in its last extent only."""
        last = self._parts[-1]
        is_split = self._descriptor.create_type.startswith("twoGb")
        if size <= last.start or (is_split and size - last.start > SPLIT_BYTES):
            raise UnsupportedOperationError(
                "The disk would have another number of extents: its last one can have up to 2 GiB, and has to stay",
                path=self.filename,
                remedy="choose a size from %d to %d bytes, or convert it, and resize the copy"
                % (last.start + SECTOR, last.start + SPLIT_BYTES),
            )
        if size > MAX_IMAGE_BYTES:
            raise OptionError("The disk is too large", path=self.filename, remedy="choose a smaller one")

    def compressor(self) -> Callable[[memoryview], bytes | None]:
        part = self._parts[0]
        if not isinstance(part, StreamPart):
            raise UnsupportedOperationError(
                "Only new streamOptimized images hold compressed grains", path=self.filename, format="vmdk"
            )
        return part.compress

    def write_compressed(self, offset: int, data: bytes | None, plain: memoryview) -> None:
        part = self._parts[0]
        if not isinstance(part, StreamPart):
            raise self.unsupported("writing compressed grains")
        part.store(offset, part.compress(plain) if data is None else data)

    def check(self, repair: str | None = None, report: Callable[[str], None] | None = None) -> CheckResult:
        result = CheckResult()
        try:
            for _run in self.runs(0, self.size):
                pass
        except CorruptImageError as error:
            # The first one ends it, as in qemu-img.
            result.corruptions += 1
            if report is not None:
                report("ERROR: %s" % error.reason)
        return result


def _document(part: Part, main: Storage) -> dict[str, Any]:
    document: dict[str, Any] = {"compressed": True} if part.compressed else {}
    document.update({"virtual-size": part.size, "filename": part.storage.name})
    if part.grain:
        document["cluster-size"] = part.grain
    document["format"] = "" if part.storage is main else part.kind
    return document
