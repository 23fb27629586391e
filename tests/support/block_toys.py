# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two small formats on the shared engine for blocks: one with a table of one level, one with two levels.

Both begin with ``BLK1`` or ``BLK2`` and the guest size (8 bytes, little endian).  The one-level table lies at 512:
4-byte sector numbers, 0 for none.  The first-level table of the other lies there: 8-byte offsets of tables of 64
entries, which are the offset of a block, 0 for none, or 1 for zeroes.
"""
from __future__ import annotations

import struct

from qimg.errors import CorruptImageError
from qimg.formats.base import ABSENT, DATA, ZERO, Origin
from qimg.formats.block_map import BlockImage, BlockMap
from qimg.formats.block_table import OneLevelTable, TwoLevelTable
from qimg.formats.capabilities import Checkable, CheckResult
from qimg.formats.driver import Driver, ImageSource, NewImage
from qimg.formats.options import SIZE, CreateOption
from qimg.sizes import ceil_div, round_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qimg.formats.base import Image
    from qimg.storage.base import Storage

BLOCK = 4096
TABLE = 512
PAGE_ENTRIES = 64
MOST_BYTES = 1 << 40


class OneLevelMap(BlockMap):
    entry_step = BLOCK // 512

    def __init__(self, storage: Storage, size: int, backing: Image | None = None, is_new: bool = False) -> None:
        blocks = ceil_div(size, BLOCK)
        start = round_up(TABLE + 4 * blocks, BLOCK)
        table = OneLevelTable(storage, TABLE, blocks, 4, "little", 0, 1 << 20, is_new)
        super().__init__(storage, table, BLOCK, size, start, max(start, storage.size), backing)

    def meaning(self, entry: int) -> tuple[int, int | None]:
        return (DATA, entry * 512) if entry else (ABSENT, None)

    def entry_for(self, block: int, host: int) -> int:
        return host // 512


class TwoLevelMap(BlockMap):
    entry_step = BLOCK
    zero_entry = 1

    def __init__(self, storage: Storage, size: int, backing: Image | None = None, is_new: bool = False) -> None:
        blocks = ceil_div(size, BLOCK)
        first = ceil_div(blocks, PAGE_ENTRIES)
        start = round_up(TABLE + 8 * first, BLOCK)
        end = max(start, storage.size)
        first_level = OneLevelTable(storage, TABLE, first, 8, "little", 0, 1 << 20, is_new)
        table = TwoLevelTable(
            storage, first_level, 1, blocks, 8, "little", PAGE_ENTRIES, 0, 1 << 20,
            end, lambda: self.allocate_bytes(8 * PAGE_ENTRIES, 512), is_new,
        )  # fmt: skip
        super().__init__(storage, table, BLOCK, size, start, end, backing)

    def meaning(self, entry: int) -> tuple[int, int | None]:
        if entry < 2:
            return (ZERO if entry else ABSENT), None
        return DATA, entry

    def entry_for(self, block: int, host: int) -> int:
        return host


#: The maps of the two formats, by the numbers of their levels.
MAPS: dict[int, type[OneLevelMap] | type[TwoLevelMap]] = {1: OneLevelMap, 2: TwoLevelMap}


class BlockToy(BlockImage, Checkable):
    def __enter__(self) -> BlockToy:
        return self

    def __init__(self, origin: Origin, block_map: BlockMap) -> None:
        self.cluster_size = BLOCK
        super().__init__(origin, block_map)

    def check(self, repair: str | None = None, report: Callable[[str], None] | None = None) -> CheckResult:
        result = CheckResult()
        seen = set()
        for _block, count, kind, host in self._map.block_runs(0, ceil_div(self.size, BLOCK)):
            if kind == DATA and host is not None:
                for place in range(host, host + count * BLOCK, BLOCK):
                    result.corruptions += place in seen or place + BLOCK > self.storage.size
                    seen.add(place)
        return result


class BlockToyDriver(Driver):
    options = (CreateOption("size", SIZE, ""),)

    def __init__(self, levels: int) -> None:
        self.name = "blocks%d" % levels
        self._magic = b"BLK%d" % levels
        self._map = MAPS[levels]

    def open(self, source: ImageSource) -> Image:
        magic, size = struct.unpack("<4sQ", source.storage.read(0, 12))
        if magic != self._magic or size > MOST_BYTES:
            raise CorruptImageError("It is no toy", path=source.filename)
        if TABLE + 4 * ceil_div(size, BLOCK) > source.storage.size and self.name == "blocks1":
            raise CorruptImageError("Its table is cut off", path=source.filename)
        return BlockToy(source, self._map(source.storage, size))

    def create(self, new: NewImage) -> Image:
        size = self.disk_size(new.options["size"], new.options)
        storage = new.main()
        storage.write(0, struct.pack("<4sQ", self._magic, size))
        block_map = self._map(storage, size, is_new=True)
        storage.truncate(block_map.data_start)
        return BlockToy(new, block_map)
