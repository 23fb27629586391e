# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The row of raw in the table of formats."""
from __future__ import annotations

from ...errors import ImageError, OptionError, StorageError
from ...limits import MAX_IMAGE_BYTES
from ...option_text import parse_size_option
from ...sizes import round_up
from ...storage.replace import NOT_CREATED
from ..base import Format, Measurement
from ..options import FILE_OPTIONS, SIZE, STR, CreateOption
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
    offset = parse_size_option("offset", node.pop("offset", 0))
    size = node.pop("size", None)
    return RawImage(
        storage, filename, offset, None if size is None else parse_size_option("size", size), children.probed
    )


def create_image(files: NewFiles, filename: str, options: dict[str, Any], backing: Image | None) -> Image:
    """A file of ``size`` bytes that reads as zeroes."""
    size = round_up(options["size"], 512)
    mode = options.get("preallocation") or "off"
    if mode not in ("off", "falloc", "full"):
        if mode == "metadata":
            raise OptionError("Unsupported preallocation mode: metadata", format="raw")
        raise OptionError("invalid parameter value: %s" % mode, format="raw")
    if size > MAX_IMAGE_BYTES:
        raise ImageError("The image size is too large for file format 'raw'", format="raw")
    if files.is_device and mode != "off":
        raise StorageError("Unsupported preallocation mode '%s'" % mode, path=filename)
    storage = files.main_of(size)
    storage.preallocate(0, size, mode)
    try:
        storage.truncate(size)
    except StorageError as error:
        if error.errno != 27:
            raise
        raise ImageError("The image size is too large for file format 'raw'", format="raw") from error
    return RawImage(storage, filename)


def measure(options: dict[str, Any], size: int, source: Image | None) -> Measurement:
    """A raw image takes the bytes of the guest disk, whatever they are."""
    rounded = round_up(size, 512)
    return Measurement(rounded, rounded)


def create_on_device(files: NewFiles, filename: str, options: dict[str, Any], backing: Image | None) -> Image:
    """A device whose first ``size`` bytes are the guest disk.

    :raises StorageError: it is not a device
    """
    if not files.is_device:
        reason = "'host_device' driver requires '%s' to be either a character or block device" % filename
        raise StorageError(NOT_CREATED % ("host_device", reason), path=filename)
    return create_image(files, filename, options, backing)


#: What a device understands: nothing can be allocated on it.
_DEVICE_OPTIONS = (*OPTIONS, CreateOption("preallocation", STR, "Preallocation mode (allowed values: off)"))

FORMAT = Format("raw", open_image, create_image, OPTIONS, True, measure)
FILE = FORMAT._replace(name="file", options=FILE_OPTIONS, measure=None)
HOST_DEVICE = FORMAT._replace(name="host_device", options=_DEVICE_OPTIONS, create=create_on_device, measure=None)
