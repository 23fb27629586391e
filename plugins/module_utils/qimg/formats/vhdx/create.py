# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Making a new VHDX, in the layout that QEMU gives it."""
from __future__ import annotations

import os
import struct

from ...errors import OptionError
from ...limits import MIB, SECTOR
from ...sizes import ceil_div, round_up
from ..table_runs import progression
from .blocks import Headers, VhdxMap
from .image import VhdxImage
from .layout import (
    DISK_ID,
    DISK_SIZE,
    ENTRY_BYTES,
    FILE_PARAMETERS,
    FIXED_FLAG,
    HEADER_PLACES,
    ITEM,
    LOGICAL_SECTOR,
    MAX_BLOCK,
    MAX_BYTES,
    MAX_LOG_BYTES,
    MIN_BLOCK,
    NO_GUID,
    PHYSICAL_SECTOR,
    PRESENT,
    REGION_BYTES,
    REGION_PLACES,
    REQUIRED,
    SIGNATURE,
    ZEROED,
    Header,
    Parameters,
    bat_entries,
    chunk_blocks,
    region_table,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from typing import Any

    from ...storage.base import Storage
    from ..driver import NewImage

_CREATOR = "qimg".encode("utf-16-le")
#: Blocks of that size for disks up to that size, and for larger ones.
_BLOCK_SIZES = ((1 << 30, 8 * MIB), (100 << 30, 16 * MIB), (32 << 40, 32 * MIB))
_LARGEST_DISKS = 64 * MIB
#: Metadata, and some room, lie between the table and the first block.
_BEHIND_TABLE = 5 * MIB
_IS_DISK, _IS_USER = 2, 1
#: Entries that are written at once.
_PIECE = 1 << 16


def block_size_of(options: dict[str, Any], size: int) -> int:
    """The block size of a new image; errors as :func:`create` has them."""
    block = options.get("block_size") or 0
    if not block:
        return next((block for most, block in _BLOCK_SIZES if size <= most), _LARGEST_DISKS)
    block = min(max(round_up(block, MIB), MIN_BLOCK), MAX_BLOCK)
    if block & (block - 1):
        raise OptionError("Block size must be a power of two", remedy="choose a power of two from 1M to 256M")
    return int(block)


def is_fixed(options: dict[str, Any]) -> bool:
    """Whether all blocks are to be allocated."""
    subformat = options.get("subformat") or "dynamic"
    if subformat not in ("dynamic", "fixed"):
        raise OptionError(
            "Parameter 'subformat' does not accept value '%s'" % subformat,
            remedy="the subformats are dynamic and fixed",
        )
    return bool(subformat == "fixed")


def full_size(size: int, options: dict[str, Any]) -> int:
    """The bytes of a file with all blocks."""
    block = block_size_of(options, size)
    return _data_start(size, block, _log_length(options)) + ceil_div(size, block) * block


def create(new: NewImage, size: int) -> VhdxImage:
    """An empty image.

    :param size: guest bytes, a multiple of 512
    :raises OptionError: an option is out of its range, or the disk is too large
    """
    options = new.options
    if size > MAX_BYTES:
        raise OptionError("Image size too large; max of 64TB", remedy="choose a smaller disk, or another format")
    block, fixed, log_length = block_size_of(options, size), is_fixed(options), _log_length(options)
    start = _data_start(size, block, log_length)
    bat_offset = MIB + log_length
    bat_length = _bat_length(size, block)
    metadata = bat_offset + bat_length
    flags = FIXED_FLAG if fixed else 0
    parameters = Parameters(
        block, flags, size, SECTOR, bat_offset, bat_length, metadata + REGION_BYTES + 8, b"", metadata
    )
    end = start + parameters.blocks * block if fixed else start
    storage = new.main(end)
    storage.write(0, SIGNATURE + _CREATOR)
    sequence = int.from_bytes(os.urandom(4), "little")
    header = Header(sequence, os.urandom(16), os.urandom(16), NO_GUID, 0, 1, log_length, MIB)
    for place in HEADER_PLACES:
        storage.write(place, header.pack())
        header = header._replace(sequence=header.sequence + 1)
    header = header._replace(sequence=header.sequence - 1)
    regions = region_table(bat_offset, bat_length, metadata)
    for place in REGION_PLACES:
        storage.write(place, regions)
    if storage.is_device:
        storage.write_zeroes(MIB, start - MIB)
    storage.write(metadata, _metadata(block, flags, size))
    if not storage.is_device:
        storage.truncate(end)
    _write_entries(storage, parameters, start, options.get("block_state_zero", True))
    return VhdxImage(
        new,
        VhdxMap(storage, storage, Headers(storage, header, 1), parameters, new.limits, None, is_new=True),
        is_new=True,
    )


def _log_length(options: dict[str, Any]) -> int:
    length = options.get("log_size")
    length = MIB if length is None else round_up(max(length, MIB), MIB)
    if length > MAX_LOG_BYTES:
        raise OptionError("Log size must be smaller than 64 MB", remedy="a log of 1M is enough")
    return int(length)


def _bat_length(size: int, block: int) -> int:
    """The bytes of the region that holds the table."""
    entries = bat_entries(ceil_div(size, block), chunk_blocks(block), False)
    return max(MIB, round_up(entries * ENTRY_BYTES, MIB))


def _data_start(size: int, block: int, log_length: int) -> int:
    return MIB + log_length + _bat_length(size, block) + _BEHIND_TABLE


def _metadata(block: int, flags: int, size: int) -> bytes:
    """The metadata table and its items."""
    items = (
        (FILE_PARAMETERS, struct.pack("<II", block, flags), REQUIRED),
        (DISK_SIZE, struct.pack("<Q", size), REQUIRED | _IS_DISK),
        (DISK_ID, os.urandom(16), REQUIRED | _IS_DISK),
        (LOGICAL_SECTOR, struct.pack("<I", SECTOR), REQUIRED | _IS_DISK),
        (PHYSICAL_SECTOR, struct.pack("<I", SECTOR), REQUIRED | _IS_DISK),
    )
    table, values = struct.pack("<8sHH20x", b"metadata", 0, len(items)), b""
    for guid, value, item_flags in items:
        table += ITEM.pack(guid, REGION_BYTES + len(values), len(value), item_flags)
        values += value
    return table.ljust(REGION_BYTES, b"\0") + values


def _write_entries(storage: Storage, parameters: Parameters, start: int, is_zero: bool) -> None:
    """Write the entries of new payload blocks; those of bitmap blocks are zero."""
    from array import array

    if not parameters.is_fixed and not is_zero:
        return
    chunk = parameters.chunk
    for first in range(0, parameters.blocks, chunk):
        count = min(chunk, parameters.blocks - first)
        if parameters.is_fixed:
            entries = progression(
                start + first * parameters.block_size | PRESENT, count, parameters.block_size, "Q"
            )
        else:
            entries = array("Q", [ZEROED]) * count
        place = parameters.bat_offset + first // chunk * (chunk + 1) * ENTRY_BYTES
        storage.write(place, _packed(entries))


def _packed(entries: array[int]) -> bytes:
    import sys

    if sys.byteorder == "big":
        entries.byteswap()
    return entries.tobytes()
