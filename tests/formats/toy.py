# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small format, whole or with one defect, that shows what the contract of formats catches.

Layout, little endian: ``TOY!``, block count (4), guest size (8), length (2) and text of the name of a further file; at
512 one 4-byte entry for each block of 4096 guest bytes: its place in the file in blocks, 0 for none.
"""
from __future__ import annotations

import struct

from qimg.errors import CorruptImageError, OptionError
from qimg.formats.base import ABSENT, DATA, Extent, Image, ImageFile
from qimg.formats.capabilities import Checkable, CheckResult, Resizable
from qimg.formats.driver import INFO, Driver, ImageSource, NewImage
from qimg.formats.options import SIZE, STR, CreateOption
from qimg.sizes import ceil_div, round_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qimg.formats.base import Origin
    from qimg.storage.base import Storage

BLOCK = 4096
TABLE = 512
MOST_BLOCKS = 1 << 16

#: What can be wrong with the format.
WRONG_MAP, LOST_WRITE, UNCHECKED_COUNT, UNPOLICED_CHILD, NOT_ATOMIC = (
    "wrong map", "lost write", "unchecked count", "unpoliced child", "not atomic",
)  # fmt: skip


class ToyImage(Image, Resizable, Checkable):
    def __init__(
        self, origin: Origin, storage: Storage, size: int, name: str, child: Storage | None, defect: str
    ) -> None:
        count = ceil_div(size, BLOCK)
        self.size = size
        self.cluster_size = BLOCK
        self._name, self._child, self._defect = name, child, defect
        self._entries = list(struct.unpack("<%dI" % count, storage.read(TABLE, 4 * count)))
        self._changed = False
        self._next = max(ceil_div(TABLE + 4 * MOST_BLOCKS, BLOCK), ceil_div(storage.size, BLOCK))
        super().__init__(origin, storage)

    def files(self) -> list[ImageFile]:
        return [ImageFile("child", self._name, self._child, "child")] if self._name else []

    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        end = offset + length
        while offset < end:
            entry = self._entries[offset // BLOCK]
            piece = min(end, round_up(offset + 1, BLOCK)) - offset
            host = entry * BLOCK + offset % BLOCK + (512 if self._defect == WRONG_MAP else 0)
            place = (DATA, self.storage, host) if entry else (ABSENT, None, None)
            yield Extent(offset, piece, *place)
            offset += piece

    def _place(self, offset: int, length: int) -> list[tuple[Storage, int, int]]:
        places = []
        end = offset + length
        while offset < end:
            index = offset // BLOCK
            piece = min(end, round_up(offset + 1, BLOCK)) - offset
            if not self._entries[index]:
                self._entries[index] = self._next
                self._next += 1
                self._changed = True
                if self._defect == NOT_ATOMIC:
                    self._write_table()
                self.storage.write(self._entries[index] * BLOCK, bytes(BLOCK))
            places.append((self.storage, self._entries[index] * BLOCK + offset % BLOCK, piece))
            offset += piece
        return places

    def _write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        for run in list(self.runs(offset, length)):
            if run.kind == DATA:
                self.write(run.start, bytes(run.length))

    def _flush(self) -> None:
        self.storage.flush()
        if self._changed and self._defect != LOST_WRITE:
            self._write_table()
            self.storage.flush()
        self._changed = False

    def _write_table(self) -> None:
        self.storage.write(TABLE, struct.pack("<%dI" % len(self._entries), *self._entries))

    def resize(self, size: int, preallocation: str = "off") -> None:
        if size < self.size:
            raise OptionError("A toy cannot shrink", path=self.filename)
        self.flush()
        self.size = size
        self._entries += [0] * (ceil_div(size, BLOCK) - len(self._entries))
        # The new entries are zero in the file already: one write of a sector changes the size.
        self.storage.write(0, pack_header(size, self._name))
        self.storage.flush()

    def check(self, repair: str | None = None, report: Callable[[str], None] | None = None) -> CheckResult:
        result = CheckResult()
        used = [entry for entry in self._entries if entry]
        result.corruptions = len(used) - len(set(used))
        result.corruptions += sum(entry * BLOCK + BLOCK > self.storage.size for entry in used)
        return result


def pack_header(size: int, name: str) -> bytes:
    return struct.pack("<4sIQH", b"TOY!", ceil_div(size, BLOCK), size, len(name)) + name.encode()


class ToyDriver(Driver):
    name = "toy"
    options = (CreateOption("size", SIZE, ""), CreateOption("child", STR, ""))
    child_keys = ("child",)

    def __init__(self, defect: str = "") -> None:
        self._defect = defect

    def open(self, source: ImageSource) -> Image:
        storage = source.storage
        magic, count, size, length = struct.unpack("<4sIQH", storage.read(0, 18))
        if magic != b"TOY!" or length > 400:
            raise CorruptImageError("It is no toy", path=source.filename)
        if self._defect == UNCHECKED_COUNT:
            bytearray(min(8 * count, 1 << 28))
        if count != ceil_div(size, BLOCK) or count > MOST_BLOCKS:
            raise CorruptImageError("It has too many blocks", path=source.filename)
        name = storage.read(18, length).decode("utf-8", "surrogateescape")
        child: Storage | None = None
        if name and source.purpose != INFO:
            if self._defect == UNPOLICED_CHILD:
                from qimg.storage.local import LocalFile

                child = LocalFile.open(name)
            else:
                child = source.open_file("child", name, "child")
        image = ToyImage(source, storage, size, name, child, self._defect)
        for entry in image._entries:
            if entry and entry * BLOCK + BLOCK > storage.size:
                raise CorruptImageError("A block lies beyond the end of the file", path=source.filename)
        return image

    def create(self, new: NewImage) -> Image:
        size = self.disk_size(new.options["size"], new.options)
        storage = new.main()
        storage.write(0, pack_header(size, new.options.get("child", "")))
        storage.truncate(round_up(TABLE + 4 * MOST_BLOCKS, BLOCK))
        return ToyImage(new, storage, size, "", None, self._defect)
