# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The driver of compressed loop images (cloop, version 2)."""
from __future__ import annotations

from ..driver import Driver
from .image import CloopImage
from .layout import read_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..base import Image
    from ..driver import ImageSource


class CloopDriver(Driver):
    """Compressed loop images, as Knoppix has them."""

    name = "cloop"
    can_write = False
    can_create = False

    def open(self, source: ImageSource) -> Image:
        """Open a compressed loop image.

        :raises FormatError: it is not valid
        """
        return CloopImage(source, source.storage, *read_header(source.storage, source.filename))


DRIVER = CloopDriver()
