# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Options of a node that say how QEMU works with an image.

They change nothing of what is read or written here: tables are kept as it pays, what is freed is given back, and every
change is checked.  What names images for QEMU (libvirt, for instance) may give them all the same.
"""
from __future__ import annotations

from ...errors import OptionError
from ...option_text import parse_number, parse_size_option, take_boolean, take_option
from .layout import CRYPT_NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .layout import Geometry, Header

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
_MAX_CACHE_ENTRIES = (1 << 31) - 1
_MAX_INTERVAL = (1 << 32) - 1


def take(node: dict[str, Any], geometry: Geometry, header: Header) -> None:
    """Take these options out of a node, if they make sense.

    :raises OptionError: in QEMU's words
    """
    switches = {name: take_boolean(node, name) for name in _SWITCHES}
    sizes = {name: _take_size(node, name) for name in _SIZES}
    if parse_number(_INTERVAL, take_option(node, _INTERVAL, 0)) > _MAX_INTERVAL:
        raise OptionError("Cache clean interval too big")
    overlap = _overlap_options(node)
    _check_sizes(sizes, geometry.cluster_size)
    if switches["lazy-refcounts"] and header.version < 3:
        raise OptionError("Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level")
    _check_overlap(overlap)
    if switches["discard-no-unref"] and header.version < 3:
        raise OptionError("discard-no-unref is only supported since qcow2 version 3")
    if header.crypt_method == CRYPT_NONE:
        _take_encryption(node)


def _take_size(node: dict[str, Any], name: str) -> int | None:
    given = take_option(node, name)
    return None if given is None else parse_size_option(name, given)


def _check_sizes(sizes: dict[str, int | None], cluster_size: int) -> None:
    both, tables, refcounts = (sizes[name] for name in ("cache-size", "l2-cache-size", "refcount-cache-size"))
    if both is not None:
        if tables is not None and refcounts is not None:
            raise OptionError("cache-size, l2-cache-size and refcount-cache-size may not be set at the same time")
        if tables is not None and tables > both:
            raise OptionError("l2-cache-size may not exceed cache-size")
        if refcounts is not None and refcounts > both:
            raise OptionError("refcount-cache-size may not exceed cache-size")
        if refcounts is None:
            refcounts = both - (tables or 0)
    entry = sizes["l2-cache-entry-size"]
    if entry is not None and (not _MIN_CACHE_ENTRY <= entry <= cluster_size or entry & (entry - 1)):
        raise OptionError(
            "L2 cache entry size must be a power of two between %d and the cluster size (%d)"
            % (_MIN_CACHE_ENTRY, cluster_size)
        )
    if refcounts is not None and refcounts // cluster_size > _MAX_CACHE_ENTRIES:
        raise OptionError("Refcount cache size too big")


def _overlap_options(node: dict[str, Any]) -> tuple[Any, Any]:
    """Take ``overlap-check``, and the options beneath it but the template out of a node; returns both templates."""
    beneath = node.get(_OVERLAP_CHECK)
    if isinstance(beneath, dict) and beneath:
        del node[_OVERLAP_CHECK]
        node.update({"%s.%s" % (_OVERLAP_CHECK, name): value for name, value in beneath.items()})
    template = take_option(node, _OVERLAP_CHECK)
    other = take_option(node, _OVERLAP_CHECK + ".template")
    for name in _OVERLAP_SWITCHES:
        take_boolean(node, "%s.%s" % (_OVERLAP_CHECK, name))
    return template, other


def _check_overlap(templates: tuple[Any, Any]) -> None:
    one, other = templates
    if one is not None and other is not None and one != other:
        raise OptionError(
            "Conflicting values for qcow2 options 'overlap-check' ('%s') and 'overlap-check.template' ('%s')"
            % (one, other)
        )
    template = one if one is not None else other if other is not None else "cached"
    if template not in _OVERLAP_TEMPLATES:
        raise OptionError(
            "Unsupported value '%s' for qcow2 option 'overlap-check'. Allowed are any of the following: %s"
            % (template, ", ".join(_OVERLAP_TEMPLATES))
        )


def _take_encryption(node: dict[str, Any]) -> None:
    """What is needed to decrypt an image is not needed for one that is not encrypted, unless it says that it is."""
    given = node.get("encrypt")
    if isinstance(given, dict) and given:
        if isinstance(given.get("format"), str):
            raise OptionError("No encryption in image header, but options specified format '%s'" % given["format"])
        del node["encrypt"]
