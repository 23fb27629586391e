# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Finding and repairing errors in the metadata of a dynamic or differencing VHD, which qemu-img cannot do."""
from __future__ import annotations

from ...limits import SECTOR
from ..capabilities import CheckResult
from ..table_runs import allocated_entries
from . import resizing
from .layout import (
    DIFFERENCING,
    FOOTER_BYTES,
    HEADER_BYTES,
    UNUSED,
    is_intact_footer,
    is_intact_header,
    parse_footer,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .blocks import VhdMap


def check(blocks: VhdMap, repair: str | None, report: Callable[[str], None]) -> CheckResult:
    """Look at the checksum of the header, at every entry of the table, and at the footer that ends the file.

    A footer at the end that is intact and of another size is what an interrupted resize leaves: it counts as a leak, as
    does space that nothing uses.

    :param repair: ``leaks``: move blocks together and rewrite the footer; ``all``: also correct the checksum, give
        blocks that share a place places of their own, and make those unused that the file does not have
    :param report: called with each line
    """
    result = CheckResult()
    lost, shared = _scan(blocks, report, result)
    storage = blocks.storage
    header_is_wrong = not is_intact_header(storage.read(blocks.footer.header_offset, HEADER_BYTES))
    if header_is_wrong:
        report("ERROR: the checksum of the header is wrong")
        result.corruptions += 1
    footer = storage.read(max(0, storage.size - FOOTER_BYTES), FOOTER_BYTES)
    footer_is_gone = not is_intact_footer(footer)
    if footer_is_gone:
        report("ERROR: the file does not end in a footer")
        result.corruptions += 1
    if repair == "all" and result.corruptions:
        _repair(blocks, lost, shared)
        result.corruptions, result.corruptions_fixed = 0, result.corruptions
    if not result.corruptions:
        result.leaks = _leaks(blocks, footer, report)
        if repair is not None and (result.leaks or footer_is_gone):
            _give_back(blocks)
            result.leaks, result.leaks_fixed = 0, result.leaks
    return result


def _scan(
    blocks: VhdMap, report: Callable[[str], None], result: CheckResult
) -> tuple[list[int], list[tuple[int, int]]]:
    """Look at every entry.

    :returns: blocks that are not in the file, and blocks that overlap one before them, with their places
    """
    placed: list[tuple[int, int]] = []
    lost: list[int] = []
    table = blocks.table
    for first in range(0, table.blocks, table.page_entries):
        for index, entry in allocated_entries(table.entries(first // table.page_entries), UNUSED):
            start = entry * SECTOR
            host = start + blocks.stride - blocks.block_size
            if not blocks.may_be_at(host) or host + blocks.block_size > blocks.storage.size:
                report("ERROR: block %d is at sector %d, where it cannot be" % (first + index, entry))
                result.corruptions += 1
                lost.append(first + index)
            else:
                placed.append((start, first + index))
    shared = []
    end = 0
    for start, block in sorted(placed):
        if start < end:
            report("ERROR: block %d overlaps another one" % block)
            result.corruptions += 1
            shared.append((block, start))
        end = max(end, start + blocks.stride)
    return lost, shared


def _leaks(blocks: VhdMap, footer: bytes, report: Callable[[str], None]) -> int:
    """How many blocks have room that nothing uses, and whether the footer at the end is another one."""
    leaks = 0
    if blocks.footer.disk_type != DIFFERENCING:
        leaks = sum((end - start) // blocks.stride for start, end in resizing.gaps(blocks))
        behind = blocks.storage.size - FOOTER_BYTES - blocks.free
        if not blocks.storage.is_device and behind > 0:
            leaks += behind // blocks.stride
    if leaks:
        report("Leaked room for %d blocks" % leaks)
    found = parse_footer(footer)
    if found is not None and found.pack() != blocks.footer.pack():
        report("Leaked footer at the end of the file: the one at its beginning is another one")
        leaks += 1
    return leaks


def _repair(blocks: VhdMap, lost: list[int], shared: list[tuple[int, int]]) -> None:
    for block in lost:
        blocks.table.fill(block, 1, UNUSED)
    places = [(block, start + blocks.stride - blocks.block_size) for block, start in shared]
    for block, host in places:
        blocks.copy_block(block, host)
    blocks.flush()
    blocks.storage.write(blocks.footer.header_offset, blocks.header.pack())
    blocks.storage.flush()


def _give_back(blocks: VhdMap) -> None:
    if blocks.footer.disk_type == DIFFERENCING:
        blocks.storage.write(max(blocks.free, blocks.storage.size - FOOTER_BYTES), blocks.footer.pack())
        blocks.storage.flush()
        return
    resizing.compact(blocks)
    blocks.storage.write(blocks.storage.size - FOOTER_BYTES, blocks.footer.pack())
    blocks.storage.flush()
