# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The driver of VMDK, whose images have one file or several."""
from __future__ import annotations

from ...errors import NotThisFormatError, UnsupportedOperationError
from ...limits import SECTOR
from ..driver import ALWAYS, BACKING_FILE, INFO, NEVER, Driver
from ..options import BOOL, SIZE, STR, CreateOption
from .descriptor import MAX_BYTES, NO_PARENT, Descriptor, parse_descriptor
from .extents import FlatPart, SparsePart
from .image import VmdkImage
from .layout import (
    COWD,
    COWD_MAGIC,
    HOSTED_MAGIC,
    corrupt,
    descriptor_place,
    embedded_descriptor,
    is_only_descriptor,
    read_header,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ...storage.base import Storage
    from ..base import Image
    from ..driver import Compression, ImageSource, NewImage
    from .extents import Part


class VmdkDriver(Driver):
    """VMDK of VMware: sparse, flat, split and stream-optimized disks, and those of ESX."""

    name = "vmdk"
    child_keys = ("extents",)
    options = (
        CreateOption("size", SIZE, "Virtual disk size"),
        CreateOption(
            "adapter_type",
            STR,
            "Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX",
        ),
        CreateOption("backing_file", STR, "File name of a base image"),
        CreateOption("backing_fmt", STR, "Must be 'vmdk' if present"),
        CreateOption("compat6", BOOL, "VMDK version 6 image", default=False),
        CreateOption("hwversion", STR, "VMDK hardware version", default="undefined"),
        CreateOption(
            "subformat",
            STR,
            "VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat | "
            "twoGbMaxExtentSparse | twoGbMaxExtentFlat | streamOptimized} ",
        ),
        CreateOption("toolsversion", STR, "VMware guest tools version"),
        CreateOption(
            "zeroed_grain", BOOL, "Enable efficient zero writes using the zeroed-grain GTE feature"
        ),
    )

    def open(self, source: ImageSource) -> Image:
        """Open a VMDK, its extents, and its parent.

        :raises FormatError: it is not valid
        :raises ReferenceDeniedError: an extent or the parent may not be opened
        """
        storage, path = source.storage, source.filename
        magic = storage.read(0, min(4, storage.size))
        is_extent = magic in (HOSTED_MAGIC, COWD_MAGIC) and not is_only_descriptor(storage)
        descriptor = _descriptor(storage, magic, path)
        backing = None
        opened: list[Storage] = []
        try:
            if descriptor.parent is not None and descriptor.parent_cid != NO_PARENT:
                backing = source.open_backing(descriptor.parent, self.name)
                _check_parent(source, descriptor, backing)
            if is_extent:
                parts: list[Part] = [_whole(source, backing)]
            else:
                parts = _extents(source, descriptor, backing, opened)
            if storage.writable and not all(part.can_write for part in parts):
                raise UnsupportedOperationError(
                    "Its extents cannot be written to", path=path, format=self.name,
                    remedy="convert it to an image that can",
                )
            return VmdkImage(source, storage, descriptor, parts, backing)
        except BaseException:
            for extent in opened:
                extent.close()
            if backing is not None:
                backing.abandon()
            raise

    def create(self, new: NewImage) -> Image:
        from . import create

        return create.create(new, self.disk_size(new.options["size"], new.options))

    def compression_with(self, options: dict[str, Any]) -> Compression:
        return ALWAYS if options.get("subformat") == "streamOptimized" else NEVER

    def main_file_size(self, options: dict[str, Any], size: int) -> int | None:
        from . import create

        return create.full_size(self.disk_size(size, options), options)

    def further_files(self, filename: str, options: dict[str, Any]) -> list[tuple[str, str]]:
        from . import create

        subformat = create.subformat_of(options)
        if not subformat.has_extent_files:
            return []
        size = self.disk_size(options.get("size") or 0, options)
        return [("extent", line.name) for line in create.extent_lines(filename, size, subformat)]

    def is_whole(self, read: Callable[[int, int], bytes]) -> bool:
        head = read(0, SECTOR)
        if not head.startswith(HOSTED_MAGIC):
            return not head.startswith(COWD_MAGIC)
        place = descriptor_place(head)
        # An extent of a split image has room for a descriptor, and none there.
        return place is not None and read(place[0], 1) not in (b"", b"\0")

    def named_files(self, read: Callable[[int, int], bytes]) -> list[tuple[str, str]]:
        head = read(0, SECTOR)
        offset, length = 0, MAX_BYTES
        if head.startswith(COWD_MAGIC):
            return []
        if head.startswith(HOSTED_MAGIC):
            place = descriptor_place(head)
            if place is None:
                return []
            offset, length = place
        descriptor = parse_descriptor(read(offset, min(length, MAX_BYTES)), "")
        named = [] if descriptor.parent is None else [(BACKING_FILE, descriptor.parent)]
        if not head.startswith(HOSTED_MAGIC):
            named += [("extent", line.name) for line in descriptor.extents("")]
        return named


def _descriptor(storage: Storage, magic: bytes, path: str) -> Descriptor:
    if magic == COWD_MAGIC:
        return Descriptor(0, NO_PARENT, "vmfsSparse", None, [])
    if magic != HOSTED_MAGIC:
        if storage.size > MAX_BYTES:
            raise NotThisFormatError("invalid VMDK image descriptor", path=path, format="vmdk")
        return parse_descriptor(storage.read(0, storage.size), path)
    place = embedded_descriptor(storage)
    if place is None:
        raise corrupt(path, "The extent has no descriptor: open the descriptor that names it")
    offset, length = place
    length = min(length, MAX_BYTES)
    if offset + length > storage.size:
        raise corrupt(path, "File truncated, expecting at least %d bytes" % (offset + length))
    return parse_descriptor(storage.read(offset, length), path)


def _check_parent(source: ImageSource, descriptor: Descriptor, backing: Image | None) -> None:
    """Tell that another image is in the place of the parent, or that it changed: QEMU reads it too."""
    if isinstance(backing, VmdkImage) and source.purpose != INFO and backing.cid != descriptor.parent_cid:
        source.warn(
            "%s: its parent '%s' has the content identifier %08x, and not %08x: it was changed, or is another one"
            % (source.filename, backing.filename, backing.cid, descriptor.parent_cid)
        )


def _whole(source: ImageSource, backing: Image | None) -> Part:
    """The only extent of an image whose file has everything."""
    storage = source.storage
    header = read_header(storage, source.filename)
    kind = "VMFSSPARSE" if header.kind == COWD else "SPARSE"
    cache = source.limits.table_cache_bytes
    return SparsePart(0, header.capacity, storage, source.filename, kind, header, backing, cache)


def _extents(
    source: ImageSource, descriptor: Descriptor, backing: Image | None, opened: list[Storage]
) -> list[Part]:
    """The extents that a descriptor names, in the order of the guest disk.

    :param opened: gets their files, as they are opened
    """
    lines = descriptor.extents(source.filename)
    cache = source.limits.table_cache_bytes // len(lines)
    parts: list[Part] = []
    start = 0
    for number, line in enumerate(lines):
        storage = source.open_file("extents.%d" % number, line.name, "extent", holds_metadata=not line.is_flat)
        opened.append(storage)
        if line.is_flat:
            parts.append(FlatPart(start, line.size, storage, line.name, line.kind, line.offset))
        else:
            header = read_header(storage, storage.name)
            parts.append(SparsePart(start, line.size, storage, line.name, line.kind, header, backing, cache))
        start += line.size
    return parts


DRIVER = VmdkDriver()
