# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What can be wrong in a header without looking at the tables (section "Header" of the specification)."""
from __future__ import annotations

from ...errors import FormatError, UnsupportedFeatureError
from ...limits import MAX_IMAGE_BYTES
from .layout import (
    CRYPT_LUKS,
    EXTENDED_L2,
    MAX_L1_BYTES,
    MAX_REFCOUNT_ORDER,
    MAX_REFCOUNT_TABLE_BYTES,
    Geometry,
    Header,
)


def validate(header: Header, path: str) -> None:
    """Refuse a header with a field outside of its rules.

    :raises FormatError: naming the first thing that is wrong, in QEMU's words
    """

    def refuse(reason: str) -> FormatError:
        return FormatError(reason, path=path, format="qcow2")

    def check_table(offset: int, length: int, reason: str) -> None:
        if offset % cluster_size or offset + length > MAX_IMAGE_BYTES:
            raise refuse(reason)

    cluster_size = 1 << header.cluster_bits
    refcount_bytes = header.refcount_table_clusters * cluster_size
    if header.refcount_order > MAX_REFCOUNT_ORDER:
        raise refuse("Reference count entry width too large; may not exceed 64 bits")
    if header.crypt_method > CRYPT_LUKS:
        raise UnsupportedFeatureError(
            "Unsupported encryption method %d" % header.crypt_method, path=path, format="qcow2"
        )
    if refcount_bytes > MAX_REFCOUNT_TABLE_BYTES:
        raise refuse("Reference count table too large")
    check_table(header.refcount_table_offset, refcount_bytes, "Reference count table offset invalid")
    check_table(header.snapshots_offset, header.nb_snapshots * 40, "Snapshot table offset invalid")
    if header.l1_size * 8 > MAX_L1_BYTES:
        raise refuse("Active L1 table too large")
    check_table(header.l1_table_offset, header.l1_size * 8, "Active L1 table offset invalid")
    geometry = Geometry(header.cluster_bits, bool(header.incompatible_features & EXTENDED_L2))
    if header.size > MAX_IMAGE_BYTES or geometry.l1_entries(header.size) > (1 << 31) - 1:
        raise refuse("Image is too big")
    if header.l1_size < geometry.l1_entries(header.size):
        raise refuse("L1 table is too small")
