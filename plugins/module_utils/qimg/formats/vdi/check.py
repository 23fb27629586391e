# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Finding and repairing errors in the block map of a VDI image."""
from __future__ import annotations

from ..capabilities import CheckResult
from ..table_runs import allocated_entries
from . import resizing
from .layout import BLOCK, DISCARDED, UNALLOCATED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .blocks import VdiMap


def check(blocks: VdiMap, repair: str | None, report: Callable[[str], None]) -> CheckResult:
    """Look for blocks that are used twice or do not exist, and for a wrong count of blocks in the header.

    Space that no entry names is a leak; QEMU calls it an error, as it does what is dangerous: a header that counts less
    than there is.

    :param repair: ``leaks``: move blocks together, which loses nothing; ``all``: also give blocks that share a place
        places of their own, and make those absent that the file does not have
    :param report: called with each line that qemu-img prints
    """
    result = CheckResult()
    lost, doubled, highest, allocated = _scan(blocks, report, result)
    header = blocks.header
    if allocated != header.allocated:
        report("ERROR: allocated blocks mismatch, is %d, should be %d" % (allocated, header.allocated))
    elif highest >= header.allocated:
        report("ERROR: block %d is in use, but the header counts %d blocks" % (highest, header.allocated))
    if highest >= header.allocated or allocated > header.allocated:
        result.corruptions += 1
    else:
        result.leaks = header.allocated - allocated
    if repair == "all" and result.corruptions:
        _repair(blocks, lost, doubled, highest)
        result.corruptions, result.corruptions_fixed = 0, result.corruptions
    if repair is not None and not result.corruptions and (result.leaks or result.corruptions_fixed):
        resizing.compact(blocks)
        result.leaks, result.leaks_fixed = 0, result.leaks
    return result


def _scan(
    blocks: VdiMap, report: Callable[[str], None], result: CheckResult
) -> tuple[list[int], list[tuple[int, int]], int, int]:
    """Look at every entry.

    :returns: blocks that are not in the file; blocks whose place another one has too, with their numbers; the highest
        number in use; how many blocks are allocated
    """
    table, header = blocks.table, blocks.header
    in_file = max(0, -(-(blocks.storage.size - header.data_offset) // BLOCK))
    seen = bytearray(in_file)
    lost: list[int] = []
    doubled: list[tuple[int, int]] = []
    highest, allocated = -1, 0
    for first in range(0, header.blocks, table.page_entries):
        for index, entry in allocated_entries(table.entries(first // table.page_entries), DISCARDED):
            if entry >= in_file:
                what = "too large, is" if entry >= header.blocks else "beyond the end of the file, is"
                report("ERROR: block index %d %s %d" % (first + index, what, entry))
                result.corruptions += 1
                lost.append(first + index)
                allocated += entry < header.blocks
                continue
            allocated += 1
            highest = max(highest, entry)
            if seen[entry]:
                # QEMU names the place twice, and not the blocks.
                report("ERROR: block index %d also used by %d" % (entry, entry))
                result.corruptions += 1
                doubled.append((first + index, entry))
            seen[entry] = 1
    return lost, doubled, highest, allocated


def _repair(blocks: VdiMap, lost: list[int], doubled: list[tuple[int, int]], highest: int) -> None:
    for block in lost:
        blocks.table.fill(block, 1, UNALLOCATED)
    blocks.allocated = highest + 1
    blocks.forget_free()
    for block, number in doubled:
        data = blocks.storage.read(blocks.place_of(number), BLOCK)
        blocks.table.fill(block, 1, UNALLOCATED)
        host, _count = blocks.allocate(block, 1)
        blocks.storage.write(host, data)
        blocks.table.fill(block, 1, blocks.entry_for(block, host))
    blocks.flush()
