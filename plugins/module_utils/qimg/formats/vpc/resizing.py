# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Changing the size of a dynamic VHD, and moving blocks so that no space is lost.

The footer says how large the disk is, and the header where the table lies.  A larger table is put in place first, and
then both footers get the new size, the one at the beginning, by which the image is opened, before the other.
"""
from __future__ import annotations

from ...limits import SECTOR
from ...sizes import ceil_div, round_up
from ..base import DATA
from ..block_map import MIXED
from .layout import ENTRY_BYTES, HEADER_BYTES, Footer, Header, resized_footer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .blocks import VhdMap

#: Bytes that are copied at once.
_PIECE = 1 << 20
_UNUSED = b"\xff" * ENTRY_BYTES


def resize(blocks: VhdMap, size: int) -> tuple[Footer, Header]:
    """Make the disk ``size`` bytes long (a multiple of 512).

    Blocks beyond the new end are not used any more, and not given back yet.

    :returns: footer and header, which are on the medium
    """
    storage, header = blocks.storage, blocks.header
    old, count = blocks.table.blocks, ceil_div(size, blocks.block_size)
    if size > blocks.size:
        blocks.zero_behind(blocks.size)
        if count > header.max_entries:
            header = _move_table(blocks, count)
        elif count > old:
            storage.write(header.table_offset + old * ENTRY_BYTES, _UNUSED * (count - old))
        storage.flush()
    footer = resized_footer(blocks.footer, size)
    storage.write(0, footer.pack())
    storage.flush()
    storage.write(blocks.free, footer.pack())
    storage.flush()
    return footer, header


def _move_table(blocks: VhdMap, count: int) -> Header:
    """Put a larger table behind the blocks, and the footer behind that."""
    storage, old = blocks.storage, blocks.header
    start = blocks.free
    room = round_up(count * ENTRY_BYTES, SECTOR)
    end = start + room
    storage.write(end, blocks.footer.pack())
    storage.flush()
    for position in range(0, room, _PIECE):
        storage.write(start + position, b"\xff" * min(_PIECE, room - position))
    position = 0
    for page in range(ceil_div(blocks.table.blocks, blocks.table.page_entries)):
        entries = blocks.table.entries(page)
        if entries is not None:
            data = blocks.table.packed(entries)
            storage.write(start + position, data)
            position += len(data)
    storage.flush()
    header = old._replace(table_offset=start, max_entries=count)
    storage.write(blocks.footer.header_offset, header.pack())
    storage.flush()
    blocks.header = header
    blocks.forget_free()
    return header


def allocate_new(blocks: VhdMap, start: int, preallocation: str) -> None:
    """Allocate all blocks from guest offset ``start`` on.

    :param preallocation: ``off``: do not; ``metadata``; ``falloc`` or ``full``, as for files
    """
    start = round_up(start, blocks.block_size)
    if preallocation == "off" or start >= blocks.size:
        return
    for storage, host, length in blocks.place(start, blocks.size - start):
        if preallocation != "metadata":
            storage.preallocate(host, length, preallocation)
    blocks.flush()


def gaps(blocks: VhdMap) -> list[tuple[int, int]]:
    """The places where whole blocks could be between others, and that nothing is known to use: start and end.

    Names of parents lie where nobody but the header tells: of differencing disks, nothing is known to be free.
    """
    used = sorted(place for _block, place in _placed(blocks))
    table = (blocks.header.table_offset, blocks.header.table_end)
    ends = sorted([*((place, place + blocks.stride) for place in used), table])
    found = []
    position = blocks.footer.header_offset + HEADER_BYTES
    for start, end in ends:
        if start - position >= blocks.stride:
            found.append((position, start))
        position = max(position, end)
    return found


def compact(blocks: VhdMap) -> int:
    """Move the last blocks of the file into gaps before them, and cut off what follows the blocks.

    :returns: how many blocks found another place
    """
    late = sorted(((place, block) for block, place in _placed(blocks)), reverse=True)
    moved = 0
    for start, end in gaps(blocks):
        while end - start >= blocks.stride and moved < len(late) and late[moved][0] > start:
            place, block = late[moved]
            _copy(blocks, place, start, blocks.stride)
            blocks.table.fill(block, 1, start // SECTOR)
            start += blocks.stride
            moved += 1
    blocks.flush()
    _lower_table(blocks)
    blocks.forget_free()
    blocks.end_file()
    return moved


def _lower_table(blocks: VhdMap) -> None:
    """Put a table that lies behind all blocks right behind them, if it does not overlap itself there."""
    storage, header = blocks.storage, blocks.header
    start = blocks.footer.header_offset + HEADER_BYTES
    for _block, place in _placed(blocks):
        start = max(start, place + blocks.stride)
    room = header.table_end - header.table_offset
    if start + room <= header.table_offset:
        _copy(blocks, header.table_offset, start, room)
        storage.flush()
        blocks.header = header._replace(table_offset=start)
        storage.write(blocks.footer.header_offset, blocks.header.pack())
        storage.flush()
        blocks.table.move(start)


def _copy(blocks: VhdMap, source: int, target: int, length: int) -> None:
    for position in range(0, length, _PIECE):
        piece = min(_PIECE, length - position)
        blocks.storage.write(target + position, blocks.storage.read(source + position, piece))


def _placed(blocks: VhdMap) -> list[tuple[int, int]]:
    """Each block that has a place, and where its bitmap begins."""
    return [
        (block, host - blocks.stride + blocks.block_size)
        for block, _count, kind, host in blocks.block_runs(0, blocks.table.blocks)
        if kind in (DATA, MIXED) and host is not None
    ]
