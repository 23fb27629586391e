# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The driver of VDI."""
from __future__ import annotations

from ..driver import Driver
from ..options import BOOL, SIZE, CreateOption
from .image import VdiImage
from .layout import full_size, read_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..base import Image
    from ..driver import ImageSource, NewImage


class VdiDriver(Driver):
    """VDI 1.1, dynamic and static; differencing images are refused."""

    name = "vdi"
    options = (
        CreateOption("size", SIZE, "Virtual disk size"),
        CreateOption("static", BOOL, "VDI static (pre-allocated) image", default=False),
    )

    def open(self, source: ImageSource) -> Image:
        """Open a VDI image.

        :raises FormatError: it is not valid, or lies on another image
        """
        return VdiImage(source, source.storage, read_header(source.storage, source.filename))

    def create(self, new: NewImage) -> Image:
        from . import create

        return create.create(new, self.disk_size(new.options["size"], new.options))

    def main_file_size(self, options: dict[str, Any], size: int) -> int:
        return full_size(self.disk_size(size, options))


DRIVER = VdiDriver()
