# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The driver of QED."""
from __future__ import annotations

from ...errors import OptionError
from ...limits import SECTOR
from ...sizes import ceil_div
from ..driver import BACKING_FILE, Driver
from ..header_reader import HeaderReader
from ..options import SIZE, STR, CreateOption
from .image import QedImage
from .layout import (
    BACKING,
    DEFAULT_CLUSTER,
    DEFAULT_TABLE,
    MAX_BACKING_NAME,
    RAW_BACKING,
    backing_name,
    new_header,
    read_header,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..base import Image
    from ..driver import ImageSource, NewImage
    from .layout import Header


class QedDriver(Driver):
    """QED, with backing files."""

    name = "qed"
    options = (
        CreateOption("size", SIZE, "Virtual disk size"),
        CreateOption("backing_file", STR, "File name of a base image"),
        CreateOption("backing_fmt", STR, "Image format of the base image"),
        CreateOption("cluster_size", SIZE, "Cluster size (in bytes)", default=DEFAULT_CLUSTER),
        CreateOption("table_size", SIZE, "L1/L2 table size (in clusters)"),
    )

    def open(self, source: ImageSource) -> Image:
        """Open a QED image, and its backing file.

        :raises FormatError: it is not valid
        :raises ReferenceDeniedError: its backing file may not be opened
        """
        header = read_header(source.storage, source.filename)
        name = backing_name(source.storage, header)
        backing = source.open_backing(name, "raw" if name and header.features & RAW_BACKING else None)
        try:
            return QedImage(source, source.storage, header, name, backing)
        except BaseException:
            if backing is not None:
                backing.abandon()
            raise

    def create(self, new: NewImage) -> Image:
        header = _header(self.disk_size(new.options["size"], new.options), new.options)
        end = header.l1_offset + header.table_clusters * header.cluster
        name = new.options.get("backing_file")
        stored = (name or "").encode("utf-8", "surrogateescape")
        if len(stored) > MAX_BACKING_NAME:
            raise OptionError("Backing file name too long", path=new.filename)
        if name:
            raw = RAW_BACKING if new.options.get("backing_fmt") == "raw" else 0
            header = header._replace(
                features=BACKING | raw, name_offset=header.free_name_place(), name_length=len(stored)
            )
        storage = new.main(end)
        storage.write(0, header.pack().ljust(SECTOR, b"\0"))
        if stored:
            storage.write(header.name_offset, stored)
        if storage.is_device:
            storage.write_zeroes(header.l1_offset, end - header.l1_offset)
        else:
            storage.truncate(end)
        return QedImage(new, storage, header, name, new.backing, is_new=True)

    def main_file_size(self, options: dict[str, Any], size: int) -> int:
        size = self.disk_size(size, options)
        header = _header(size, options)
        tables = 1 + ceil_div(ceil_div(size, header.cluster), header.table_entries)
        data = ceil_div(size, header.cluster)
        return (1 + tables * header.table_clusters + data) * header.cluster

    def named_files(self, read: Callable[[int, int], bytes]) -> list[tuple[str, str]]:
        storage = HeaderReader(read)
        name = backing_name(storage, read_header(storage, ""))
        return [(BACKING_FILE, name)] if name else []


def _header(size: int, options: dict[str, Any]) -> Header:
    cluster = options.get("cluster_size") or DEFAULT_CLUSTER
    return new_header(size, cluster, options.get("table_size") or DEFAULT_TABLE)


DRIVER = QedDriver()
