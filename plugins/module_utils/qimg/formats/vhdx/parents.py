# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The parent of a differencing VHDX (section 2.6.2.6): how the image names it, and whether a file is it."""
from __future__ import annotations

import struct

from .layout import corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..base import Image

_ENTRY = struct.Struct("<IIHH")
_MOST_ENTRIES = 64
_LINKAGES = ("parent_linkage", "parent_linkage2")


def read_locator(locator: bytes, path: str) -> dict[str, str]:
    """The keys and values of a parent locator.

    :raises CorruptImageError: it is not valid
    """
    if len(locator) < 20:
        raise corrupt(path, "The parent locator is too short")
    (count,) = struct.unpack_from("<H", locator, 18)
    if count > _MOST_ENTRIES or 20 + count * _ENTRY.size > len(locator):
        raise corrupt(path, "The parent locator has %d entries" % count)
    values = {}
    for index in range(count):
        key, value, key_length, value_length = _ENTRY.unpack_from(locator, 20 + index * _ENTRY.size)
        if key + key_length > len(locator) or value + value_length > len(locator):
            raise corrupt(path, "An entry of the parent locator is not inside of it")
        name = locator[key : key + key_length].decode("utf-16-le", "replace")
        values[name] = locator[value : value + value_length].decode("utf-16-le", "replace")
    return values


def parent_name(values: dict[str, str], path: str) -> str:
    """The name of the parent, relative to the directory of the image.

    What Windows calls absolute means nothing here: of such a name, the last part is taken.

    :raises CorruptImageError: the image names none
    """
    name = _cleaned(values.get("relative_path", ""))
    # With a drive or a leading slash it is not relative, whatever its key says.
    if name and ":" not in name and not name.startswith("/"):
        return name
    for key in ("relative_path", "absolute_win32_path", "volume_path"):
        name = _cleaned(values.get(key, "")).rpartition("/")[2].rpartition(":")[2]
        if name:
            return name
    raise corrupt(path, "It is a differencing disk, and names no parent", "name its parent with the option 'backing'")


def _cleaned(text: str) -> str:
    name = text.partition("\0")[0].replace("\\", "/")
    while name.startswith("./"):
        name = name[2:]
    return name


def check_parent(values: dict[str, str], parent: Image, path: str) -> None:
    """See that a file is the parent that the image was made on, and as it was then.

    :raises CorruptImageError: it has another identifier
    """
    guid = getattr(parent, "data_guid", None)
    linkages = [values[key].strip("{}").lower() for key in _LINKAGES if key in values]
    if guid is None or not linkages:
        return
    found = "%s-%s-%s-%s-%s" % (
        guid[3::-1].hex(), guid[5:3:-1].hex(), guid[7:5:-1].hex(), guid[8:10].hex(), guid[10:].hex()
    )  # fmt: skip
    if found not in linkages:
        raise corrupt(
            path,
            "Its parent '%s' has the identifier %s, and not %s" % (parent.filename, found, linkages[0]),
            "put the parent that it was made on in that place, unchanged",
        )
