# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Changing L2 tables for all who use them, the guest disk and snapshots, in memory; the caller commits."""
from __future__ import annotations

from ..layout import COPIED, OFFSET_MASK, check_l1_room, words_to_bytes
from ..snapshots.actions import l2_tables, snapshot_l1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterator

    from ..changes.metadata import Metadata


def rewrite_tables(metadata: Metadata, rewrite: Callable[[array[int], int], bool]) -> None:
    """Change L2 tables wherever they are used, by the guest disk or by snapshots.

    :param rewrite: gets the entries of a table and how many L1 entries refer to it; changes them and says whether it
        did
    """
    tables = all_l1_tables(metadata)
    moved = {}
    for offset, entries, _times in l2_tables(metadata, tables):
        if rewrite(entries, metadata.refcounts.get(offset >> metadata.geometry.cluster_bits)):
            moved[offset] = move_table(metadata, offset, entries)
        metadata.refcounts.relieve()
    if moved:
        replace_tables(metadata, tables, moved)


def all_l1_tables(metadata: Metadata) -> list[array[int]]:
    """The L1 tables of the guest disk and of each snapshot; all L2 tables are in the file from then on.

    :raises CorruptImageError: the one of a snapshot cannot be where its entry says
    """
    check_l1_room(sum(8 * snapshot.l1_size for snapshot in metadata.snapshots), metadata.storage)
    metadata.mapping.write_tables()
    return [metadata.mapping.l1[:]] + [snapshot_l1(metadata, snapshot) for snapshot in metadata.snapshots]


def move_table(metadata: Metadata, offset: int, entries: array[int]) -> int:
    """Put other entries, for the L2 table at ``offset``, where the image on disk does not look; :func:`replace_tables`
    has everybody look there.

    :returns: the new offset
    :raises CorruptImageError: its refcount says that nobody uses it, and so would that of the new place
    """
    refcounts, bits = metadata.refcounts, metadata.geometry.cluster_bits
    refcounts.check_used([offset >> bits])
    references = refcounts.get(offset >> bits)
    cluster = refcounts.allocate_table()
    refcounts.add(cluster, 1, references - 1)
    refcounts.add(offset >> bits, 1, -references)
    metadata.storage.write(cluster << bits, words_to_bytes(entries))
    return cluster << bits


def replace_tables(metadata: Metadata, tables: list[array[int]], moved: dict[int, int]) -> None:
    """Have all L1 tables refer to the new places of L2 tables.

    :param tables: as of :func:`all_l1_tables`
    :param moved: old offset -> new offset
    """
    bits = metadata.geometry.cluster_bits
    for l1 in tables:
        for index, entry in enumerate(l1):
            if entry & OFFSET_MASK in moved:
                l1[index] = moved[entry & OFFSET_MASK] | entry & COPIED
    metadata.mapping.replace_l1(tables[0])
    snapshots = []
    for snapshot, l1 in zip(metadata.snapshots, tables[1:]):
        clusters = -(-snapshot.l1_size * 8 >> bits)
        if clusters:
            place = metadata.refcounts.allocate_table(clusters) << bits
            metadata.storage.write(place, words_to_bytes(l1))
            metadata.refcounts.drop(snapshot.l1_table_offset >> bits, clusters)
            snapshot = snapshot._replace(l1_table_offset=place)
        snapshots.append(snapshot)
    metadata.set_snapshots(snapshots)


def all_l2_tables(metadata: Metadata) -> Iterator[tuple[int, array[int]]]:
    """Host offset and entries of each L2 table, once, however many snapshots use it too."""
    for offset, entries, _times in l2_tables(metadata, all_l1_tables(metadata)):
        yield offset, entries
