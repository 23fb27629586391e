# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Changing the guest size, and reserving space for guest data, in memory; the caller commits."""
from __future__ import annotations

from array import array

from ....errors import ImageError, OptionError, StorageError, UnsupportedOperationError
from ....limits import MAX_IMAGE_BYTES
from ....sizes import round_up
from ...base import ABSENT
from ...table_runs import progression
from ..layout import COMPRESSED, COPIED, MAX_L1_BYTES, RAW_EXTERNAL_DATA
from ..tables.copied_flags import first_words, host_clusters
from ..tables.reading import has_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ....storage.base import Storage
    from ..disk import Qcow2Disk
    from .metadata import Metadata


def excess(size: int) -> str | None:
    """Why no image can have so many bytes, whatever its clusters."""
    if size >> 63:
        return "Image size cannot be negative"
    if size > MAX_IMAGE_BYTES:
        return "offset(%d) exceeds maximum(%d)" % (size, MAX_IMAGE_BYTES)
    return None


def check_size(metadata: Metadata, size: int) -> None:
    """Refuse a guest size that the format cannot have.

    :raises OptionError: not a multiple of 512 bytes
    :raises ImageError: too large for the cluster size, or for any
    """
    reason = excess(size)
    if reason is not None:
        raise ImageError(reason, path=metadata.storage.name, format="qcow2")
    if size % 512:
        raise OptionError("The new size must be a multiple of 512", path=metadata.storage.name, format="qcow2")
    if metadata.geometry.l1_entries(size) * 8 > MAX_L1_BYTES:
        raise ImageError(
            "Failed to grow the L1 table: File too large",
            path=metadata.storage.name,
            format="qcow2",
            remedy="use a larger cluster size",
        )


def check_state(metadata: Metadata) -> None:
    """Refuse to change the size of an image that has something which does not allow it.

    :raises UnsupportedOperationError: it is of version 2, and has snapshots
    :raises OptionError: it has a bitmap that cannot be used
    """
    if metadata.header.nb_snapshots and metadata.header.version < 3:
        raise UnsupportedOperationError(
            "Can't resize a v2 image which has snapshots",
            path=metadata.storage.name,
            format="qcow2",
            remedy="amend the image to compat=1.1 first",
        )
    for bitmap in metadata.bitmaps.bitmaps:
        metadata.bitmaps.usable(bitmap.text)


def cannot_preallocate(mode: str) -> StorageError:
    """The error for a device, whose space nobody can reserve."""
    return StorageError(
        "Failed to resize underlying file: Preallocation mode '%s' unsupported for this non-regular file" % mode,
        remedy="use the mode metadata, or off",
    )


def resize(image: Qcow2Disk, size: int, preallocation: str) -> None:
    """Make the guest disk ``size`` bytes long.

    :param preallocation: for the new part: ``off``, ``metadata``, ``falloc`` or ``full``
    :raises ImageError: the image has something that does not allow it
    """
    metadata = image.metadata
    header = metadata.header
    check_size(metadata, size)
    check_state(metadata)
    if preallocation in ("falloc", "full") and not (metadata.data_file or metadata.storage).can_preallocate:
        raise cannot_preallocate(preallocation)
    metadata.bitmaps.resize(size)
    old_size = header.size
    entries = metadata.geometry.l1_entries(size)
    if size < old_size:
        _drop_beyond(metadata, size, metadata.geometry.l1_entries(old_size))
    else:
        # A resize of QEMU's that failed half way has given places to clusters beyond the end of the disk.
        _drop_beyond(metadata, old_size, min(entries, len(metadata.mapping.l1)))
        if entries > len(metadata.mapping.l1):
            metadata.mapping.resize_l1(entries)
    metadata.header = metadata.header._replace(size=size)
    if size > old_size:
        if preallocation == "off" and metadata.has_data_file and header.autoclear_features & RAW_EXTERNAL_DATA:
            # The whole data file is the disk, so every cluster must be mapped, as in a new image.
            preallocation = "metadata"
        if preallocation == "off":
            _clear(image, old_size, size)
        else:
            _clear_and_preallocate(image, old_size, size, preallocation)
        if metadata.data_file is not None and metadata.data_file.size < size:
            metadata.data_file.truncate(size)


def _backing_end(image: Qcow2Disk) -> int:
    return image.backing.size if image.backing is not None else 0


def _clear(image: Qcow2Disk, old_size: int, size: int) -> None:
    """Have the new part read as zeroes, whatever lies in the last old cluster or in a longer backing file."""
    cluster_end = round_up(old_size, image.metadata.geometry.cluster_size)
    backing_end = _backing_end(image)
    if backing_end > old_size:
        image.writer.zero(old_size, min(size, max(cluster_end, backing_end)) - old_size, True)
        return
    # A disk that was larger before has old data beyond its end; what is absent is zero already.
    tail = min(size, cluster_end) - old_size
    for run in list(image.runs(old_size, tail)) if tail else ():
        if run.present:
            image.writer.zero(run.start, run.length, True)


def _clear_and_preallocate(image: Qcow2Disk, old_size: int, size: int, mode: str) -> None:
    """Have the new part read as zeroes, and have places in the file.

    :param mode: as of :func:`preallocate`
    """
    metadata = image.metadata
    cluster_size = metadata.geometry.cluster_size
    cluster_end = min(size, round_up(old_size, cluster_size))
    if old_size < cluster_end:
        _clear(image, old_size, cluster_end)
        head = old_size // cluster_size * cluster_size
        shows_backing = any(run.kind == ABSENT for run in image.runs(head, old_size - head))
        if shows_backing and _backing_end(image) > head and not metadata.geometry.extended_l2:
            # What shows through must be copied before the cluster gets a place; subclusters with a place still show it.
            image.writer.occupy(old_size, cluster_end)
    preallocate(metadata, old_size, size, mode)
    if cluster_end < size and _backing_end(image) > old_size:
        may_say_zero = metadata.header.version >= 3 and (mode == "metadata" or metadata.has_data_file)
        if may_say_zero or metadata.geometry.extended_l2:
            # As QEMU's: zero clusters that keep their places.  Subclusters with a place would show the backing file.
            image.writer.zero(cluster_end, size - cluster_end, False)


def _drop_beyond(metadata: Metadata, size: int, end_table: int) -> None:
    """Free every cluster that lies wholly beyond the first ``size`` bytes, in L2 tables up to ``end_table``."""
    geometry = metadata.geometry
    first_table, first_entry = divmod(-(-size >> geometry.cluster_bits), geometry.l2_entries)
    _free_tables(metadata, first_table, end_table, first_entry)


def _free_tables(metadata: Metadata, first_table: int, end_table: int, first_entry: int) -> None:
    """Free what L2 tables refer to, and the tables: in the first one from ``first_entry`` on."""
    geometry, mapping, refcounts = metadata.geometry, metadata.mapping, metadata.refcounts
    words = geometry.entry_words
    for l1_index in range(first_table, end_table):
        table = mapping.table(l1_index)
        if table is None:
            continue
        start = first_entry if l1_index == first_table else 0
        if not metadata.has_data_file:
            freed = first_words(table.entries, geometry)[start:]
            for first, count in host_clusters(freed, geometry):
                refcounts.release_data(first, count)
        if start == 0:
            mapping.drop_table(l1_index)
        elif any(table.entries[start * words :]):
            entries = mapping.own_table(l1_index).entries
            entries[start * words :] = array("Q", bytes((geometry.l2_entries - start) * words * 8))
        refcounts.relieve()


def preallocate(metadata: Metadata, start: int, end: int, mode: str) -> None:
    """Reserve host clusters for the absent clusters of a guest range.

    :param mode: ``metadata`` (a sparse file), ``falloc`` (space allocated) or ``full`` (zeroes written)
    """
    geometry, mapping, refcounts = metadata.geometry, metadata.mapping, metadata.refcounts
    bits, words = geometry.cluster_bits, geometry.entry_words
    storage = metadata.data_file or metadata.storage
    position = start >> bits << bits
    while position < end:
        l1_index = position // geometry.l2_span
        base = l1_index * geometry.l2_span
        stop = min(end, base + geometry.l2_span)
        index = position - base >> bits
        last = (stop - base - 1 >> bits) + 1
        table = mapping.own_table(l1_index)
        entry = table.entries[index * words]
        if entry & COMPRESSED or has_place(entry, metadata.has_data_file):
            # The partial last cluster of the old size has its place already, in a data file perhaps at its beginning.
            index += 1
        if index < last:
            if metadata.has_data_file:
                host = base + (index << bits)
            else:
                host = refcounts.allocate(last - index) << bits
            hosts = progression(host | COPIED, last - index, geometry.cluster_size)
            table.entries[index * words : last * words : words] = hosts
            length = (last - index) << bits
            needed = min(length, end - base - (index << bits))
            if mode != "full" and host < storage.size:
                # Clusters that were in use before still hold what they held then.
                storage.write_zeroes(host, min(length, storage.size - host))
            if mode == "metadata":
                _extend_sparsely(metadata, storage, host, needed)
            elif metadata.has_data_file:
                storage.preallocate(host, round_up(needed, geometry.subcluster_size), mode)
            else:
                _reserve(storage, host, length, mode)
        position = stop
        refcounts.relieve()


def _reserve(storage: Storage, host: int, length: int, mode: str) -> None:
    """Have space for clusters in the file; see :meth:`Storage.preallocate`."""
    try:
        storage.preallocate(host, length, mode)
    except StorageError as error:
        error.reason = "Failed to resize underlying file: %s" % error.reason
        raise


def _extend_sparsely(metadata: Metadata, storage: Storage, host: int, length: int) -> None:
    """Have the file reach over newly reserved clusters without space behind them.

    Only the rest of the last cluster (with extended L2 entries: subcluster) beyond the guest's end is written, as QEMU
    does.
    """
    stop = host + length
    unit = metadata.geometry.subcluster_size
    if storage.size < stop:
        storage.truncate(stop)
    if length % unit:
        storage.write(stop, bytes(-length % unit))


def drop_all(metadata: Metadata) -> None:
    """Forget all guest data of this layer, so that the backing file shows through everywhere."""
    _free_tables(metadata, 0, metadata.geometry.l1_entries(metadata.header.size), 0)


def refer_to_data_file(metadata: Metadata, size: int) -> None:
    """In a new image, have all guest clusters lie at their own places in the data file, of which nothing is written.

    :param size: guest bytes
    """
    geometry, mapping = metadata.geometry, metadata.mapping
    for l1_index in range(geometry.l1_entries(size)):
        base = l1_index * geometry.l2_span
        count = -(-min(size - base, geometry.l2_span) >> geometry.cluster_bits)
        words = geometry.entry_words
        entries = mapping.own_table(l1_index).entries
        entries[0 : count * words : words] = progression(base | COPIED, count, geometry.cluster_size)
        if words > 1:
            # All subclusters, too: "present" is the lower half of their word.
            entries[1 : count * words : words] = array("Q", [0xFFFFFFFF]) * count
        metadata.refcounts.relieve()


def preallocate_contiguous(metadata: Metadata, size: int, mode: str) -> None:
    """In a new image, reserve one contiguous run of host clusters for all guest data.

    :param mode: ``falloc`` (space allocated) or ``full`` (zeroes written)
    """
    geometry, mapping, refcounts = metadata.geometry, metadata.mapping, metadata.refcounts
    bits, words = geometry.cluster_bits, geometry.entry_words
    clusters = -(-size >> bits)
    tables = geometry.l1_entries(size)
    data = refcounts.take_area(refcounts.used_end(), clusters + tables)
    refcounts.add(data, clusters, 1)
    _reserve(metadata.storage, data << bits, clusters << bits, mode)
    for l1_index in range(tables):
        first = l1_index * geometry.l2_entries
        count = min(geometry.l2_entries, clusters - first)
        entry = (data + first) << bits | COPIED
        entries = mapping.own_table(l1_index).entries
        entries[0 : count * words : words] = array("Q", range(entry, entry + (count << bits), 1 << bits))
