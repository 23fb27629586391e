# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Changing the size of a Parallels disk.

The header is one sector, and says all at once: how large the disk is, how many entries the table has, and where
clusters begin.  Everything else is put in place, and on the medium, before that sector is written.
"""
from __future__ import annotations

from ...limits import SECTOR
from ...sizes import ceil_div, round_up
from .clusters import ClusterMap
from .layout import ENTRY_BYTES, HEADER_BYTES, Header, resized

#: Bytes that are written at once.
_PIECE = 1 << 20


def resize(blocks: ClusterMap, size: int) -> Header:
    """Make the disk ``size`` bytes long (a multiple of 512).

    :returns: the header, which is on the medium
    """
    old = blocks.header
    header = resized(old, size)
    if size > old.size:
        blocks.zero_behind(old.size)
        if header.table_end > old.data_start:
            header = _make_room(blocks, header)
        start = HEADER_BYTES + old.entries * ENTRY_BYTES
        for position in range(start, header.table_end, _PIECE):
            blocks.storage.write(position, bytes(min(_PIECE, header.table_end - position)))
    blocks.storage.flush()
    blocks.write_header(header)
    return header


def _make_room(blocks: ClusterMap, header: Header) -> Header:
    """Move the first clusters of the file to its end, so that the table can become longer."""
    storage, cluster = blocks.storage, blocks.block_size
    start = round_up(header.table_end, cluster)
    blocks.end = max(blocks.end, start)
    for number, page in enumerate(range(0, blocks.header.entries, blocks.table.page_entries)):
        for index, entry in enumerate(list(blocks.table.entries(number) or ())):
            if entry and entry * header.unit < start:
                new, _count = blocks.allocate(page + index, 1)
                storage.write(new, storage.read(entry * header.unit, cluster))
                blocks.table.fill(page + index, 1, blocks.entry_for(page + index, new))
    blocks.flush()
    if not storage.is_device and storage.size < start:
        storage.truncate(start)
    return header._replace(data_sector=start // SECTOR)


def allocate_new(blocks: ClusterMap, start: int, preallocation: str) -> None:
    """Allocate all clusters from guest offset ``start`` on.

    :param preallocation: ``off``: do not; ``metadata``; ``falloc`` or ``full``, as for files
    """
    start = ceil_div(start, blocks.block_size) * blocks.block_size
    if preallocation == "off" or start >= blocks.size:
        return
    for storage, host, length in blocks.place(start, blocks.size - start):
        if preallocation != "metadata":
            storage.preallocate(host, length, preallocation)
    blocks.flush()


def cut_off(blocks: ClusterMap) -> None:
    """End the file behind the last cluster that is in use."""
    # The last cluster of the disk may hold what it was cut off from.
    blocks.zero_behind(blocks.size)
    unit, end = blocks.header.unit, blocks.header.data_start
    for number in range(ceil_div(blocks.header.entries, blocks.table.page_entries)):
        last = max(blocks.table.entries(number) or (), default=0)
        end = max(end, last * unit + blocks.block_size) if last else end
    if not blocks.storage.is_device and blocks.storage.size > end:
        blocks.storage.truncate(end)
    blocks.storage.flush()
