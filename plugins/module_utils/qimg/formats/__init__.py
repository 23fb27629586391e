# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The table of formats.

Each row is a function that imports its format: start-up pays only for what is used, and the static imports let Ansible
ship what is needed.
"""
from __future__ import annotations

from ..errors import OptionError
from ..storage.protocols import PROTOCOLS
from .driver_names import is_driver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..references import Node
    from .driver import Driver


def _bochs() -> Driver:
    from .bochs.driver import DRIVER

    return DRIVER


def _cloop() -> Driver:
    from .cloop.driver import DRIVER

    return DRIVER


def _dmg() -> Driver:
    from .dmg.driver import DRIVER

    return DRIVER


def _luks() -> Driver:
    from .luks.driver import DRIVER

    return DRIVER


def _raw() -> Driver:
    from .raw.driver import DRIVER

    return DRIVER


def _qcow2() -> Driver:
    from .qcow2.driver import DRIVER

    return DRIVER


def _vdi() -> Driver:
    from .vdi.driver import DRIVER

    return DRIVER


def _parallels() -> Driver:
    from .parallels.driver import DRIVER

    return DRIVER


def _qed() -> Driver:
    from .qed.driver import DRIVER

    return DRIVER


def _vhdx() -> Driver:
    from .vhdx.driver import DRIVER

    return DRIVER


def _vmdk() -> Driver:
    from .vmdk.driver import DRIVER

    return DRIVER


def _vpc() -> Driver:
    from .vpc.driver import DRIVER

    return DRIVER


#: The format that can do all that others cannot: what messages recommend.
RICHEST = "qcow2"

_FORMATS: dict[str, Callable[[], Driver]] = {
    "bochs": _bochs,
    "cloop": _cloop,
    "dmg": _dmg,
    "luks": _luks,
    "parallels": _parallels,
    "qcow2": _qcow2,
    "qed": _qed,
    "raw": _raw,
    "vdi": _vdi,
    "vhdx": _vhdx,
    "vmdk": _vmdk,
    "vpc": _vpc,
}


def format_names() -> list[str]:
    """The names of all formats."""
    return sorted(_FORMATS)


def get_driver(name: str) -> Driver:
    """The driver of a format, or of a protocol: an image may be nothing but the bytes of a file, a device, an export.

    :raises OptionError: there is no such format
    """
    if name in PROTOCOLS:
        from .raw.driver import PROTOCOL_DRIVERS

        return PROTOCOL_DRIVERS[name]
    if name not in _FORMATS:
        raise OptionError("Unknown driver '%s'" % name, remedy="the formats are %s" % ", ".join(format_names()))
    return _FORMATS[name]()


def driver_of_node(node: Node) -> Driver | None:
    """The driver of a format that a node names; ``None`` where it names none that is here."""
    name = node.get("driver")
    return _FORMATS[name]() if isinstance(name, str) and name in _FORMATS else None


def check_driver(reference: object, driver: str | None) -> None:
    """Refuse a driver that QEMU does not have either, before anything that is wrong with the name of an image.

    :raises OptionError: there is no such driver
    """
    if driver is not None and not is_driver(driver) and not str(reference).startswith("json:"):
        get_driver(driver)
