# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What a conversion is asked to do."""
from __future__ import annotations

from collections import namedtuple

from ..formats.naming import shown_reference
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
IF_DIFFERENT: Replace = "if_different"  #: when its guest content, or its form, is not what was asked for
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
    """What to convert, and how: the ``sources`` are a tuple of images; the other fields are the arguments of
    :func:`~qimg.operations.convert.convert`.
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
