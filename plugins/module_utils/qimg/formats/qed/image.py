# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A QED image as a guest disk."""
from __future__ import annotations

from ...errors import CorruptImageError, OptionError
from ...limits import SECTOR
from ...sizes import ceil_div, round_up
from ..block_map import BlockImage
from ..capabilities import Checkable, CheckResult, Rebasable, Resizable
from .clusters import ClusterMap
from .layout import BACKING, MAX_BACKING_NAME, NEED_CHECK, RAW_BACKING, Header, too_large

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ...storage.base import Storage
    from ..base import Image, Origin, Pieces


class QedImage(BlockImage, Resizable, Checkable, Rebasable):
    """A QED image.

    It is whole at every moment, and does not ask to be checked by who opens it next.

    :param header: checked
    :param backing_name: of its backing file, as it is stored
    :param is_new: nobody has the file yet
    """

    can_repair = True

    def __init__(
        self,
        origin: Origin,
        storage: Storage,
        header: Header,
        backing_name: str | None,
        backing: Image | None,
        is_new: bool = False,
    ) -> None:
        self.cluster_size = header.cluster
        self._limits = origin.limits
        self.backing_file = backing_name
        self.backing_format = "raw" if backing_name and header.features & RAW_BACKING else None
        self._map: ClusterMap
        super().__init__(origin, ClusterMap(storage, header, origin.limits, backing, is_new))

    def creation_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "cluster_size": self._map.header.cluster, "table_size": self._map.header.table_clusters,
        }
        if self.backing_file is not None:
            options["backing_file"] = self.backing_file
            if self.backing_format is not None:
                options["backing_fmt"] = self.backing_format
        return options

    def lookup_end(self, offset: int) -> int:
        span = self._map.header.table_entries * self._map.header.cluster
        return min(self.size, (offset // span + 1) * span)

    def _begin_writing(self) -> None:
        """See that an image that asks to be checked has no errors.

        :raises CorruptImageError: it has
        """
        header = self._map.header
        if header.features & NEED_CHECK:
            if self.check().corruptions:
                raise CorruptImageError(
                    "It was not closed by who wrote to it last, and has errors",
                    path=self.filename,
                    format=self.format,
                    remedy="repair it with a check that repairs all, on a backup copy first",
                )
            header = header._replace(features=header.features & ~NEED_CHECK)
        if header.autoclear or header != self._map.header:
            self._map.write_header(header._replace(autoclear=0))

    def _place(self, offset: int, length: int) -> Pieces:
        self._begin_writing()
        return super()._place(offset, length)

    def _write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        self._begin_writing()
        super()._write_zeroes(offset, length, deallocate)

    # Size

    def resize(self, size: int, preallocation: str = "off") -> None:
        if preallocation not in ("off", "metadata", "falloc", "full"):
            raise OptionError("Unsupported preallocation mode '%s'" % preallocation, path=self.filename)
        size = round_up(size, SECTOR)
        header = self._map.header
        if size > header.max_size:
            raise too_large(header)
        self.flush()
        self._begin_writing()
        header, old = self._map.header._replace(size=size), self.size
        self._map.zero_behind(old)
        self._map.storage.flush()
        if size < old:
            self._map.write_header(header)
            self._forget_beyond(size, old)
        else:
            self._map = ClusterMap(self.storage, header, self._limits, self.backing)
            # What an interrupted change may have left there.
            self._forget_beyond(old, size)
            self._map.write_header(header)
        self._map = ClusterMap(self.storage, header, self._limits, self.backing)
        self.size = size
        if size < old:
            self.check("leaks")
        elif preallocation != "off":
            start = round_up(old, header.cluster)
            for storage, host, length in self._map.place(start, size - start) if start < size else ():
                if preallocation != "metadata":
                    storage.preallocate(host, length, preallocation)
            self.flush()

    def _forget_beyond(self, start: int, end: int) -> None:
        """Make clusters absent that lie between two guest offsets as a whole."""
        blocks = self._map
        first, last = ceil_div(start, blocks.block_size), ceil_div(end, blocks.block_size)
        position = first
        while position < last:
            run = next(blocks.block_runs(position, last - position))
            if run[3] is not None or run[2] != 0:
                blocks.table.fill(run[0], run[1], 0)
            position = run[0] + run[1]
        blocks.flush()

    # Backing file

    @property
    def zeroes_hide_backing(self) -> bool:
        return True

    def check_backing(self, backing_file: str | None) -> None:
        if backing_file and len(backing_file.encode("utf-8", "surrogateescape")) > MAX_BACKING_NAME:
            raise OptionError("Backing file name too long", path=self.filename)

    def change_backing(self, backing_file: str | None, backing_format: str | None) -> None:
        self.check_backing(backing_file)
        self.flush()
        header = self._map.header
        features = header.features & ~(BACKING | RAW_BACKING)
        place = length = 0
        if backing_file:
            name = backing_file.encode("utf-8", "surrogateescape")
            place, length = header.free_name_place(), len(name)
            self.storage.write(place, name)
            self.storage.flush()
            features |= BACKING | (RAW_BACKING if backing_format == "raw" else 0)
        self._map.write_header(header._replace(features=features, name_offset=place, name_length=length))

    def check(self, repair: str | None = None, report: Callable[[str], None] | None = None) -> CheckResult:
        from . import check

        self.flush()
        return check.check(self._map, repair)
