# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""How images are named: paths, ``proto:rest``, ``json:{…}`` and option strings, and all of them as one tree.

A *node* is a dictionary as QEMU's block layer has it: ``driver``, the driver's own options, and children as nested
dictionaries, e.g. ``{"driver": "qcow2", "file": {"driver": "file", "filename": "disk.qcow2"}}``.
"""
from __future__ import annotations

import os

from . import json_writer, nbd_names
from .errors import OptionError, UnsupportedOperationError
from .option_text import check_identifier, split_with_forms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Union

    Node = dict[str, Any]
    #: How a caller names a file: a text may be any name that QEMU takes (``nbd://…``), a path is nothing but a path.
    FileName = Union[str, bytes, os.PathLike[str], os.PathLike[bytes]]
    Reference = Union[FileName, Node]

#: Protocols whose node is the same as a bare file name.
PATH_PROTOCOLS = ("file", "host_device", "host_cdrom")


def text_of(name: FileName) -> str:
    """What a caller calls a file, as a text.

    :raises TypeError: it is no name
    """
    return name if isinstance(name, str) else _unmistakable(os.fsdecode(name))


def named(reference: Reference) -> str | Node:
    """What a caller calls an image, names as texts."""
    return reference if isinstance(reference, dict) else text_of(reference)


def protocol_of(name: str) -> str | None:
    """``proto`` of ``proto:rest``: what stands before a colon, if no slash comes first."""
    colon = name.find(":")
    slash = name.find("/")
    if colon < 0 or 0 <= slash < colon:
        return None
    return name[:colon]


def parse_reference(name: str) -> Node:
    """The node that a file name stands for.

    :raises OptionError: an unknown protocol, or broken ``json:``
    """
    if name.startswith("json:"):
        return _parse_json(name)
    driver = driver_of(name)
    if driver is not None:
        return {"file": parse_protocol_name(name, driver)}
    return {"file": {"filename": _checked_path(name)}}


def driver_of(name: str) -> str | None:
    """The protocol that a name speaks of; ``None``: it is a plain path.

    :raises OptionError: an unknown one
    """
    protocol = protocol_of(name)
    if protocol is None or protocol in PATH_PROTOCOLS:
        return protocol
    if protocol in nbd_names.PROTOCOLS:
        return "nbd"
    raise OptionError(
        "Unknown protocol '%s'" % protocol,
        path=name,
        remedy="if this is the name of a file, write it with its directory: './%s'" % name,
    )


def parse_protocol_name(name: str, driver: str) -> Node:
    """The node of a name that a protocol takes as it is, whatever it looks like.

    :raises OptionError: it is no name of that protocol
    """
    if driver == "nbd":
        return nbd_names.parse_nbd_name(name)
    path = _path_after_prefix(name) if driver == protocol_of(name) else name
    return {"driver": driver, "filename": _checked_path(path)}


def _checked_path(path: str) -> str:
    if "\0" in path:
        raise OptionError("A file name cannot have a zero byte in it", path=path)
    return path


def _parse_json(name: str) -> Node:
    from .json_parser import JsonSyntaxError, parse_json

    try:
        document = parse_json(name[len("json:") :])
    except JsonSyntaxError as error:
        raise OptionError("Could not parse the JSON options: %s" % error.reason, path=name) from error
    if not isinstance(document, dict):
        raise OptionError("Invalid JSON object given", path=name)
    return nest(document)


class OptionString(dict):  # type: ignore[type-arg]
    """The node of an option string (``driver=qcow2,file.filename=…``); ``text`` is how the user wrote it."""

    def __init__(self, text: str, node: Node) -> None:
        super().__init__(node)
        self.text = text


def parse_option_string(text: str, warn: Callable[[str], None] | None = None) -> OptionString:
    """The node that an option string (``--image-opts``) describes.

    :param warn: called with each deprecated spelling
    :raises OptionError: in QEMU's words
    """
    flat: Node = {}
    options = split_with_forms(text, "file")
    for (name, value), short in options:
        if name == "id" and short is None:
            check_identifier(value)
            break
    for (name, value), short in options:
        if short in ("help", "?"):
            # A question, even where nobody answers it.
            short = None
        if short is not None and warn is not None:
            warn("short-form boolean option '%s' deprecated\nPlease use %s=%s instead" % (short, name, value))
        flat[name] = value
    try:
        return OptionString(text, nest(flat))
    except OptionError as error:
        error.while_opening = text
        raise


#: No node has more others beneath it; each level costs some of the interpreter's thousand nested calls.
_MAX_DEPTH = 64


#: Options that only a text can be a value of.
_TEXTS = ("driver", "filename")


def nest(flat: dict[str, Any], depth: int = 0) -> Node:
    """Turn dotted keys (``file.filename``) into nested dictionaries, and lists into dictionaries by position.

    Where a key has a value, and there are options beneath it too, these keep their dotted names beside it.

    :param depth: how many levels of a larger node lie above
    :raises OptionError: there are too many levels
    """
    tree: Node = {}
    # An object of its own counts more than dotted keys that say the same.
    for key, value in sorted(flat.items(), key=lambda item: isinstance(item[1], (dict, list))):
        *path, last = key.split(".")
        if depth + len(path) > _MAX_DEPTH:
            raise OptionError("The options of an image are nested more than %d levels deep" % _MAX_DEPTH)
        if isinstance(value, list) and value:
            value = {str(position): item for position, item in enumerate(value)}
        if isinstance(value, dict):
            value = nest(value, depth + len(path) + 1)
        if _counts(last, value):
            _put(tree, path, last, value)
    return tree


def _counts(name: str, value: Any) -> bool:
    """Whether an option has a value that QEMU looks at: it takes a number where only a text makes sense for nothing."""
    if name in _TEXTS:
        return not (value is None or isinstance(value, (bool, int, float, list, dict)))
    if name == "file":
        return isinstance(value, (str, dict))
    # Only a backing file can be left out by naming none.
    return value is not None or name == "backing"


def _put(place: Node, path: list[str], last: str, value: Any) -> None:
    for position, step in enumerate(path):
        below = place.setdefault(step, {})
        if step == "backing" and isinstance(below, (bool, int, float, list)):
            below = place[step] = {}
        if not isinstance(below, dict):
            place[".".join((*path[position:], last))] = value
            return
        place = below
    present = place.get(last)
    if isinstance(present, dict) and isinstance(value, dict):
        present.update(value)
        return
    if isinstance(present, dict) and last in place:
        place.update(flatten(present, last + "."))
    place[last] = value


def no_such_node(node: Node, key: str) -> OptionError:
    """The error for a child that is named rather than described: there are no nodes but those that are described."""
    if any(other.startswith(key + ".") for other in node):
        return OptionError("Cannot reference an existing block device with additional options or a new filename")
    return OptionError("Cannot find device='%s' nor node-name='%s'" % (node[key], node[key]))


def first_key(options: Node) -> str:
    """The dotted name of an option that nobody took, the one that QEMU would name."""
    return json_writer.in_order(flatten(options))[0][0]


def flatten(node: Node, prefix: str = "") -> Node:
    """The opposite of :func:`nest`: dotted keys."""
    flat: Node = {}
    for key, value in node.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, prefix + key + "."))
        else:
            flat[prefix + key] = value
    return flat


def plain_name(reference: str | Node) -> str | None:
    """How an image is called that is named by a plain path; ``None`` for ``json:``, URIs and nodes."""
    if not isinstance(reference, str) or protocol_of(reference) in ("json", *nbd_names.PROTOCOLS):
        return None
    return _path_after_prefix(reference) if protocol_of(reference) in PATH_PROTOCOLS else reference


def _path_after_prefix(name: str) -> str:
    """The path in ``file:path``."""
    return _unmistakable(name.partition(":")[2])


def _unmistakable(path: str) -> str:
    """A path as a name: with a colon in it, it must not be taken for a protocol's."""
    return path if protocol_of(path) is None else "./" + path


def local_path(node: Node) -> str | None:
    """The path of the local file beneath a node; ``None`` if it is something else."""
    child = node.get("file")
    if isinstance(child, dict) and child.get("driver", "file") in PATH_PROTOCOLS and "filename" in child:
        return str(child["filename"]) if "file" not in child else None
    return None


def innermost_path(node: Node) -> str | None:
    """The path of the local file beneath a node and any number of ``raw`` between: relative names start there."""
    child = node.get("file")
    while isinstance(child, dict) and child.get("driver") == "raw" and isinstance(child.get("file"), dict):
        node, child = child, child["file"]
    return local_path(node)


def names_backing(node: Node) -> bool:
    """Whether a node says of which node, or of what other file, its backing file is made."""
    backing = node.get("backing")
    return isinstance(backing, (str, dict)) and bool(backing)


def names_file(node: Node) -> bool:
    """Whether a node says which file it is, rather than how to open the one that an image names."""
    child = node.get("file")
    return isinstance(child, dict) and "filename" in child


def resolve_data_file(referrer: str, name: str) -> str:
    """The same for an external data file: of an image that is in no directory, it lies in the working directory.

    :param referrer: the file name of the image
    """
    if os.path.normpath(os.path.dirname(referrer)) == os.curdir:
        # However that directory is written, the name is the same.
        return name
    try:
        return resolve_reference(referrer, name)
    except UnsupportedOperationError:
        return name


def resolve_reference(referrer: str, name: str) -> str:
    """The name that an image stores, as seen from where the image is.

    :param referrer: the file name of the image
    :raises UnsupportedOperationError: the image has no plain file name to resolve against
    """
    if not name or os.path.isabs(name) or protocol_of(name) is not None:
        return name
    if not referrer or referrer.startswith("json:"):
        raise UnsupportedOperationError(
            "Cannot use relative backing file names for '%s'" % referrer,
            path=referrer,
            remedy="name the image by its plain path",
        )
    if protocol_of(referrer) in nbd_names.PROTOCOLS:
        raise UnsupportedOperationError(
            "Cannot generate a base directory for NBD nodes",
            path=referrer,
            remedy="have the image name its files by absolute paths or URIs",
        )
    if protocol_of(referrer) in PATH_PROTOCOLS:
        referrer = _path_after_prefix(referrer)
    # As it is written: ``.//a`` and ``b`` give ``.//b``.
    return referrer[: referrer.rfind("/") + 1] + name


def children_of(node: Node) -> Iterator[tuple[str, Node]]:
    """The nodes below a node, whatever its driver, by the options that describe them; dots lead into nested options."""
    for key, value in node.items():
        if not isinstance(value, dict):
            continue
        if "driver" in value or "filename" in value or "file" in value:
            yield key, value
        else:
            for inner, child in children_of(value):
                yield "%s.%s" % (key, inner), child


def leaves(node: Node) -> Iterator[Node]:
    """Every place for bytes that a node would have opened: its file, and all that its other options describe."""
    for _key, child in children_of(node):
        yield from leaves(child)
    if not isinstance(node.get("file"), dict):
        yield node


def leaf_name(node: Node) -> str:
    """How QEMU calls the node of a protocol: its plain name if that says it all, its ``json:`` form otherwise."""
    driver = node.get("driver", "file")
    if driver in PATH_PROTOCOLS and "filename" in node:
        return str(node["filename"])
    name = nbd_names.display_name(node) if driver == "nbd" else None
    return name if name is not None else "json:" + json_writer.compact(leaf_essential(node))


def leaf_essential(node: Node) -> Node:
    """The parts of a protocol's node that its ``json:`` form shows."""
    if node.get("driver") != "nbd":
        return {"driver": node.get("driver", "file"), "filename": node.get("filename", "")}
    flat = flatten({name: node[name] for name in nbd_names.DECISIVE if name in node})
    # QEMU copies them once more, which turns the order of those around that share a bucket of its hash table.
    return {name: str(value) for name, value in reversed(list(flat.items()))}
