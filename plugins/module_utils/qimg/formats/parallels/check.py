# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Finding and repairing errors in the table of a Parallels image; counters and messages are those of qemu-img."""
from __future__ import annotations

from ...limits import SECTOR
from ...sizes import ceil_div, round_up
from ..capabilities import CheckResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .clusters import ClusterMap


class _Check:
    """One check.

    :param repair: ``leaks`` or ``all``; ``None``: only look
    :param report: called with each line
    """

    def __init__(self, blocks: ClusterMap, repair: str | None, report: Callable[[str], None]) -> None:
        self._blocks = blocks
        self._report = report
        self._fix_errors = repair == "all"
        self._fix_leaks = repair is not None
        self.result = CheckResult()
        self.result.total_clusters = blocks.header.entries

    def _error(self, text: str) -> None:
        self._report("%s %s" % ("Repairing" if self._fix_errors else "ERROR", text))
        if self._fix_errors:
            self.result.corruptions_fixed += 1
        else:
            self.result.corruptions += 1

    def run(self) -> None:
        """Look at header and table, and repair what is to be repaired."""
        blocks = self._blocks
        header, unit = blocks.header, blocks.header.unit
        if header.in_use:
            self._error("image was not closed correctly")
            header = header._replace(in_use=0)
        right = self._right_data_sector()
        if header.data_sector and (header.data_sector > right or header.data_sector * SECTOR % unit):
            self._error("data_off field has incorrect value")
            header = header._replace(data_sector=right)
        end, outside, doubled = self._scan()
        for block in outside:
            self._error("cluster %d is outside image" % block)
        leaked = 0 if blocks.storage.is_device else max(0, round_up(blocks.storage.size, SECTOR) - end)
        if leaked:
            self._report(
                "%s space leaked at the end of the image %d" % ("Repairing" if self._fix_leaks else "ERROR", leaked)
            )
            if self._fix_leaks:
                self.result.leaks_fixed = ceil_div(leaked, blocks.block_size)
            else:
                self.result.leaks = ceil_div(leaked, blocks.block_size)
        for block, _host in doubled:
            self._error("duplicate offset in BAT entry %d" % block)
        self.result.image_end_offset = end
        if self._fix_errors and (outside or doubled or header != blocks.header):
            self._repair(outside, doubled, end)
            blocks.write_header(header)
            self.result.image_end_offset = max(end, blocks.end)
        elif leaked and self._fix_leaks:
            blocks.storage.truncate(end)
            blocks.storage.flush()

    def _right_data_sector(self) -> int:
        """Where clusters begin in the file: with the first of them, or as early as they can."""
        blocks = self._blocks
        header = blocks.header
        first = round_up(header.table_end, header.unit)
        hosts = [
            min(entry * header.unit for entry in entries if entry)
            for entries in map(blocks.table.entries, range(ceil_div(header.entries, blocks.table.page_entries)))
            if entries is not None and any(entries)
        ]
        inside = [host for host in hosts if first <= host < blocks.storage.size]
        return min(inside, default=first) // SECTOR

    def _scan(self) -> tuple[int, list[int], list[tuple[int, int]]]:
        """Where the last cluster ends; clusters that are not in the file; and those whose place another one has."""
        blocks = self._blocks
        header, result = blocks.header, self.result
        size = blocks.storage.size
        seen: set[int] = set()
        end = header.data_start
        outside, doubled = [], []
        for first in range(0, header.entries, blocks.table.page_entries):
            entries = blocks.table.entries(first // blocks.table.page_entries)
            for index, entry in enumerate(entries or ()):
                if not entry:
                    continue
                host = entry * header.unit
                if host >= size or host < header.table_end:
                    outside.append(first + index)
                    continue
                result.allocated_clusters += 1
                end = max(end, host + header.cluster)
                if entry in seen:
                    doubled.append((first + index, host))
                seen.add(entry)
        return end, outside, doubled

    def _repair(self, outside: list[int], doubled: list[tuple[int, int]], end: int) -> None:
        blocks = self._blocks
        for block in outside:
            blocks.table.fill(block, 1, 0)
        blocks.end = end
        if not blocks.storage.is_device and blocks.storage.size > end:
            blocks.storage.truncate(end)
        for block, host in doubled:
            new, _count = blocks.allocate(block, 1)
            blocks.storage.write(new, blocks.storage.read(host, blocks.block_size))
            blocks.table.fill(block, 1, blocks.entry_for(block, new))
        blocks.flush()


def check(blocks: ClusterMap, repair: str | None, report: Callable[[str], None]) -> CheckResult:
    """Look for a header that was left in use or says a wrong place, clusters outside of the file or used twice, and
    space behind the last one.

    :param repair: ``leaks`` or ``all``; ``None``: only look
    :param report: called with each line that qemu-img prints
    """
    work = _Check(blocks, repair, report)
    work.run()
    return work.result
