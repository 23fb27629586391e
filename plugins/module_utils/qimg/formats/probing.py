# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Telling the format of an image by its first 512 bytes and its name, as QEMU does."""
from __future__ import annotations

from ..errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..storage.base import Storage

PROBE_BYTES = 512

_QCOW_MAGIC = b"QFI\xfb"
_VMDK_VERSIONS = (b"version=1", b"version=2", b"version=3")
_PARALLELS_MAGICS = (b"WithoutFreeSpace", b"WithouFreSpacExt")
_CLOOP_SCRIPT = b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n"
_BOCHS_TEXTS = ((0, b"Bochs Virtual HD Image"), (32, b"Redolog"), (48, b"Growing"))
_BOCHS_VERSIONS = (0x00010000, 0x00020000)

#: Scores: certain; likely, where nothing is certain; and what raw has for everything.
_CERTAIN, _LIKELY, _RAW = 100, 2, 1


def _vmdk(head: bytes) -> bool:
    """A sparse extent, or a descriptor: its first line that is neither comment nor blank is the version."""
    if head[:4] in (b"KDMV", b"COWD"):
        return True
    for line in head.split(b"\n")[:-1]:
        text = line.rstrip(b"\r")
        if text.startswith(b"#") or (line and not text.strip(b" ")):
            continue
        return text in _VMDK_VERSIONS
    return False


def _bochs(head: bytes) -> bool:
    return all(_text(head, offset) == text for offset, text in _BOCHS_TEXTS) and (
        int.from_bytes(head[64:68], "little") in _BOCHS_VERSIONS
    )


def _text(head: bytes, offset: int) -> bytes:
    """The text that a zero byte ends."""
    return head[offset:].split(b"\0", 1)[0]


#: Format -> whether the first 512 bytes, or the name, say that it is that, and how sure that is; in the order in which
#: QEMU registers them: the highest score wins, the first of equal ones.
_PROBES: tuple[tuple[str, int, Callable[[bytes, str], bool]], ...] = (
    ("bochs", _CERTAIN, lambda head, name: _bochs(head)),
    ("dmg", _LIKELY, lambda head, name: name.endswith(".dmg")),
    ("cloop", _LIKELY, lambda head, name: head.startswith(_CLOOP_SCRIPT)),
    ("luks", _CERTAIN, lambda head, name: head.startswith(b"LUKS\xba\xbe\x00\x01")),
    ("parallels", _CERTAIN, lambda head, name: head[:16] in _PARALLELS_MAGICS and head[16:20] == b"\x02\0\0\0"),
    ("qcow", _CERTAIN, lambda head, name: head.startswith(_QCOW_MAGIC + b"\0\0\0\x01")),
    ("qcow2", _CERTAIN, lambda head, name: head.startswith(_QCOW_MAGIC) and int.from_bytes(head[4:8], "big") >= 2),
    ("qed", _CERTAIN, lambda head, name: head.startswith(b"QED\0")),
    ("vdi", _CERTAIN, lambda head, name: head[64:68] == b"\x7f\x10\xda\xbe"),
    ("vhdx", _CERTAIN, lambda head, name: head.startswith(b"vhdxfile")),
    ("vmdk", _CERTAIN, lambda head, name: _vmdk(head)),
    ("vpc", _CERTAIN, lambda head, name: head.startswith(b"conectix")),
)  # fmt: skip


def probe(head: bytes, name: str) -> str:
    """The name of the format, be it one that is not supported here.

    :param head: the first bytes of the file, at most 512; nothing for an empty file
    """
    best, best_score = "raw", _RAW
    if head:
        head = head[:PROBE_BYTES].ljust(PROBE_BYTES, b"\0")
        for format_name, score, matches in _PROBES:
            if score > best_score and matches(head, name):
                best, best_score = format_name, score
    return best


def probe_storage(storage: Storage, name: str) -> str:
    """The name of the format of what a storage holds.

    :raises StorageError: it cannot be read
    """
    try:
        head = storage.read(0, min(PROBE_BYTES, storage.size))
    except StorageError as error:
        error.reason = "Could not read image for determining its format: %s" % error.words
        raise
    return probe(head, name)
