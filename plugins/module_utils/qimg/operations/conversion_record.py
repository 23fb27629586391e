# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Remembering conversions, to know cheaply that neither side has changed since.

One small file in a state directory holds, for the target and for every file of the sources' backing chains, its device,
inode, length, modification and *status change* time (both in nanoseconds).  Whoever writes to a file gives it a new
modification time, and whoever sets that time back gives it a new status change time; a replaced file has another inode.
So equal records prove that nobody has written to either side, but for one gap: the kernel's clock for these times moves
in steps, and a file that is written twice within a step keeps its times.  Therefore

* a file that was changed less than two seconds before it was looked at is not recorded;
* a target that we have just made is given a modification time two seconds back *before it gets its name*, so that every
  write after that shows.

Sources are looked at before they are read.  Where no record can be kept, the guest contents are compared instead.
"""
from __future__ import annotations

import hashlib
import os
import time

from ..errors import ImageError
from ..formats.driver import INFO
from ..formats.opening import Opener
from ..storage.local import LocalFile
from ..storage.replace import CLOCK_STEP_NS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..formats.base import Image
    from ..references import Reference
    from .snapshot import SnapshotName

    Side = list[list[Any]]

_VERSION = 3
#: Nobody takes so many seconds to write a record.
_FORGOTTEN_AFTER = 3600
#: Places in what is recorded of one file.
_MTIME, _CTIME = 4, 5


def state_directory() -> str:
    """Where records are kept: the XDG state directory if it is set; else ``/var/lib/qimg`` for root, and the usual
    place of that directory for everybody else."""
    home = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(home):
        # As its specification has it: other paths are not looked at.
        if os.geteuid() == 0:
            return "/var/lib/qimg/conversions"
        home = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(home, "qimg", "conversions")


def look_at(name: Reference, format: str | None, opener: Opener) -> Side | None:
    """All files of an image's backing chain, as they are now; ``None`` if one of them is not a plain local file."""
    try:
        with opener.open(name, format, INFO) as image:
            return look_at_open(image)
    except ImageError:
        return None


def look_at_open(image: Image) -> Side | None:
    """The same for an image that is open with its backing chain."""
    files: Side = []
    for layer in image.layers():
        storage = layer.storage
        if not isinstance(storage, LocalFile) or storage.is_device or layer.has_other_files:
            return None
        status = os.fstat(storage.fd)
        files.append(
            [
                os.path.realpath(storage.name),
                status.st_dev,
                status.st_ino,
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
            ]
        )
    return files


def has_settled(side: Side, backdated_ns: int | None = None) -> bool:
    """Whether every write from now on will show in the times of all files.

    :param backdated_ns: the first file has been given this modification time before anybody else could write to it
    """
    now = time.time_ns()
    rest = side
    if backdated_ns is not None:
        if side[0][_MTIME] != backdated_ns:
            return False
        rest = side[1:]
    return all(max(file[_MTIME], file[_CTIME]) < now - CLOCK_STEP_NS for file in rest)


def is_unchanged(
    sources: list[Side | None],
    target: Side | None,
    snapshot: SnapshotName | None,
    path: str,
    compress: bool | None = None,
) -> bool:
    """Whether the last conversion that was recorded for ``path`` is one of these, and still true.

    :param path: the target's name
    :param compress: whether the target's data are to be compressed; ``None``: that does not matter
    """
    import json

    try:
        with open(_record_path(path), encoding="utf-8") as record:
            remembered = json.load(record)
    except (OSError, ValueError):
        return False
    return bool(remembered == _record(sources, target, snapshot, compress))


def remember(
    sources: list[Side | None],
    target: Side | None,
    snapshot: SnapshotName | None,
    path: str,
    compress: bool | None = None,
) -> None:
    """Record that the target has the sources' content; ``None`` among them: there is nothing to rely on.

    :param compress: whether its data are compressed, as far as they shrink; ``None``: nobody has looked
    """
    import json

    if target is None or None in sources:
        return
    record_path = _record_path(path)
    temporary = "%s.%d" % (record_path, os.getpid())
    try:
        os.makedirs(os.path.dirname(record_path), mode=0o700, exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as record:
            json.dump(_record(sources, target, snapshot, compress), record)
        os.replace(temporary, record_path)
    except OSError:
        # A record only saves time; without one the contents are compared.
        return
    _remove_useless_records(os.path.basename(record_path))


def _remove_useless_records(new: str) -> None:
    """Remove the records of targets that are gone or have been replaced, and what killed processes have left.

    :param new: the name of the record that has just been written
    """
    import json

    directory = state_directory()
    try:
        others = set(os.listdir(directory)) - {new}
    except OSError:
        return
    for name in others:
        path = os.path.join(directory, name)
        try:
            if not name.endswith(".json"):
                useless = os.stat(path).st_mtime < time.time() - _FORGOTTEN_AFTER
            else:
                with open(path, encoding="utf-8") as record:
                    useless = not _is_there(json.load(record))
            if useless:
                os.unlink(path)
        except (OSError, ValueError):
            # Somebody else may be at it, or may have put it there.
            continue


def _is_there(record: Any) -> bool:
    """Whether the target of a record is still the same file."""
    try:
        path, device, inode = record["target"][0][:3]
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, LookupError, TypeError, ValueError):
        return False
    return (status.st_dev, status.st_ino) == (device, inode)


def _record(
    sources: list[Side | None], target: Side | None, snapshot: SnapshotName | None, compress: bool | None
) -> dict[str, Any]:
    # JSON knows no tuples: what is read back has lists.
    named = list(snapshot) if isinstance(snapshot, tuple) else snapshot
    return {"version": _VERSION, "sources": sources, "snapshot": named, "target": target, "compress": compress}


def _record_path(target: str) -> str:
    name = hashlib.sha256(os.fsencode(os.path.realpath(target))).hexdigest()
    return os.path.join(state_directory(), name + ".json")
