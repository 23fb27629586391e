# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The row of raw in the table of formats."""
from __future__ import annotations

from ...errors import ImageError, OptionError
from ...limits import MAX_IMAGE_BYTES
from ...option_text import parse_size_option, take_option
from ...sizes import round_up
from ...storage.base import OFF
from ..base import Format, Measurement
from ..options import EXISTING_OPTIONS, FILE_OPTIONS, SIZE, CreateOption
from .image import RawImage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ...storage.base import Storage
    from ..base import Image
    from ..new_files import NewFiles
    from ..opening import Children

OPTIONS = (CreateOption("size", SIZE, "Virtual disk size"),)


def open_image(storage: Storage, filename: str, node: dict[str, Any], children: Children) -> Image:
    """Open a raw image; ``offset`` and ``size`` of the node choose a part of the storage."""
    offset = parse_size_option("offset", take_option(node, "offset", 0))
    size = take_option(node, "size")
    return RawImage(
        storage, filename, offset, None if size is None else parse_size_option("size", size), children.probed
    )


def create_image(files: NewFiles, filename: str, options: dict[str, Any], backing: Image | None) -> Image:
    """A file of ``size`` bytes that reads as zeroes."""
    size = round_up(options["size"], 512)
    mode = options.get("preallocation", OFF)
    if size > MAX_IMAGE_BYTES:
        raise ImageError("The image size is too large for file format 'raw'", format="raw")
    if mode == "metadata":
        raise OptionError("Unsupported preallocation mode: metadata", format="raw")
    if files.is_device:
        # What is there already may end inside a sector.
        size = options["size"]
    storage = files.main_of(size)
    storage.preallocate(0, size, mode)
    storage.truncate(size)
    return RawImage(storage, filename)


def measure(options: dict[str, Any], size: int, source: Image | None) -> Measurement:
    """A raw image takes the bytes of the guest disk, whatever they are."""
    rounded = round_up(size, 512)
    return Measurement(rounded, rounded)


def _as_protocol(name: str, options: tuple[CreateOption, ...]) -> Format:
    """The row of a protocol in the place of a format: the same bytes, by another name."""

    def create(files: NewFiles, filename: str, options: dict[str, Any], backing: Image | None) -> Image:
        image = create_image(files, filename, options, backing)
        image.format = name
        return image

    return Format(name, open_image, create, options, True, None, protocol=name)


FORMAT = Format("raw", open_image, create_image, OPTIONS, True, measure)
#: The rows of the protocols.
PROTOCOLS = {
    "file": _as_protocol("file", FILE_OPTIONS),
    "host_device": _as_protocol("host_device", EXISTING_OPTIONS),
    "host_cdrom": _as_protocol("host_cdrom", EXISTING_OPTIONS),
    "nbd": _as_protocol("nbd", EXISTING_OPTIONS),
}
