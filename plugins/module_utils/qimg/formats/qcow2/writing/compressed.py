# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Laying out compressed clusters: one directly after the other, across the bounds of host clusters."""
from __future__ import annotations

from ..layout import COMPRESSED, OFFSET_MASK, corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..changes.metadata import Metadata

#: The file ends with a whole sector: a descriptor counts sectors, and a reader reads all of them.
_SECTOR = 512


class CompressedWriter:
    """Finds places for compressed clusters within one transaction."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._geometry = metadata.geometry
        self._refcounts = metadata.refcounts
        #: Where the next compressed cluster may continue, in bytes; 0: in a new host cluster.
        self._end = 0
        self._wrote = False

    def write(self, offset: int, data: bytes) -> None:
        """Store the compressed bytes of the guest cluster at ``offset``.

        :raises CorruptImageError: the cluster already has content, or no descriptor reaches so far into the file
        """
        l1_index, inner = divmod(offset, self._geometry.l2_span)
        index = (inner >> self._geometry.cluster_bits) * self._geometry.entry_words
        table = self._metadata.mapping.own_table(l1_index)
        if table.entries[index] & (COMPRESSED | OFFSET_MASK):
            raise corrupt(self._metadata.storage.name, "Compressed write to a cluster that has data", offset)
        host = self._allocate(len(data))
        self._metadata.storage.write(host, data)
        table.entries[index] = self._geometry.compressed_entry(host, len(data))
        if self._geometry.extended_l2:
            table.entries[index + 1] = 0
        self._wrote = True

    def finish(self) -> None:
        """Before a commit: nothing more goes into the host cluster that was begun."""
        if self._wrote:
            storage = self._metadata.storage
            storage.truncate(-(-storage.size // _SECTOR) * _SECTOR)
            self._wrote = False
        self._end = 0

    def _allocate(self, length: int) -> int:
        """Host offset for compressed bytes; every host cluster that they touch is used once more."""
        bits = self._geometry.cluster_bits
        size = self._geometry.cluster_size
        offset = self._end
        if offset and self._refcounts.get(offset >> bits) >= self._refcounts.max:
            offset = 0
        room = -offset % size
        if not offset or room < length:
            new = self._refcounts.allocate(1) << bits
            if offset and offset + room == new:
                self._refcounts.add(offset >> bits, 1, 1)
            else:
                offset = new
        else:
            self._refcounts.add(offset >> bits, 1, 1)
        end = offset + length
        if end > self._geometry.compressed_limit:
            raise corrupt(self._metadata.storage.name, "The file is too large for compressed clusters", offset)
        self._end = end if end % size else 0
        return offset
