# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The parent of a differencing VHD: how the image names it, and whether a file is it."""
from __future__ import annotations

from .layout import Header, corrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...storage.base import Storage
    from ..base import Image

#: Kinds of locators: paths relative to the image, and absolute ones, both of Windows in UTF-16.
_RELATIVE, _ABSOLUTE = b"W2ru", b"W2ku"
#: Longer names are none.
_MAX_NAME_BYTES = 8192


def parent_name(storage: Storage, header: Header, path: str) -> str:
    """The name of the parent, relative to the directory of the image.

    What Windows calls absolute means nothing here: of such a name, the last part is taken.

    :raises CorruptImageError: the image names none
    """
    absolute = [header.parent_name.decode("utf-16-be", "replace")]
    for code, offset, length in header.parent_locators():
        if code not in (_RELATIVE, _ABSOLUTE) or not 0 < length <= _MAX_NAME_BYTES or offset + length > storage.size:
            continue
        text = storage.read(offset, length // 2 * 2).decode("utf-16-le", "replace")
        if code == _ABSOLUTE:
            absolute.append(text)
            continue
        name = _cleaned(text)
        # With a drive or a leading slash it is not relative, whatever its kind says.
        if name and ":" not in name and not name.startswith("/"):
            return name
    for text in absolute:
        name = _cleaned(text).rpartition("/")[2].rpartition(":")[2]
        if name:
            return name
    raise corrupt(path, "It is a differencing disk, and names no parent", "name its parent with the option 'backing'")


def _cleaned(text: str) -> str:
    name = text.partition("\0")[0].replace("\\", "/")
    while name.startswith("./"):
        name = name[2:]
    return name


def check_parent(header: Header, parent: Image, path: str) -> None:
    """See that a file is the parent that the image was made on.

    :raises CorruptImageError: it has another identifier
    """
    uuid = getattr(parent, "uuid", None)
    if uuid is not None and uuid != header.parent_uuid:
        wanted = header.parent_uuid.hex()
        raise corrupt(
            path,
            "Its parent '%s' has the identifier %s, and not %s" % (parent.filename, uuid.hex(), wanted),
            "put the parent that it was made on in that place",
        )
