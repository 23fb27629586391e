# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""qimg: read, make, change and check virtual disk images, in pure Python.

::

    import qimg

    qimg.create("disk.qcow2", "qcow2", size=10 << 30)
    qimg.convert("disk.raw", "copy.qcow2", "qcow2", compress=True)
    print(qimg.info("copy.qcow2").virtual_size)
    with qimg.open_image("copy.qcow2", purpose="write") as image:
        image.write(0, b"boot")

Everything raises :class:`ImageError` or one of its kinds (see :mod:`qimg.errors`).  What is used is imported when it is
used, so that importing the package costs nothing.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    value = _find(name)
    globals()[name] = value
    return value


def _find(name: str) -> Any:
    """Import the one module that has a public name."""
    value: Any
    if name.endswith("Error"):
        from . import errors

        value = getattr(errors, name)
    elif name == "Limits":
        from .limits import Limits as value
    elif name == "ReferencePolicy":
        from .policy import ReferencePolicy as value
    elif name == "Opener":
        from .formats.opening import Opener as value
    elif name == "open_image":
        from .formats.opening import open_image as value
    elif name == "create":
        from .operations.create import create as value
    elif name == "convert":
        from .operations.convert import convert as value
    elif name == "info":
        from .operations.info import info as value
    elif name == "map_image":
        from .operations.map import map_image as value
    elif name == "check":
        from .operations.check import check as value
    elif name == "compare":
        from .operations.compare import compare as value
    else:
        raise AttributeError("module 'qimg' has no attribute %r" % name)
    return value
