# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Creating, applying and deleting internal snapshots, in memory; the caller commits."""
from __future__ import annotations

from array import array

from ....errors import OptionError, UnsupportedOperationError
from ....limits import MAX_IMAGE_BYTES
from ..layout import COPIED, MAX_L1_BYTES, MIN_CLUSTER_BITS, OFFSET_MASK, corrupt, words_from_bytes, words_to_bytes
from ..tables.copied_flags import (
    apply_copied_changes,
    clear_copied,
    copied_changes,
    first_words,
    has_copied,
    host_clusters,
)
from .table import Snapshot, next_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..changes.metadata import Metadata

_MAX_NAME_BYTES = 65535
_L1_ENTRIES_AT_ONCE = 1 << 18


def create(metadata: Metadata, name: bytes, seconds: int, nanoseconds: int) -> Snapshot:
    """Add a snapshot of the present content to the table.

    :raises UnsupportedOperationError: guest data lies in an external data file
    :raises RefcountOverflowError: a cluster is in use as often as its refcount can say
    """
    if metadata.has_data_file:
        raise UnsupportedOperationError(
            "Operation not supported",
            path=metadata.storage.name,
            format="qcow2",
            remedy="an image with an external data file cannot have internal snapshots; use an overlay instead",
        )
    if len(name) > _MAX_NAME_BYTES:
        raise OptionError("The snapshot name is too long", path=metadata.storage.name)
    bits = metadata.geometry.cluster_bits
    mapping, refcounts = metadata.mapping, metadata.refcounts
    moved = {}
    for l1_index, times in _each_table(metadata):
        table = mapping.table(l1_index)
        if table is None:
            continue
        words = first_words(table.entries, metadata.geometry)
        # Before the table is moved: not to where it has data that no refcount knew of.
        for first, count in host_clusters(words, metadata.geometry):
            refcounts.add(first, count, times)
        if mapping.l1[l1_index] & COPIED or has_copied(words):
            # From now on both tables share everything, so no entry may say that it is alone.
            table = mapping.own_table(l1_index)
            clear_copied(table.entries, metadata.geometry)
            mapping.l1[l1_index] = table.offset
            moved[table.offset >> bits] = 2 * times
        refcounts.add(table.offset >> bits, 1, times)
    for cluster, count in moved.items():
        if refcounts.get(cluster) != count:
            # Another table has data there, though nobody had counted it.
            raise refcounts.underflow(cluster)
    l1 = mapping.l1[:]
    clusters = -(-len(l1) * 8 >> bits)
    l1_offset = refcounts.allocate_table(clusters) << bits if clusters else 0
    if clusters:
        metadata.storage.write(l1_offset, words_to_bytes(l1))
    snapshot = Snapshot(
        l1_table_offset=l1_offset,
        l1_size=len(l1),
        id=next_id(metadata.snapshots),
        name=name,
        date_sec=seconds,
        date_nsec=nanoseconds,
        vm_clock_nsec=0,
        vm_state_size=0,
        disk_size=metadata.header.size,
        icount=0,
        unknown_extra=b"",
        extra_length=24,
    )
    metadata.set_snapshots([*metadata.snapshots, snapshot])
    return snapshot


def _each_table(metadata: Metadata) -> Iterator[tuple[int, int]]:
    """The L2 tables of the guest disk, each once: an L1 entry that refers to it, and how many do.

    Whoever changes the entry changes all of them.
    """
    mapping, refcounts, bits = metadata.mapping, metadata.refcounts, metadata.geometry.cluster_bits
    shared = _shared_tables(mapping.l1)
    done: dict[int, int] = {}
    for l1_index in range(len(mapping.l1)):
        offset = mapping.l1[l1_index] & OFFSET_MASK
        if not offset:
            continue
        if offset in done:
            mapping.set_entry(l1_index, done[offset])
            continue
        times = shared.get(offset, 1)
        yield l1_index, times
        if times > 1:
            moved = done[offset] = mapping.l1[l1_index] & OFFSET_MASK
            mapping.set_entry(l1_index, moved)
            if moved != offset:
                refcounts.add(offset >> bits, 1, 1 - times)
                refcounts.add(moved >> bits, 1, times - 1)
        refcounts.relieve()


def _shared_tables(l1: array[int]) -> dict[int, int]:
    """The offsets of L2 tables that more than one entry of an L1 table refers to, and how many do.

    Only a broken image has any.  A part of the tables at a time is looked at, since there can be millions.
    """
    shared: dict[int, int] = {}
    parts = len(l1) // _L1_ENTRIES_AT_ONCE + 1
    for part in range(parts):
        times: dict[int, int] = {}
        for entry in l1:
            offset = entry & OFFSET_MASK
            if offset and (offset >> MIN_CLUSTER_BITS) % parts == part:
                times[offset] = times.get(offset, 0) + 1
        if len(times) < sum(times.values()):
            shared.update((offset, count) for offset, count in times.items() if count > 1)
    return shared


def snapshot_l1(metadata: Metadata, snapshot: Snapshot) -> array[int]:
    """The L1 table of a snapshot.

    :raises CorruptImageError: it cannot be where the snapshot table says
    """
    offset, size = snapshot.l1_table_offset, snapshot.l1_size * 8
    if size > MAX_L1_BYTES or offset % metadata.geometry.cluster_size or offset >> 63:
        raise corrupt(
            metadata.storage.name,
            "Snapshot L1 table offset or size invalid",
            snapshot.l1_table_offset,
        )
    return metadata.read_l1(snapshot.l1_table_offset, snapshot.l1_size)


def l2_tables(metadata: Metadata, l1_tables: list[array[int]]) -> Iterator[tuple[int, array[int], int]]:
    """Each L2 table that L1 tables refer to: host offset, entries, and how many L1 entries refer to it.

    :raises CorruptImageError: an entry points nowhere
    """
    references: dict[int, int] = {}
    for l1 in l1_tables:
        for entry in filter(None, l1):
            offset = entry & OFFSET_MASK
            references[offset] = references.get(offset, 0) + 1
    references.pop(0, None)
    for offset, times in references.items():
        if offset % metadata.geometry.cluster_size:
            raise corrupt(metadata.storage.name, "L2 table offset %#x unaligned" % offset, offset)
        yield offset, words_from_bytes(metadata.storage.read(offset, metadata.geometry.cluster_size)), times


def _add_references(metadata: Metadata, l1: array[int], delta: int) -> None:
    """Change the refcounts of everything that an L1 table reaches."""
    refcounts = metadata.refcounts
    for offset, entries, times in l2_tables(metadata, [l1]):
        for first, count in host_clusters(first_words(entries, metadata.geometry), metadata.geometry):
            if delta < 0:
                refcounts.check_data(first, count)
            refcounts.add(first, count, delta * times)
        refcounts.add(offset >> metadata.geometry.cluster_bits, 1, delta * times)
        refcounts.relieve()


def check_apply(metadata: Metadata) -> None:
    """Whether the image can go back to a snapshot.

    :raises OptionError: there are dirty bitmaps, which would no longer be true; or guest data lies elsewhere
    """
    if metadata.has_valid_bitmaps and metadata.bitmaps.bitmaps:
        raise OptionError(
            "Device has active dirty bitmaps",
            path=metadata.storage.name,
            format="qcow2",
            remedy="remove the bitmaps first: they would not describe the reverted disk",
        )
    if metadata.has_data_file:
        raise OptionError(
            "Failed to load snapshot: Operation not supported",
            path=metadata.storage.name,
            format="qcow2",
            remedy="an image with an external data file cannot have internal snapshots",
        )


def apply(metadata: Metadata, snapshot: Snapshot) -> None:
    """Make the guest disk what it was when ``snapshot`` was taken, its size included.

    :raises OptionError: see :func:`check_apply`
    """
    check_apply(metadata)
    if snapshot.disk_size > MAX_IMAGE_BYTES or metadata.geometry.l1_entries(snapshot.disk_size) * 8 > MAX_L1_BYTES:
        raise corrupt(metadata.storage.name, "The snapshot's disk size (%d bytes) is too large" % snapshot.disk_size)
    active = metadata.mapping
    old_l1 = active.l1[:]
    l1 = snapshot_l1(metadata, snapshot)
    _add_references(metadata, old_l1, -1)
    _add_references(metadata, l1, 1)
    entries = max(len(old_l1), metadata.geometry.l1_entries(snapshot.disk_size), len(l1))
    new_l1 = array("Q", [entry & ~COPIED for entry in l1])
    new_l1.frombytes(bytes((entries - len(new_l1)) * 8))
    active.replace_l1(new_l1)
    for l1_index, _times in _each_table(metadata):
        table = active.table(l1_index)
        if table is not None and has_copied(first_words(table.entries, metadata.geometry)):
            # Another program left flags in a table that only the snapshot used: the guest disk gets its own copy.
            clear_copied(active.own_table(l1_index).entries, metadata.geometry)
    metadata.header = metadata.header._replace(size=snapshot.disk_size)


def delete(metadata: Metadata, snapshot: Snapshot) -> None:
    """Drop a snapshot, and free what only it used."""
    bits = metadata.geometry.cluster_bits
    l1 = snapshot_l1(metadata, snapshot)
    _add_references(metadata, l1, -1)
    clusters = -(-snapshot.l1_size * 8 >> bits)
    metadata.refcounts.drop(snapshot.l1_table_offset >> bits, clusters)
    metadata.set_snapshots([entry for entry in metadata.snapshots if entry is not snapshot])
    restore_copied(metadata)


def restore_copied(metadata: Metadata) -> None:
    """Have the COPIED flags of the active tables say what the refcounts say."""
    mapping, refcounts, geometry = metadata.mapping, metadata.refcounts, metadata.geometry
    for l1_index, _times in _each_table(metadata):
        entry = mapping.l1[l1_index]
        offset = entry & OFFSET_MASK
        alone = refcounts.get(offset >> geometry.cluster_bits) == 1
        if not alone and not entry & COPIED:
            # A table that others share: so is everything in it, and no flag changes.
            continue
        table = mapping.table(l1_index)
        if table is None:
            continue
        changes = copied_changes(first_words(table.entries, geometry), geometry, refcounts)
        if changes:
            table = mapping.own_table(l1_index)
            apply_copied_changes(table.entries, geometry, changes)
        elif alone != bool(entry & COPIED):
            mapping.set_entry(l1_index, offset | COPIED if alone else offset)
