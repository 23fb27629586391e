# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""How images are named: paths, ``proto:rest``, ``json:{…}`` and option strings, and all of them as one tree.

A *node* is a dictionary as QEMU's block layer has it: ``driver``, the driver's own options, and children as nested
dictionaries, e.g. ``{"driver": "qcow2", "file": {"driver": "file", "filename": "disk.qcow2"}}``.
"""
from __future__ import annotations

import os

from .errors import OptionError, UnsupportedOperationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Node = dict[str, Any]

#: Protocols whose names need not be files.
_REMOTE_PROTOCOLS = ("nbd",)


def protocol_of(name: str) -> str | None:
    """``proto`` of ``proto:rest``: what stands before a colon, if no slash comes first."""
    colon = name.find(":")
    slash = name.find("/")
    if colon <= 0 or 0 <= slash < colon:
        return None
    return name[:colon]


def parse_reference(name: str) -> Node:
    """The node that a file name stands for.

    :raises OptionError: an unknown protocol, or broken ``json:``
    """
    if name.startswith("json:"):
        return _parse_json(name)
    protocol = protocol_of(name)
    if protocol is None:
        return {"file": {"driver": "file", "filename": name}}
    if protocol == "file":
        return {"file": {"driver": "file", "filename": name[len("file:") :]}}
    raise OptionError("Unknown protocol '%s'" % protocol, path=name)


def _parse_json(name: str) -> Node:
    # json is needed for few names, and takes longer to import than most images take to open.
    import json

    try:
        document = json.loads(name[len("json:") :])
    except ValueError as error:
        raise OptionError("Could not parse the JSON options: %s" % error, path=name) from error
    if not isinstance(document, dict):
        raise OptionError("Invalid JSON object given", path=name)
    return nest(document)


def nest(flat: dict[str, Any]) -> Node:
    """Turn dotted keys (``file.filename``) into nested dictionaries.

    :raises OptionError: a key is both a value and a dictionary
    """
    tree: Node = {}
    for key, value in flat.items():
        if isinstance(value, dict):
            value = nest(value)
        place = tree
        *path, last = key.split(".")
        for step in path:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise OptionError("Option '%s' has both a value and sub-options" % step)
        if isinstance(place.get(last), dict) and isinstance(value, dict):
            place[last].update(value)
        else:
            place[last] = value
    return tree


def resolve_reference(referrer: str, name: str) -> str:
    """The name that an image stores, as seen from where the image is.

    :param referrer: the file name of the image
    :raises UnsupportedOperationError: the image has no plain file name to resolve against
    """
    if not name or os.path.isabs(name) or protocol_of(name) is not None:
        return name
    if referrer.startswith("json:"):
        raise UnsupportedOperationError(
            "Cannot use relative backing file names for '%s'" % referrer,
            path=referrer,
            remedy="name the image by its plain path",
        )
    if protocol_of(referrer) == "file":
        referrer = referrer[len("file:") :]
    return os.path.join(os.path.dirname(referrer), name)
