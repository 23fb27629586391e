# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Remembering conversions, to know cheaply that neither side has changed since.

After a conversion, one small file in a state directory holds, for the target and for every file of the source's
backing chain, its device, inode, length, modification and *status change* time (both in nanoseconds).  The kernel sets
the status change time at every write and offers no way to set it back, so equal records prove that nobody has written
to either side; a replaced file has another inode.  Where the clock was set back, or a record cannot be kept, the
guest contents are compared instead.
"""
from __future__ import annotations

import hashlib
import os

from ..errors import ImageError
from ..formats.opening import INFO, Opener
from ..storage.local import LocalFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_VERSION = 1


def state_directory() -> str:
    """Where records are kept: ``/var/lib/qimg`` for root, the XDG state directory for everybody else."""
    if os.geteuid() == 0:
        return "/var/lib/qimg/conversions"
    home = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(home, "qimg", "conversions")


def is_unchanged(sources: tuple[str, ...], target: str, snapshot: str | None, opener: Opener) -> bool | None:
    """Whether the last conversion of these sources to this target is still true; ``None``: nobody knows."""
    import json

    try:
        with open(_record_path(target), encoding="utf-8") as record:
            remembered = json.load(record)
    except (OSError, ValueError):
        return None
    now = _fingerprint(sources, target, snapshot, opener)
    return True if now is not None and remembered == now else None


def remember(sources: tuple[str, ...], target: str, snapshot: str | None, opener: Opener) -> None:
    """Record that the target now has the sources' content."""
    import json

    fingerprint = _fingerprint(sources, target, snapshot, opener)
    if fingerprint is None:
        return
    path = _record_path(target)
    temporary = "%s.%d" % (path, os.getpid())
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as record:
            json.dump(fingerprint, record)
        os.replace(temporary, path)
    except OSError:
        # A record only saves time; without one the contents are compared.
        return


def _record_path(target: str) -> str:
    name = hashlib.sha256(os.fsencode(os.path.realpath(target))).hexdigest()
    return os.path.join(state_directory(), name + ".json")


def _fingerprint(
    sources: tuple[str, ...], target: str, snapshot: str | None, opener: Opener
) -> dict[str, Any] | None:
    """All files of both sides, as they are now; ``None`` if one of them is not a local file."""
    chains = []
    for source in sources:
        chain = _chain_files(source, opener)
        if chain is None:
            return None
        chains.append(chain)
    target_chain = _chain_files(target, opener)
    if target_chain is None:
        return None
    return {"version": _VERSION, "sources": chains, "snapshot": snapshot, "target": target_chain}


def _chain_files(name: str, opener: Opener) -> list[list[Any]] | None:
    files: list[list[Any]] = []
    wanted: str | None = name
    format: str | None = None
    try:
        while wanted is not None:
            if len(files) >= opener.limits.max_chain:
                return None
            with opener.open(wanted, format, INFO, backing=False) as image:
                if not isinstance(image.storage, LocalFile) or image.storage.is_device or image.has_other_files:
                    return None
                status = os.fstat(image.storage.fd)
                files.append(
                    [
                        os.path.realpath(image.storage.name),
                        status.st_dev,
                        status.st_ino,
                        status.st_size,
                        status.st_mtime_ns,
                        status.st_ctime_ns,
                    ]
                )
                wanted, format = image.full_backing_file, image.backing_format
    except (ImageError, OSError):
        return None
    return files
