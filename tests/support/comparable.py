# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What documents about two images must have in common when the same was done to both by different programs.

Where in the file things lie, and how far it reaches, is each allocator's own business.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def info_elsewhere(document: dict[str, Any]) -> dict[str, Any]:
    """What ``info`` says, but for what depends on the file system and on the time."""
    kept = {key: value for key, value in document.items() if key != "actual-size"}
    kept["children"] = [
        dict(
            child,
            info={key: value for key, value in child["info"].items() if key not in ("actual-size", "virtual-size")},
        )
        for child in document["children"]
    ]
    if "snapshots" in document:
        kept["snapshots"] = [
            {key: value for key, value in snapshot.items() if key not in ("date-sec", "date-nsec")}
            for snapshot in document["snapshots"]
        ]
    return kept


def map_elsewhere(extents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What ``map`` says, but for host offsets; neighbours that have all else in common are one."""
    keys = ("depth", "present", "zero", "data", "compressed", "offset")
    return merged_map([dict(extent, offset="offset" in extent) for extent in extents], keys)


def merged_map(extents: list[dict[str, Any]], keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Extents with some keys only; neighbours that have these in common are one."""
    merged: list[dict[str, Any]] = []
    for extent in extents:
        last = merged[-1] if merged else None
        if last is not None and all(last[key] == extent[key] for key in keys):
            last["length"] += extent["length"]
        else:
            merged.append({key: extent[key] for key in ("start", "length", *keys)})
    return merged


def check_elsewhere(document: dict[str, Any]) -> dict[str, Any]:
    """What ``check`` says, but for what where clusters lie decides."""
    return {
        key: value for key, value in document.items() if key not in ("image-end-offset", "fragmented-clusters")
    }
