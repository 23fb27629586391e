# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The block limits of a node, as ``info --limits`` shows them."""
from __future__ import annotations

from ..formats.nested import ImageStorage
from ..limits import SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..formats.base import Image
    from ..storage.base import Storage

#: Memory that is aligned to so many bytes is good for every medium.
_GOOD_MEMORY_ALIGNMENT = 4096
#: How many pieces of memory one request may have (Linux: ``IOV_MAX``).
_MAX_IOV = 1024
#: What QEMU does not hand on to the node above.
_NOT_INHERITED = ("max-write-zeroes", "max-discard", "write-zeroes-alignment")


def storage_limits(storage: Storage) -> dict[str, int]:
    """The limits of a file, or of another place for bytes, in bytes by their names in the document."""
    if isinstance(storage, ImageStorage):
        return image_limits(storage.image)
    limits = {
        "request-alignment": storage.alignment,
        "min-mem-alignment": storage.memory_alignment,
        "opt-mem-alignment": max(_GOOD_MEMORY_ALIGNMENT, storage.memory_alignment),
        "max-iov": _MAX_IOV,
    }
    for name, value in storage.request_sizes().items():
        limits[name] = value
    return limits


def image_limits(image: Image) -> dict[str, int]:
    """The same for an image: those of its storage, where any byte can be asked for, and those of its clusters."""
    below = storage_limits(image.storage)
    limits = {
        name: value for name, value in below.items() if name not in _NOT_INHERITED
    }
    limits["request-alignment"] = SECTOR if image.reads_sectors else 1
    for name, value in image.cluster_limits().items():
        limits[name] = value
    return limits
