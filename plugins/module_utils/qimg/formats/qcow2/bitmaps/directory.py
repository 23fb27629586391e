# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Persistent dirty bitmaps: the directory (section "Bitmaps" of the specification)."""
from __future__ import annotations

import struct

from ....errors import FormatError, OptionError
from ....intervals import IntervalSet
from ....limits import MIB
from ...bits import set_runs
from ...capabilities import BitmapInfo
from ..layout import Geometry, corrupt
from .bits import BitmapBits, entries_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ....storage.base import Storage
    from ..refcounts.allocator import Refcounts

_EXTENSION = struct.Struct(">IIQQ")
EXTENSION_BYTES = _EXTENSION.size
_ENTRY = struct.Struct(">QIIBBHI")
IN_USE = 1 << 0
AUTO = 1 << 1
_KNOWN_FLAGS = IN_USE | AUTO
_TYPE_DIRTY_TRACKING = 1

MAX_BITMAPS = 65535
_MAX_DIRECTORY_BYTES = 1024 * MAX_BITMAPS
MIN_GRANULARITY_BITS, MAX_GRANULARITY_BITS = 9, 31
MAX_NAME_BYTES = 1023
_MAX_DATA_BYTES = 512 * MIB
#: Bits and tables of all bitmaps together that are kept in memory.
_MEMORY_BYTES = 16 * MIB
#: What was written is remembered in units of 1 MiB, in case the bits do not reach the disk.
_RECORD_BITS = 20
#: Bits that become more bits than this (as a power of two) are set run by run, not as strings.
_MAX_DOUBLINGS = 5

#: The default granularity is the cluster size within these bounds.
_DEFAULT_GRANULARITY_RANGE = (4096, 65536)


def default_granularity(cluster_size: int) -> int:
    """Guest bytes per bit of a bitmap whose granularity nobody chose."""
    return max(_DEFAULT_GRANULARITY_RANGE[0], min(cluster_size, _DEFAULT_GRANULARITY_RANGE[1]))


class Bitmap:
    """One bitmap of the directory."""

    def __init__(self, name: bytes, granularity_bits: int, flags: int, bits: BitmapBits) -> None:
        self.name = name
        self.granularity_bits = granularity_bits
        #: Whether it records writes.
        self.enabled = bool(flags & AUTO)
        #: Whether a program died while the bits on disk were not up to date: nobody may trust them again.
        self.inconsistent = bool(flags & IN_USE)
        self.bits = bits

    @property
    def text(self) -> str:
        """The name for people."""
        return _text(self.name)

    @property
    def records_writes(self) -> bool:
        """Whether guest writes have to be marked in it."""
        return self.enabled and not self.inconsistent

    def info(self) -> BitmapInfo:
        """The bitmap without what only qcow2 knows."""
        return BitmapInfo(self.text, 1 << self.granularity_bits, self.enabled, self.inconsistent)

    def mark(self, offset: int, length: int) -> None:
        """Set the bits of a guest range."""
        self.bits.mark(offset >> self.granularity_bits, (offset + length - 1 >> self.granularity_bits) + 1)


class BitmapDirectory:
    """All bitmaps of an image, and where they are on disk.

    Changes are on disk after the transaction's commit.

    :param extension: the content of the bitmaps header extension; ``None``: there are no bitmaps
    :param size: guest bytes
    :raises FormatError: the directory is broken
    """

    def __init__(
        self, storage: Storage, geometry: Geometry, refcounts: Refcounts, extension: bytes | None, size: int
    ) -> None:
        self._storage = storage
        self._geometry = geometry
        self._refcounts = refcounts
        self._size = size
        self.offset = 0
        self.length = 0
        self._directory_changed = False
        #: Bytes that were loaded since all were let go of.
        self._in_memory = 0
        #: Names of the bitmaps that are on disk as being in use by us.
        self._guarded: frozenset[bytes] | None = None
        #: The same, kept until the bits are on disk.
        self._recording: frozenset[bytes] = frozenset()
        #: What was written under guard, in units of ``_RECORD_BITS``.
        self._recorded = IntervalSet()
        self.bitmaps: list[Bitmap] = []
        if extension is not None:
            self._load(extension)

    def _load(self, extension: bytes) -> None:
        count, self.length, self.offset = parse_extension(extension, self._geometry, self._storage.name)
        data = self._storage.read(self.offset, self.length)
        position = 0
        while position < len(data):
            if len(data) - position < _ENTRY.size:
                raise self._broken("Broken bitmap directory")
            table_offset, entries, flags, kind, granularity, name_length, extra = _ENTRY.unpack_from(data, position)
            name = data[position + _ENTRY.size + extra : position + _ENTRY.size + extra + name_length]
            end = position + -(-(_ENTRY.size + extra + name_length) // 8) * 8
            if extra:
                raise self._broken("Bitmap extra data is not supported")
            if end > len(data):
                raise self._broken("Broken bitmap directory")
            if (
                not 1 <= name_length <= MAX_NAME_BYTES
                or flags & ~_KNOWN_FLAGS
                or kind != _TYPE_DIRTY_TRACKING
                or not MIN_GRANULARITY_BITS <= granularity <= MAX_GRANULARITY_BITS
                or not self._has_right_table(table_offset, entries, granularity)
            ):
                raise self._broken("Bitmap '%s' doesn't satisfy the constraints" % _text(name))
            if len(self.bitmaps) == count:
                raise self._broken("More bitmaps found than specified in header extension")
            # For QEMU, it ends at the first zero byte.
            name = name.partition(b"\0")[0]
            bits = self._bits(name, granularity, table_offset, entries)
            self.bitmaps.append(Bitmap(name, granularity, flags, bits))
            position = end
        if len(self.bitmaps) != count:
            raise self._broken("Less bitmaps found than specified in header extension")
        if sum(bitmap.bits.table_entries * 8 for bitmap in self.bitmaps) > self._storage.size:
            raise self._broken("The tables of its bitmaps together are larger than the file")

    def _has_right_table(self, offset: int, entries: int, granularity_bits: int) -> bool:
        return (
            offset > 0
            and offset % self._geometry.cluster_size == 0
            and entries << self._geometry.cluster_bits <= _MAX_DATA_BYTES
            and 0 < entries_for(self._bit_count(granularity_bits), self._geometry) <= entries
        )

    def _bit_count(self, granularity_bits: int) -> int:
        return -(-self._size >> granularity_bits)

    def _bits(self, name: bytes, granularity_bits: int, table_offset: int, table_entries: int) -> BitmapBits:
        return BitmapBits(
            self._storage,
            self._geometry,
            self._refcounts,
            _text(name),
            self._bit_count(granularity_bits),
            table_offset,
            table_entries,
            self._make_room,
        )

    def _make_room(self, length: int) -> None:
        """Before a bitmap takes ``length`` bytes of memory: have all give theirs back if that becomes too much."""
        self._in_memory += length
        if self._in_memory > _MEMORY_BYTES:
            self._in_memory = length
            for bitmap in self.bitmaps:
                bitmap.bits.forget()

    def _broken(self, reason: str) -> FormatError:
        return corrupt(self._storage.name, reason, self.offset)

    def verify(self) -> None:
        """Look at every bitmap table, as QEMU does when it opens an image.

        :raises FormatError: one is broken
        """
        for bitmap in self.bitmaps:
            if not bitmap.inconsistent:
                self._check_length(bitmap)
                bitmap.bits.load_table()

    def _check_length(self, bitmap: Bitmap) -> None:
        if bitmap.bits.table_entries > entries_for(bitmap.bits.count, self._geometry):
            raise self._broken("Could not read bitmap '%s' from image: Invalid argument" % bitmap.text)

    @property
    def changed(self) -> bool:
        """Whether the disk has other bitmaps."""
        return self._directory_changed or any(bitmap.bits.changed for bitmap in self.bitmaps)

    def extension(self) -> bytes | None:
        """The header extension's content for the directory as it was last placed; ``None``: no bitmaps, none needed."""
        if not self.bitmaps:
            return None
        return _EXTENSION.pack(len(self.bitmaps), 0, self.length, self.offset)

    def find(self, name: str) -> Bitmap | None:
        """The bitmap of that name."""
        wanted = _bytes(name)
        for bitmap in self.bitmaps:
            if bitmap.name == wanted:
                return bitmap
        return None

    def get(self, name: str) -> Bitmap:
        """The bitmap of that name, whether it can be used or not.

        :raises OptionError: there is none
        """
        bitmap = self.find(name)
        if bitmap is None:
            raise self._wrong(
                "Dirty bitmap '%s' not found" % name,
                remedy="the image has %s" % (", ".join("'%s'" % each.text for each in self.bitmaps) or "no bitmaps"),
            )
        return bitmap

    def usable(self, name: str) -> Bitmap:
        """The bitmap of that name, to be used.

        :raises OptionError: there is none, or its bits cannot be trusted
        """
        bitmap = self.get(name)
        if bitmap.inconsistent:
            raise self._wrong(
                "Bitmap '%s' is inconsistent and cannot be used" % name,
                hint="Try block-dirty-bitmap-remove to delete this bitmap from disk",
                remedy="remove the bitmap: a program died while it was in use, and nobody knows what it missed",
            )
        self._check_length(bitmap)
        return bitmap

    # Changing

    def add(self, name: str, granularity: int, enabled: bool) -> None:
        """A new bitmap with all bits clear; :func:`~qimg.formats.capabilities.check_new_bitmap` was asked already.

        :raises OptionError: the name is taken or too long, the granularity is out of range, or there are too many
        """
        encoded = _bytes(name)
        if self.find(name) is not None:
            raise self._wrong("Bitmap already exists: %s" % name)
        granularity_bits = granularity.bit_length() - 1
        if granularity_bits > MAX_GRANULARITY_BITS:
            raise self._cannot_store(name, "Granularity exceeds maximum (%d bytes)" % (1 << MAX_GRANULARITY_BITS))
        if len(encoded) > MAX_NAME_BYTES:
            raise self._cannot_store(name, "Name length exceeds maximum (%d characters)" % MAX_NAME_BYTES)
        if not self._size:
            raise self._cannot_store(name, "The image has a size of 0 bytes")
        if self._is_too_large(granularity_bits):
            raise self._cannot_store(name, "Too much space will be occupied by the bitmap. Use larger granularity")
        if len(self.bitmaps) >= MAX_BITMAPS:
            raise self._cannot_store(name, "Maximum number of persistent bitmaps is already reached")
        bits = self._bits(encoded, granularity_bits, 0, 0)
        self.bitmaps.append(Bitmap(encoded, granularity_bits, AUTO if enabled else 0, bits))
        self._directory_changed = True

    def _cannot_store(self, name: str, reason: str) -> OptionError:
        return self._wrong("Can't make bitmap '%s' persistent in '%s': %s" % (name, self._storage.name, reason))

    def _is_too_large(self, granularity_bits: int) -> bool:
        return entries_for(self._bit_count(granularity_bits), self._geometry) > (
            _MAX_DATA_BYTES >> self._geometry.cluster_bits
        )

    def remove(self, bitmap: Bitmap) -> None:
        """Drop a bitmap and free its clusters."""
        bitmap.bits.free()
        self.bitmaps.remove(bitmap)
        self._directory_changed = True

    def set_enabled(self, bitmap: Bitmap, enabled: bool) -> None:
        """Have a bitmap record writes, or not."""
        if bitmap.enabled != enabled:
            bitmap.enabled = enabled
            self._directory_changed = True

    def merge(self, target: Bitmap, granularity: int, pieces: Iterable[tuple[int, bytes]]) -> None:
        """Set in ``target`` whatever is set in ``pieces`` (see :meth:`pieces`) of another granularity or the same."""
        from ...bit_scaling import scaled

        shift = target.granularity_bits - (granularity.bit_length() - 1)
        for offset, bits in pieces:
            if shift < -_MAX_DOUBLINGS or bits.count(255) == len(bits):
                for start, end in set_runs(offset // granularity, bits):
                    target.mark(start * granularity, (end - start) * granularity)
                continue
            for first, piece in scaled(offset // granularity, bits, shift):
                target.bits.merge(first, piece)

    def pieces(self, bitmap: Bitmap) -> Iterator[tuple[int, bytes]]:
        """``(guest offset of the first bit, bits)``, in order, for every part of a bitmap that has a bit set."""
        for first, bits in bitmap.bits.pieces():
            yield first << bitmap.granularity_bits, bits

    def mark(self, offset: int, length: int) -> None:
        """Record a write in every enabled bitmap."""
        if self.guarded:
            self._recorded.add(offset >> _RECORD_BITS, (offset + length - 1 >> _RECORD_BITS) + 1)
        for bitmap in self.bitmaps:
            if bitmap.records_writes:
                bitmap.mark(offset, length)

    @property
    def records_writes(self) -> bool:
        """Whether a guest write has to be recorded anywhere."""
        return any(bitmap.records_writes for bitmap in self.bitmaps)

    @property
    def guarded(self) -> bool:
        """Whether :meth:`guard` is in force."""
        return self._guarded is not None

    def guard(self) -> None:
        """Have the next commit say that the recording bitmaps are behind the guest data.

        Guest data is overwritten in place, while bits reach the disk with a later commit: a crash in between must
        leave bitmaps that nobody trusts.
        """
        self._guarded = frozenset(bitmap.name for bitmap in self.bitmaps if bitmap.records_writes)
        self._recording = self._guarded
        self._directory_changed = True

    def end_guard(self) -> None:
        """Have the next commit say that all bitmaps are up to date."""
        if self._guarded is not None:
            self._guarded = None
            self._directory_changed = True

    def begin(self) -> None:
        """Start the next transaction: the last one is on disk."""
        if self._guarded is None:
            self._recorded.clear()

    @property
    def behind(self) -> bool:
        """Whether the disk may have guest data that the bitmaps on disk do not know of."""
        return bool(self._recorded)

    def catch_up(self, other: BitmapDirectory) -> None:
        """Mark whatever another directory of the same image, which was given up, had recorded.

        Whole units of the record are marked, so the bitmaps say at least what was written.
        """
        for bitmap in self.bitmaps:
            if bitmap.inconsistent and bitmap.name in other._recording:
                bitmap.inconsistent = False
                for start, end in other._recorded:
                    offset = start << _RECORD_BITS
                    bitmap.mark(offset, min(end << _RECORD_BITS, self._size) - offset)
        self._directory_changed = True

    def resize(self, size: int) -> None:
        """Have all bitmaps cover a guest disk of ``size`` bytes; new bits are clear.

        :raises OptionError: a bitmap is inconsistent, or would become too large; then nothing has changed
        """
        old_size, self._size = self._size, size
        try:
            for bitmap in self.bitmaps:
                self.usable(bitmap.text)
                if not size or self._is_too_large(bitmap.granularity_bits):
                    raise self._wrong(
                        "Bitmap '%s' cannot have the new size: %s"
                        % (bitmap.text, "it would be too large" if size else "an image of 0 bytes cannot have bitmaps"),
                        remedy="remove the bitmap first",
                    )
        except BaseException:
            self._size = old_size
            raise
        for bitmap in self.bitmaps:
            bitmap.bits.resize(self._bit_count(bitmap.granularity_bits))

    def _wrong(self, reason: str, hint: str | None = None, remedy: str | None = None) -> OptionError:
        return OptionError(reason, path=self._storage.name, format="qcow2", hint=hint, remedy=remedy)

    # Committing

    def place(self) -> None:
        """Write what changed to clusters that the image on disk does not use."""
        bits = self._geometry.cluster_bits
        for bitmap in self.bitmaps:
            if bitmap.bits.changed:
                bitmap.bits.place()
        if self.length:
            self._refcounts.drop(self.offset >> bits, -(-self.length >> bits))
            self.offset = self.length = 0
        if self.bitmaps:
            directory = self._pack()
            self.length = len(directory)
            if self.length > _MAX_DIRECTORY_BYTES:
                raise self._wrong("Not enough space in the bitmap directory", remedy="remove some bitmaps first")
            self.offset = self._refcounts.allocate_table(-(-self.length >> bits)) << bits
            self._storage.write(self.offset, directory)
        self._directory_changed = False

    def _pack(self) -> bytes:
        packed = bytearray()
        for bitmap in self.bitmaps:
            behind = bitmap.inconsistent or (self._guarded is not None and bitmap.name in self._guarded)
            packed += _ENTRY.pack(
                bitmap.bits.table_offset,
                bitmap.bits.table_entries,
                (AUTO if bitmap.enabled else 0) | (IN_USE if behind else 0),
                _TYPE_DIRTY_TRACKING,
                bitmap.granularity_bits,
                len(bitmap.name),
                0,
            )
            packed += bitmap.name
            packed += bytes(-len(packed) % 8)
        return bytes(packed)


def directory_bytes(name: str) -> int:
    """What the directory entry of a bitmap takes."""
    return -(-(_ENTRY.size + len(_bytes(name))) // 8) * 8


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def parse_extension(extension: bytes, geometry: Geometry, path: str) -> tuple[int, int, int]:
    """Number of bitmaps, length and host offset of the directory.

    :raises FormatError: the extension is broken
    """
    if len(extension) != _EXTENSION.size:
        raise corrupt(path, "bitmaps_ext: Invalid extension length")
    count, reserved, length, offset = _EXTENSION.unpack(extension)
    if reserved:
        raise corrupt(path, "bitmaps_ext: Reserved field is not zero")
    if count > MAX_BITMAPS:
        raise corrupt(path, "bitmaps_ext: Image has %d bitmaps, exceeding the QEMU supported maximum of 65535" % count)
    if count == 0:
        raise corrupt(path, "found bitmaps extension with zero bitmaps")
    if offset % geometry.cluster_size:
        raise corrupt(path, "bitmaps_ext: invalid bitmap directory offset")
    if length > _MAX_DIRECTORY_BYTES:
        raise corrupt(
            path,
            "bitmaps_ext: bitmap directory size (%d) exceeds the maximum supported size (%d)"
            % (length, _MAX_DIRECTORY_BYTES),
        )
    return count, length, offset
