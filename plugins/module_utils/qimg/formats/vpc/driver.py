# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The driver of VHD, which QEMU calls vpc."""
from __future__ import annotations

from ...errors import OptionError
from ...sizes import ceil_div
from ..driver import BACKING_FILE, CHECK, INFO, Driver
from ..header_reader import HeaderReader
from ..options import BOOL, SIZE, STR, CreateOption
from .image import DynamicVhd, FixedVhd
from .layout import DIFFERENCING, FIXED, FOOTER_BYTES, new_header
from .opening import check_size, read_footer, read_header
from .parents import check_parent, parent_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..base import Image
    from ..driver import ImageSource, NewImage
    from .layout import Footer

_CALCULATIONS = ("chs", "current_size")


class VpcDriver(Driver):
    """VHD 1.0: fixed, dynamic and differencing disks."""

    name = "vpc"
    options = (
        CreateOption("size", SIZE, "Virtual disk size"),
        CreateOption(
            "subformat",
            STR,
            "Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} ",
            synonyms=(("azure", "fixed"),),
        ),
        CreateOption(
            "force_size",
            BOOL,
            "Force disk size calculation to use the actual size specified, rather than using the nearest CHS-based "
            "calculation",
        ),
    )
    content_options = ("force_size_calc",)

    def open(self, source: ImageSource) -> Image:
        """Open a VHD, and the parent of a differencing one.

        :raises FormatError: it is not valid
        :raises ReferenceDeniedError: its parent may not be opened
        """
        calculation = source.take("force_size_calc")
        if calculation is not None and calculation not in _CALCULATIONS:
            raise OptionError("Invalid size calculation mode: '%s'" % calculation, path=source.filename)
        footer = read_footer(source.storage, source.filename)
        size = footer.disk_size(calculation)
        check_size(size, source.filename)
        if footer.disk_type == FIXED:
            return FixedVhd(source, source.storage, footer, size)
        return self._open_blocks(source, footer, size)

    def _open_blocks(self, source: ImageSource, footer: Footer, size: int) -> Image:
        storage, path = source.storage, source.filename
        header = read_header(storage, path, footer, size)
        name, parent = None, None
        if footer.disk_type == DIFFERENCING:
            name = parent_name(storage, header, path)
            parent = source.open_backing(name, self.name)
        try:
            if parent is not None and source.purpose != INFO:
                check_parent(header, parent, path)
            image = DynamicVhd(source, storage, footer, header, size, name, parent)
            if source.purpose != CHECK:
                image.check_end()
        except BaseException:
            if parent is not None:
                parent.abandon()
            raise
        return image

    def create(self, new: NewImage) -> Image:
        from . import create

        return create.create(new)

    def disk_size(self, size: int, options: dict[str, Any]) -> int:
        from . import create

        return create.disk_size(size, options)

    def named_files(self, read: Callable[[int, int], bytes]) -> list[tuple[str, str]]:
        storage = HeaderReader(read)
        footer = read_footer(storage, "")
        if footer.disk_type != DIFFERENCING:
            return []
        header = read_header(storage, "", footer, 0)
        return [(BACKING_FILE, parent_name(storage, header, ""))]

    def main_file_size(self, options: dict[str, Any], size: int) -> int:
        size = self.disk_size(size, options)
        if options.get("subformat") not in (None, "dynamic"):
            return size + FOOTER_BYTES
        header = new_header(size)
        blocks = ceil_div(size, header.block_size) * (header.bitmap_bytes + header.block_size)
        return header.table_end + blocks + FOOTER_BYTES


DRIVER = VpcDriver()
