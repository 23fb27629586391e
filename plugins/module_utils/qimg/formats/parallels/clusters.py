# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Where a Parallels image has its clusters, and where new ones go."""
from __future__ import annotations

from ...errors import StorageError
from ..base import ABSENT, DATA
from ..block_map import BlockMap
from ..block_table import OneLevelTable
from .layout import ENTRY_BYTES, HEADER_BYTES, Header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...limits import Limits
    from ...storage.base import Storage


class ClusterMap(BlockMap):
    """The clusters.  New ones go to the end of the file.

    :param header: checked
    :param is_new: nobody has the file yet
    """

    def __init__(self, storage: Storage, header: Header, limits: Limits, is_new: bool = False) -> None:
        self.header = header
        cluster = header.cluster
        table = OneLevelTable(
            storage, HEADER_BYTES, header.entries, ENTRY_BYTES, "little", 0, limits.table_cache_bytes, is_new
        )
        self.entry_step = cluster // header.unit
        self.alignment = header.unit
        start = header.data_start
        super().__init__(storage, table, cluster, header.size, start, max(start, storage.size))

    def meaning(self, entry: int) -> tuple[int, int | None]:
        return (DATA, entry * self.header.unit) if entry else (ABSENT, None)

    def entry_for(self, block: int, host: int) -> int:
        entry = host // self.header.unit
        if entry > 0xFFFFFFFF:
            raise StorageError(
                "The file is full: no entry of its table can name a place so far away",
                path=self.storage.name,
                remedy="convert it to an image with larger clusters",
            )
        return entry

    def write_header(self, header: Header) -> None:
        """Replace the header, which one sector holds, and wait until it is on the medium."""
        self.storage.write(0, header.pack())
        self.storage.flush()
        self.header = header
