# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""How large a new qcow2 file would become."""
from __future__ import annotations

from ...errors import UNUSABLE, ImageError, OptionError
from ...limits import MAX_IMAGE_BYTES
from ...sizes import MAX_UINT64, ceil_div, round_up
from ..capabilities import HasBitmaps
from ..chain import chain_extents
from ..driver import Measurement
from .bitmaps.bits import entries_for
from .bitmaps.directory import directory_bytes
from .changes.amending import VERSIONS
from .create import PREALLOCATION_MODES, check_cluster_size, check_extended_l2
from .layout import MAX_L1_BYTES, REFCOUNT_WIDTHS, Geometry
from .options import OPTIONS
from .refcounts.blocks import metadata_clusters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..base import Image


def measure(options: dict[str, Any], size: int, source: Image | None) -> Measurement:
    """The size of a new file for a guest disk, empty or with the content of another image.

    Whatever the options say beyond the layout of the tables is not looked at, nor whether they go together, as
    qemu-img does it; a backing file, for instance, need not exist.

    :param options: creation options, checked each for itself
    :param size: guest bytes
    :param source: what would be copied; of ``size`` bytes
    :raises OptionError: an option has an impossible value
    :raises ImageError: the size is too large for the cluster size
    """
    given = {option.name: option.default for option in OPTIONS}
    given.update(options)
    geometry, order, version = _layout(given)
    preallocation = "off" if given["preallocation"] is None else given["preallocation"]
    if preallocation not in PREALLOCATION_MODES:
        raise OptionError("invalid parameter value: %s" % preallocation, format="qcow2")
    data = round_up(size, geometry.cluster_size)
    # Of an image, the size that the options say is looked at, and then that of the image counts.
    asked = round_up(given["size"] or 0, geometry.cluster_size) & MAX_UINT64 if source is not None else 0
    for total in (asked, data):
        if total > MAX_IMAGE_BYTES or geometry.l1_entries(total) * 8 > MAX_L1_BYTES:
            raise ImageError("The image size is too large (try using a larger cluster size)", format="qcow2")
    full = file_bytes(geometry, order, data)
    # Above a backing file nobody knows what is shared with the source: then all of it may have to be stored.
    if preallocation in ("falloc", "full") or (source is not None and "backing_file" in options):
        required = full
    else:
        required = full - data + (_data_bytes(source, geometry.cluster_size) if source is not None else 0)
    bitmaps = None
    if version >= 3 and isinstance(source, HasBitmaps) and source.can_hold_bitmaps:
        bitmaps = _bitmap_bytes(source, size, geometry)
    return Measurement(required, full, bitmaps)


def _layout(given: dict[str, Any]) -> tuple[Geometry, int, int]:
    """Geometry, refcount order and version of the header."""
    cluster_bits = check_cluster_size(given["cluster_size"])
    if given["extended_l2"]:
        check_extended_l2(cluster_bits)
    compat = "1.1" if given["compat"] is None else given["compat"]
    # Not the other names of the versions: so does qemu-img.
    if compat not in ("0.10", "1.1"):
        raise OptionError("Invalid compatibility level: '%s'" % compat, format="qcow2")
    version = VERSIONS[compat]
    width = given["refcount_bits"]
    if width not in REFCOUNT_WIDTHS:
        raise OptionError("Refcount width must be a power of two and may not exceed 64 bits", format="qcow2")
    if version < 3 and width != 16:
        raise OptionError(
            "Different refcount widths than 16 bits require compatibility level 1.1 or above "
            "(use compat=1.1 or greater)",
            format="qcow2",
        )
    return Geometry(cluster_bits, given["extended_l2"]), width.bit_length() - 1, version


def file_bytes(geometry: Geometry, refcount_order: int, data: int) -> int:
    """Bytes of a file in which every guest cluster has a host cluster.

    :param data: guest bytes, a multiple of the cluster size
    """
    data_clusters = data // geometry.cluster_size
    tables = ceil_div(data_clusters, geometry.l2_entries)
    clusters = 1 + ceil_div(tables * 8, geometry.cluster_size) + tables + data_clusters
    return (clusters + sum(metadata_clusters(clusters, geometry, refcount_order))) * geometry.cluster_size


def _data_bytes(source: Image, cluster_size: int) -> int:
    """Bytes of the target's clusters that hold data of the source, zeroes that it knows of left out."""
    total = counted = seen = 0
    while seen < source.size:
        try:
            for extent in chain_extents(source, seen, source.size - seen):
                seen = extent.start + extent.length
                if extent.zero or not extent.data:
                    continue
                start = max(counted, extent.start // cluster_size * cluster_size)
                end = round_up(seen, cluster_size)
                if start < end:
                    total += end - start
                    counted = end
        except UNUSABLE as error:
            if counted <= seen:
                error.reason = "Unable to get block status: %s" % error.words
                raise
            # Whatever else there is in a cluster of the target that counts already, qemu-img does not look at it.
            seen = counted
    return total


def _bitmap_bytes(source: HasBitmaps, size: int, geometry: Geometry) -> int:
    """What the bitmaps of the source would take in the new file."""
    cluster_size = geometry.cluster_size
    directory = clusters = 0
    for bitmap in source.bitmaps:
        entries = entries_for(ceil_div(size, bitmap.granularity), geometry)
        clusters += entries + ceil_div(entries * 8, cluster_size)
        directory += directory_bytes(bitmap.name)
    return (clusters + ceil_div(directory, cluster_size)) * cluster_size
