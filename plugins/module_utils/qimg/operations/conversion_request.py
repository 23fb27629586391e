# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What a conversion is asked to do."""
from __future__ import annotations

from collections import namedtuple

from ..references import shown_reference
from ..storage.cache import WRITEBACK
from ..storage.zeros import DEFAULT_GRAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    from ..errors import ImageError
    from ..references import Reference
    from ..storage.cache import CacheMode
    from .snapshot import SnapshotName

    Replace = Literal["always", "never", "if_different"]

# When an existing target is replaced.
ALWAYS: Replace = "always"  #: without looking, as qemu-img does
NEVER: Replace = "never"  #: never: an image of the wanted format is fine, anything else an error
IF_DIFFERENT: Replace = "if_different"  #: when its guest content is not that of the source
REPLACES = (ALWAYS, NEVER, IF_DIFFERENT)


class ConvertRequest(
    namedtuple(
        "ConvertRequest",
        [
            "sources",
            "source_format",
            "target",
            "format",
            "options",
            "backing_file",
            "backing_format",
            "snapshot",
            "compress",
            "offload",
            "sparse_grain",
            "into_existing",
            "target_is_zero",
            "rate",
            "salvage",
            "sync",
            "cache",
            "threads",
            "bitmaps",
            "skip_broken_bitmaps",
        ],
        defaults=(
            None,  # target
            "raw",  # format
            None,  # options
            None,  # backing_file
            None,  # backing_format
            None,  # snapshot
            False,  # compress
            False,  # offload
            DEFAULT_GRAIN,  # sparse_grain
            False,  # into_existing
            False,  # target_is_zero
            0,  # rate
            None,  # salvage
            True,  # sync
            WRITEBACK,  # cache
            None,  # threads
            False,  # bitmaps
            None,  # skip_broken_bitmaps
        ),
    )
):
    """What to convert, and how.

    :param sources: the source images, which are put one after another, each filled up to whole sectors
    :param source_format: their format; ``None``: detect it
    :param target: the new image
    :param format: its format; ``None``: detect that of an existing image
    :param options: its creation options, by name
    :param backing_file: its backing file, by the name that it is to store
    :param backing_format: the format of that
    :param snapshot: the snapshot of the source to read: its id or its name, or a pair of an id and a name, which both
        have to match unless ``None``
    :param compress: store compressed clusters
    :param offload: have the kernel copy without looking for zeroes
    :param sparse_grain: runs of this many zero bytes, a multiple of 512, are not stored; 0: store everything
    :param into_existing: write into the image at ``target`` instead of making one
    :param target_is_zero: the existing image reads as zeroes
    :param rate: at most this many bytes per second; 0: no limit
    :param salvage: called with offset and error of what cannot be read, which becomes zeroes, and of that whose place
        cannot be found, which is read all the same; ``None``: either is an error
    :param sync: have the new image on the medium before it takes its name
    :param cache: how what is written to the target reaches its medium
    :param threads: how many copy at most; ``None``: as many as the machine has use for
    :param bitmaps: take the dirty bitmaps of the source along
    :param skip_broken_bitmaps: called with the name of each inconsistent bitmap, which is then left out; ``None``:
        such a bitmap is an error
    """

    __slots__ = ()

    sources: tuple[Reference, ...]
    source_format: str | None
    target: Any
    format: Any
    options: dict[str, Any] | None
    backing_file: Any
    backing_format: str | None
    snapshot: SnapshotName | None
    compress: bool
    offload: bool
    sparse_grain: int
    into_existing: bool
    target_is_zero: bool
    rate: int
    salvage: Callable[[int, ImageError], None] | None
    sync: bool
    cache: CacheMode
    threads: int | None
    bitmaps: bool
    skip_broken_bitmaps: Callable[[str], None] | None

    @property
    def target_name(self) -> str:
        """How messages call the target."""
        return shown_reference(self.target)
