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


def _qcow2(head: bytes, name: str) -> int:
    return 100 if head.startswith(_QCOW_MAGIC) and int.from_bytes(head[4:8], "big") >= 2 else 0


#: (format, score function) in the order in which QEMU registers them; the highest score wins, the first on a tie.
_PROBES: tuple[tuple[str, Callable[[bytes, str], int]], ...] = (("qcow2", _qcow2),)


def probe(head: bytes, name: str) -> str:
    """The name of the format.

    :param head: the first bytes of the file, at most 512; nothing for an empty file
    """
    best, best_score = "raw", 1
    if head:
        head = head[:PROBE_BYTES].ljust(PROBE_BYTES, b"\0")
        for format_name, score_of in _PROBES:
            score = score_of(head, name)
            if score > best_score:
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
