# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Changing creation options of an existing image, in memory; the caller commits."""
from __future__ import annotations

from array import array

from ....errors import OptionError
from ...table_runs import any_has
from ..layout import (
    COMPRESSED,
    COMPRESSION_TYPE,
    COPIED,
    DIRTY,
    EXT_BITMAPS,
    EXT_DATA_FILE,
    EXT_FEATURE_NAMES,
    KNOWN_AUTOCLEAR,
    LAZY_REFCOUNTS,
    MIN_FEATURE_NAMES_CLUSTER_SIZE,
    OFFSET_MASK,
    RAW_EXTERNAL_DATA,
    REFCOUNT_WIDTHS,
    V2_HEADER_LENGTH,
    V3_HEADER_LENGTH,
    ZERO_FLAG,
    feature_name_table,
)
from ..refcounts import widths
from ..tables.shared import all_l2_tables, rewrite_tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..disk import Qcow2Disk
    from ..refcounts.allocator import Refcounts
    from .metadata import Metadata

#: What ``compat`` takes, and the header version it means.
VERSIONS = {"0.10": 2, "v2": 2, "1.1": 3, "v3": 3}
#: A number would not do: 0.10 is 0.1.
VERSION_REMEDY = "the versions are the texts '0.10' (or 'v2') and '1.1' (or 'v3')"


def current_options(metadata: Metadata) -> dict[str, Any]:
    """The amendable options as they are now."""
    header = metadata.header
    options: dict[str, Any] = {
        "compat": "0.10" if header.version == 2 else "1.1",
        "lazy_refcounts": bool(header.compatible_features & LAZY_REFCOUNTS),
        "refcount_bits": 1 << header.refcount_order,
        "size": header.size,
    }
    if metadata.backing_file:
        options["backing_file"] = metadata.backing_file.decode("utf-8", "surrogateescape")
        options["backing_fmt"] = metadata.backing_format
    if metadata.has_data_file:
        options["data_file"] = metadata.data_file_name
        options["data_file_raw"] = bool(header.autoclear_features & RAW_EXTERNAL_DATA)
    return options


def amend(image: Qcow2Disk, options: dict[str, Any]) -> None:
    """Change options, in the order that lets each of them see what it needs.

    :raises OptionError: naming what cannot become so
    """
    metadata = image.metadata
    version = metadata.header.version
    wanted_version = version
    if "compat" in options:
        if options["compat"] not in VERSIONS:
            reason = "Unknown compatibility level %s" % options["compat"]
            raise _refuse(metadata, reason, remedy=VERSION_REMEDY)
        wanted_version = VERSIONS[options["compat"]]
    _change_data_file(metadata, options)
    if "refcount_bits" in options:
        _check_refcount_bits(metadata, options["refcount_bits"], wanted_version)
    _check_backing(metadata, options)
    if wanted_version > version:
        _upgrade(metadata)
    if "refcount_bits" in options:
        change_refcount_order(metadata, options["refcount_bits"].bit_length() - 1)
    if "lazy_refcounts" in options:
        _change_lazy_refcounts(metadata, options["lazy_refcounts"], wanted_version)
    size = options.get("size", metadata.header.size)
    if wanted_version < version:
        # Before the size changes, which a data file would show even if all else is given up.
        _check_downgrade(metadata, size)
    if size != metadata.header.size:
        image.change_size(size, "off")
    if wanted_version < version:
        _downgrade(metadata)


def _refuse(metadata: Metadata, reason: str, hint: str | None = None, remedy: str | None = None) -> OptionError:
    return OptionError(reason, path=metadata.storage.name, format="qcow2", hint=hint, remedy=remedy)


def _check_backing(metadata: Metadata, options: dict[str, Any]) -> None:
    current = current_options(metadata)
    for name in ("backing_file", "backing_fmt"):
        if name in options and options[name] != current.get(name):
            raise _refuse(
                metadata,
                "Cannot amend the backing file",
                hint="You can use 'qemu-img rebase' instead.",
                remedy="rebase the image instead",
            )


def _upgrade(metadata: Metadata) -> None:
    """Version 2 to 3: a longer header, no features yet (section "Header")."""
    metadata.header = metadata.header._replace(version=3, header_length=V3_HEADER_LENGTH)
    if metadata.geometry.cluster_size >= MIN_FEATURE_NAMES_CLUSTER_SIZE:
        metadata.set_extension(EXT_FEATURE_NAMES, feature_name_table())


def _check_refcount_bits(metadata: Metadata, bits: int, wanted_version: int) -> None:
    if bits not in REFCOUNT_WIDTHS:
        raise _refuse(metadata, "Refcount width must be a power of two and may not exceed 64 bits")
    if wanted_version < 3 and bits not in (16, 1 << metadata.header.refcount_order):
        raise _refuse(
            metadata,
            "Refcount widths other than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)",
        )


def change_refcount_order(metadata: Metadata, order: int) -> None:
    """Rewrite all refcounts in another width, if it is another one.

    :raises OptionError: a refcount is larger than the new width holds
    """
    if order == metadata.header.refcount_order:
        return
    refcounts = metadata.refcounts
    cluster_size = metadata.geometry.cluster_size
    limit = (1 << (1 << order)) - 1
    per_block = cluster_size * 8 >> order
    total = len(refcounts.table) * refcounts.block_entries
    structure = refcounts.structure()
    # What is wrong with them shows at once: a block that is a hole has no refcounts, not for itself either.
    refcounts.check_used(structure)
    blocks: dict[int, array[int]] = {}
    for index in sorted(_blocks_of(refcounts, per_block)):
        first = index * per_block
        counts = widths.zeroes(order, 0)
        for part in refcounts.slices(first, min(per_block, total - first)):
            if max(part) > limit:
                cluster = first + len(counts) + next(i for i, value in enumerate(part) if value > limit)
                raise _refuse(
                    metadata,
                    "Cannot decrease refcount entry width to %d bits: Cluster at offset %#x has a refcount of %d"
                    % (1 << order, cluster * cluster_size, refcounts.get(cluster)),
                )
            counts.extend(array(counts.typecode, part))
        blocks[index] = counts
    refcounts.reset(order, blocks)
    for cluster in structure:
        refcounts.add(cluster, 1, -1)
    metadata.header = metadata.header._replace(refcount_order=order)


def _blocks_of(refcounts: Refcounts, per_block: int) -> set[int]:
    """The numbers of blocks of another size that have anything in them."""
    entries = refcounts.block_entries
    indexes: set[int] = set()
    for old in refcounts.filled_blocks():
        indexes.update(range(old * entries // per_block, ((old + 1) * entries - 1) // per_block + 1))
    return indexes


def _change_data_file(metadata: Metadata, options: dict[str, Any]) -> None:
    header = metadata.header
    if "data_file" in options:
        if not metadata.has_data_file:
            raise _refuse(metadata, "data-file can only be set for images that use an external data file")
        name = options["data_file"]
        metadata.set_extension(EXT_DATA_FILE, name.encode("utf-8", "surrogateescape") if name else None)
    if "data_file_raw" in options:
        is_raw = bool(header.autoclear_features & RAW_EXTERNAL_DATA)
        if options["data_file_raw"] and not is_raw:
            raise _refuse(metadata, "data-file-raw cannot be set on existing images")
        if not options["data_file_raw"]:
            metadata.header = header._replace(autoclear_features=header.autoclear_features & ~RAW_EXTERNAL_DATA)


def _change_lazy_refcounts(metadata: Metadata, lazy: bool, wanted_version: int) -> None:
    header = metadata.header
    features = header.compatible_features & ~LAZY_REFCOUNTS
    if lazy:
        if wanted_version < 3 and not header.compatible_features & LAZY_REFCOUNTS:
            raise _refuse(
                metadata,
                "Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)",
            )
        features |= LAZY_REFCOUNTS
    metadata.header = header._replace(compatible_features=features)


def _check_downgrade(metadata: Metadata, size: int) -> None:
    """Refuse to make a version 2 of what uses something of version 3.

    :param size: guest bytes after the change
    :raises OptionError: naming what is in use
    """
    header = metadata.header
    if header.refcount_order != 4:
        raise _refuse(
            metadata, "compat=0.10 requires refcount_bits=16", remedy="amend refcount_bits=16 in the same command"
        )
    if metadata.has_data_file:
        raise _refuse(metadata, "Cannot downgrade an image with a data file")
    for snapshot in metadata.snapshots:
        if snapshot.vm_state_size >> 32 or snapshot.disk_size != size:
            raise _refuse(metadata, "Internal snapshots prevent downgrade of image")
    remaining = header.incompatible_features & ~(DIRTY | COMPRESSION_TYPE)
    if remaining:
        raise _refuse(
            metadata, "Cannot downgrade an image with incompatible features %#x set" % remaining
        )
    if header.incompatible_features & COMPRESSION_TYPE and _has_compressed_clusters(metadata):
        raise _refuse(metadata, "Cannot downgrade an image with zstd compression type and existing compressed clusters")


def _downgrade(metadata: Metadata) -> None:
    """Version 3 to 2; nothing of version 3 but zero clusters and bitmaps is in use."""
    _expand_zero_clusters(metadata)
    if metadata.has_valid_bitmaps:
        for bitmap in list(metadata.bitmaps.bitmaps):
            metadata.bitmaps.remove(bitmap)
        metadata.set_extension(EXT_BITMAPS, None)
    metadata.set_extension(EXT_FEATURE_NAMES, None)
    metadata.header = metadata.header._replace(
        version=2,
        header_length=V2_HEADER_LENGTH,
        incompatible_features=0,
        compatible_features=0,
        autoclear_features=metadata.header.autoclear_features & ~KNOWN_AUTOCLEAR,
        compression_type=0,
        unknown_fields=b"",
    )


def _has_compressed_clusters(metadata: Metadata) -> bool:
    return any(any_has(entries, COMPRESSED) for _offset, entries in all_l2_tables(metadata))


def _expand_zero_clusters(metadata: Metadata) -> None:
    """Version 2 has no zero flag: zero clusters become absent, or clusters of real zeroes above a backing file."""
    size = metadata.geometry.cluster_size
    has_backing = bool(metadata.backing_file)

    def expand(entries: array[int], references: int) -> bool:
        if not any_has(entries, ZERO_FLAG):
            # Most tables have no zero clusters, and need not be looked through.
            return False
        changed = False
        for index, entry in enumerate(entries):
            if not entry & ZERO_FLAG or entry & COMPRESSED:
                continue
            changed = True
            host = entry & OFFSET_MASK
            if not has_backing:
                if host:
                    metadata.refcounts.add(host // size, 1, -references)
                entries[index] = 0
                continue
            if not host:
                host = metadata.refcounts.allocate(1) * size
                metadata.refcounts.add(host // size, 1, references - 1)
                entries[index] = host | COPIED if references == 1 else host
            elif metadata.refcounts.owns(host // size):
                entries[index] = entry & ~ZERO_FLAG
            else:
                # The bytes there were never meant to be read, and the image on disk still has the place.
                metadata.refcounts.add(host // size, 1, -references)
                host = metadata.refcounts.allocate(1) * size
                metadata.refcounts.add(host // size, 1, references - 1)
                entries[index] = host | COPIED if references == 1 else host
            metadata.storage.write(host, bytes(size))
        return changed

    rewrite_tables(metadata, expand)
