# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Changing the size of the last extent of a VMDK, and so that of the disk.

The header of a sparse extent is one sector, and says all at once: how large the extent is, and where its grain
directories lie.  Everything that it names is on the medium before it is written; what it names no more is given back
after that.
"""
from __future__ import annotations

from ...errors import OptionError, StorageError, UnsupportedOperationError
from ...intervals import IntervalSet
from ...limits import SECTOR
from ...sizes import ceil_div, round_up
from ..base import DATA
from ..table_runs import progression
from .extents import FlatPart, SparsePart
from .grains import MOST_SECTORS
from .layout import Header, write_resized_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...storage.base import Storage
    from .extents import Part
    from .grains import GrainMap

#: Directory entries that are written at once.
_PIECE = 1 << 16


def grow(part: FlatPart | SparsePart, size: int) -> Part:
    """Make an extent longer; the disk is as it was until its descriptor says so, if that is a file of its own.

    :param size: guest bytes, a multiple of 512
    :returns: the extent, which is on the medium
    :raises StorageError: there is no room
    """
    if isinstance(part, SparsePart):
        return _grow_sparse(part, size)
    storage, old_end, end = part.storage, part.host + part.size, part.host + size
    if storage.is_device and end > storage.size:
        raise UnsupportedOperationError("Cannot resize %s" % storage.plural, path=storage.name)
    if storage.size > old_end:
        # A resize that was interrupted may have left data there.
        storage.write_zeroes(old_end, min(end, storage.size) - old_end)
    if storage.size < end:
        storage.truncate(end)
    storage.flush()
    return FlatPart(part.start, size, storage, part.name, part.kind, part.host)


def shrink(part: FlatPart | SparsePart, size: int) -> Part:
    """Make an extent shorter, and give back what lies behind its new end; the descriptor says so already, if it is a
    file of its own.

    :param size: guest bytes, a multiple of 512
    """
    if isinstance(part, SparsePart):
        return _shrink_sparse(part, size)
    storage = part.storage
    # What else a longer file may have is not ours.
    if not storage.is_device and storage.size == part.host + part.size:
        storage.truncate(part.host + size)
        storage.flush()
    return FlatPart(part.start, size, storage, part.name, part.kind, part.host)


def allocate(part: Part, start: int, preallocation: str) -> None:
    """Reserve space for the guest data of an extent from guest offset ``start`` on.

    :param preallocation: ``off``: do not; ``metadata``: places for its grains; ``falloc`` or ``full``, as for files
    """
    if isinstance(part, SparsePart):
        start = part.start + round_up(start - part.start, part.header.grain)
    length = part.start + part.size - start
    if preallocation == "off" or length <= 0:
        return
    for storage, host, count in part.place(start, length):
        if preallocation != "metadata":
            storage.preallocate(host, count, preallocation)
    part.flush()


def check_mode(preallocation: str, path: str) -> None:
    """Refuse a mode of preallocation that there is not."""
    if preallocation not in ("off", "metadata", "falloc", "full"):
        raise OptionError("Unsupported preallocation mode '%s'" % preallocation, path=path, format="vmdk")


def _grow_sparse(part: SparsePart, size: int) -> Part:
    grains, header = part.map, part.header
    grains.zero_behind(part.size)
    _clear_behind(grains, part.size)
    new = header._replace(capacity=max(size, header.capacity))
    if new.directory_entries > header.directory_entries:
        new = _add_tables(part, new)
    part.storage.flush()
    write_resized_header(part.storage, new)
    return part.with_header(new, size)


def _clear_behind(grains: GrainMap, size: int) -> None:
    """Forget the grains behind the end of an extent of ``size`` bytes in the tables that it has."""
    table = grains.table
    first = ceil_div(size, grains.block_size)
    for page in range(first // table.page_entries, grains.header.directory_entries):
        low = max(0, first - page * table.page_entries)
        entries = table.entries(page)
        if entries is not None and any(entries[low:]):
            table.fill(page * table.page_entries + low, len(entries) - low, table.absent)
    grains.flush()


def _add_tables(part: SparsePart, new: Header) -> Header:
    """Write larger directories at the end of the file, and empty tables for what is new in them.

    QEMU writes to no grain whose table is not there, and so all tables are.
    """
    header, storage = part.header, part.storage
    if storage.is_device:
        raise UnsupportedOperationError("Cannot resize %s" % storage.plural, path=storage.name)
    old, count = header.directory_entries, new.directory_entries
    stride = round_up(header.table_entries * header.entry_bytes, SECTOR)
    room = round_up(count * header.entry_bytes, SECTOR)
    place = round_up(storage.size, SECTOR)
    places = [place]
    if header.redundant:
        places.append(place + room + (count - old) * stride)
    end = places[-1] + room + (count - old) * stride
    if end // SECTOR >= MOST_SECTORS:
        raise StorageError(
            "The extent is full: no grain table can lie behind the first 2 TiB of a file",
            path=storage.name,
            remedy="convert the image to another format",
        )
    storage.truncate(end)
    first_level = part.map.table.first_level
    for source, target in zip((header.directory, header.redundant), places):
        for index in range(0, old, _PIECE):
            known = first_level.read_entries(source + index * 4, min(_PIECE, old - index))
            storage.write(target + index * 4, first_level.packed(known))
        for index in range(old, count, _PIECE):
            table = (target + room + (index - old) * stride) // SECTOR
            added = progression(table, min(_PIECE, count - index), stride // SECTOR, "I")
            storage.write(target + index * 4, first_level.packed(added))
    return new._replace(directory=places[0], redundant=places[1] if header.redundant else 0)


def _shrink_sparse(part: SparsePart, size: int) -> Part:
    dropped = _grain_places(part, size, part.size)
    new = part.header._replace(capacity=size)
    write_resized_header(part.storage, new)
    part = part.with_header(new, size)
    part.map.zero_behind(size)
    _clear_behind(part.map, size)
    kept = part.map.metadata()
    for low, high in _grain_places(part, 0, size):
        kept.add(low, high)
    # QEMU opens no extent that ends before its grains may begin.
    end = max(round_up(max(high for _low, high in kept), SECTOR), new.grains)
    for low, high in kept:
        # An image whose grains overlap loses none of them.
        dropped.remove(low, high)
    _give_back(part.storage, dropped, end)
    return part.with_header(new, size)


def _grain_places(part: SparsePart, start: int, end: int) -> IntervalSet:
    """Where in the file the grains are that begin from ``start`` to ``end``, offsets in the extent."""
    grain = part.header.grain
    first = ceil_div(start, grain)
    found = IntervalSet()
    for _block, count, kind, host in part.map.block_runs(first, max(0, ceil_div(end, grain) - first)):
        if kind == DATA and host is not None:
            found.add(host, host + count * grain)
    return found


def _give_back(storage: Storage, dropped: IntervalSet, end: int) -> None:
    """Give back places of grains, and what lies behind ``end``."""
    for low, high in dropped:
        if low < min(end, storage.size):
            storage.discard(low, min(high, end, storage.size) - low)
    if not storage.is_device and storage.size > end:
        storage.truncate(end)
    storage.flush()
