# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Finding and repairing errors in the tables of a QED image; the counters are those of qemu-img."""
from __future__ import annotations

from ...sizes import ceil_div
from ..capabilities import CheckResult
from .layout import NEED_CHECK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .clusters import ClusterMap


def check(blocks: ClusterMap, repair: str | None) -> CheckResult:
    """Look for entries that name no cluster of the file, or one that another entry names too, and for clusters that no
    entry names.

    :param repair: ``leaks``: move the last clusters to where none is in use, and cut off the file behind those that
        are; ``all``: also make entries absent that name none, and give clusters that are named twice their own places
    """
    result = CheckResult()
    cluster = blocks.header.cluster
    result.total_clusters = ceil_div(blocks.header.size, cluster)
    in_file = blocks.storage.size // cluster
    seen = bytearray(in_file)
    for start, end in blocks.used_by_tables():
        first, last = start // cluster, end // cluster
        result.corruptions += sum(seen[first:last])
        seen[first:last] = b"\1" * len(seen[first:last])
    lost: list[int] = []
    doubled: list[tuple[int, int]] = []
    before = 0
    for block, entry in _allocated(blocks):
        number = entry // cluster
        result.fragmented_clusters += bool(before and before + cluster != entry)
        before = entry
        if entry % cluster or not blocks.header.data_start <= entry < in_file * cluster:
            lost.append(block)
        elif seen[number]:
            result.allocated_clusters += 1
            doubled.append((block, entry))
        else:
            result.allocated_clusters += 1
            seen[number] = 1
    wrong = len(lost) + len(doubled)
    result.corruptions += wrong
    if repair == "all" and wrong:
        _repair(blocks, lost, doubled)
        result.corruptions -= wrong
        result.corruptions_fixed = wrong
        return result
    result.leaks = in_file - sum(seen)
    if repair is not None and result.leaks and not result.corruptions:
        left = _compact(blocks, seen)
        result.leaks, result.leaks_fixed = left, result.leaks - left
    if repair is not None and not result.corruptions and blocks.header.features & NEED_CHECK:
        blocks.write_header(blocks.header._replace(features=blocks.header.features & ~NEED_CHECK))
    return result


def _allocated(blocks: ClusterMap) -> Iterator[tuple[int, int]]:
    """Numbers and entries of the clusters that have places."""
    table, count = blocks.table, blocks.table.blocks
    page = 0
    pages = ceil_div(count, table.page_entries)
    while page < pages:
        entries = table.entries(page)
        if entries is None:
            page = table.absent_end(page, pages)
            continue
        base = page * table.page_entries
        for index, entry in enumerate(entries):
            if entry > 1 and base + index < count:
                yield base + index, entry
        page += 1


def _repair(blocks: ClusterMap, lost: list[int], doubled: list[tuple[int, int]]) -> None:
    for block in lost:
        blocks.table.fill(block, 1, 0)
    for block, host in doubled:
        content = blocks.storage.read(host, blocks.block_size)
        new, _count = blocks.allocate(block, 1)
        blocks.storage.write(new, content)
        blocks.table.fill(block, 1, new)
    blocks.flush()


def _compact(blocks: ClusterMap, used: bytearray) -> int:
    """Move clusters and tables down, in one change: what is moved stays where it was until nothing names it any more.

    :param used: of each cluster of the file, whether anything names it
    :returns: how many are still named by nothing, because a table found no room further down
    """
    cluster, storage = blocks.header.cluster, blocks.storage
    count = sum(used)
    given_up: list[int] = []
    tables = blocks.header.table_clusters
    first_level = blocks.tables.first_level
    for index, _count, entry in list(first_level.equal_runs(0, first_level.blocks)):
        number = entry // cluster
        room = used.find(bytes(tables))
        if entry and number + tables > count and room >= 0 and room + tables <= number:
            storage.write(room * cluster, storage.read(entry, tables * cluster))
            first_level.fill(index, 1, room * cluster)
            used[room : room + tables] = b"\1" * tables
            given_up += range(number, number + tables)
    free = -1
    for block, entry in sorted(_allocated(blocks), key=lambda each: -each[1]):
        free = used.find(0, free + 1)
        if entry // cluster < count or not 0 <= free < entry // cluster:
            break
        storage.write(free * cluster, storage.read(entry, cluster))
        blocks.table.fill(block, 1, free * cluster)
        used[free] = 1
        given_up.append(entry // cluster)
    blocks.flush()
    for number in given_up:
        used[number] = 0
    end = used.rfind(1) + 1
    if not storage.is_device and storage.size > end * cluster:
        storage.truncate(end * cluster)
        storage.flush()
    return end - sum(used)
