# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The table of formats.

Each row is made by a function that imports its format: start-up pays only for what is used, and the static imports let
Ansible ship what is needed.
"""
from __future__ import annotations

from ..errors import OptionError
from ..storage.protocols import PROTOCOLS
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


_FORMATS: dict[str, Callable[[], Format]] = {"qcow2": _qcow2, "raw": _raw}


#: Further drivers of QEMU: an image may say that its backing file is one of those.
_OTHER_DRIVERS = (
    "blkdebug", "blklogwrites", "blkreplay", "blkverify", "bochs", "cloop", "compress", "copy-before-write",
    "copy-on-read", "dmg", "ftp", "ftps", "gluster", "http", "https", "io_uring", "iscsi", "iser", "luks", "nfs",
    "null-aio", "null-co", "nvme", "nvme-io_uring", "parallels", "preallocate", "qcow", "qed", "quorum", "rbd",
    "replication", "snapshot-access", "ssh", "throttle", "vdi", "vhdx",
    "virtio-blk-vfio-pci", "virtio-blk-vhost-user", "virtio-blk-vhost-vdpa", "vmdk", "vpc", "vvfat",
)


def is_driver(name: str) -> bool:
    """Whether QEMU has a driver of that name, even if we have not."""
    return name in _FORMATS or name in PROTOCOLS or name in _OTHER_DRIVERS


def format_names() -> list[str]:
    """The names of all formats."""
    return sorted(_FORMATS)


def get_format(name: str) -> Format:
    """A row of the table, or that of a protocol: an image may be nothing but the bytes of a file, a device, an export.

    :raises OptionError: there is no such format
    """
    if name in PROTOCOLS:
        from .raw import driver

        return driver.PROTOCOLS[name]
    if name not in _FORMATS:
        raise OptionError(
            "Unknown driver '%s'" % name, remedy="the formats are %s" % ", ".join(format_names())
        )
    return _FORMATS[name]()


def check_driver(reference: object, driver: str | None) -> None:
    """Say that nobody knows a driver before anything that is wrong with the name of an image.

    :raises OptionError: it is not even one that QEMU has
    """
    if driver is not None and not is_driver(driver) and not str(reference).startswith("json:"):
        get_format(driver)
