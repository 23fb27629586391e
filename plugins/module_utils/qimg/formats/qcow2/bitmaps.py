# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Persistent dirty bitmaps (section "Bitmaps" of the specification)."""
from __future__ import annotations

import struct
from array import array

from ...errors import FormatError, OptionError
from ...limits import MIB
from ..base import BitmapInfo
from .layout import OFFSET_MASK, Geometry, corrupt, words_from_bytes, words_to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...storage.base import Storage
    from .refcounts import Refcounts

_EXTENSION = struct.Struct(">IIQQ")
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
_ALL_ONES = 1
_TABLE_RESERVED = 0xFF000000000001FE

#: The default granularity is the cluster size within these bounds.
_DEFAULT_GRANULARITY_RANGE = (4096, 65536)


def default_granularity(cluster_size: int) -> int:
    """Guest bytes per bit of a bitmap whose granularity nobody chose."""
    return max(_DEFAULT_GRANULARITY_RANGE[0], min(cluster_size, _DEFAULT_GRANULARITY_RANGE[1]))


class Bitmap:
    """One bitmap of the directory.  Its bits are read when they are first needed."""

    def __init__(self, name: bytes, granularity_bits: int, flags: int, table_offset: int, table_entries: int) -> None:
        self.name = name
        self.granularity_bits = granularity_bits
        #: Whether it records writes.
        self.enabled = bool(flags & AUTO)
        #: Whether a program died while the bits on disk were not up to date: nobody may trust them again.
        self.inconsistent = bool(flags & IN_USE)
        #: Where its table is on disk; 0 entries: nowhere yet.
        self.table_offset = table_offset
        self.table_entries = table_entries
        self.bits: bytearray | None = None
        self.bits_dirty = False

    @property
    def text(self) -> str:
        """The name for people."""
        return self.name.decode("utf-8", "surrogateescape")

    def info(self) -> BitmapInfo:
        """The bitmap without what only qcow2 knows."""
        return BitmapInfo(self.text, 1 << self.granularity_bits, self.enabled, self.inconsistent)

    def data_bytes(self, size: int) -> int:
        """Bytes of bits for a guest disk of ``size`` bytes."""
        bits = -(-size >> self.granularity_bits)
        return (bits + 7) // 8

    def mark(self, offset: int, length: int) -> bool:
        """Set the bits of a guest range; whether any was clear.  The bits must be in memory."""
        if self.bits is None:
            raise ValueError("the bits of bitmap %r are not in memory" % self.name)
        first = offset >> self.granularity_bits
        last = offset + length - 1 >> self.granularity_bits
        return set_bits(self.bits, first, last + 1)


def set_bits(bits: bytearray, first: int, end: int) -> bool:
    """Set bits ``[first, end)``, least significant first; whether any was clear."""
    changed = False
    head_byte, head_bit = divmod(first, 8)
    tail_byte, tail_bit = divmod(end, 8)
    if head_byte == tail_byte:
        mask = (1 << tail_bit) - (1 << head_bit)
        changed = bits[head_byte] & mask != mask
        bits[head_byte] |= mask
        return changed
    if head_bit:
        mask = 0x100 - (1 << head_bit)
        changed = bits[head_byte] & mask != mask
        bits[head_byte] |= mask
        head_byte += 1
    full = b"\xff" * (tail_byte - head_byte)
    if bits[head_byte:tail_byte] != full:
        bits[head_byte:tail_byte] = full
        changed = True
    if tail_bit:
        mask = (1 << tail_bit) - 1
        changed = changed or bits[tail_byte] & mask != mask
        bits[tail_byte] |= mask
    return changed


class BitmapDirectory:
    """All bitmaps of an image, and where they are on disk.

    :param extension: the content of the bitmaps header extension; ``None``: there are no bitmaps
    :raises FormatError: the directory is broken
    """

    def __init__(
        self, storage: Storage, geometry: Geometry, refcounts: Refcounts, extension: bytes | None, size: int
    ) -> None:
        self._storage = storage
        self._geometry = geometry
        self._refcounts = refcounts
        #: The guest size that the bits cover.
        self._size = size
        self.offset = 0
        self.length = 0
        self.changed = False
        self._guarded = False
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
            if end > len(data):
                raise self._broken("Broken bitmap directory")
            self._check_entry(name, table_offset, entries, flags, kind, granularity, extra)
            if len(self.bitmaps) == count:
                raise self._broken("More bitmaps found than specified in header extension")
            self.bitmaps.append(Bitmap(name, granularity, flags, table_offset, entries))
            position = end
        if len(self.bitmaps) != count:
            raise self._broken("Less bitmaps found than specified in header extension")

    def _check_entry(
        self, name: bytes, table_offset: int, entries: int, flags: int, kind: int, granularity: int, extra: int
    ) -> None:
        shown = name.decode("utf-8", "replace")
        if extra:
            raise self._broken("Bitmap extra data is not supported")
        fits = entries << self._geometry.cluster_bits <= _MAX_DATA_BYTES
        if (
            not 1 <= len(name) <= MAX_NAME_BYTES
            or not fits
            or (not entries and self._size)
            or not table_offset
            or table_offset % self._geometry.cluster_size
            or flags & ~_KNOWN_FLAGS
            or kind != _TYPE_DIRTY_TRACKING
            or not MIN_GRANULARITY_BITS <= granularity <= MAX_GRANULARITY_BITS
        ):
            raise self._broken("Bitmap '%s' doesn't satisfy the constraints" % shown)

    def _broken(self, reason: str) -> FormatError:
        return corrupt(self._storage.name, reason, self.offset)

    def extension(self) -> bytes | None:
        """The header extension's content for the directory as it was last placed; ``None``: no bitmaps, none needed."""
        if not self.bitmaps:
            return None
        return _EXTENSION.pack(len(self.bitmaps), 0, self.length, self.offset)

    def find(self, name: str) -> Bitmap | None:
        """The bitmap of that name."""
        wanted = name.encode("utf-8", "surrogateescape")
        for bitmap in self.bitmaps:
            if bitmap.name == wanted:
                return bitmap
        return None

    # Bits

    def load_bits(self, bitmap: Bitmap) -> bytearray:
        """The bits of a bitmap, in memory from now on."""
        if bitmap.bits is None:
            length = bitmap.data_bytes(self._size)
            bits = bytearray(length)
            cluster_size = self._geometry.cluster_size
            for index, entry in enumerate(self.table(bitmap)):
                start = index * cluster_size
                piece = min(cluster_size, length - start)
                if piece <= 0:
                    break
                offset = entry & OFFSET_MASK
                if offset:
                    bits[start : start + piece] = self._storage.read(offset, piece)
                elif entry & _ALL_ONES:
                    bits[start : start + piece] = b"\xff" * piece
            bitmap.bits = bits
        return bitmap.bits

    def table(self, bitmap: Bitmap) -> array[int]:
        """The bitmap table's entries, checked.

        :raises CorruptImageError: an entry is invalid
        """
        if not bitmap.table_entries:
            return array("Q")
        entries = words_from_bytes(self._storage.read(bitmap.table_offset, bitmap.table_entries * 8))
        for entry in set(entries):
            offset = entry & OFFSET_MASK
            if entry & _TABLE_RESERVED or offset % self._geometry.cluster_size or (offset and entry & _ALL_ONES):
                raise self._broken("Bitmap '%s' has an invalid table entry" % bitmap.text)
        return entries

    # Changing

    def add(self, name: str, granularity: int, enabled: bool) -> Bitmap:
        """A new bitmap with all bits clear.

        :raises OptionError: the name is taken or too long, the granularity is out of range, or there are too many
        """
        encoded = name.encode("utf-8", "surrogateescape")
        if not encoded:
            raise self._wrong("Bitmap name cannot be empty")
        if len(encoded) > MAX_NAME_BYTES:
            raise self._wrong("Bitmap name is too long: %s" % name)
        if self.find(name) is not None:
            raise self._wrong("Bitmap already exists: %s" % name)
        if granularity < 512 or granularity & (granularity - 1):
            raise self._wrong("Granularity must be power of 2 and at least 512")
        bits = granularity.bit_length() - 1
        if bits > MAX_GRANULARITY_BITS:
            raise self._wrong("Granularity exceeds maximum (%u bytes)" % (1 << MAX_GRANULARITY_BITS))
        if len(self.bitmaps) >= MAX_BITMAPS:
            raise self._wrong("Maximum number of persistent bitmaps is already reached")
        bitmap = Bitmap(encoded, bits, AUTO if enabled else 0, 0, 0)
        if bitmap.data_bytes(self._size) > _MAX_DATA_BYTES:
            raise self._wrong("Bitmap '%s' would be too large: choose a larger granularity" % name)
        bitmap.bits = bytearray(bitmap.data_bytes(self._size))
        bitmap.bits_dirty = True
        self.bitmaps.append(bitmap)
        self.changed = True
        return bitmap

    def remove(self, bitmap: Bitmap) -> None:
        """Drop a bitmap and free its clusters."""
        self._free(bitmap)
        self.bitmaps.remove(bitmap)
        self.changed = True

    def set_enabled(self, bitmap: Bitmap, enabled: bool) -> None:
        """Have a bitmap record writes, or not."""
        if bitmap.enabled != enabled:
            bitmap.enabled = enabled
            self.changed = True

    def clear(self, bitmap: Bitmap) -> None:
        """Forget all recorded writes."""
        bitmap.bits = bytearray(bitmap.data_bytes(self._size))
        self._touch(bitmap)

    def merge(self, target: Bitmap, bits: bytearray, granularity_bits: int) -> None:
        """Set in ``target`` whatever is set in ``bits``, which may have another granularity."""
        own = self.load_bits(target)
        if granularity_bits == target.granularity_bits:
            merged = int.from_bytes(own, "little") | int.from_bytes(bits, "little")
            own[:] = merged.to_bytes(len(own), "little")
        else:
            for start, end in set_runs(bits):
                offset = start << granularity_bits
                stop = min(end << granularity_bits, self._size)
                if offset < stop:
                    target.mark(offset, stop - offset)
        self._touch(target)

    def mark(self, offset: int, length: int) -> None:
        """Record a write in every enabled bitmap."""
        for bitmap in self.bitmaps:
            if bitmap.enabled and not bitmap.inconsistent:
                self.load_bits(bitmap)
                if bitmap.mark(offset, length):
                    self._touch(bitmap)

    @property
    def records_writes(self) -> bool:
        """Whether a guest write has to be recorded anywhere."""
        return any(bitmap.enabled and not bitmap.inconsistent for bitmap in self.bitmaps)

    def guard(self, guarded: bool) -> None:
        """Say on disk that the recording bitmaps are (or no longer are) behind the guest data.

        Guest data is overwritten in place, while bits reach the disk with the next commit: a crash in between must
        leave bitmaps that nobody trusts.
        """
        if self._guarded != guarded:
            self._guarded = guarded
            self.changed = True

    def resize(self, size: int) -> None:
        """Have all bitmaps cover a guest disk of ``size`` bytes; new bits are clear."""
        for bitmap in self.bitmaps:
            bits = self.load_bits(bitmap)
            old_size, self._size = self._size, size
            length = bitmap.data_bytes(size)
            self._size = old_size
            if length <= len(bits):
                del bits[length:]
            else:
                bits.extend(bytes(length - len(bits)))
            used = -(-size >> bitmap.granularity_bits) % 8
            if used and bits:
                bits[-1] &= (1 << used) - 1
            self._touch(bitmap)
        self._size = size

    def _touch(self, bitmap: Bitmap) -> None:
        bitmap.bits_dirty = True
        self.changed = True

    def _wrong(self, reason: str) -> OptionError:
        return OptionError(reason, path=self._storage.name, format="qcow2")

    def _free(self, bitmap: Bitmap) -> None:
        if not bitmap.table_entries:
            return
        bits = self._geometry.cluster_bits
        for entry in self.table(bitmap):
            if entry & OFFSET_MASK:
                self._refcounts.add((entry & OFFSET_MASK) >> bits, 1, -1)
        clusters = -(-bitmap.table_entries * 8 // self._geometry.cluster_size)
        self._refcounts.add(bitmap.table_offset >> bits, clusters, -1)
        bitmap.table_entries = 0

    # Committing

    def place(self) -> None:
        """Write what changed to clusters that the image on disk does not use."""
        if not self.changed:
            return
        bits = self._geometry.cluster_bits
        for bitmap in self.bitmaps:
            if bitmap.bits_dirty and not self._guarded:
                self._free(bitmap)
                self._store(bitmap)
        if self.length:
            self._refcounts.add(self.offset >> bits, -(-self.length >> bits), -1)
            self.offset = self.length = 0
        if self.bitmaps:
            directory = self._pack()
            self.length = len(directory)
            if self.length > _MAX_DIRECTORY_BYTES:
                raise self._wrong("The bitmap directory would be too large")
            self.offset = self._refcounts.allocate(-(-self.length >> bits)) << bits
            self._storage.write(self.offset, directory)
        self.changed = False

    def _store(self, bitmap: Bitmap) -> None:
        """Write the bits and the table of one bitmap to new clusters; clusters without a bit set take no space."""
        cluster_size = self._geometry.cluster_size
        data = self.load_bits(bitmap)
        count = -(-len(data) // cluster_size)
        table = array("Q", bytes(8 * count))
        for index in range(count):
            piece = data[index * cluster_size : (index + 1) * cluster_size]
            if any(piece):
                offset = self._refcounts.allocate(1) * cluster_size
                self._storage.write(offset, piece + bytes(cluster_size - len(piece)))
                table[index] = offset
        clusters = max(1, -(-count * 8 // cluster_size))
        bitmap.table_offset = self._refcounts.allocate(clusters) * cluster_size
        bitmap.table_entries = count
        self._storage.write(bitmap.table_offset, words_to_bytes(table).ljust(clusters * cluster_size, b"\0"))
        bitmap.bits_dirty = False

    def _pack(self) -> bytes:
        packed = bytearray()
        for bitmap in self.bitmaps:
            behind = bitmap.inconsistent or (self._guarded and bitmap.enabled)
            packed += _ENTRY.pack(
                bitmap.table_offset,
                bitmap.table_entries,
                (AUTO if bitmap.enabled else 0) | (IN_USE if behind else 0),
                _TYPE_DIRTY_TRACKING,
                bitmap.granularity_bits,
                len(bitmap.name),
                0,
            )
            packed += bitmap.name
            packed += bytes(-len(packed) % 8)
        return bytes(packed)


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
        raise corrupt(path, "bitmaps_ext: image has %d bitmaps, exceeding the QEMU supported maximum of 65535" % count)
    if count == 0:
        raise corrupt(path, "bitmaps_ext: found bitmaps extension with zero bitmaps")
    if offset % geometry.cluster_size:
        raise corrupt(path, "bitmaps_ext: invalid bitmap directory offset")
    if length > _MAX_DIRECTORY_BYTES:
        raise corrupt(
            path,
            "bitmaps_ext: bitmap directory size (%d) exceeds the maximum supported size (%d)"
            % (length, _MAX_DIRECTORY_BYTES),
        )
    return count, length, offset


def set_runs(bits: bytearray) -> list[tuple[int, int]]:
    """Runs ``[start, end)`` of set bits."""
    import re

    runs: list[tuple[int, int]] = []
    for match in re.finditer(b"[^\\0]+", bits):
        for position in range(match.start(), match.end()):
            byte = bits[position]
            for bit in range(8):
                if byte >> bit & 1:
                    index = position * 8 + bit
                    if runs and runs[-1][1] == index:
                        runs[-1] = (runs[-1][0], index + 1)
                    else:
                        runs.append((index, index + 1))
    return runs
