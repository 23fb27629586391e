# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The log of a VHDX file (MS-VHDX, section 2.3): replaying it, and writing to it.

Metadata are changed through the log only.  An entry holds whole pages of 4096 bytes, and where they belong; it is on
the medium before the header says that the log is in use, and the pages are written to their places after that.  Whoever
opens the file replays what the header says is in the log, so that a change is made wholly or not at all.
"""
from __future__ import annotations

import struct

from ...errors import UnsupportedOperationError
from ...storage.base import Storage
from .crc32c import crc32c, crc32c_without
from .layout import NO_GUID, PAGE, Header, corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...storage.base import Buffer
    from ...storage.locks import LockIntent

    #: Pages by their numbers in the file.
    Pages = dict[int, bytes]

_ENTRY = struct.Struct("<4sIIIQII16sQQ")
_DESCRIPTOR = struct.Struct("<4s4sQQQ")
_DATA = struct.Struct("<4sI4084sI")
#: Zeroes of an entry are pages as well: a log of this many bytes says no more.
_MOST_PAGES = 1 << 14


class _Entry:
    """One valid entry: its sequence number, where the oldest one that is needed begins, and what it changes."""

    __slots__ = ("sequence", "tail", "length", "flushed", "last", "pages")

    def __init__(self, sequence: int, tail: int, length: int, flushed: int, last: int, pages: Pages) -> None:
        self.sequence = sequence
        self.tail = tail
        self.length = length
        self.flushed = flushed
        self.last = last
        self.pages = pages


def read_log(storage: Storage, header: Header, path: str) -> tuple[Pages, int] | None:
    """What the log changes, and how long the file must be at least; ``None``: the log is not in use.

    :raises CorruptImageError: it is in use and has no valid entries, or the file was cut off since
    """
    if header.log_guid == NO_GUID:
        return None
    log = storage.read(header.log_offset, header.log_length)
    entries = _entries(log, header.log_guid)
    best: list[_Entry] = []
    for place in entries:
        run = _sequence(entries, place, len(log))
        if run and run[-1].tail == place and (not best or run[-1].sequence > best[-1].sequence):
            best = run
    if not best:
        raise corrupt(path, "The log is in use, and has no valid entries")
    if best[-1].flushed > storage.size:
        raise corrupt(path, "The file has %d bytes, and its log says that it had %d" % (storage.size, best[-1].flushed))
    pages: Pages = {}
    for entry in best:
        pages.update(entry.pages)
        if len(pages) > _MOST_PAGES:
            raise corrupt(path, "The log changes more than %d pages" % _MOST_PAGES)
    return pages, best[-1].last


def _entries(log: bytes, guid: bytes) -> dict[int, _Entry]:
    """The valid entries, by the offsets at which they begin."""
    found = {}
    for place in range(0, len(log), PAGE):
        if log[place : place + 4] == b"loge" and log[place + 32 : place + 48] == guid:
            entry = _entry(log, place)
            if entry is not None:
                found[place] = entry
    return found


def _entry(log: bytes, place: int) -> _Entry | None:
    checksum, length, tail, sequence, count, _reserved, _guid, flushed, last = _ENTRY.unpack_from(log, place)[1:]
    head = -(-(_ENTRY.size + count * _DESCRIPTOR.size) // PAGE) * PAGE
    if not sequence or length % PAGE or not head <= length <= len(log) or tail % PAGE or tail >= len(log):
        return None
    data = (log[place:] + log[:place])[:length]
    if checksum != crc32c_without(data, 4):
        return None
    pages: Pages = {}
    position = head
    zeroes = 0
    for index in range(count):
        signature, trailing, leading, offset, number = _DESCRIPTOR.unpack_from(data, _ENTRY.size + index * 32)
        if number != sequence or offset % PAGE:
            return None
        if signature == b"zero":
            zeroes += leading // PAGE
            if leading % PAGE or zeroes > _MOST_PAGES:
                return None
            pages.update((page, bytes(PAGE)) for page in range(offset // PAGE, (offset + leading) // PAGE))
            continue
        if signature != b"desc" or position + PAGE > length:
            return None
        kind, high, middle, low = _DATA.unpack_from(data, position)
        if kind != b"data" or high << 32 | low != sequence:
            return None
        pages[offset // PAGE] = leading.to_bytes(8, "little") + middle + trailing
        position += PAGE
    return _Entry(sequence, tail, length, flushed, last, pages)


def _sequence(entries: dict[int, _Entry], place: int, size: int) -> list[_Entry]:
    """The entries that follow each other from one on."""
    run: list[_Entry] = []
    used = 0
    while place in entries:
        entry = entries[place]
        used += entry.length
        if used > size or (run and entry.sequence != run[-1].sequence + 1):
            break
        run.append(entry)
        place = (place + entry.length) % size
    return run


def pack_entry(sequence: int, guid: bytes, pages: Pages, file_size: int) -> bytes:
    """The bytes of an entry that stands alone at the beginning of the log.

    :param file_size: how long the file is, all of it on the medium
    """
    descriptors, data = b"", b""
    for number, page in sorted(pages.items()):
        descriptors += _DESCRIPTOR.pack(
            b"desc", page[-4:], int.from_bytes(page[:8], "little"), number * PAGE, sequence
        )
        data += _DATA.pack(b"data", sequence >> 32, page[8:-4], sequence & 0xFFFFFFFF)
    head = -(-(_ENTRY.size + len(descriptors)) // PAGE) * PAGE
    fields = (0, sequence, len(pages), 0, guid, file_size, file_size)
    body = (_ENTRY.pack(b"loge", 0, head + len(data), *fields) + descriptors).ljust(head, b"\0") + data
    return body[:4] + struct.pack("<I", crc32c(body)) + body[8:]


def most_pages(log_length: int) -> int:
    """How many pages an entry of a log can change."""
    pages = log_length // PAGE - 1
    while pages + -(-(_ENTRY.size + pages * _DESCRIPTOR.size) // PAGE) > log_length // PAGE:
        pages -= 1
    return pages


class Replayed(Storage):
    """A file as its log leaves it, for whoever may not change it.

    :param storage: the file
    :param pages: what the log changes
    :param size: how long the file must be at least
    """

    writable = False

    def __init__(self, storage: Storage, pages: Pages, size: int) -> None:
        self._storage = storage
        self._pages = pages
        self._size = size
        self.name = storage.name

    @property
    def size(self) -> int:
        return max(self._storage.size, self._size)

    def read_into(self, offset: int, buffer: Buffer) -> None:
        view = memoryview(buffer)
        self._storage.read_into(offset, view)
        for number in range(offset // PAGE, -(-(offset + len(view)) // PAGE)):
            page = self._pages.get(number)
            if page is not None:
                low, high = max(offset, number * PAGE), min(offset + len(view), (number + 1) * PAGE)
                view[low - offset : high - offset] = page[low - number * PAGE : high - number * PAGE]

    def write(self, offset: int, data: Buffer) -> None:
        raise self._refusal()

    def flush(self) -> None:
        """There is nothing to be kept."""

    def truncate(self, size: int) -> None:
        raise self._refusal()

    def lock(self, intent: LockIntent) -> None:
        """The file itself is locked."""

    def close(self) -> None:
        """The file itself is closed by who opened it."""

    def _refusal(self) -> UnsupportedOperationError:
        return UnsupportedOperationError("The image is open for reading only", path=self.name)


def replay(storage: Storage, pages: Pages, size: int) -> None:
    """Bring what the log changes to its places, and wait until it is on the medium."""
    if not storage.is_device and storage.size < size:
        storage.truncate(size)
    for number, page in sorted(pages.items()):
        storage.write(number * PAGE, page)
    storage.flush()
