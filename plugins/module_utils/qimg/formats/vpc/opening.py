# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Reading the footer and the header of a VHD file, and checking all that is in them."""
from __future__ import annotations

import errno

from ...errors import FormatError, NotThisFormatError, UnsupportedFeatureError
from ...limits import SECTOR
from .layout import (
    DIFFERENCING,
    DYNAMIC,
    ENTRY_BYTES,
    FIXED,
    FOOTER_BYTES,
    HEADER_BYTES,
    HEADER_COOKIE,
    MAX_BYTES,
    MAX_ENTRIES,
    Footer,
    Header,
    corrupt,
    is_intact_footer,
    parse_footer,
    parse_header,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...storage.base import Storage

#: The smallest and the largest block: a power of two in between.
_MAX_BLOCK = 1 << 31


def read_footer(storage: Storage, path: str) -> Footer:
    """The footer of a file: of a dynamic disk, the copy at the beginning, as QEMU does.

    :raises FormatError: there is none, in QEMU's words
    """
    data = storage.read(0, FOOTER_BYTES)
    footer = parse_footer(data)
    if footer is None:
        if storage.size < FOOTER_BYTES:
            raise NotThisFormatError("File too small for a VHD header", path=path, format="vpc")
        data = storage.read(storage.size - FOOTER_BYTES, FOOTER_BYTES)
        footer = parse_footer(data)
        if footer is None:
            raise NotThisFormatError("invalid VPC image", path=path, format="vpc")
        footer = footer._replace(disk_type=FIXED)
    elif footer.disk_type not in (DYNAMIC, DIFFERENCING):
        raise UnsupportedFeatureError(
            "The footer at its beginning says disk type %d, which is not one that has it there" % footer.disk_type,
            path=path,
            format="vpc",
            remedy="if the content of a fixed disk begins so, open it as raw, with the size that its last sector says",
        )
    if not is_intact_footer(data):
        raise corrupt(path, "Incorrect header checksum", "restore the image from a backup")
    return footer


def check_size(size: int, path: str) -> None:
    """Refuse a disk that is larger than any.

    :raises FormatError: in the system's words, as QEMU does
    """
    if size > MAX_BYTES:
        raise FormatError("File too large", path=path, format="vpc", errno=errno.EFBIG)


def read_header(storage: Storage, path: str, footer: Footer, size: int) -> Header:
    """The header of a dynamic disk of ``size`` bytes, whose table lies inside the file.

    :raises FormatError: it is not valid, in QEMU's words where it has some
    """
    offset = footer.header_offset
    data = storage.read(offset, HEADER_BYTES) if offset <= storage.size else b""
    if not data.startswith(HEADER_COOKIE):
        raise corrupt(path, "Invalid header magic", "restore the image from a backup")
    header = parse_header(data)
    block = header.block_size
    if block & (block - 1) or not SECTOR <= block <= _MAX_BLOCK:
        raise corrupt(path, "Invalid block size %d" % block, "restore the image from a backup")
    if header.max_entries > MAX_ENTRIES:
        signed = header.max_entries - (header.max_entries >> 31 << 32)
        raise corrupt(path, "Max Table Entries too large (%d)" % signed, "restore the image from a backup")
    if header.max_entries * block < size:
        raise corrupt(path, "Page table too small", "restore the image from a backup")
    if header.table_offset % SECTOR or header.table_offset < FOOTER_BYTES:
        raise corrupt(path, "The block allocation table is at offset %#x" % header.table_offset)
    if header.table_offset + header.max_entries * ENTRY_BYTES > storage.size:
        raise truncated(path)
    return header


def truncated(path: str) -> FormatError:
    """The error for a file that ends before its blocks or its table do."""
    return corrupt(
        path, "block-vpc: free_data_block_offset points after the end of file. The image has been truncated."
    )
