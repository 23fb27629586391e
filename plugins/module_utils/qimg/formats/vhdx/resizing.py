# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Changing the size of a VHDX disk.

The size is stored in the metadata, which are changed through the log.  A larger table is put in place, and both region
tables name it, before the disk gets larger; a disk that gets smaller lets go of its blocks after that.
"""
from __future__ import annotations

import struct

from ...limits import MIB
from ...sizes import ceil_div, round_up
from .blocks import VhdxMap, change_pages, entries_between
from .layout import ENTRY_BYTES, OFFSET_MASK, REGION_PLACES, Parameters, bat_entries, region_table

#: Bytes that are copied at once.
_PIECE = 1 << 20


def resize(blocks: VhdxMap, size: int) -> Parameters:
    """Make the disk ``size`` bytes long (a multiple of its sectors).

    :returns: what the metadata say, which are on the medium
    """
    storage, old = blocks.storage, blocks.parameters
    count = ceil_div(size, old.block_size)
    parameters = old
    if size > old.size:
        blocks.zero_behind(old.size)
        needed = bat_entries(count, old.chunk, False) * ENTRY_BYTES
        if needed > old.bat_length:
            parameters = _move_table(blocks, round_up(needed, MIB))
        _clear_entries(blocks, parameters, old.bat_entries * ENTRY_BYTES, needed)
    storage.flush()
    change_pages(storage, blocks.headers, [(parameters.size_offset, struct.pack("<Q", size))])
    if size < old.size:
        # What a larger disk would show again.
        for block, _entry in list(entries_between(blocks, count, old.blocks)):
            blocks.table.fill(block, 1, blocks.table.absent)
        blocks.flush()
    return parameters._replace(size=size)


def _clear_entries(blocks: VhdxMap, parameters: Parameters, start: int, end: int) -> None:
    """Zero entries that the disk has had no use for."""
    storage, place = blocks.storage, parameters.bat_offset
    if end > start and any(storage.read(place + start, min(end - start, _PIECE))):
        storage.write(place + start, bytes(end - start))


def _move_table(blocks: VhdxMap, length: int) -> Parameters:
    """Put a larger table at the end of the file, and let the region tables name it."""
    storage, old = blocks.storage, blocks.parameters
    offset = round_up(max(storage.size, blocks.end), MIB)
    storage.truncate(offset + length)
    for position in range(0, old.bat_length, _PIECE):
        length_here = min(_PIECE, old.bat_length - position)
        storage.write(offset + position, storage.read(old.bat_offset + position, length_here))
    storage.flush()
    table = region_table(offset, length, old.metadata)
    # Whoever opens the file takes the first that is valid; both tables have the same entries by then.
    for place in reversed(REGION_PLACES):
        storage.write(place, table)
        storage.flush()
    return old._replace(bat_offset=offset, bat_length=length)


def allocate_new(blocks: VhdxMap, start: int, preallocation: str) -> None:
    """Allocate all blocks from guest offset ``start`` on.

    :param preallocation: ``off``: do not; ``metadata``; ``falloc`` or ``full``, as for files
    """
    start = ceil_div(start, blocks.block_size) * blocks.block_size
    if preallocation == "off" or start >= blocks.size:
        return
    for storage, host, length in blocks.place(start, blocks.size - start):
        if preallocation != "metadata":
            storage.preallocate(host, length, preallocation)
    blocks.flush()


def cut_off(blocks: VhdxMap) -> None:
    """End the file behind the last block that is in use, or behind the last structure."""
    end = max(stop for _start, stop in blocks.structures)
    for _block, entry in entries_between(blocks, 0, blocks.parameters.blocks):
        end = max(end, (entry & OFFSET_MASK) + blocks.block_size)
    # The last block of the disk may hold what it was cut off from.
    blocks.zero_behind(blocks.size)
    blocks.flush()
    if not blocks.storage.is_device and blocks.storage.size > end:
        blocks.storage.truncate(end)
        blocks.storage.flush()
