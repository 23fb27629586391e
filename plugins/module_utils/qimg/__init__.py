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

There is a function for each command of qemu-img; those that change something have a ``plan_…`` function beside them,
which only finds out what would be done and why.  ``dir(qimg)`` lists all public names, docs/sdk.md explains them.

Everything raises :class:`ImageError` or one of its kinds (see :mod:`qimg.errors`).  What is used is imported when it is
used, so that importing the package costs nothing.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"


#: Module -> its public names.
_NAMES = {
    "actions": (
        "add_bitmap", "amend", "apply_snapshot", "bench", "clear_bitmap", "commit", "create_snapshot", "dd",
        "delete_snapshot", "disable_bitmap", "enable_bitmap", "measure", "merge_bitmap", "rebase", "remove_bitmap",
        "resize",
    ),
    "amend": ("plan_amend",),
    "base": ("Extent", "Image", "Measurement"),
    "bench": ("BenchRequest",),
    "bitmap": ("BitmapAction", "dirty_ranges", "list_bitmaps", "plan_bitmap"),
    "capabilities": ("BitmapInfo", "CheckResult", "SnapshotInfo"),
    "check": ("CheckReport", "check", "check_chain", "plan_repair"),
    "commit": ("plan_commit",),
    "compare": ("CompareResult", "compare"),
    "convert": ("ConvertRequest", "convert", "plan_convert"),
    "create": ("create", "plan_create"),
    "dd": ("DdRequest", "plan_dd"),
    "errors": (
        "CorruptImageError", "FormatError", "ImageError", "ImageInUseError", "LimitError", "MismatchError",
        "MissingPackageError", "NotThisFormatError", "OptionError", "ReferenceDeniedError", "StorageError",
        "StorageLostError", "UnsupportedFeatureError", "UnsupportedOperationError",
    ),
    "info": ("ImageInfo", "info", "info_chain"),
    "limits": ("Limits",),
    "map": ("map_image",),
    "opening": ("Opener", "open_image"),
    "plan": ("Plan",),
    "policy": ("ReferencePolicy",),
    "rebase": ("plan_rebase",),
    "resize": ("plan_resize",),
    "schemas": ("schema", "schema_names"),
    "snapshot": ("list_snapshots", "plan_apply_snapshot", "plan_create_snapshot", "plan_delete_snapshot"),
}  # fmt: skip

#: Names that are longer here than in their module.
_NAMES_THERE = {
    "plan_apply_snapshot": "plan_apply",
    "plan_create_snapshot": "plan_create",
    "plan_delete_snapshot": "plan_delete",
}


def __getattr__(name: str) -> Any:
    for module, names in _NAMES.items():
        if name in names:
            value = getattr(_module(module), _NAMES_THERE.get(name, name))
            globals()[name] = value
            return value
    raise AttributeError("module 'qimg' has no attribute %r" % name)


def __dir__() -> list[str]:
    return sorted({"__version__", *(name for names in _NAMES.values() for name in names)})


def _module(name: str) -> Any:
    """Import one module.  Ansible sends to its hosts only what it sees in ``import`` statements like these."""
    module: Any
    if name == "actions":
        from . import actions as module
    elif name == "base":
        from .formats import base as module
    elif name == "capabilities":
        from .formats import capabilities as module
    elif name == "errors":
        from . import errors as module
    elif name == "limits":
        from . import limits as module
    elif name == "opening":
        from .formats import opening as module
    elif name == "policy":
        from . import policy as module
    elif name == "schemas":
        from . import schemas as module
    else:
        module = _operation(name)
    return module


def _operation(name: str) -> Any:
    module: Any
    if name == "amend":
        from .operations import amend as module
    elif name == "bench":
        from .operations import bench as module
    elif name == "bitmap":
        from .operations import bitmap as module
    elif name == "check":
        from .operations import check as module
    elif name == "commit":
        from .operations import commit as module
    elif name == "compare":
        from .operations import compare as module
    elif name == "convert":
        from .operations import convert as module
    elif name == "create":
        from .operations import create as module
    elif name == "dd":
        from .operations import dd as module
    elif name == "info":
        from .operations import info as module
    elif name == "map":
        from .operations import map as module
    elif name == "plan":
        from .operations import plan as module
    elif name == "rebase":
        from .operations import rebase as module
    elif name == "resize":
        from .operations import resize as module
    else:
        from .operations import snapshot as module
    return module
