# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The table of formats.

Each row is made by a function that imports its format: start-up pays only for what is used, and the static imports let
Ansible ship what is needed.
"""
from __future__ import annotations

from ..errors import OptionError
from .base import Format

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _raw() -> Format:
    from .raw import driver

    return driver.FORMAT


def _qcow2() -> Format:
    from .qcow2 import driver

    return driver.FORMAT


def _file() -> Format:
    from .raw import driver

    return driver.FILE


def _host_device() -> Format:
    from .raw import driver

    return driver.HOST_DEVICE


_FORMATS: dict[str, Callable[[], Format]] = {"qcow2": _qcow2, "raw": _raw}
#: Protocols, where QEMU also makes new images by their name: nothing but the bytes of the guest disk.
_PLACES: dict[str, Callable[[], Format]] = {"file": _file, "host_device": _host_device}


#: Further drivers of QEMU: an image may say that its backing file is one of those.
_OTHER_DRIVERS = (
    "blkdebug", "blklogwrites", "blkreplay", "blkverify", "bochs", "cloop", "compress", "copy-before-write",
    "copy-on-read", "dmg", "file", "ftp", "ftps", "gluster", "host_cdrom", "host_device", "http", "https", "io_uring",
    "iscsi", "iser", "luks", "nbd", "nfs", "null-aio", "null-co", "nvme", "nvme-io_uring", "parallels", "preallocate",
    "qcow", "qed", "quorum", "rbd", "replication", "snapshot-access", "ssh", "throttle", "vdi", "vhdx",
    "virtio-blk-vfio-pci", "virtio-blk-vhost-user", "virtio-blk-vhost-vdpa", "vmdk", "vpc", "vvfat",
)


def is_driver(name: str) -> bool:
    """Whether QEMU has a driver of that name, even if we have not."""
    return name in _FORMATS or name in _OTHER_DRIVERS


def format_names() -> list[str]:
    """The names of all formats."""
    return sorted(_FORMATS)


def get_target(name: str) -> Format:
    """A row of the table, or what makes images in a protocol.

    :raises OptionError: there is no such format
    """
    return _PLACES[name]() if name in _PLACES else get_format(name)


def get_format(name: str) -> Format:
    """A row of the table.

    :raises OptionError: there is no such format
    """
    if name not in _FORMATS:
        raise OptionError(
            "Unknown driver '%s'" % name, remedy="the formats are %s" % ", ".join(format_names())
        )
    return _FORMATS[name]()
