# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A VDI image: a block map, and blocks of one mebibyte."""
from __future__ import annotations

from ...limits import SECTOR
from ...sizes import round_up
from ..block_map import BlockImage
from ..capabilities import Checkable, Resizable
from .blocks import VdiMap
from .layout import BLOCK, STATIC, Header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ...storage.base import Storage
    from ..base import Origin
    from ..capabilities import CheckResult


class VdiImage(BlockImage, Resizable, Checkable):
    """A VDI image.

    :param header: checked; all that it names is in the file
    :param is_new: nobody has the file yet
    """

    can_repair = True

    def __init__(self, origin: Origin, storage: Storage, header: Header, is_new: bool = False) -> None:
        self.cluster_size = BLOCK
        self._limits = origin.limits
        self._map: VdiMap
        super().__init__(origin, VdiMap(storage, header, origin.limits, is_new))

    @property
    def is_static(self) -> bool:
        """Whether all blocks were allocated when it was made."""
        return self._map.header.image_type == STATIC

    def creation_options(self) -> dict[str, Any]:
        return {"static": self.is_static}

    def lookup_end(self, offset: int) -> int:
        return min(self.size, (offset // BLOCK + 1) * BLOCK)

    @property
    def reads_zero_when_new(self) -> bool:
        return not self.is_static or self.storage.reads_zero_when_new

    def resize(self, size: int, preallocation: str = "off") -> None:
        from . import resizing

        self.flush()
        header = resizing.resize(self._map, round_up(size, SECTOR))
        self._map = VdiMap(self.storage, header, self._limits)
        old, self.size = self.size, header.disk_size
        if self.size < old:
            resizing.compact(self._map)
            return
        if self.is_static and preallocation == "off":
            preallocation = "metadata"
        resizing.allocate_new(self._map, old, preallocation)

    def check(self, repair: str | None = None, report: Callable[[str], None] | None = None) -> CheckResult:
        from . import check

        self.flush()
        return check.check(self._map, repair, report or (lambda line: None))
