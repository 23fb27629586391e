# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""VHD images: fixed ones, whose data is a part of the file, and dynamic and differencing ones, which have blocks."""
from __future__ import annotations

from ...errors import OptionError, UnsupportedOperationError
from ...limits import SECTOR
from ...sizes import round_up
from ..base import DATA, Extent, Image, add_piece, without_holes
from ..block_map import BlockImage
from ..capabilities import Checkable, CheckResult, Resizable
from .blocks import VhdMap
from .layout import (
    DIFFERENCING,
    FOOTER_BYTES,
    MAX_BYTES,
    QEMU_EXACT,
    Footer,
    Header,
    corrupt,
    resized_footer,
    too_large,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ...storage.base import Storage
    from ..base import Origin, Pieces


class FixedVhd(Image, Resizable, Checkable):
    """A fixed disk: its data, and the footer behind them.

    :param size: guest bytes; the file has them all
    """

    can_repair = True

    def __init__(self, origin: Origin, storage: Storage, footer: Footer, size: int) -> None:
        self._footer = footer
        self.size = size
        super().__init__(origin, storage)
        if size + FOOTER_BYTES > round_up(storage.size, SECTOR):
            raise corrupt(
                self.filename,
                "The disk has %d bytes, and its file only %d before the footer"
                % (size, max(0, storage.size - FOOTER_BYTES)),
            )

    @property
    def uuid(self) -> bytes:
        """What a differencing disk knows its parent by."""
        return self._footer.uuid

    def creation_options(self) -> dict[str, Any]:
        return {"subformat": "fixed", "force_size": self._footer.creator == QEMU_EXACT}

    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        return without_holes(Extent(offset, length, DATA, self.storage, offset))

    def _read_into(self, offset: int, view: memoryview) -> None:
        self.storage.read_into(offset, view)

    def _place(self, offset: int, length: int) -> Pieces:
        pieces: Pieces = []
        add_piece(pieces, self.storage, offset, length)
        return pieces

    def _write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        self.storage.write_zeroes(offset, length, deallocate)

    def _discard(self, offset: int, length: int) -> None:
        self.storage.discard(offset, length)

    def _flush(self) -> None:
        self.storage.flush()

    @property
    def reads_zero_when_new(self) -> bool:
        return self.storage.reads_zero_when_new

    def resize(self, size: int, preallocation: str = "off") -> None:
        size = _checked_size(size, self.filename)
        if self.storage.is_device and size + FOOTER_BYTES != self.storage.size:
            raise UnsupportedOperationError("Cannot resize %s" % self.storage.plural, path=self.filename)
        footer, old = resized_footer(self._footer, size), self.size
        if size > old:
            # What a footer that is found at the end of the file says is there: it comes last but for its predecessor.
            _preallocate(self.storage, old + FOOTER_BYTES, size - old - FOOTER_BYTES, preallocation, self.filename)
            self.storage.write(size, footer.pack())
            self.storage.write_zeroes(old, min(FOOTER_BYTES, size - old), deallocate=False)
        else:
            self.storage.write(size, footer.pack())
            self.storage.flush()
            self.storage.truncate(size + FOOTER_BYTES)
        self.storage.flush()
        self._footer, self.size = footer, size

    def check(self, repair: str | None = None, report: Callable[[str], None] | None = None) -> CheckResult:
        # A footer that is wrong is none: then the image could not be opened.
        return CheckResult()


class DynamicVhd(BlockImage, Resizable, Checkable):
    """A dynamic or differencing disk.

    :param header: checked
    :param backing: the parent of a differencing disk
    :param is_new: nobody has the file yet
    """

    can_repair = True

    def __init__(
        self,
        origin: Origin,
        storage: Storage,
        footer: Footer,
        header: Header,
        size: int,
        parent_name: str | None = None,
        backing: Image | None = None,
        is_new: bool = False,
    ) -> None:
        self.cluster_size = header.block_size
        self._limits = origin.limits
        if parent_name is not None:
            self.backing_file, self.backing_format = parent_name, "vpc"
        self._map: VhdMap
        super().__init__(origin, VhdMap(storage, footer, header, size, origin.limits, backing, is_new))

    def check_end(self) -> None:
        """See that no block lies beyond the end of the file, if that is soon seen.

        :raises CorruptImageError: one does, in QEMU's words
        """
        self._map.check_end()

    @property
    def uuid(self) -> bytes:
        """What a differencing disk knows its parent by."""
        return self._map.footer.uuid

    def creation_options(self) -> dict[str, Any]:
        return {"subformat": "dynamic", "force_size": self._map.footer.creator == QEMU_EXACT}

    def check_resize(self) -> None:
        if self._map.footer.disk_type == DIFFERENCING:
            raise UnsupportedOperationError(
                "A differencing disk cannot be resized", path=self.filename, remedy="convert it, and resize the copy"
            )

    def resize(self, size: int, preallocation: str = "off") -> None:
        from . import resizing

        self.check_resize()
        size = _checked_size(size, self.filename)
        if preallocation not in ("off", "metadata", "falloc", "full"):
            raise _no_such_mode(preallocation, self.filename)
        self.flush()
        old = self.size
        footer, header = resizing.resize(self._map, size)
        self._map = VhdMap(self.storage, footer, header, size, self._limits)
        self.size = size
        if size < old:
            resizing.compact(self._map)
        else:
            resizing.allocate_new(self._map, old, preallocation)

    def check(self, repair: str | None = None, report: Callable[[str], None] | None = None) -> CheckResult:
        from . import check

        self.flush()
        return check.check(self._map, repair, report or (lambda line: None))


def _checked_size(size: int, path: str) -> int:
    size = round_up(size, SECTOR)
    if size > MAX_BYTES:
        raise too_large(path)
    return size


def _preallocate(storage: Storage, offset: int, length: int, mode: str, path: str) -> None:
    if mode == "metadata":
        # There are none: all blocks have their places.
        return
    if mode not in ("off", "falloc", "full"):
        raise _no_such_mode(mode, path)
    if length > 0:
        storage.preallocate(offset, length, mode)


def _no_such_mode(mode: str, path: str) -> OptionError:
    return OptionError("Unsupported preallocation mode '%s'" % mode, path=path, format="vpc")
