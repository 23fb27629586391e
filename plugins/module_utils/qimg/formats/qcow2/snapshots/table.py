# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The snapshot table (section "Snapshots" of the specification)."""
from __future__ import annotations

import struct
from collections import namedtuple

from ....errors import FormatError, ImageError
from ....limits import MIB
from ....sizes import round_up
from ...capabilities import SnapshotInfo
from ..layout import MAX_SNAPSHOTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ....storage.base import Storage

_ENTRY = struct.Struct(">QIHHIIQII")
_MAX_TABLE_BYTES = 64 * MIB
_MAX_EXTRA_BYTES = 1024
#: So much of a table may lie beyond the end of its file, where everything is zero.
_MAX_OVERHANG = 1 << 18
#: What an error about too many snapshots ends with.
HINT_OVERHANGING = "You can force-remove all %d overhanging snapshots with qemu-img check -r all"
#: VM state size, disk size, instruction count: the extra data that QEMU writes.
_EXTRA = struct.Struct(">QQQ")
#: Version 3 images must have at least this much extra data.
MIN_EXTRA_BYTES = 16
#: What the instruction count says when there is none.
_NO_ICOUNT = (1 << 64) - 1
#: QEMU tells no longer ids and names, and nothing after a zero byte.
_SHOWN_ID_BYTES, _SHOWN_NAME_BYTES = 127, 255


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
            _shown(self.id, _SHOWN_ID_BYTES),
            _shown(self.name, _SHOWN_NAME_BYTES),
            self.vm_state_size,
            self.date_sec,
            self.date_nsec,
            self.vm_clock_nsec,
            # As QEMU shows it: with a sign.
            self.icount if self.icount is None or self.icount < 1 << 63 else self.icount - (1 << 64),
            self.disk_size,
        )


def read_table(storage: Storage, offset: int, count: int, size: int) -> tuple[list[Snapshot], int]:
    """The snapshot table.

    :param count: entries; at most ``MAX_SNAPSHOTS``
    :param size: present size of the guest disk, for entries that do not say theirs
    :returns: the entries and the length of the table in bytes
    :raises FormatError: an entry, or the table, is too large
    """
    if offset + count * _ENTRY.size > storage.size + _MAX_OVERHANG:
        raise FormatError(
            "Snapshot table has %d entries, more than the file has room for" % count,
            path=storage.name,
            format="qcow2",
            remedy="the file has been truncated, or was made to cause harm: restore it from a backup",
        )
    entries: list[Snapshot] = []
    end = offset
    for index in range(count):
        entry, end = _read_entry(storage, offset + round_up(end - offset, 8), size)
        if entry.extra_length > _MAX_EXTRA_BYTES:
            raise FormatError(
                "Too much extra metadata in snapshot table entry %d" % index,
                path=storage.name,
                format="qcow2",
                hint="You can force-remove this extra metadata with qemu-img check -r all",
            )
        if end - offset > _MAX_TABLE_BYTES:
            raise FormatError(
                "Snapshot table is too big",
                path=storage.name,
                format="qcow2",
                hint=HINT_OVERHANGING % (count - index),
            )
        entries.append(entry)
    return entries, end - offset


def salvage_table(
    storage: Storage, offset: int, count: int, size: int, report: Callable[[str], None]
) -> tuple[list[Snapshot], int, int]:
    """As :func:`read_table`, but what is too much is left out.

    :param report: called with what qemu-img says of it
    :returns: the entries, the length that the table has in the file up to the last of them, and how many entries were
        left out or cut
    """
    dropped = max(0, count - MAX_SNAPSHOTS)
    if dropped:
        report("Discarding %d overhanging snapshots" % dropped)
    entries: list[Snapshot] = []
    length = packed = 0
    for index in range(count - dropped):
        entry, end = _read_entry(storage, offset + round_up(length, 8), size)
        if entry.extra_length > _MAX_EXTRA_BYTES:
            report(
                "Discarding too much extra metadata in snapshot table entry %d (%d > %d)"
                % (index, entry.extra_length, _MAX_EXTRA_BYTES)
            )
            dropped += 1
        packed = round_up(packed, 8) + len(pack_table([entry]))
        if packed > _MAX_TABLE_BYTES:
            overhang = min(count, MAX_SNAPSHOTS) - index
            report("Discarding %d overhanging snapshots (snapshot table is too big)" % overhang)
            dropped += overhang
            break
        length = end - offset
        entries.append(entry)
    return entries, length, dropped


def _read_entry(storage: Storage, position: int, size: int) -> tuple[Snapshot, int]:
    """The entry at ``position``, with no more unknown extra data than it may have, and the offset of its end."""
    fixed = _ENTRY.unpack(storage.read(position, _ENTRY.size))
    l1_offset, l1_size, id_length, name_length, seconds, nanoseconds, clock, state_size, extra_length = fixed
    position += _ENTRY.size
    extra = storage.read(position, min(extra_length, _MAX_EXTRA_BYTES))
    position += extra_length
    names = storage.read(position, id_length + name_length)
    position += id_length + name_length
    disk_size, icount = size, None
    if extra_length >= 8:
        state_size = int.from_bytes(extra[:8], "big")
    if extra_length >= 16:
        disk_size = int.from_bytes(extra[8:16], "big")
    if extra_length >= 24:
        value = int.from_bytes(extra[16:24], "big")
        icount = None if value == _NO_ICOUNT else value
    return (
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
        ),
        position,
    )


def pack_table(entries: list[Snapshot]) -> bytes:
    """The table as it is written: every entry with complete extra data, 8-byte aligned.

    :raises ImageError: nobody could read it again, because it is too large
    """
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
    if len(entries) > MAX_SNAPSHOTS or len(packed) > _MAX_TABLE_BYTES:
        raise ImageError(
            "The snapshot table would be too large: it may have %d entries in %d bytes"
            % (MAX_SNAPSHOTS, _MAX_TABLE_BYTES),
            format="qcow2",
            remedy="delete some snapshots first",
        )
    return bytes(packed)


def _shown(text: bytes, most: int) -> str:
    return text.partition(b"\0")[0][:most].decode("utf-8", "surrogateescape")


def next_id(entries: list[Snapshot]) -> bytes:
    """One more than the largest number that an id begins with, as QEMU picks ids: in 64 bits, after which comes 0."""
    return b"%d" % ((max(map(_number, entries), default=0) + 1) % (1 << 64))


def _number(entry: Snapshot) -> int:
    """What an id begins with, as C reads an unsigned number of 64 bits."""
    largest = (1 << 64) - 1
    text = entry.id.lstrip(b" \t\n\v\f\r")
    is_negative = text.startswith(b"-")
    if is_negative or text.startswith(b"+"):
        text = text[1:]
    digits = text[: len(text) - len(text.lstrip(b"0123456789"))]
    # Longer ones are too large in any case.
    number = min(largest, int(digits[:_SHOWN_ID_BYTES] or b"0"))
    return -number % (1 << 64) if is_negative and number < largest else number
