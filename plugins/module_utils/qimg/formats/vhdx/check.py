# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Finding and repairing errors in the block allocation table of a VHDX."""
from __future__ import annotations

from ...limits import MIB
from ..capabilities import CheckResult
from .blocks import VhdxMap, entries_between
from .layout import NOT_PRESENT, OFFSET_MASK, PARTIAL, STATE_MASK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def check(blocks: VhdxMap, repair: str | None, report: Callable[[str], None]) -> CheckResult:
    """Look for blocks that are not in the file, lie in its structures, or have the place of another one.

    :param repair: ``all``: give blocks that share a place places of their own, and make those absent that have none
    :param report: called with each line
    """
    result = CheckResult()
    lost, doubled = _scan(blocks, report)
    result.corruptions = len(lost) + len(doubled)
    if repair == "all" and result.corruptions:
        for block in lost:
            blocks.table.fill(block, 1, NOT_PRESENT)
        for block, host in doubled:
            content = blocks.storage.read(host, blocks.block_size)
            new, _count = blocks.allocate(block, 1)
            blocks.storage.write(new, content)
            entry = blocks.entry_for(block, new)
            if blocks.table.entry(block) & STATE_MASK == PARTIAL:
                entry += PARTIAL - (entry & STATE_MASK)
            blocks.table.fill(block, 1, entry)
        blocks.flush()
        result.corruptions, result.corruptions_fixed = 0, result.corruptions
    return result


def _scan(blocks: VhdxMap, report: Callable[[str], None]) -> tuple[list[int], list[tuple[int, int]]]:
    """Blocks that have no place where one can be; and those whose place another one has too, with their places."""
    size = blocks.storage.size
    seen: set[int] = set()
    lost, doubled = [], []
    for block, entry in entries_between(blocks, 0, blocks.parameters.blocks):
        host = entry & OFFSET_MASK
        if host + blocks.block_size > size and host + _used(blocks, block) > size:
            # In QEMU's words.
            report(
                "VHDX BAT entry %d end offset %d points after end of file (%d). Image has probably been truncated."
                % (block, host + blocks.block_size - 1, size)
            )
            lost.append(block)
        elif not blocks.may_be_at(host):
            report("ERROR: block %d is at offset %#x, in the structures of the file" % (block, host))
            lost.append(block)
        elif not seen.isdisjoint(range(host // MIB, (host + blocks.block_size) // MIB)):
            report("ERROR: block %d is at offset %#x, where another one is" % (block, host))
            doubled.append((block, host))
        else:
            seen.update(range(host // MIB, (host + blocks.block_size) // MIB))
    return lost, doubled


def _used(blocks: VhdxMap, block: int) -> int:
    """The bytes of a block that the disk has: a file may end with those of the last one."""
    return min(blocks.block_size, blocks.size - block * blocks.block_size)
