# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The driver of Bochs images: growing disks of versions 1 and 2."""
from __future__ import annotations

from ..driver import Driver
from .image import BochsImage
from .layout import read_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..base import Image
    from ..driver import ImageSource


class BochsDriver(Driver):
    """Growing disks of Bochs."""

    name = "bochs"
    can_write = False
    can_create = False

    def open(self, source: ImageSource) -> Image:
        """Open a growing disk.

        :raises FormatError: it is not valid
        """
        return BochsImage(source, source.storage, read_header(source.storage, source.filename))


DRIVER = BochsDriver()
