# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The descriptor of a VMDK: a text that names its extents and its parent."""
from __future__ import annotations

import re
from collections import namedtuple

from ...errors import UnsupportedFeatureError
from ...limits import MAX_IMAGE_BYTES, SECTOR
from .layout import corrupt

#: A descriptor has less than one mebibyte, and an embedded one is no longer than that either.
MAX_BYTES = (1 << 20) - 1

NO_PARENT = 0xFFFFFFFF
#: Extents of a split image are so long.
SPLIT_BYTES = 1 << 31
FLAT, VMFS = "FLAT", "VMFS"
_KINDS = (FLAT, VMFS, "SPARSE", "VMFSSPARSE", "SESPARSE")
#: The types of an image whose descriptor is a file of its own.
_TYPES = ("monolithicFlat", "vmfs", "vmfsSparse", "seSparse", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat")

_ASSIGNMENT = re.compile(r'^\s*(CID|parentCID|createType|parentFileNameHint)\s*=\s*"?([^"]*)"?\s*$')
_GEOMETRY = re.compile(rb'^\s*ddb\.geometry\.(cylinders|heads|sectors)\s*=\s*"(\d{1,9})"')
_EXTENT = re.compile(r'^(\w+)\s+(\d+)\s+(\w+)\s+"([^"]*)"(?:\s+(\d+))?')


class ExtentLine(namedtuple("ExtentLine", ["size", "kind", "name", "offset"])):
    """One extent: guest bytes, ``FLAT`` and the like, the name of its file, and where its data begin there, bytes."""

    __slots__ = ()

    size: int
    kind: str
    name: str
    offset: int

    @property
    def is_flat(self) -> bool:
        """Whether the file has the guest's bytes as they are."""
        return self.kind in (FLAT, VMFS)


class Descriptor(namedtuple("Descriptor", ["cid", "parent_cid", "create_type", "parent", "lines"])):
    """What a descriptor says; ``parent`` is the name of the parent (``None``: it has none), ``lines`` its extent lines
    as they are."""

    __slots__ = ()

    cid: int
    parent_cid: int
    create_type: str
    parent: str | None
    lines: list[str]

    def extents(self, path: str) -> list[ExtentLine]:
        """The extents of a descriptor that is a file of its own.

        :raises CorruptImageError: a line is not valid
        :raises UnsupportedFeatureError: the image, or an extent, is of a type that is not known
        """
        if self.create_type not in _TYPES:
            raise UnsupportedFeatureError("Unsupported image type '%s'" % self.create_type, path=path, format="vmdk")
        found = [_extent(line, path) for line in self.lines]
        if not found:
            raise corrupt(path, "The descriptor names no extents")
        if sum(extent.size for extent in found) > MAX_IMAGE_BYTES:
            raise corrupt(path, "The extents have more bytes than any disk")
        return found


def parse_descriptor(data: bytes, path: str) -> Descriptor:
    """Read a descriptor, up to its first zero byte.

    :raises CorruptImageError: it has no type, or an identifier that is no number
    """
    values: dict[str, str] = {}
    lines = []
    for line in data.partition(b"\0")[0].decode("utf-8", "surrogateescape").splitlines():
        match = _ASSIGNMENT.match(line)
        if match:
            values.setdefault(match.group(1), match.group(2))
        elif line.startswith("RW "):
            lines.append(line)
    if "createType" not in values:
        raise corrupt(path, "invalid VMDK image descriptor")
    parent_cid = _identifier(values.get("parentCID", "ffffffff"), path)
    parent = values.get("parentFileNameHint") or None
    return Descriptor(_identifier(values.get("CID", "0"), path), parent_cid, values["createType"], parent, lines)


def write_descriptor(
    cid: int,
    parent_cid: int,
    create_type: str,
    parent: str | None,
    extents: list[ExtentLine],
    entries: dict[str, object],
) -> bytes:
    """The text of a descriptor.

    :param parent: the name of the parent; ``None``: there is none
    :param entries: of the disk database
    """
    lines = ["# Disk DescriptorFile", "version=1", "CID=%x" % cid, "parentCID=%x" % parent_cid]
    lines.append('createType="%s"' % create_type)
    # As QEMU has it: the name takes the place of the empty line.
    lines += ['parentFileNameHint="%s"' % parent if parent else "", "# Extent description"]
    for extent in extents:
        offset = " %d" % (extent.offset // SECTOR) if extent.kind == FLAT else ""
        lines.append('RW %d %s "%s"%s' % (extent.size // SECTOR, extent.kind, extent.name, offset))
    lines += ["", "# The Disk Data Base", "#DDB", ""]
    lines += ['ddb.%s = "%s"' % entry for entry in entries.items()]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def with_cid(text: bytes, cid: int) -> bytes:
    """A descriptor with another content identifier."""
    return re.sub(rb"(?m)^(\s*CID\s*=\s*)[0-9A-Fa-f]+", lambda match: match.group(1) + b"%x" % cid, text, count=1)


def with_extent(text: bytes, old: str, new: str) -> bytes:
    """A descriptor whose extent of one name has another one."""
    before, after = (b'"%s"' % name.encode("utf-8", "surrogateescape") for name in (old, new))
    lines = [line.replace(before, after) if line.startswith(b"RW ") else line for line in text.split(b"\n")]
    return b"\n".join(lines)


def with_last_extent(text: bytes, extent_size: int, size: int) -> bytes:
    """A descriptor whose last extent, and with it the disk, has another size.

    :param extent_size: of the extent, guest bytes
    :param size: of the disk, guest bytes
    """
    lines = text.split(b"\n")
    last = max(number for number, line in enumerate(lines) if line.startswith(b"RW "))
    lines[last] = re.sub(rb"\d+", b"%d" % (extent_size // SECTOR), lines[last], count=1)
    geometry = {match.group(1): int(match.group(2)) for match in map(_GEOMETRY.match, lines) if match}
    track = geometry.get(b"heads", 0) * geometry.get(b"sectors", 0) * SECTOR
    for number, line in enumerate(lines):
        match = _GEOMETRY.match(line)
        if match and match.group(1) == b"cylinders" and track:
            lines[number] = line[: match.start(2)] + b"%d" % (size // track) + line[match.end(2) :]
    return b"\n".join(lines)


def _identifier(text: str, path: str) -> int:
    try:
        return int(text, 16) & NO_PARENT
    except ValueError:
        raise corrupt(path, "The identifier '%s' is no hexadecimal number" % text) from None


def _extent(line: str, path: str) -> ExtentLine:
    match = _EXTENT.match(line)
    # Only more than a line of the kernel's longest number could be too long for a number here.
    if match is None or len(match.group(2)) > 20 or len(match.group(5) or "") > 20:
        raise corrupt(path, "Invalid extent line: %s" % line[:200])
    _access, sectors, kind, name, offset = match.groups()
    if kind not in _KINDS:
        raise UnsupportedFeatureError("Unsupported extent type '%s'" % kind, path=path, format="vmdk")
    if not name or ((kind == FLAT) != (offset is not None) and kind != VMFS):
        raise corrupt(path, "Invalid extent line: %s" % line[:200])
    return ExtentLine(int(sectors) * SECTOR, kind, name, int(offset or 0) * SECTOR)
