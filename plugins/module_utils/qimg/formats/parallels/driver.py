# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The driver of Parallels images."""
from __future__ import annotations

from ...limits import SECTOR
from ...sizes import round_up
from ..driver import Driver
from ..options import SIZE, CreateOption
from .image import ParallelsImage
from .layout import DEFAULT_CLUSTER, new_header, read_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..base import Image
    from ..driver import ImageSource, NewImage


class ParallelsDriver(Driver):
    """Expandable Parallels images of both kinds."""

    name = "parallels"
    options = (
        CreateOption("size", SIZE, "Virtual disk size"),
        CreateOption("cluster_size", SIZE, "Parallels image cluster size", default=DEFAULT_CLUSTER),
    )

    def open(self, source: ImageSource) -> Image:
        """Open a Parallels image.

        :raises FormatError: it is not valid
        """
        return ParallelsImage(source, source.storage, read_header(source.storage, source.filename))

    def create(self, new: NewImage) -> Image:
        header = new_header(self.disk_size(new.options["size"], new.options), _cluster(new.options))
        storage = new.main(header.data_start)
        storage.write(0, header.pack().ljust(SECTOR, b"\0"))
        if storage.is_device:
            storage.write_zeroes(SECTOR, header.data_start - SECTOR)
        else:
            storage.truncate(header.data_start)
        return ParallelsImage(new, storage, header, is_new=True)

    def main_file_size(self, options: dict[str, Any], size: int) -> int:
        header = new_header(self.disk_size(size, options), _cluster(options))
        return header.data_start + header.entries * header.cluster


def _cluster(options: dict[str, Any]) -> int:
    return max(SECTOR, round_up(options.get("cluster_size") or DEFAULT_CLUSTER, SECTOR))


DRIVER = ParallelsDriver()
