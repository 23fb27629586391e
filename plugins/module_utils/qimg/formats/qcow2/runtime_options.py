# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Options of a node that say how QEMU works with an image.

They change nothing of what is read or written here: tables are kept as it pays, what is freed is given back, and every
change is checked.  What names images for QEMU (libvirt, for instance) may give them all the same.
"""
from __future__ import annotations

from ...errors import OptionError
from ...option_text import parse_boolean, parse_number, parse_size_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .layout import Geometry

_SWITCHES = (
    "lazy-refcounts",
    "pass-discard-request",
    "pass-discard-snapshot",
    "pass-discard-other",
    "discard-no-unref",
)
_SIZES = ("cache-size", "l2-cache-size", "l2-cache-entry-size", "refcount-cache-size")
_INTERVAL = "cache-clean-interval"
_OVERLAP_CHECK = "overlap-check"
_OVERLAP_TEMPLATES = ("none", "constant", "cached", "all")
_OVERLAP_SWITCHES = (
    "main-header",
    "active-l1",
    "active-l2",
    "refcount-table",
    "refcount-block",
    "snapshot-table",
    "inactive-l1",
    "inactive-l2",
    "bitmap-directory",
)
_MIN_CACHE_ENTRY = 512
_MAX_INTERVAL = (1 << 32) - 1


def take(node: dict[str, Any], geometry: Geometry, version: int) -> None:
    """Take these options out of a node, if they make sense.

    :raises OptionError: in QEMU's words
    """
    switches = {name: parse_boolean(name, node.pop(name, False)) for name in _SWITCHES}
    sizes = {name: parse_size_option(name, node.pop(name)) for name in _SIZES if name in node}
    if parse_number(_INTERVAL, node.pop(_INTERVAL, 0)) > _MAX_INTERVAL:
        raise OptionError("Cache clean interval too big")
    _check_sizes(sizes, geometry.cluster_size)
    if switches["lazy-refcounts"] and version < 3:
        raise OptionError("Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level")
    _take_overlap_check(node)
    if switches["discard-no-unref"] and version < 3:
        raise OptionError("discard-no-unref is only supported since qcow2 version 3")


def _check_sizes(sizes: dict[str, int], cluster_size: int) -> None:
    both, tables, refcounts = (sizes.get(name) for name in ("cache-size", "l2-cache-size", "refcount-cache-size"))
    if both is not None:
        if tables is not None and refcounts is not None:
            raise OptionError("cache-size, l2-cache-size and refcount-cache-size may not be set at the same time")
        if tables is not None and tables > both:
            raise OptionError("l2-cache-size may not exceed cache-size")
        if refcounts is not None and refcounts > both:
            raise OptionError("refcount-cache-size may not exceed cache-size")
    entry = sizes.get("l2-cache-entry-size", cluster_size)
    if not _MIN_CACHE_ENTRY <= entry <= cluster_size or entry & (entry - 1):
        raise OptionError(
            "L2 cache entry size must be a power of two between %d and the cluster size (%d)"
            % (_MIN_CACHE_ENTRY, cluster_size)
        )


def _take_overlap_check(node: dict[str, Any]) -> None:
    """``overlap-check`` is a word, or an object with the word as ``template`` and switches that differ from it."""
    given = node.get(_OVERLAP_CHECK)
    if given is None:
        return
    template = given
    if isinstance(given, dict):
        further = dict(given)
        template = further.pop("template", "cached")
        for name in _OVERLAP_SWITCHES:
            parse_boolean("%s.%s" % (_OVERLAP_CHECK, name), further.pop(name, False))
        node[_OVERLAP_CHECK] = further
    if template not in _OVERLAP_TEMPLATES:
        raise OptionError(
            "Unsupported value '%s' for qcow2 option 'overlap-check'. Allowed are any of the following: %s"
            % (template, ", ".join(_OVERLAP_TEMPLATES))
        )
    if not isinstance(given, dict) or not node[_OVERLAP_CHECK]:
        del node[_OVERLAP_CHECK]
