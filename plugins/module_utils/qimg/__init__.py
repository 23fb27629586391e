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

What they have in common: ``reference`` is a file name, in any of QEMU's spellings, a path, or a node; ``format`` is its
format, ``None`` to detect it; sizes and offsets are bytes; ``opener`` says which files may be opened, and how;
``progress`` is called with the fraction that is done, 0.0 to 1.0, and may raise to stop.  A change is made completely
or not at all.

Every error is an :class:`ImageError` (see :mod:`qimg.errors`).  A part of the package is imported when it is first
used, so that importing the package itself costs nothing.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    # What type checkers and editors read, and the Ansible controller: it sends a module only what the module's files
    # import in so many words.  The table below says the same again for the interpreter.  "As" hands a name on.
    # pylint: disable=useless-import-alias
    from typing import Any

    from .crypto.objects import ObjectStore as ObjectStore
    from .errors import CorruptImageError as CorruptImageError
    from .errors import DependantsError as DependantsError
    from .errors import FormatError as FormatError
    from .errors import ImageError as ImageError
    from .errors import ImageInUseError as ImageInUseError
    from .errors import LimitError as LimitError
    from .errors import MismatchError as MismatchError
    from .errors import MissingPackageError as MissingPackageError
    from .errors import NotThisFormatError as NotThisFormatError
    from .errors import OptionError as OptionError
    from .errors import ReferenceDeniedError as ReferenceDeniedError
    from .errors import ShrinkRefusedError as ShrinkRefusedError
    from .errors import StorageError as StorageError
    from .errors import StorageLostError as StorageLostError
    from .errors import UnknownContentError as UnknownContentError
    from .errors import UnsupportedFeatureError as UnsupportedFeatureError
    from .errors import UnsupportedOperationError as UnsupportedOperationError
    from .formats import format_names as format_names
    from .formats.base import Extent as Extent
    from .formats.base import Image as Image
    from .formats.capabilities import BitmapInfo as BitmapInfo
    from .formats.capabilities import CheckResult as CheckResult
    from .formats.capabilities import SnapshotInfo as SnapshotInfo
    from .formats.driver import Measurement as Measurement
    from .formats.opening import Opener as Opener
    from .formats.opening import open_image as open_image
    from .formats.options import CreateOption as CreateOption
    from .formats.watcher import Watcher as Watcher
    from .limits import DEFAULT_LIMITS as DEFAULT_LIMITS
    from .limits import Limits as Limits
    from .operations.amend import amend as amend
    from .operations.amend import amendable_options as amendable_options
    from .operations.amend import plan_amend as plan_amend
    from .operations.bench import bench as bench
    from .operations.bitmap import BitmapAction as BitmapAction
    from .operations.bitmap import add_bitmap as add_bitmap
    from .operations.bitmap import clear_bitmap as clear_bitmap
    from .operations.bitmap import dirty_ranges as dirty_ranges
    from .operations.bitmap import disable_bitmap as disable_bitmap
    from .operations.bitmap import enable_bitmap as enable_bitmap
    from .operations.bitmap import list_bitmaps as list_bitmaps
    from .operations.bitmap import merge_bitmap as merge_bitmap
    from .operations.bitmap import plan_bitmap as plan_bitmap
    from .operations.bitmap import remove_bitmap as remove_bitmap
    from .operations.check import CheckReport as CheckReport
    from .operations.check import RepairPlan as RepairPlan
    from .operations.check import check as check
    from .operations.check import check_chain as check_chain
    from .operations.check import plan_repair as plan_repair
    from .operations.commit import CommitPlan as CommitPlan
    from .operations.commit import commit as commit
    from .operations.commit import plan_commit as plan_commit
    from .operations.compare import CompareResult as CompareResult
    from .operations.compare import compare as compare
    from .operations.conversion_request import ConvertRequest as ConvertRequest
    from .operations.convert import ConvertPlan as ConvertPlan
    from .operations.convert import convert as convert
    from .operations.convert import plan_convert as plan_convert
    from .operations.create import CreatePlan as CreatePlan
    from .operations.create import create as create
    from .operations.create import plan_create as plan_create
    from .operations.dd import DdPlan as DdPlan
    from .operations.dd import DdRequest as DdRequest
    from .operations.dd import dd as dd
    from .operations.dd import plan_dd as plan_dd
    from .operations.dependants import Dependant as Dependant
    from .operations.dependants import altered_dependants as altered_dependants
    from .operations.dependants import dependants as dependants
    from .operations.info import ImageInfo as ImageInfo
    from .operations.info import info as info
    from .operations.info import info_chain as info_chain
    from .operations.map import extents_of as extents_of
    from .operations.map import map_image as map_image
    from .operations.measure import measure as measure
    from .operations.new_image import creation_options as creation_options
    from .operations.plan import Altered as Altered
    from .operations.plan import Plan as Plan
    from .operations.rebase import plan_rebase as plan_rebase
    from .operations.rebase import rebase as rebase
    from .operations.remove import RemovePlan as RemovePlan
    from .operations.remove import plan_remove as plan_remove
    from .operations.resize import plan_resize as plan_resize
    from .operations.resize import resize as resize
    from .operations.snapshot import CreateSnapshotPlan as CreateSnapshotPlan
    from .operations.snapshot import apply_snapshot as apply_snapshot
    from .operations.snapshot import create_snapshot as create_snapshot
    from .operations.snapshot import delete_snapshot as delete_snapshot
    from .operations.snapshot import list_snapshots as list_snapshots
    from .operations.snapshot import open_snapshot as open_snapshot
    from .operations.snapshot import plan_apply_snapshot as plan_apply_snapshot
    from .operations.snapshot import plan_create_snapshot as plan_create_snapshot
    from .operations.snapshot import plan_delete_snapshot as plan_delete_snapshot
    from .policy import ReferencePolicy as ReferencePolicy
    from .schemas import schema as schema
    from .schemas import schema_names as schema_names
    from .storage.cache import CacheMode as CacheMode
    from .storage.cache import cache_mode as cache_mode

__version__ = "0.1.0"

#: Module -> its public names.
_PLACES = {
    "crypto.objects": ("ObjectStore",),
    "errors": (
        "CorruptImageError", "DependantsError", "FormatError", "ImageError", "ImageInUseError", "LimitError",
        "MismatchError", "MissingPackageError", "NotThisFormatError", "OptionError", "ReferenceDeniedError",
        "ShrinkRefusedError", "StorageError", "StorageLostError", "UnknownContentError", "UnsupportedFeatureError",
        "UnsupportedOperationError",
    ),
    "formats": ("format_names",),
    "formats.base": ("Extent", "Image"),
    "formats.capabilities": ("BitmapInfo", "CheckResult", "SnapshotInfo"),
    "formats.driver": ("Measurement",),
    "formats.opening": ("Opener", "open_image"),
    "formats.options": ("CreateOption",),
    "formats.watcher": ("Watcher",),
    "limits": ("DEFAULT_LIMITS", "Limits"),
    "operations.amend": ("amend", "amendable_options", "plan_amend"),
    "operations.bench": ("bench",),
    "operations.bitmap": (
        "BitmapAction", "add_bitmap", "clear_bitmap", "dirty_ranges", "disable_bitmap", "enable_bitmap", "list_bitmaps",
        "merge_bitmap", "plan_bitmap", "remove_bitmap",
    ),
    "operations.check": ("CheckReport", "RepairPlan", "check", "check_chain", "plan_repair"),
    "operations.commit": ("CommitPlan", "commit", "plan_commit"),
    "operations.compare": ("CompareResult", "compare"),
    "operations.conversion_request": ("ConvertRequest",),
    "operations.convert": ("ConvertPlan", "convert", "plan_convert"),
    "operations.create": ("CreatePlan", "create", "plan_create"),
    "operations.dd": ("DdPlan", "DdRequest", "dd", "plan_dd"),
    "operations.dependants": ("Dependant", "altered_dependants", "dependants"),
    "operations.info": ("ImageInfo", "info", "info_chain"),
    "operations.map": ("extents_of", "map_image"),
    "operations.measure": ("measure",),
    "operations.new_image": ("creation_options",),
    "operations.plan": ("Altered", "Plan"),
    "operations.rebase": ("plan_rebase", "rebase"),
    "operations.remove": ("RemovePlan", "plan_remove"),
    "operations.resize": ("plan_resize", "resize"),
    "operations.snapshot": (
        "CreateSnapshotPlan", "apply_snapshot", "create_snapshot", "delete_snapshot", "list_snapshots",
        "open_snapshot", "plan_apply_snapshot", "plan_create_snapshot", "plan_delete_snapshot",
    ),
    "policy": ("ReferencePolicy",),
    "schemas": ("schema", "schema_names"),
    "storage.cache": ("CacheMode", "cache_mode"),
}  # fmt: skip

__all__ = [name for names in _PLACES.values() for name in names]


def __getattr__(name: str) -> Any:
    for place, names in _PLACES.items():
        if name in names:
            value = getattr(__import__("%s.%s" % (__name__, place), None, None, (name,)), name)
            globals()[name] = value
            return value
    raise AttributeError("module '%s' has no attribute '%s'" % (__name__, name))


def __dir__() -> list[str]:
    return ["__version__", *__all__]
