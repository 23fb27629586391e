# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Changing the first cluster (header, extensions, backing file name) so that every crash leaves a whole one.

Only the first 512 bytes can be written in one step.  Where more than that must change, the extensions and the name are
first written to a second place in the same cluster, and the header's sector is switched to them (a padding extension
leads there); then the usual place is free to be rewritten, and a second switch leads back.
"""
from __future__ import annotations

import struct

from ....errors import ImageError, StorageError
from ..layout import (
    ATOMIC_SECTOR,
    EXT_BACKING_FORMAT,
    EXT_BITMAPS,
    EXT_CRYPTO,
    EXT_DATA_FILE,
    EXT_FEATURE_NAMES,
    EXT_PADDING,
    Header,
    pack_extensions,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ....storage.base import Storage


class HeaderFullError(ImageError):
    """Extensions and backing file name do not fit into the first cluster; nothing was written."""


#: Small ones first: then a change of theirs stays in the first sector.  Unknown ones keep their order, and stand behind
#: the feature name table, as with QEMU.
_ORDER = {EXT_BACKING_FORMAT: 0, EXT_CRYPTO: 1, EXT_BITMAPS: 2, EXT_DATA_FILE: 3, EXT_FEATURE_NAMES: 4}
_ORDER_OF_OTHERS = 5

_EXTENSION_HEADER = struct.Struct(">II")


def compose(
    header: Header, extensions: list[tuple[int, bytes]], backing_file: bytes, path: str
) -> tuple[Header, bytes]:
    """Header, extensions and backing file name as they usually stand, directly after one another.

    :returns: the header with the place of the name filled in, and the bytes
    :raises HeaderFullError: they do not fit into one cluster
    """
    packed = pack_extensions(sorted(extensions, key=lambda extension: _ORDER.get(extension[0], _ORDER_OF_OTHERS)))
    name_offset = header.header_length + len(packed)
    header = header._replace(
        backing_file_offset=name_offset if backing_file else 0, backing_file_size=len(backing_file)
    )
    data = header.pack() + packed + backing_file
    if len(data) > 1 << header.cluster_bits:
        raise _does_not_fit(path)
    return header, data


def write(
    storage: Storage, live: bytes, header: Header, extensions: list[tuple[int, bytes]], backing_file: bytes
) -> bytes:
    """Replace what is at the beginning of the file, in steps that each leave a whole image.

    Everything that ``header`` refers to must be on disk already.

    :param live: the beginning of the file as it is, up to the last byte that counts
    :returns: the same for the file as it is now
    :raises HeaderFullError: the cluster has no room; then nothing was written
    :raises StorageError: the medium failed; the file may say either
    """
    header, new = compose(header, extensions, backing_file, storage.name)
    if new == live:
        return live
    if not live:
        # A new file: the whole cluster is written, as QEMU does, so that both take the same space.
        storage.write(ATOMIC_SECTOR, new[ATOMIC_SECTOR:].ljust((1 << header.cluster_bits) - ATOMIC_SECTOR, b"\0"))
        storage.flush()
        _switch(storage, new)
        return new
    overlap = min(len(live), len(new))
    far = _second_place(live, header, new, storage.name)
    if far is None:
        if len(new) > overlap and len(new) > ATOMIC_SECTOR:
            storage.write(max(overlap, ATOMIC_SECTOR), new[max(overlap, ATOMIC_SECTOR) :])
            storage.flush()
        _switch(storage, new)
        return new

    name_in_new = header.backing_file_offset
    padding_start = header.header_length + _EXTENSION_HEADER.size
    storage.write(far, new[header.header_length :])
    storage.flush()
    detour = header._replace(backing_file_offset=name_in_new and far + name_in_new - header.header_length)
    _switch(storage, detour.pack() + _EXTENSION_HEADER.pack(EXT_PADDING, far - padding_start))
    storage.write(ATOMIC_SECTOR, new[ATOMIC_SECTOR:])
    storage.flush()
    _switch(storage, new)
    return new


def check_room(
    live: bytes, header: Header, extensions: list[tuple[int, bytes]], backing_file: bytes, path: str
) -> None:
    """Whether :func:`write` will find room, with other content of the same lengths.

    :raises HeaderFullError: it will not
    """
    header, new = compose(header, extensions, backing_file, path)
    if live:
        _second_place(live, header, new, path)


def _second_place(live: bytes, header: Header, new: bytes, path: str) -> int | None:
    """Where extensions and name go meanwhile; ``None``: one write is enough.

    :raises HeaderFullError: there is no room
    """
    overlap = min(len(live), len(new))
    if live[ATOMIC_SECTOR:overlap] == new[ATOMIC_SECTOR:overlap]:
        return None
    padding_start = header.header_length + _EXTENSION_HEADER.size
    far: int = padding_start + -(-(max(len(live), len(new), ATOMIC_SECTOR) - padding_start) // 8) * 8
    if padding_start > ATOMIC_SECTOR or far + len(new) - header.header_length > 1 << header.cluster_bits:
        raise _does_not_fit(path)
    return far


def _switch(storage: Storage, data: bytes) -> None:
    storage.write(0, data[:ATOMIC_SECTOR].ljust(ATOMIC_SECTOR, b"\0"))
    try:
        storage.flush()
    except StorageError as error:
        error.remedy = (
            "the change is written, but may not be on the medium: the image is whole, and a power failure now leaves "
            "it as it was before or as it is now"
        )
        raise


def _does_not_fit(path: str) -> HeaderFullError:
    return HeaderFullError(
        "No space left in the file header",
        path=path,
        format="qcow2",
        remedy="use a shorter backing file name, or convert the image to larger clusters",
    )
