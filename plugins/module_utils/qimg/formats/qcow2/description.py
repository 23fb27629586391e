# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What an image says of itself, as documents."""
from __future__ import annotations

from .layout import COMPRESSION_NAMES, CORRUPT, EXTENDED_L2, LAZY_REFCOUNTS, RAW_EXTERNAL_DATA

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..capabilities import BitmapInfo
    from .changes.metadata import Metadata


def format_specific(metadata: Metadata, bitmaps: list[BitmapInfo]) -> dict[str, Any]:
    """What ``info`` calls ``format-specific``; the object ``ImageInfoSpecificQCow2`` of QEMU's interface."""
    header = metadata.header
    compression_type = COMPRESSION_NAMES[header.compression_type]
    refcount_bits = 1 << header.refcount_order
    if header.version == 2:
        return {"compat": "0.10", "refcount-bits": refcount_bits, "compression-type": compression_type}
    data: dict[str, Any] = {
        "compat": "1.1",
        "lazy-refcounts": bool(header.compatible_features & LAZY_REFCOUNTS),
        "refcount-bits": refcount_bits,
        "corrupt": bool(header.incompatible_features & CORRUPT),
        "extended-l2": bool(header.incompatible_features & EXTENDED_L2),
        "compression-type": compression_type,
    }
    if bitmaps:
        data["bitmaps"] = [_bitmap_document(bitmap) for bitmap in bitmaps]
    if metadata.has_data_file:
        if metadata.data_file_name is not None:
            data["data-file"] = metadata.data_file_name
        data["data-file-raw"] = bool(header.autoclear_features & RAW_EXTERNAL_DATA)
    return data


def _bitmap_document(bitmap: BitmapInfo) -> dict[str, Any]:
    flags = (["in-use"] if bitmap.inconsistent else []) + (["auto"] if bitmap.enabled else [])
    return {"flags": flags, "name": bitmap.name, "granularity": bitmap.granularity}


def creation_options(metadata: Metadata) -> dict[str, Any]:
    """The options with which an image like this one is made."""
    from .changes import amending

    header = metadata.header
    return {
        "backing_file": None,
        "backing_fmt": None,
        "data_file": None,
        "data_file_raw": False,
        "cluster_size": metadata.geometry.cluster_size,
        "extended_l2": bool(header.incompatible_features & EXTENDED_L2),
        "compression_type": COMPRESSION_NAMES[header.compression_type],
        **amending.current_options(metadata),
    }
