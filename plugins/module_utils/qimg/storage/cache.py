# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""How writes reach the medium: QEMU's cache modes."""
from __future__ import annotations

from collections import namedtuple

from ..errors import OptionError


class CacheMode(namedtuple("CacheMode", ["direct", "writethrough", "no_flush"])):
    """``direct``: pass by the page cache (``O_DIRECT``); ``writethrough``: every write is on the medium when it
    returns (``O_DSYNC``); ``no_flush``: flushing does nothing, so a crash of the machine can lose what was written."""

    __slots__ = ()

    direct: bool
    writethrough: bool
    no_flush: bool


WRITEBACK = CacheMode(False, False, False)
UNSAFE = CacheMode(False, False, True)

#: What ``-t`` and ``-T`` take.
_MODES = {
    "none": CacheMode(True, False, False),
    "off": CacheMode(True, False, False),
    "directsync": CacheMode(True, True, False),
    "writeback": WRITEBACK,
    "unsafe": UNSAFE,
    "writethrough": CacheMode(False, True, False),
}


def cache_mode(name: str) -> CacheMode:
    """The mode of a name.

    :param name: ``none`` or ``off``, ``directsync``, ``writeback``, ``unsafe`` or ``writethrough``
    :raises OptionError: there is no such mode
    """
    if name not in _MODES:
        raise OptionError("Invalid cache option: %s" % name, remedy="the modes are %s" % ", ".join(sorted(_MODES)))
    return _MODES[name]
