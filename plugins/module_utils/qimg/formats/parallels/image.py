# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A Parallels image as a guest disk."""
from __future__ import annotations

from ...errors import CorruptImageError, OptionError
from ...limits import SECTOR
from ...sizes import round_up
from ..block_map import BlockImage
from ..capabilities import Checkable, CheckResult, Resizable
from .clusters import ClusterMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ...storage.base import Storage
    from ..base import Origin, Pieces
    from .layout import Header


class ParallelsImage(BlockImage, Resizable, Checkable):
    """A Parallels image.

    It is whole at every moment, so that it need not say that somebody is writing.

    :param header: checked
    :param is_new: nobody has the file yet
    """

    dirty = None
    can_repair = True

    def __init__(self, origin: Origin, storage: Storage, header: Header, is_new: bool = False) -> None:
        self._limits = origin.limits
        self._map: ClusterMap
        super().__init__(origin, ClusterMap(storage, header, origin.limits, is_new))

    def creation_options(self) -> dict[str, Any]:
        return {"cluster_size": self._map.block_size}

    def lookup_end(self, offset: int) -> int:
        cluster = self._map.block_size
        return min(self.size, (offset // cluster + 1) * cluster)

    def _begin_writing(self) -> None:
        """Drop from the header what will not be true any more.

        :raises CorruptImageError: whoever wrote last has left errors behind
        """
        header = self._map.header
        if header.in_use and self.check().corruptions > 1:
            raise CorruptImageError(
                "It was not closed by who wrote to it last, and has errors",
                path=self.filename,
                format=self.format,
                remedy="repair it with a check that repairs all, on a backup copy first",
            )
        if header.in_use or header.extension:
            # The extension has bitmaps of what was changed, which do not know of further changes.
            self._map.write_header(header._replace(in_use=0, extension=0))

    def _place(self, offset: int, length: int) -> Pieces:
        self._begin_writing()
        return super()._place(offset, length)

    def _write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        self._begin_writing()
        super()._write_zeroes(offset, length, deallocate)

    def _discard(self, offset: int, length: int) -> None:
        self._begin_writing()
        super()._discard(offset, length)

    def resize(self, size: int, preallocation: str = "off") -> None:
        from . import resizing

        if preallocation not in ("off", "metadata", "falloc", "full"):
            raise OptionError("Unsupported preallocation mode '%s'" % preallocation, path=self.filename)
        self.flush()
        self._begin_writing()
        old = self.size
        header = resizing.resize(self._map, round_up(size, SECTOR))
        self._map = ClusterMap(self.storage, header, self._limits)
        self.size = header.size
        if self.size > old:
            resizing.allocate_new(self._map, old, preallocation)
        else:
            resizing.cut_off(self._map)

    def check(self, repair: str | None = None, report: Callable[[str], None] | None = None) -> CheckResult:
        from . import check

        self.flush()
        return check.check(self._map, repair, report or (lambda line: None))
