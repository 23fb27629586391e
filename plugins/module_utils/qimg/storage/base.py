# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What a place that holds bytes can do."""
from __future__ import annotations

from abc import ABC, abstractmethod

from .locks import LockIntent
from .zeros import ZEROS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Union

    Buffer = Union[bytes, bytearray, memoryview]

# What a storage knows about a run of bytes (see :meth:`Storage.extents`); images have words of their own.
HOLE = 0  #: reads as zeroes, no space behind it
BYTES = 1  #: bytes
ALLOCATED_ZERO = 2  #: reads as zeroes, though there is space behind it
UNKNOWN = 3  #: no space behind it, but what it reads as is not known
NOWHERE = 4  #: reads as zeroes, and there is not even an offset to write to

#: Preallocation modes of a file.
OFF, FALLOC, FULL = "off", "falloc", "full"


class Storage(ABC):
    """Bytes at offsets: a file, a block device, a remote export.

    All offsets and lengths are bytes.  A storage knows nothing of images.  Reads and writes may be called from several
    threads at once; :meth:`truncate` and :meth:`close` may not.
    """

    #: What the user called it; error messages use it.
    name: str
    #: Whether it was opened for writing.
    writable: bool
    #: Whether it is a block device, of this machine or of a server, whose length is what it is.
    is_device: bool = False
    #: Whether it is known that nobody can write to it.
    is_read_only: bool = False
    #: Whether space in it can be reserved (see :meth:`Storage.preallocate`).
    can_preallocate: bool = True
    #: The driver that QEMU has for its kind.
    protocol: str = "file"
    #: How messages call several of its kind.
    plural: str = "files"
    #: Offsets, lengths and buffers that the fastest path wants to be multiples of this many bytes.
    alignment: int = 1
    #: Where in memory its buffers must begin: at multiples of this many bytes.
    memory_alignment: int = 1
    #: Unit of allocation in bytes; ``None`` where there is none, or nobody knows.
    cluster_size: int | None = None
    #: Whether its map is what a server tells, which reading need not confirm.
    is_map_told: bool = False
    #: Whether it was last written by something that did not close it; ``None`` where nobody can tell.
    dirty: bool | None = False
    #: Whether data that should have been copied into it are missing, because that was only rehearsed.
    lacks_data: bool = False

    @property
    @abstractmethod
    def size(self) -> int:
        """Length in bytes, as it is now."""

    @abstractmethod
    def read_into(self, offset: int, buffer: Buffer) -> None:
        """Fill the writable ``buffer`` from ``offset``; what lies beyond the end reads as zeroes.

        :raises StorageError: the bytes cannot be read
        """

    @abstractmethod
    def write(self, offset: int, data: Buffer) -> None:
        """Write all of ``data`` at ``offset``; a file grows if it has to.

        :raises StorageError: for instance disk full
        """

    @abstractmethod
    def flush(self) -> None:
        """Return when everything written so far would survive a power loss.

        :raises StorageError: something could not be written
        """

    @abstractmethod
    def truncate(self, size: int) -> None:
        """Make the storage ``size`` bytes long; new bytes are zero.  A device must be that long, and may be longer."""

    def check_reopening(self) -> None:
        """See whether what is open for reading can be opened for writing as well, as far as that is known already.

        :raises StorageError: it cannot
        """

    @abstractmethod
    def lock(self, intent: LockIntent) -> None:
        """Hold exactly the permissions of ``intent`` until closed or told otherwise.

        :raises ImageInUseError: another process excludes that
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of it (and of its locks).  Does not flush."""

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``, zero filled beyond the end."""
        buffer = bytearray(length)
        self.read_into(offset, buffer)
        return bytes(buffer)

    def write_zeroes(self, offset: int, length: int, deallocate: bool = True) -> None:
        """Make a range read as zeroes, without moving bytes where the system can.

        :param deallocate: whether the space may be given back (a hole) or must stay allocated
        """
        end = offset + length
        while offset < end:
            piece = min(len(ZEROS), end - offset)
            self.write(offset, memoryview(ZEROS)[:piece])
            offset += piece

    def zero_quickly(self, offset: int, length: int) -> bool:
        """Make a range read as zeroes if that takes less time than writing it would.

        :returns: ``False`` when it does not; then nothing is known about the range
        """
        return False

    def discard(self, offset: int, length: int) -> None:
        """Say that the content of a range no longer matters.  Doing nothing is right."""

    def preallocate(self, offset: int, length: int, mode: str) -> None:
        """Have space for a range allocated (``falloc``) or written with zeroes (``full``), growing the file."""
        if mode != OFF:
            self.write_zeroes(offset, length, deallocate=False)

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        """``(start, length, kind)`` runs that cover the range in order; the kinds are constants of this module.

        ``HOLE`` is the only kind that is false.
        """
        if length:
            yield offset, length, BYTES

    def copy_from(self, source: Storage, source_offset: int, offset: int, length: int) -> bool:
        """Copy a range of another storage inside the kernel.

        :returns: ``False`` when that is not possible here; then nothing is known about the target range, and the
            caller copies by reading and writing
        """
        return False

    def request_sizes(self) -> dict[str, int]:
        """The sizes of requests that it asks for, in bytes by their names in the document of ``info --limits``."""
        return {}

    @property
    def identity(self) -> tuple[int, int] | None:
        """Two numbers that are the same for all names of one thing (device and inode of a file); ``None``: unknown."""
        return None

    @property
    def reads_zero_when_new(self) -> bool:
        """Whether bytes that were never written read as zeroes (a file: yes; a block device: unknown)."""
        return True

    @property
    def allocated_size(self) -> int | None:
        """Bytes that it occupies on its medium; ``None`` where that is not known."""
        return None

    @property
    def free_space(self) -> int | None:
        """Bytes that it can still grow by on its medium; ``None`` where that is not known."""
        return None

    def __enter__(self) -> Storage:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
