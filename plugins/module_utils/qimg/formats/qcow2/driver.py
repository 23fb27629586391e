# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The row of qcow2 in the table of formats."""
from __future__ import annotations

import errno
import os

from ...errors import CorruptImageError, FormatError, OptionError, StorageError
from ...limits import SECTOR
from ...references import no_such_node
from ...sizes import ceil_div, round_up
from ..base import Format, Measurement
from .image import Qcow2Image
from .layout import CORRUPT, CRYPT_NONE, DIRTY, MAX_SNAPSHOTS, RAW_EXTERNAL_DATA
from .metadata import Metadata
from .options import OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ...storage.base import Storage
    from ..base import Image
    from ..new_files import NewFiles
    from ..opening import Children


#: What is said about bitmaps that a program did not keep up to date.
_IGNORED_BITMAPS = "a program lacking bitmap support modified this file, so all bitmaps are now considered inconsistent"
_BITMAPS_OF_V2 = (
    "This qcow2 v2 image contains bitmaps, but they may have been modified by a program without persistent bitmap "
    "support; so now they must all be considered inconsistent"
)
_LEAKS = "\nSome clusters may be leaked, run 'qemu-img check -r' on the image file to fix."


def open_image(storage: Storage, filename: str, node: dict[str, Any], children: Children) -> Image:
    """Open a qcow2 image with what it refers to.

    :raises FormatError: it is not valid, or marked as corrupt and to be written
    """
    metadata = Metadata.load(storage, children.limits)
    header = metadata.header
    for_check = children.purpose == "check"
    if not header.refcount_table_clusters and not for_check:
        raise FormatError("Image does not contain a reference count table", path=filename, format="qcow2")
    if storage.writable and header.incompatible_features & CORRUPT and not for_check:
        raise CorruptImageError(
            "qcow2: Image is corrupt; cannot be opened read/write",
            path=filename,
            format="qcow2",
            remedy="repair it with a check that repairs all (on a backup copy first)",
        )
    if not for_check:
        if header.nb_snapshots > MAX_SNAPSHOTS:
            raise FormatError("Snapshot table too large", path=filename, format="qcow2")
        # As QEMU does: an image whose snapshots cannot be read is not opened.
        metadata.load_snapshots()
    if metadata.may_have_bitmaps and children.purpose == "info":
        metadata.bitmaps.verify()
    if node:
        from . import runtime_options

        runtime_options.take(node, metadata.geometry, header)
    if metadata.has_ignored_bitmaps:
        children.watcher.warning((_BITMAPS_OF_V2 if header.version == 2 else _IGNORED_BITMAPS) + _LEAKS)
    backing_file = metadata.backing_file.decode("utf-8", "surrogateescape") or None
    if children.purpose == "info":
        # Of what it refers to, only the backing file is looked at.
        node.pop("data-file", None)
        backing = children.open_backing(backing_file, metadata.backing_format)
        return Qcow2Image(metadata, filename, backing, children.limits)
    if header.autoclear_features & RAW_EXTERNAL_DATA and not metadata.has_data_file:
        raise FormatError("data-file-raw requires a data file", path=filename, format="qcow2")
    if header.crypt_method != CRYPT_NONE:
        raise OptionError("Parameter 'encrypt.key-secret' is required for cipher", path=filename, format="qcow2")
    if metadata.has_data_file:
        metadata.data_file = children.open_file("data-file", metadata.data_file_name, "data file")
    elif isinstance(node.get("data-file"), str):
        raise no_such_node(node, "data-file")
    elif node.pop("data-file", None):
        raise OptionError("'data-file' can only be set for images with an external data file", path=filename)
    try:
        backing = children.open_backing(backing_file, metadata.backing_format)
        image = Qcow2Image(metadata, filename, backing, children.limits)
        try:
            if metadata.may_have_bitmaps and (storage.writable or for_check):
                # Guest data can be read whatever the bitmaps are like; nothing else can be done to the image.
                metadata.bitmaps.verify()
            if storage.writable and header.incompatible_features & DIRTY and not for_check:
                _repair_dirty(image, children.watcher.notice)
        except BaseException:
            if backing is not None:
                backing.abandon()
            raise
    except BaseException:
        if metadata.data_file is not None:
            metadata.data_file.close()
        raise
    return image


def _repair_dirty(image: Qcow2Image, report: Callable[[str], None]) -> None:
    """Lazy refcounts were left behind by a program that died: they are made right before anything is written.

    :param report: called with each line that qemu-img prints on the way
    :raises CorruptImageError: they could not be
    """
    result = image.check("all", report)
    if result.corruptions or result.check_errors:
        raise CorruptImageError(
            "Could not repair dirty image",
            path=image.filename,
            format="qcow2",
            remedy="check the image, and restore it from a backup",
        )


def create_image(files: NewFiles, filename: str, options: dict[str, Any], backing: Image | None) -> Image:
    """An empty image, ready to be written to."""
    from . import create

    choice = create.validate(options)
    data_file = files.add(choice.data_file, choice.size) if choice.data_file is not None else None
    if files.room is not None and (files.room or files.protocol == "nbd"):
        _check_room(filename, files.room, choice.size, 1 << choice.cluster_bits, choice.extended_l2)
    reserves = choice.preallocation != "off" and data_file is None and files.is_device
    main = _reserved(files, choice.preallocation, options) if reserves else files.main
    if main.is_device and not main.size:
        # As QEMU has it, whose new header is not there when it is looked for; /dev/null, for instance.
        raise StorageError("Image is not in qcow2 format", path=filename, remedy="name a file")
    return create.create(main, filename, options, data_file, backing)


def _check_room(filename: str, room: int, size: int, cluster_size: int, extended_l2: bool) -> None:
    """Refuse a device that has no room for the tables of an empty image: it is untouched.

    :param room: its length in bytes
    :param size: guest bytes
    :raises StorageError: naming what QEMU, which writes one after another, could not write
    """
    entries = ceil_div(size, cluster_size * (cluster_size // (16 if extended_l2 else 8)))
    for end, what in (
        (SECTOR if room else 0, "Failed to clear the new image's first sector"),
        (cluster_size, "Could not write qcow2 header"),
        (3 * cluster_size, "Could not write refcount table"),
        (3 * cluster_size + round_up(8 * entries, SECTOR), "Could not resize image: Failed to grow the L1 table"),
    ):
        if room < end:
            raise StorageError(
                "%s: %s" % (what, os.strerror(errno.ENOSPC)),
                errno=errno.ENOSPC,
                path=filename,
                remedy="it has only %d bytes, and nothing was written: use a larger one" % room,
            )


def _reserved(files: NewFiles, preallocation: str, options: dict[str, Any]) -> Storage:
    """A device with room for an image whose clusters are all allocated.

    :raises StorageError: it is too short, or its space cannot be reserved; it is untouched
    """
    if preallocation != "metadata" and not files.can_preallocate:
        from .resizing import cannot_preallocate

        error = cannot_preallocate(preallocation)
        error.reason = "Could not resize image: %s" % error.reason
        raise error
    try:
        return files.main_of(measure(options, options["size"], None).fully_allocated)
    except StorageError as error:
        if preallocation != "metadata":
            error.reason = "Failed to resize underlying file: %s" % error.reason
        error.reason = "Could not resize image: %s" % error.reason
        raise


def measure(options: dict[str, Any], size: int, source: Image | None) -> Measurement:
    """The size of a new file; see :func:`.measuring.measure`."""
    from . import measuring

    return measuring.measure(options, size, source)


FORMAT = Format("qcow2", open_image, create_image, OPTIONS, False, measure, True)
