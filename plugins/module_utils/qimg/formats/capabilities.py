# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What only some formats can do: one abstract class each, which operations ask for with ``isinstance``."""
from __future__ import annotations

from abc import ABC, abstractmethod
from collections import namedtuple

from ..errors import OptionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any


class Resizable(ABC):
    """Can change its guest size in place."""

    def check_resize(self) -> None:
        """Whether this image, as it is, has a size that can change.

        :raises ImageError: it has not
        """

    @abstractmethod
    def resize(self, size: int, preallocation: str = "off") -> None:
        """Make the guest disk ``size`` bytes long.

        :param preallocation: ``off``, ``metadata``, ``falloc`` or ``full``, for the new part
        """


class Checkable(ABC):
    """Can look for errors in its own metadata."""

    #: Whether :meth:`check` can repair.
    can_repair: bool = False
    #: See :attr:`Image.dirty`.
    dirty: bool | None = False
    #: Whether a program has marked the image as corrupt.
    corrupt: bool = False

    @abstractmethod
    def check(self, repair: str | None = None, report: Callable[[str], None] | None = None) -> CheckResult:
        """Look for leaked clusters and corruption, and repair them if asked to.

        :param repair: ``None``, ``leaks`` or ``all``
        :param report: called with each line that qemu-img would print on the way
        """


class CheckResult:
    """What a check found: the counters of ``check``'s JSON; 0 also where the format does not count that."""

    def __init__(self) -> None:
        #: What contradicts itself: data may be wrong, or become so.
        self.corruptions = 0
        #: Clusters that are allocated and not used: space is lost, and nothing else.
        self.leaks = 0
        #: What could not be looked at.
        self.check_errors = 0
        #: What was repaired.
        self.corruptions_fixed = 0
        self.leaks_fixed = 0
        #: Clusters of the guest disk, and those of them that have data of this image.
        self.total_clusters = 0
        self.allocated_clusters = 0
        #: Clusters that do not lie right behind the one before them.
        self.fragmented_clusters = 0
        self.compressed_clusters = 0
        #: Where the last cluster that is used ends, bytes from the beginning of the file.
        self.image_end_offset = 0

    @property
    def clean(self) -> bool:
        """No errors and no leaks."""
        return not (self.corruptions or self.leaks or self.check_errors)

    def __repr__(self) -> str:
        return "CheckResult(%s)" % ", ".join("%s=%d" % counter for counter in vars(self).items())


class HasSnapshots(ABC):
    """Holds internal snapshots."""

    @property
    @abstractmethod
    def snapshots(self) -> list[SnapshotInfo]:
        """In the order of the snapshot table."""

    @abstractmethod
    def create_snapshot(self, name: str, seconds: int, nanoseconds: int) -> SnapshotInfo:
        """Keep the present guest content under ``name``, with a date since the epoch."""

    @abstractmethod
    def check_apply(self) -> None:
        """Whether this image, as it is, can go back to any snapshot.

        :raises OptionError: naming what prevents it
        """

    @abstractmethod
    def apply_snapshot(self, snapshot: SnapshotInfo) -> None:
        """Make the guest content that of ``snapshot`` again."""

    @abstractmethod
    def delete_snapshot(self, snapshot: SnapshotInfo) -> None:
        """Forget ``snapshot`` and free what only it used."""

    @abstractmethod
    def view_snapshot(self, snapshot: SnapshotInfo) -> None:
        """Have a read-only image show ``snapshot`` instead of the present content."""


class SnapshotInfo(
    namedtuple(
        "SnapshotInfo",
        ["id", "name", "vm_state_size", "date_sec", "date_nsec", "vm_clock_nsec", "icount", "disk_size"],
    )
):
    """One internal snapshot.

    ``vm_state_size`` and ``disk_size`` are bytes; ``date_sec`` and ``date_nsec`` are the time since the epoch at which
    it was taken; ``vm_clock_nsec`` says for how long the machine had run by then, ``icount`` how many instructions it
    had executed (``None`` where the snapshot does not say).
    """

    __slots__ = ()

    id: str
    name: str
    vm_state_size: int
    date_sec: int
    date_nsec: int
    vm_clock_nsec: int
    icount: int | None
    disk_size: int


#: Of a bitmap, guest bytes per bit.
MIN_GRANULARITY = 512


def check_new_bitmap(name: str, granularity: int) -> None:
    """What no format takes.

    :raises OptionError: in qemu-img's words
    """
    if not name:
        raise OptionError("Bitmap name cannot be empty")
    if not MIN_GRANULARITY <= granularity < 1 << 32 or granularity & (granularity - 1):
        raise OptionError("Granularity must be power of 2 and at least %d" % MIN_GRANULARITY)


class HasBitmaps(ABC):
    """Can hold persistent dirty bitmaps.

    Changes are on disk after the next :meth:`Image.flush`, all together; a method that raises has changed nothing.
    The bits of a bitmap travel as pieces ``(offset, bits)``: ``offset`` is where the guest bytes of the first bit
    begin, ``bits`` are bytes, least significant bit first, one bit for each ``granularity`` bytes.
    """

    @property
    @abstractmethod
    def can_hold_bitmaps(self) -> bool:
        """Whether this image, as it is, can have bitmaps at all."""

    @property
    @abstractmethod
    def default_granularity(self) -> int:
        """Guest bytes per bit of a new bitmap whose granularity nobody chose."""

    @property
    @abstractmethod
    def bitmaps(self) -> list[BitmapInfo]:
        """In the order of the bitmap directory."""

    @abstractmethod
    def add_bitmap(self, name: str, granularity: int | None = None, enabled: bool = True) -> None:
        """A new bitmap with all bits clear.

        :param granularity: guest bytes per bit, a power of two; ``None``: the format's default
        :param enabled: whether it records guest writes
        :raises OptionError: the name is taken, or the image cannot have such a bitmap
        """

    @abstractmethod
    def remove_bitmap(self, name: str) -> None:
        """Drop a bitmap; the only thing that can be done to an inconsistent one.

        :raises OptionError: there is no such bitmap
        """

    @abstractmethod
    def clear_bitmap(self, name: str) -> None:
        """Clear all bits.

        :raises OptionError: there is no such bitmap, or it is inconsistent (this one and all further methods)
        """

    @abstractmethod
    def enable_bitmap(self, name: str) -> None:
        """Have a bitmap record guest writes from now on."""

    @abstractmethod
    def disable_bitmap(self, name: str) -> None:
        """Have a bitmap record nothing from now on."""

    @abstractmethod
    def dirty_pieces(self, name: str) -> Iterator[tuple[int, bytes]]:
        """The pieces of a bitmap that have a bit set, in order."""

    @abstractmethod
    def merge_into_bitmap(self, name: str, granularity: int, pieces: Iterable[tuple[int, bytes]]) -> None:
        """Set in a bitmap what is set in pieces of this or another granularity."""


class BitmapInfo(namedtuple("BitmapInfo", ["name", "granularity", "enabled", "inconsistent"])):
    """One persistent dirty bitmap; ``granularity`` is in bytes of the guest disk per bit."""

    __slots__ = ()

    name: str
    granularity: int
    enabled: bool
    inconsistent: bool


class Rebasable(ABC):
    """Can name another backing file."""

    @property
    @abstractmethod
    def zeroes_hide_backing(self) -> bool:
        """Whether what :meth:`Image.write_zeroes` makes zero stays so when another backing file comes below."""

    @property
    def is_ambiguous(self) -> bool:
        """Whether the image names its backing file more than once, so that programs may take different ones."""
        return False

    @abstractmethod
    def check_backing(self, backing_file: str | None) -> None:
        """Refuse a name that :meth:`change_backing` could not store.

        :raises OptionError: the image cannot have this backing file
        """

    @abstractmethod
    def change_backing(self, backing_file: str | None, backing_format: str | None) -> None:
        """Store another backing file name and format (``None``: none), leaving the content's meaning to the caller."""


class Amendable(ABC):
    """Can change creation options in place."""

    @abstractmethod
    def current_options(self) -> dict[str, Any]:
        """The amendable options as they are now, by their option names."""

    @abstractmethod
    def amend(self, options: dict[str, Any]) -> None:
        """Change the given options.

        :raises OptionError: naming the option that cannot become so; then nothing is changed
        """


class Compressing(ABC):
    """Can store clusters compressed."""

    @abstractmethod
    def compressor(self) -> Callable[[memoryview], bytes | None]:
        """A function that compresses one cluster, safe to call from several threads; ``None``: does not shrink.

        :raises UnsupportedOperationError: this image, as it is, cannot hold compressed clusters
        """

    @abstractmethod
    def write_compressed(self, offset: int, data: bytes | None, plain: memoryview) -> None:
        """Store one cluster at guest ``offset`` as the compressed ``data``, or ``plain`` where that is ``None``."""


class Emptyable(ABC):
    """Can give back all its content, so that the backing file shows through again."""

    @abstractmethod
    def make_empty(self) -> None:
        """Drop all guest data of this layer."""


class RenamesFiles(ABC):
    """Can refer to one of its further files by another name."""

    @abstractmethod
    def rename_file(self, key: str, name: str) -> None:
        """Store another name for a further file, in one step; the content of the file must stay the same.

        :param key: that of the :class:`~qimg.formats.base.ImageFile`
        :raises OptionError: the image has no room for the name
        """
