# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The driver of disk images of Mac OS (UDIF)."""
from __future__ import annotations

from ..driver import Driver
from .chunks import read_chunks
from .image import DmgImage
from .layout import read_trailer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..base import Image
    from ..driver import ImageSource


class DmgDriver(Driver):
    """Disk images of Mac OS in one file, not encrypted."""

    name = "dmg"
    can_write = False
    can_create = False

    def open(self, source: ImageSource) -> Image:
        """Open a disk image.

        :raises FormatError: it is not valid
        :raises UnsupportedFeatureError: it is encrypted, or one of several segments
        """
        trailer = read_trailer(source.storage, source.filename)
        return DmgImage(source, source.storage, read_chunks(source.storage, trailer, source.filename))


DRIVER = DmgDriver()
