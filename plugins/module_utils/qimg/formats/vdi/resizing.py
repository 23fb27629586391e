# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Changing the size of a VDI disk, and moving blocks so that no space is lost.

The header is one sector, and says all at once: how large the disk is, where the block map lies, and where the blocks
begin.  Everything else is put in place, and on the medium, before that sector is written.
"""
from __future__ import annotations

from array import array

from ...errors import OptionError
from ...sizes import ceil_div
from ..base import DATA
from .layout import BLOCK, DISCARDED, ENTRY_BYTES, UNALLOCATED, Header, check_size, write_entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .blocks import VdiMap

#: Entries that are written at once.
_PIECE = 1 << 16


def resize(blocks: VdiMap, size: int) -> Header:
    """Make the disk ``size`` bytes long (a multiple of 512), in one step.

    Blocks beyond the new end are not used any more, and not given back yet.

    :returns: the header, which is on the medium
    :raises ImageError: it cannot be so large
    """
    check_size(size, blocks.storage.name)
    header = blocks.header
    count = ceil_div(size, BLOCK)
    if size > header.disk_size:
        blocks.zero_behind(header.disk_size)
        if count > header.map_entries:
            return _move_map(blocks, size, count)
        _add_entries(blocks, header.map_offset + header.blocks * ENTRY_BYTES, count - header.blocks)
        count = max(count, header.blocks)
    blocks.storage.flush()
    blocks.write_header(header._replace(disk_size=size, blocks=count))
    return blocks.header


def allocate_new(blocks: VdiMap, start: int, preallocation: str) -> None:
    """Allocate all blocks from guest offset ``start`` on.

    :param preallocation: ``off``: do not; ``metadata``; ``falloc`` or ``full``, as for files
    """
    if preallocation == "off" or start >= blocks.size:
        return
    if preallocation not in ("metadata", "falloc", "full"):
        raise OptionError("Unsupported preallocation mode '%s'" % preallocation, path=blocks.storage.name, format="vdi")
    start = ceil_div(start, BLOCK) * BLOCK
    if start >= blocks.size:
        return
    for storage, host, length in blocks.place(start, blocks.size - start):
        if preallocation != "metadata":
            storage.preallocate(host, length, preallocation)
    blocks.flush()


def compact(blocks: VdiMap) -> int:
    """Move the last blocks of the file to where none is in use, and cut off the file behind the blocks that are left.

    :returns: how many blocks were given back
    """
    used, _highest = blocks.used_numbers()
    # The disk may have become shorter: what follows its end in the last block is zero when it grows again.
    blocks.zero_behind(blocks.size)
    is_used = bytearray(used)
    late: list[tuple[int, int]] = []
    for block, count, kind, host in blocks.block_runs(0, blocks.header.blocks):
        if kind != DATA or host is None:
            continue
        number = blocks.entry_for(block, host)
        inside = max(0, min(count, used - number))
        is_used[number : number + inside] = b"\1" * inside
        late += ((block + index, number + index) for index in range(inside, count))
    free = -1
    for block, number in late:
        free = is_used.index(0, free + 1)
        blocks.storage.write(blocks.place_of(free), blocks.storage.read(blocks.place_of(number), BLOCK))
        blocks.table.fill(block, 1, free)
    blocks.flush()
    given_back = blocks.header.allocated - used
    if given_back:
        blocks.write_header(blocks.header._replace(allocated=used))
    if not blocks.storage.is_device and blocks.storage.size > blocks.place_of(used):
        blocks.storage.truncate(blocks.place_of(used))
        blocks.storage.flush()
    return given_back


def _add_entries(blocks: VdiMap, offset: int, count: int) -> None:
    """Write entries of blocks that are not allocated."""
    while count > 0:
        piece = min(count, _PIECE)
        write_entries(blocks.storage, offset, array("I", [UNALLOCATED]) * piece)
        offset += piece * ENTRY_BYTES
        count -= piece


def _move_map(blocks: VdiMap, size: int, count: int) -> Header:
    """Put a larger block map where the first blocks are, which move to the end of the file.

    Blocks begin later then, and so their numbers become smaller.
    """
    old = blocks.header
    shift = ceil_div(count * ENTRY_BYTES, BLOCK)
    moved: list[tuple[int, int]] = []
    for block, length, kind, host in blocks.block_runs(0, old.blocks):
        if kind == DATA and host is not None:
            number = blocks.entry_for(block, host)
            moved += ((block + index, number + index) for index in range(min(length, shift - number)))
    blocks.allocated = max(old.allocated, shift)
    for block, number in moved:
        data = blocks.storage.read(blocks.place_of(number), BLOCK)
        blocks.storage.write(blocks.place_of(blocks.allocated), data)
        blocks.table.fill(block, 1, blocks.allocated)
        blocks.allocated += 1
    blocks.flush()
    table, offset = blocks.table, old.data_offset
    for block in range(0, old.blocks, table.page_entries):
        entries = table.entries(block // table.page_entries) or ()
        shifted = array("I", [entry - shift if entry < DISCARDED else entry for entry in entries])
        write_entries(blocks.storage, offset, shifted)
        offset += len(shifted) * ENTRY_BYTES
    _add_entries(blocks, offset, count - old.blocks)
    blocks.storage.flush()
    allocated = blocks.allocated - shift if moved or old.allocated > shift else 0
    blocks.write_header(
        old._replace(
            map_offset=old.data_offset,
            data_offset=old.data_offset + shift * BLOCK,
            disk_size=size,
            blocks=count,
            allocated=allocated,
        )
    )
    return blocks.header
