# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Making a new VMDK: its descriptor and its extents, in the layout that QEMU gives them.

A stream-optimized image is laid out as VMware's "Virtual Disk Format 5.0" has it: see :mod:`.stream`.
"""
from __future__ import annotations

import os
from array import array
from collections import namedtuple

from ...errors import OptionError
from ...limits import MAX_IMAGE_BYTES, SECTOR
from ...sizes import ceil_div, round_up
from ..table_runs import progression
from .descriptor import NO_PARENT, SPLIT_BYTES, ExtentLine, parse_descriptor, write_descriptor
from .extents import FlatPart, SparsePart
from .image import VmdkImage
from .layout import DESCRIPTOR_SECTORS, Header, new_header
from .stream import StreamPart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ...storage.base import Storage
    from ..driver import NewImage
    from .extents import Part

_ADAPTERS = ("ide", "lsilogic", "buslogic", "legacyESX")
_UNDEFINED = "undefined"


class Subformat(namedtuple("Subformat", ["name", "is_flat", "is_split", "is_stream"])):
    """What an image is made of: flat extents or sparse ones, split into several or not, or one compressed stream."""

    __slots__ = ()

    name: str
    is_flat: bool
    is_split: bool
    is_stream: bool

    @property
    def has_extent_files(self) -> bool:
        """Whether the descriptor is a file of its own."""
        return self.is_flat or self.is_split


SUBFORMATS = {
    subformat.name: subformat
    for subformat in (
        Subformat("monolithicSparse", False, False, False),
        Subformat("monolithicFlat", True, False, False),
        Subformat("twoGbMaxExtentSparse", False, True, False),
        Subformat("twoGbMaxExtentFlat", True, True, False),
        Subformat("streamOptimized", False, False, True),
    )
}


def subformat_of(options: dict[str, Any]) -> Subformat:
    """The subformat that creation options ask for.

    :raises OptionError: there is no such one
    """
    name = options.get("subformat") or "monolithicSparse"
    if name not in SUBFORMATS:
        raise OptionError("invalid parameter value: %s" % name, remedy="the subformats are %s" % ", ".join(SUBFORMATS))
    return SUBFORMATS[name]


def extent_lines(filename: str, size: int, subformat: Subformat) -> list[ExtentLine]:
    """The extents of a new image, by the names that the descriptor gives them.

    :param filename: the name of the image
    :param size: guest bytes
    """
    kind = "FLAT" if subformat.is_flat else "SPARSE"
    base = os.path.basename(filename)
    if not subformat.has_extent_files:
        return [ExtentLine(size, kind, base, 0)]
    stem, ending = os.path.splitext(base)
    if not subformat.is_split:
        return [ExtentLine(size, kind, "%s-flat%s" % (stem, ending), 0)]
    letter = "f" if subformat.is_flat else "s"
    return [
        ExtentLine(min(SPLIT_BYTES, size - start), kind, "%s-%s%03d%s" % (stem, letter, number, ending), 0)
        for number, start in enumerate(range(0, size, SPLIT_BYTES), 1)
    ]


def create(new: NewImage, size: int) -> VmdkImage:
    """An empty image.

    :param size: guest bytes, a multiple of 512
    :raises OptionError: the options contradict each other
    """
    options = new.options
    subformat = subformat_of(options)
    _check(new, subformat, size)
    lines = extent_lines(new.filename, size, subformat)
    if subformat.is_split and not lines:
        raise OptionError("A split image needs at least one extent", remedy="give a size, or another subformat")
    text = descriptor_text(new, subformat, size, lines)
    descriptor = parse_descriptor(text, new.filename)
    zeroed = bool(options.get("zeroed_grain"))
    if subformat.has_extent_files:
        parts = _add_extents(new, lines, zeroed)
        storage = new.main(len(text))
        storage.write(0, text)
        if not storage.is_device:
            storage.truncate(len(text))
        return VmdkImage(new, storage, descriptor, parts, new.backing, is_new=True)
    header = new_header(size, zeroed, subformat.is_stream)
    storage = new.main(header.grains)
    _check_room(text, new)
    part: Part
    if subformat.is_stream:
        storage.write(0, header.pack().ljust(SECTOR, b"\0") + text)
        storage.truncate(header.grains)
        part = StreamPart(size, storage, descriptor_name(new), header)
    else:
        _write_sparse(storage, header, text)
        part = SparsePart(
            0, size, storage, new.filename, "SPARSE", header, new.backing, new.limits.table_cache_bytes, is_new=True
        )
    return VmdkImage(new, storage, descriptor, [part], new.backing, is_new=True)


def descriptor_name(new: NewImage) -> str:
    """What the descriptor calls an image that has everything in one file."""
    return os.path.basename(new.filename)


def _check(new: NewImage, subformat: Subformat, size: int) -> None:
    options = new.options
    adapter = options.get("adapter_type")
    if adapter is not None and adapter not in _ADAPTERS:
        raise OptionError(
            "invalid parameter value: %s" % adapter, remedy="the adapter types are %s" % ", ".join(_ADAPTERS)
        )
    hardware = options.get("hwversion")
    if options.get("compat6") and hardware not in (None, _UNDEFINED):
        raise OptionError("compat6 cannot be enabled with hwversion set")
    if subformat.is_flat and options.get("backing_file"):
        raise OptionError("Flat image can't have backing file")
    if subformat.is_flat and options.get("zeroed_grain"):
        raise OptionError("Flat image can't enable zeroed grain")
    if options.get("backing_fmt") not in (None, new.format):
        raise OptionError("backing_file must be a vmdk image")
    if size > MAX_IMAGE_BYTES:
        raise OptionError("The disk is too large", remedy="choose a smaller one")


def _check_room(text: bytes, new: NewImage) -> None:
    if len(text) > DESCRIPTOR_SECTORS * SECTOR:
        raise OptionError(
            "The descriptor has no room for the name of the backing file",
            path=new.filename,
            remedy="use a shorter name",
        )


def descriptor_text(new: NewImage, subformat: Subformat, size: int, lines: list[ExtentLine]) -> bytes:
    """The text of a new descriptor."""
    options = new.options
    adapter = options.get("adapter_type") or "ide"
    heads, sectors = 16 if adapter == "ide" else 255, 63
    parent, parent_cid = options.get("backing_file"), NO_PARENT
    if parent:
        parent_cid = _parent_cid(new, parent)
    hardware = options.get("hwversion")
    if options.get("compat6"):
        hardware = "6"
    elif hardware in (None, _UNDEFINED):
        hardware = "4"
    entries = {
        "virtualHWVersion": hardware,
        "geometry.cylinders": size // (sectors * heads * SECTOR),
        "geometry.heads": heads,
        "geometry.sectors": sectors,
        "adapterType": adapter,
        "toolsVersion": options.get("toolsversion") or "2147483647",
    }
    return write_descriptor(new_cid(), parent_cid, subformat.name, parent, lines, entries)


def new_cid() -> int:
    """A content identifier, which is never that of "no parent"."""
    return int.from_bytes(os.urandom(4), "little") & 0xFFFFFFFE


def _parent_cid(new: NewImage, parent: str) -> int:
    image = new.backing or new.open_backing(parent, new.options.get("backing_fmt"))
    try:
        if not isinstance(image, VmdkImage):
            raise OptionError("backing_file must be a vmdk image")
        return image.cid
    finally:
        if image is not new.backing:
            image.abandon()


def _add_extents(new: NewImage, lines: list[ExtentLine], zeroed: bool) -> list[Part]:
    """Make the files of the extents."""
    parts: list[Part] = []
    start = 0
    cache = new.limits.table_cache_bytes // len(lines)
    for number, line in enumerate(lines):
        key = "extents.%d" % number
        if line.is_flat:
            storage = new.add(key, line.name, line.size, "extent")
            if not storage.is_device:
                storage.truncate(line.size)
            parts.append(FlatPart(start, line.size, storage, line.name, line.kind, 0))
        else:
            header = new_header(line.size, zeroed)
            storage = new.add(key, line.name, header.grains, "extent")
            _write_sparse(storage, header, b"")
            parts.append(
                SparsePart(start, line.size, storage, line.name, line.kind, header, new.backing, cache, is_new=True)
            )
        start += line.size
    return parts


def _write_sparse(storage: Storage, header: Header, descriptor: bytes) -> None:
    """An extent with all its grain tables, and no grains."""
    storage.write(0, header.pack().ljust(SECTOR, b"\0") + descriptor)
    table_sectors = header.table_entries * header.entry_bytes // SECTOR
    for directory in (header.redundant, header.directory):
        room = round_up(header.directory_entries * header.entry_bytes, SECTOR)
        first = (directory + room) // SECTOR
        _write_directory(storage, directory, progression(first, header.directory_entries, table_sectors, "I"))
    if not storage.is_device:
        storage.truncate(header.grains)


def _write_directory(storage: Storage, offset: int, entries: array[int]) -> None:
    import sys

    if sys.byteorder == "big":
        entries.byteswap()
    storage.write(offset, entries.tobytes())


def full_size(size: int, options: dict[str, Any]) -> int | None:
    """The bytes of the image's own file once everything has been written to; ``None``: that cannot be told."""
    subformat = subformat_of(options)
    if subformat.has_extent_files or subformat.is_stream:
        return None
    header = new_header(size, False)
    return header.grains + ceil_div(size, header.grain) * header.grain
