# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A VMDK as a guest disk: its extents one after the other."""
from __future__ import annotations

from bisect import bisect_right

from ...errors import CorruptImageError
from ..base import Image, ImageFile
from ..capabilities import Checkable, CheckResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ...storage.base import Buffer, Storage
    from ..base import Extent, Origin
    from .descriptor import Descriptor
    from .extents import Part


class VmdkImage(Image, Checkable):
    """A VMDK.

    :param parts: its extents, without gaps
    """

    def __init__(
        self, origin: Origin, storage: Storage, descriptor: Descriptor, parts: list[Part], backing: Image | None
    ) -> None:
        self._descriptor = descriptor
        self._parts = parts
        self._starts = [part.start for part in parts]
        self.size = parts[-1].start + parts[-1].size
        self.cluster_size = parts[0].grain
        if descriptor.parent is not None:
            self.backing_file, self.backing_format = descriptor.parent, "vmdk"
        super().__init__(origin, storage, backing)

    @property
    def cid(self) -> int:
        """What an image on top of it knows it by."""
        return self._descriptor.cid

    def files(self) -> list[ImageFile]:
        return [
            ImageFile("extents.%d" % number, part.name, part.storage, "extent")
            for number, part in enumerate(self._parts)
            if part.storage is not self.storage
        ]

    def format_specific(self) -> dict[str, Any]:
        return {
            "cid": self._descriptor.cid,
            "parent-cid": self._descriptor.parent_cid,
            "create-type": self._descriptor.create_type,
            "extents": [_document(part, self.storage) for part in self._parts],
        }

    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        end = offset + length
        index = bisect_right(self._starts, offset) - 1
        while offset < end:
            part = self._parts[index]
            stop = min(end, part.start + part.size)
            if stop > offset:
                yield from part.runs(offset, stop - offset)
                offset = stop
            index += 1

    def encoded_reader(self, offset: int, length: int) -> Callable[[Buffer], None]:
        return self._parts[bisect_right(self._starts, offset) - 1].encoded_reader(offset, length)

    def check(self, repair: str | None = None, report: Callable[[str], None] | None = None) -> CheckResult:
        result = CheckResult()
        try:
            for _run in self.runs(0, self.size):
                pass
        except CorruptImageError as error:
            # The first one ends it, as in qemu-img.
            result.corruptions += 1
            if report is not None:
                report("ERROR: %s" % error.reason)
        return result


def _document(part: Part, main: Storage) -> dict[str, Any]:
    document: dict[str, Any] = {"compressed": True} if part.compressed else {}
    document.update({"virtual-size": part.size, "filename": part.storage.name})
    if part.grain:
        document["cluster-size"] = part.grain
    document["format"] = "" if part.storage is main else part.kind
    return document
