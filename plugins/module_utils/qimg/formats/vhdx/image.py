# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A VHDX as a guest disk."""
from __future__ import annotations

import os

from ...errors import OptionError, UnsupportedOperationError
from ...sizes import round_up
from ..block_map import BlockImage
from ..capabilities import Checkable, CheckResult, Resizable
from .blocks import VhdxMap
from .layout import MAX_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..base import Origin, Pieces


class VhdxImage(BlockImage, Resizable, Checkable):
    """A fixed, dynamic or differencing disk.

    :param block_map: its blocks
    :param parent_name: how it names its parent
    :param is_new: nobody has the file yet
    """

    can_repair = True

    def __init__(
        self, origin: Origin, block_map: VhdxMap, parent_name: str | None = None, is_new: bool = False
    ) -> None:
        self.cluster_size = block_map.block_size
        self._limits = origin.limits
        #: Whether the headers say already that the file is another one.
        self._is_marked = is_new
        if parent_name is not None:
            self.backing_file, self.backing_format = parent_name, "vhdx"
        self._map: VhdxMap
        super().__init__(origin, block_map)

    @property
    def data_guid(self) -> bytes:
        """What a differencing disk knows its parent by."""
        return self._map.headers.header.data_guid

    def creation_options(self) -> dict[str, Any]:
        parameters = self._map.parameters
        return {
            "subformat": "fixed" if parameters.is_fixed else "dynamic",
            "block_size": parameters.block_size,
            "log_size": self._map.headers.header.log_length,
        }

    @property
    def reads_zero_when_new(self) -> bool:
        if self._map.parameters.is_fixed:
            return self.storage.reads_zero_when_new
        return self.backing is None

    def _begin_writing(self) -> None:
        """Say in the header that file and data are others from now on, before the first change (section 2.2.2.1)."""
        if not self._is_marked:
            self._map.headers.update(file_guid=os.urandom(16), data_guid=os.urandom(16))
            self._is_marked = True

    def _place(self, offset: int, length: int) -> Pieces:
        self._begin_writing()
        return super()._place(offset, length)

    def _write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        self._begin_writing()
        super()._write_zeroes(offset, length, deallocate)

    def _discard(self, offset: int, length: int) -> None:
        self._begin_writing()
        super()._discard(offset, length)

    def check_resize(self) -> None:
        if self._map.parameters.has_parent:
            raise UnsupportedOperationError(
                "A differencing disk cannot be resized", path=self.filename, remedy="convert it, and resize the copy"
            )

    def resize(self, size: int, preallocation: str = "off") -> None:
        from . import resizing

        self.check_resize()
        size = round_up(size, self._map.parameters.sector)
        if size > MAX_BYTES:
            raise OptionError("Image size too large; max of 64TB", path=self.filename)
        if preallocation not in ("off", "metadata", "falloc", "full"):
            raise OptionError("Unsupported preallocation mode '%s'" % preallocation, path=self.filename)
        self.flush()
        self._begin_writing()
        old = self.size
        parameters = resizing.resize(self._map, size)
        self._map = VhdxMap(self.storage, self.storage, self._map.headers, parameters, self._limits)
        self.size = size
        if size > old:
            if parameters.is_fixed and preallocation == "off":
                preallocation = "metadata"
            resizing.allocate_new(self._map, old, preallocation)
        else:
            resizing.cut_off(self._map)

    def check(self, repair: str | None = None, report: Callable[[str], None] | None = None) -> CheckResult:
        from . import check

        self.flush()
        return check.check(self._map, repair, report or (lambda line: None))
