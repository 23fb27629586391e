# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The driver of VHDX."""
from __future__ import annotations

from ..driver import BACKING_FILE, INFO, Driver
from ..header_reader import HeaderReader
from ..options import BOOL, SIZE, STR, CreateOption
from .blocks import Headers, VhdxMap
from .image import VhdxImage
from .layout import NO_GUID, read_headers, read_parameters, read_regions
from .log import Replayed, read_log, replay
from .parents import check_parent, parent_name, read_locator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ...storage.base import Storage
    from ..base import Image
    from ..driver import ImageSource, NewImage


class VhdxDriver(Driver):
    """VHDX 1: fixed, dynamic and differencing disks, whose log is replayed."""

    name = "vhdx"
    options = (
        CreateOption("size", SIZE, "Virtual disk size; max of 64TB."),
        CreateOption("log_size", SIZE, "Log size; min 1MB.", default=1 << 20),
        CreateOption(
            "block_size",
            SIZE,
            "Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size.",
            default=0,
        ),
        CreateOption(
            "subformat", STR, "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'."
        ),
        CreateOption(
            "block_state_zero",
            BOOL,
            "Force use of payload blocks of type 'ZERO'. Non-standard, but default.  Do not set to 'off' when using "
            "'qemu-img convert' with subformat=dynamic.",
        ),
    )

    def open(self, source: ImageSource) -> Image:
        """Open a VHDX, and the parent of a differencing one.

        A log that is in use is replayed: into the file if that may be changed, in memory otherwise.

        :raises FormatError: it is not valid
        :raises ReferenceDeniedError: its parent may not be opened
        """
        storage, path = source.storage, source.filename
        header, number = read_headers(storage, path)
        headers = Headers(storage, header, number)
        metadata: Storage = storage
        log = read_log(storage, header, path)
        if log is not None:
            if storage.writable:
                replay(storage, *log)
                headers.update(log_guid=NO_GUID)
            else:
                metadata = Replayed(storage, *log)
        parameters = read_parameters(metadata, read_regions(metadata, path), path)
        name, values, parent = None, {}, None
        if parameters.has_parent:
            values = read_locator(parameters.locator, path)
            name = parent_name(values, path)
            parent = source.open_backing(name, self.name)
        try:
            if parent is not None and source.purpose != INFO:
                check_parent(values, parent, path)
            return VhdxImage(
                source, VhdxMap(storage, metadata, headers, parameters, source.limits, parent), name
            )
        except BaseException:
            if parent is not None:
                parent.abandon()
            raise

    def create(self, new: NewImage) -> Image:
        from . import create

        return create.create(new, self.disk_size(new.options["size"], new.options))

    def main_file_size(self, options: dict[str, Any], size: int) -> int:
        from . import create

        return create.full_size(self.disk_size(size, options), options)

    def named_files(self, read: Callable[[int, int], bytes]) -> list[tuple[str, str]]:
        storage = HeaderReader(read)
        read_headers(storage, "")
        parameters = read_parameters(storage, read_regions(storage, ""), "")
        if not parameters.has_parent:
            return []
        return [(BACKING_FILE, parent_name(read_locator(parameters.locator, ""), ""))]


DRIVER = VhdxDriver()
