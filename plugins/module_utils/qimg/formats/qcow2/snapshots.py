# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The snapshot table (section "Snapshots" of the specification)."""
from __future__ import annotations

import struct
from collections import namedtuple

from ...errors import FormatError
from ...limits import MIB
from ..capabilities import SnapshotInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...storage.base import Storage

_ENTRY = struct.Struct(">QIHHIIQII")
_MAX_TABLE_BYTES = 64 * MIB
_MAX_EXTRA_BYTES = 1024
#: VM state size, disk size, instruction count: the extra data that QEMU writes.
_EXTRA = struct.Struct(">QQQ")
#: Version 3 images must have at least this much extra data.
MIN_EXTRA_BYTES = 16
#: What the instruction count says when there is none.
_NO_ICOUNT = (1 << 64) - 1


class Snapshot(
    namedtuple(
        "Snapshot",
        [
            "l1_table_offset",
            "l1_size",
            "id",
            "name",
            "date_sec",
            "date_nsec",
            "vm_clock_nsec",
            "vm_state_size",
            "disk_size",
            "icount",
            "unknown_extra",
            "extra_length",
        ],
    )
):
    """One entry of the snapshot table.

    ``id`` and ``name`` are bytes as stored; ``disk_size`` is in bytes; ``icount`` is ``None`` if unknown;
    ``unknown_extra`` is what follows the extra data that we know; ``extra_length`` is how much extra data the file had.
    """

    __slots__ = ()

    def completed(self) -> Snapshot:
        """The entry with all extra data that version 3 demands, as :func:`pack_table` writes it."""
        return self._replace(extra_length=_EXTRA.size + len(self.unknown_extra))

    def info(self) -> SnapshotInfo:
        """The entry without what only qcow2 knows."""
        return SnapshotInfo(
            self.id.decode("utf-8", "surrogateescape"),
            self.name.decode("utf-8", "surrogateescape"),
            self.vm_state_size,
            self.date_sec,
            self.date_nsec,
            self.vm_clock_nsec,
            self.icount,
            self.disk_size,
        )


def read_table(storage: Storage, offset: int, count: int, size: int) -> tuple[list[Snapshot], int]:
    """The snapshot table.

    :param size: present size of the guest disk, for entries that do not say theirs
    :returns: the entries and the length of the table in bytes
    :raises FormatError: an entry is too large
    """
    entries = []
    position = offset
    for index in range(count):
        position = offset + -(-(position - offset) // 8) * 8
        fixed = _ENTRY.unpack(storage.read(position, _ENTRY.size))
        l1_offset, l1_size, id_length, name_length, seconds, nanoseconds, clock, state_size, extra_length = fixed
        position += _ENTRY.size
        if extra_length > _MAX_EXTRA_BYTES:
            raise FormatError(
                "Too much extra metadata in snapshot table entry %d" % index,
                path=storage.name,
                format="qcow2",
                hint="You can force-remove this extra metadata by updating the image via qemu-img check -r all",
            )
        extra = storage.read(position, extra_length)
        position += extra_length
        names = storage.read(position, id_length + name_length)
        position += id_length + name_length
        if position - offset > _MAX_TABLE_BYTES:
            raise FormatError("Snapshot table is too large", path=storage.name, format="qcow2")
        disk_size, icount = size, None
        if extra_length >= 8:
            state_size = int.from_bytes(extra[:8], "big")
        if extra_length >= 16:
            disk_size = int.from_bytes(extra[8:16], "big")
        if extra_length >= 24:
            value = int.from_bytes(extra[16:24], "big")
            icount = None if value == _NO_ICOUNT else value
        entries.append(
            Snapshot(
                l1_offset,
                l1_size,
                names[:id_length],
                names[id_length:],
                seconds,
                nanoseconds,
                clock,
                state_size,
                disk_size,
                icount,
                extra[_EXTRA.size :],
                extra_length,
            )
        )
    return entries, position - offset


def pack_table(entries: list[Snapshot]) -> bytes:
    """The table as it is written: every entry with complete extra data, 8-byte aligned."""
    packed = bytearray()
    for entry in entries:
        packed += bytes(-len(packed) % 8)
        extra = _EXTRA.pack(
            entry.vm_state_size, entry.disk_size, _NO_ICOUNT if entry.icount is None else entry.icount
        )
        extra += entry.unknown_extra
        packed += _ENTRY.pack(
            entry.l1_table_offset,
            entry.l1_size,
            len(entry.id),
            len(entry.name),
            entry.date_sec,
            entry.date_nsec,
            entry.vm_clock_nsec,
            entry.vm_state_size if entry.vm_state_size < 1 << 32 else 0,
            len(extra),
        )
        packed += extra + entry.id + entry.name
    return bytes(packed)


def next_id(entries: list[Snapshot]) -> bytes:
    """One more than the largest numeric id, as QEMU picks ids."""
    largest = 0
    for entry in entries:
        digits = entry.id.decode("latin-1").strip()
        if digits.isdigit():
            largest = max(largest, int(digits))
    return b"%d" % (largest + 1)
