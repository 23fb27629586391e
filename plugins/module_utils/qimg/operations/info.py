# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What an image says about itself."""
from __future__ import annotations

from collections import namedtuple

from ..errors import ImageError, OptionError
from ..formats import driver_of_node
from ..formats.chain import chain_too_long, infinite_loop
from ..formats.driver import INFO
from ..formats.naming import display_name, whole_node
from ..formats.nested import ImageStorage, with_snapshots
from ..formats.opening import Opener
from ..references import local_path
from ..sizes import round_up
from ..storage.local import LocalFile
from ..storage.protocols import PROTOCOLS
from .limits import image_limits, storage_limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..formats.base import Image
    from ..formats.capabilities import SnapshotInfo
    from ..references import Reference
    from ..storage.base import Storage


class ImageInfo(
    namedtuple(
        "ImageInfo",
        [
            "filename",
            "format",
            "virtual_size",
            "actual_size",
            "cluster_size",
            "encrypted",
            "dirty_flag",
            "backing_filename",
            "full_backing_filename",
            "backing_filename_format",
            "snapshots",
            "format_specific",
            "children",
            "limits",
        ],
        defaults=(None,),
    )
):
    """One node: an image, or a file beneath it.

    Sizes are bytes; what does not apply is ``None``; ``snapshots`` is a list of
    :class:`~qimg.formats.capabilities.SnapshotInfo`; ``format_specific`` is the ``data`` object for the format;
    ``children`` is a list of ``(name, ImageInfo)``; ``limits`` are bytes by name, if they were asked for.
    """

    __slots__ = ()

    filename: str
    format: str
    virtual_size: int
    actual_size: int | None
    cluster_size: int | None
    encrypted: bool
    dirty_flag: bool | None
    backing_filename: str | None
    full_backing_filename: str | None
    backing_filename_format: str | None
    snapshots: list[SnapshotInfo]
    format_specific: dict[str, Any] | None
    children: list[tuple[str, ImageInfo]]
    limits: dict[str, int] | None

    def document(self) -> dict[str, Any]:
        """The object that ``info --output=json`` prints."""
        document: dict[str, Any] = {
            "virtual-size": self.virtual_size,
            "filename": self.filename,
            "format": self.format,
        }
        for key, value in (
            ("backing-filename-format", self.backing_filename_format),
            ("cluster-size", self.cluster_size),
            ("actual-size", self.actual_size),
            ("full-backing-filename", self.full_backing_filename),
            ("backing-filename", self.backing_filename),
            ("dirty-flag", self.dirty_flag),
        ):
            if value is not None:
                document[key] = value
        if self.snapshots:
            document["snapshots"] = [_snapshot_document(snapshot) for snapshot in self.snapshots]
        if self.format_specific is not None:
            kind = "file" if self.format == "host_device" else self.format
            document["format-specific"] = {"type": kind, "data": self.format_specific}
        if self.encrypted:
            document["encrypted"] = True
        if self.limits is not None:
            document["limits"] = self.limits
        document["children"] = [{"name": name, "info": child.document()} for name, child in self.children]
        return document


def _snapshot_document(snapshot: Any) -> dict[str, Any]:
    seconds, nanoseconds = divmod(snapshot.vm_clock_nsec, 1000000000)
    document = {
        "vm-clock-nsec": nanoseconds,
        "name": snapshot.name,
        "date-sec": snapshot.date_sec,
        "date-nsec": snapshot.date_nsec,
        "vm-clock-sec": seconds,
        "id": snapshot.id,
        # As a number with a sign, as QEMU has it.
        "vm-state-size": (snapshot.vm_state_size ^ 1 << 63) - (1 << 63),
    }
    if snapshot.icount is not None:
        document["icount"] = snapshot.icount
    return document


def info(
    reference: Reference, format: str | None = None, opener: Opener | None = None, limits: bool = False
) -> ImageInfo:
    """What one image says about itself; nothing that it refers to is opened.

    :param reference: the image
    :param format: its format; ``None``: detect it
    :param opener: which files may be opened, and how
    :param limits: also tell the block limits of every node
    :raises ImageError: it cannot be opened
    """
    with (opener or Opener()).open(reference, format, INFO, backing=False) as image:
        return _info_alone(image, limits)


def info_chain(
    reference: Reference, format: str | None = None, opener: Opener | None = None, limits: bool = False
) -> list[ImageInfo]:
    """The image, its backing file, and so on down the chain, each opened for itself.

    :param reference: the image
    :param format: its format; ``None``: detect it
    :param opener: which files may be opened, and how
    :param limits: also tell the block limits of every node
    :returns: top first
    :raises ImageError: one of them cannot be opened, the chain is a loop, or the policy does not allow a backing file
    """
    opener = opener or Opener()
    chain: list[ImageInfo] = []
    seen: set[tuple[int, int]] = set()
    wanted: Reference | None = reference
    while wanted is not None:
        with opener.open(wanted, format, INFO, backing=False) as image:
            identity = image.storage.identity
            if identity is not None:
                if identity in seen:
                    raise infinite_loop(image.filename)
                seen.add(identity)
            found = _info_alone(image, limits)
            location = local_path(image.node) or image.filename
        chain.append(found)
        if len(chain) > opener.limits.max_chain:
            raise chain_too_long(chain[0].filename, opener.limits)
        below: str | None = found.full_backing_filename
        if below is None and found.backing_filename:
            raise ImageError(
                "Could not determine absolute backing filename, but backing filename '%s' present"
                % found.backing_filename,
                path=found.filename,
            )
        if below is not None:
            try:
                opener.check_backing(location, below)
            except OptionError as error:
                error.while_opening = below
                raise
        wanted, format = below, found.backing_filename_format
    return chain


def _info_alone(image: Image, limits: bool) -> ImageInfo:
    """What an image says that was opened without the other files of its node: these do not belong to its name then."""
    found = image_info(image, limits)
    driver = driver_of_node(image.node)
    others = ("backing", *(driver.child_keys if driver is not None else ()))
    alone = {key: value for key, value in whole_node(image).items() if key not in others}
    return found if len(alone) == len(image.node) else found._replace(filename=display_name(alone))


def image_info(image: Image, limits: bool = False) -> ImageInfo:
    """What an open image says about itself, with its block limits or without."""
    if image.format in PROTOCOLS:
        return file_info(image.storage, limits)
    backing = [] if image.backing is None else [("backing", image_info(image.backing, limits))]
    holder = with_snapshots(image)
    # QEMU lists the file first that it opened last.
    opened = [(file.key, file.storage) for file in reversed(image.files()) if file.storage is not None]
    others = [(key, storage_info(storage, limits)) for key, storage in opened]
    return ImageInfo(
        image.filename,
        image.format,
        image.size,
        image.allocated_size,
        image.cluster_size,
        image.encrypted,
        image.dirty,
        image.backing_file,
        image.full_backing_file,
        image.backing_format,
        holder.snapshots if holder is not None else [],
        image.format_specific(),
        [*backing, *others, ("file", storage_info(image.storage, limits))],
        image_limits(image) if limits else None,
    )


def storage_info(storage: Storage, limits: bool = False) -> ImageInfo:
    """What lies beneath an image: a file, or another image."""
    if isinstance(storage, ImageStorage):
        return image_info(storage.image, limits)
    return file_info(storage, limits)


def file_info(storage: Storage, limits: bool = False) -> ImageInfo:
    """What a file, or another place for bytes, says about itself."""
    return ImageInfo(
        storage.name,
        storage.protocol,
        round_up(storage.size, 512),
        storage.allocated_size,
        None,
        False,
        storage.dirty,
        None,
        None,
        None,
        [],
        {} if isinstance(storage, LocalFile) else None,
        [],
        storage_limits(storage) if limits else None,
    )
