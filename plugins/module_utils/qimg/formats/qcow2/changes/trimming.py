# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Making a file shorter after a change that left free clusters below its tables."""
from __future__ import annotations

from ....intervals import IntervalSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .metadata import Metadata

#: The tables that are written anew with each change: refcount table and block.
_MOVED_TOGETHER = 2


def trim(metadata: Metadata, lost: IntervalSet | None = None) -> None:
    """Move tables from the end of the file into free clusters further down; cut the file off after the last one.

    :param lost: runs of clusters that the file does not have: only what lies behind these is moved
    """
    end = _move_down(metadata, lost) >> metadata.geometry.cluster_bits
    if lost is None and metadata.refcounts.free_runs(end).total > _MOVED_TOGETHER:
        # What the first step freed is free for the next one only.
        _move_down(metadata, lost)


def _move_down(metadata: Metadata, lost: IntervalSet | None) -> int:
    """One step, with a commit of its own; where the file ends then, bytes."""
    refcounts = metadata.refcounts
    start = next(iter(lost))[0] if lost else 0
    missing = lost or IntervalSet()
    refcounts.rewind()
    refcounts.avoid_uncounted()
    metadata.mapping.move_down(start, missing)
    refcounts.move_down(start)
    metadata.commit()
    kept = [*refcounts.tables, *refcounts.avoided]
    kept_end = max((end for _first, end in kept if end - 1 not in missing), default=0)
    end = max(refcounts.used_end(missing), kept_end) << metadata.geometry.cluster_bits
    metadata.cut_off(end)
    return end
