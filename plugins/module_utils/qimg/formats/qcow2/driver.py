# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The driver of qcow2."""
from __future__ import annotations

import errno
import os

from ...errors import CorruptImageError, FormatError, OptionError, StorageError
from ...limits import SECTOR
from ...references import no_such_node
from ...sizes import ceil_div, round_up
from ..driver import BACKING_FILE, CHECK, INFO, POSSIBLE, Driver
from .changes.metadata import Metadata
from .image import DATA_FILE, Qcow2Image
from .layout import (
    CORRUPT,
    CRYPT_NONE,
    DIRTY,
    EXT_DATA_FILE,
    EXTERNAL_DATA_FILE,
    MAX_BACKING_NAME,
    MAX_SNAPSHOTS,
    RAW_EXTERNAL_DATA,
    parse_extensions,
    parse_header,
)
from .options import OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ...storage.base import Storage
    from ..base import Image
    from ..driver import ImageSource, Measurement, NewImage


#: What is said about bitmaps that a program did not keep up to date.
_IGNORED_BITMAPS = "a program lacking bitmap support modified this file, so all bitmaps are now considered inconsistent"
_BITMAPS_OF_V2 = (
    "This qcow2 v2 image contains bitmaps, but they may have been modified by a program without persistent bitmap "
    "support; so now they must all be considered inconsistent"
)
_LEAKS = "\nSome clusters may be leaked, run 'qemu-img check -r' on the image file to fix."


#: Creation options of what is not in the image's own file.
_OF_DATA_FILES = ("data_file", "data_file_raw", "keep_data_file")


class Qcow2Driver(Driver):
    """qcow2, versions 2 and 3."""

    name = "qcow2"
    options = OPTIONS
    child_keys = ("data-file",)
    content_options = ("encrypt.key-secret",)
    compression = POSSIBLE

    def open(self, source: ImageSource) -> Image:
        """Open a qcow2 image with what it refers to.

        :raises FormatError: it is not valid, or marked as corrupt and to be written
        """
        metadata = Metadata.load(source.storage, source.limits)
        _check_header(source, metadata)
        options = source.take_all()
        if options:
            from . import runtime_options

            runtime_options.take(options, metadata.geometry, metadata.header)
        if metadata.has_ignored_bitmaps:
            source.warn((_BITMAPS_OF_V2 if metadata.header.version == 2 else _IGNORED_BITMAPS) + _LEAKS)
        backing_file = metadata.backing_file.decode("utf-8", "surrogateescape") or None
        if source.purpose == INFO:
            # Of what it refers to, only the backing file is looked at.
            source.take_node("data-file")
            return Qcow2Image(source, metadata, source.open_backing(backing_file, metadata.backing_format))
        data_file = _open_data_file(source, metadata)
        backing = None
        try:
            backing = source.open_backing(backing_file, metadata.backing_format)
            image = Qcow2Image(source, metadata, backing)
            if metadata.may_have_bitmaps and (source.storage.writable or source.purpose == CHECK):
                # Guest data can be read whatever the bitmaps are like; nothing else can be done to the image.
                metadata.bitmaps.verify()
            if source.storage.writable and metadata.header.incompatible_features & DIRTY and source.purpose != CHECK:
                _repair_dirty(image, source.notice)
        except BaseException:
            if backing is not None:
                backing.abandon()
            if data_file is not None:
                data_file.close()
            raise
        return image

    def create(self, new: NewImage) -> Image:
        from . import create

        choice = create.validate(new.options)
        data_file = None
        create.check_kept_data_file(choice)
        if choice.data_file is not None:
            take = new.keep if choice.keep_data_file else new.add
            data_file = take("data-file", choice.data_file, choice.size, DATA_FILE)
        if new.room is not None and (new.room or new.protocol == "nbd"):
            _check_room(new.filename, new.room, choice.size, 1 << choice.cluster_bits, choice.extended_l2)
        reserves = choice.preallocation != "off" and data_file is None and new.is_device
        main = self._reserved(new, choice.preallocation) if reserves else new.main()
        if main.is_device and not main.size:
            # As QEMU has it, whose new header is not there when it is looked for; /dev/null, for instance.
            raise StorageError("Image is not in qcow2 format", path=new.filename, remedy="name a file")
        return create.create(new, main, data_file)

    def _reserved(self, new: NewImage, preallocation: str) -> Storage:
        """A device with room for an image whose clusters are all allocated.

        :raises StorageError: it is too short, or its space cannot be reserved; it is untouched
        """
        if preallocation != "metadata" and not new.can_preallocate:
            from .changes.resizing import cannot_preallocate

            error = cannot_preallocate(preallocation)
            error.reason = "Could not resize image: %s" % error.reason
            raise error
        try:
            return new.main(self.measure(new.options, new.options["size"], None).fully_allocated)
        except StorageError as error:
            if preallocation != "metadata":
                error.reason = "Failed to resize underlying file: %s" % error.reason
            error.reason = "Could not resize image: %s" % error.reason
            raise

    def measure(self, options: dict[str, Any], size: int, source: Image | None) -> Measurement:
        """The size of a new file; see :func:`.measuring.measure`."""
        from . import measuring

        return measuring.measure(options, size, source)

    def main_file_size(self, options: dict[str, Any], size: int) -> int:
        inside = {name: value for name, value in options.items() if name not in _OF_DATA_FILES}
        return self.measure(inside, size, None).fully_allocated - (size if options.get("data_file") else 0)

    def further_files(self, filename: str, options: dict[str, Any]) -> list[tuple[str, str]]:
        is_made = options.get("data_file") and not options.get("keep_data_file")
        return [(DATA_FILE, options["data_file"])] if is_made else []

    def named_files(self, read: Callable[[int, int], bytes]) -> list[tuple[str, str]]:
        header = parse_header(read(0, SECTOR).ljust(SECTOR, b"\0"), "")
        named = []
        if header.backing_file_offset:
            name = read(header.backing_file_offset, min(header.backing_file_size, MAX_BACKING_NAME))
            named.append((BACKING_FILE, name))
        if header.incompatible_features & EXTERNAL_DATA_FILE:
            first_cluster = read(0, header.backing_file_offset or 1 << header.cluster_bits)
            extensions = dict(parse_extensions(first_cluster, header, ""))
            named.append((DATA_FILE, extensions.get(EXT_DATA_FILE, b"")))
        # To QEMU, a name ends with a zero byte.
        texts = [(role, name.partition(b"\0")[0].decode("utf-8", "surrogateescape")) for role, name in named]
        return [(role, name) for role, name in texts if name]


def _check_header(source: ImageSource, metadata: Metadata) -> None:
    """Refuse an image that cannot be opened for a purpose.

    :raises FormatError: it is not valid, or marked as corrupt and to be written
    """
    header = metadata.header
    for_check = source.purpose == CHECK
    if not header.refcount_table_clusters and not for_check:
        raise FormatError("Image does not contain a reference count table", path=source.filename, format="qcow2")
    if source.storage.writable and header.incompatible_features & CORRUPT and not for_check:
        raise CorruptImageError(
            "qcow2: Image is corrupt; cannot be opened read/write",
            path=source.filename,
            format="qcow2",
            remedy="repair it with a check that repairs all (on a backup copy first)",
        )
    if not for_check:
        if header.nb_snapshots > MAX_SNAPSHOTS:
            raise FormatError("Snapshot table too large", path=source.filename, format="qcow2")
        # As QEMU does: an image whose snapshots cannot be read is not opened.
        metadata.load_snapshots()
    if metadata.may_have_bitmaps and source.purpose == INFO:
        metadata.bitmaps.verify()


def _open_data_file(source: ImageSource, metadata: Metadata) -> Storage | None:
    """Open the external data file, if the image has one.

    :raises ImageError: it cannot be opened, or is named for an image that has none
    """
    header = metadata.header
    if header.autoclear_features & RAW_EXTERNAL_DATA and not metadata.has_data_file:
        raise FormatError("data-file-raw requires a data file", path=source.filename, format="qcow2")
    if header.crypt_method != CRYPT_NONE:
        raise OptionError("Parameter 'encrypt.key-secret' is required for cipher", path=source.filename, format="qcow2")
    if metadata.has_data_file:
        metadata.data_file = source.open_file("data-file", metadata.data_file_name, DATA_FILE)
        return metadata.data_file
    named = source.take_node("data-file")
    if isinstance(named, str):
        raise no_such_node({"data-file": named}, "data-file")
    if named:
        raise OptionError("'data-file' can only be set for images with an external data file", path=source.filename)
    return None


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


DRIVER = Qcow2Driver()
