# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The driver of raw images, and those of the protocols, which are the same bytes by another name."""
from __future__ import annotations

from ...errors import ImageError
from ...limits import MAX_IMAGE_BYTES, SECTOR
from ...option_text import parse_size_option
from ...sizes import round_up
from ...storage.base import OFF
from ..driver import Driver, Measurement
from ..options import EXISTING_OPTIONS, FILE_OPTIONS, SIZE, CreateOption
from .image import RawImage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..base import Image
    from ..driver import ImageSource, NewImage


class RawDriver(Driver):
    """A guest disk that is the bytes of a file; ``offset`` and ``size`` of a node choose a part of them."""

    name = "raw"
    options: tuple[CreateOption, ...] = (CreateOption("size", SIZE, "Virtual disk size"),)
    content_options = ("offset", "size")
    shares_writers = True

    def open(self, source: ImageSource) -> Image:
        offset = parse_size_option("offset", source.take("offset", 0))
        size = source.take("size")
        length = None if size is None else parse_size_option("size", size)
        return RawImage(source, source.storage, offset, length, source.probed)

    def create(self, new: NewImage) -> Image:
        """A file of ``size`` bytes that reads as zeroes."""
        size = self.disk_size(new.options["size"], new.options)
        mode = new.options.get("preallocation", OFF)
        if size > MAX_IMAGE_BYTES:
            raise ImageError("The image size is too large for file format 'raw'", format="raw")
        if new.is_device:
            # What is there already may end inside a sector.
            size = new.options["size"]
        storage = new.main(size)
        storage.preallocate(0, size, mode)
        storage.truncate(size)
        return RawImage(new, storage)

    def measure(self, options: dict[str, Any], size: int, source: Image | None) -> Measurement | None:
        """A raw image takes the bytes of the guest disk, whatever they are."""
        rounded = round_up(size, SECTOR)
        return Measurement(rounded, rounded)


class ProtocolDriver(RawDriver):
    """A protocol in the place of a format."""

    def __init__(self, name: str, options: tuple[CreateOption, ...]) -> None:
        self.name = self.protocol = name
        self.options = options

    def measure(self, options: dict[str, Any], size: int, source: Image | None) -> Measurement | None:
        return None


DRIVER = RawDriver()
PROTOCOL_DRIVERS = {
    "file": ProtocolDriver("file", FILE_OPTIONS),
    "host_device": ProtocolDriver("host_device", EXISTING_OPTIONS),
    "host_cdrom": ProtocolDriver("host_cdrom", EXISTING_OPTIONS),
    "nbd": ProtocolDriver("nbd", EXISTING_OPTIONS),
}
