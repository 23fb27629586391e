# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""How messages and ``info`` call an image: by a plain file name where that says it all, by its node otherwise."""
from __future__ import annotations

from .. import json_writer, nbd_names
from ..references import (
    PATH_PROTOCOLS,
    OptionString,
    flatten,
    leaf_essential,
    leaf_name,
    named,
    names_file,
    nest,
    parse_reference,
    plain_name,
    protocol_of,
)
from ..storage.protocols import PROTOCOLS
from . import driver_of_node
from .nested import ImageStorage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..references import Node, Reference
    from .base import Image

#: What nodes of every driver have; none of it decides what the guest reads.
_COMMON = {"driver", "file", "backing", "cache", "read-only", "auto-read-only", "node-name", "discard"}


def _content_options(node: Node) -> Node:
    """The options of a node that decide what the guest reads, by their dotted names."""
    driver = driver_of_node(node) if node.keys() - _COMMON else None
    if driver is None:
        return {}
    roots = {name.partition(".")[0] for name in driver.content_options}
    flat = flatten({key: value for key, value in node.items() if key in roots})
    return {name: flat[name] for name in driver.content_options if name in flat}


def display_name(node: Node) -> str:
    """How QEMU calls a node: the plain file name if that says it all, its ``json:`` form otherwise.

    :param node: with ``driver`` filled in where it is known, and ``backing`` only if it is not as the image has it
    """
    child = node.get("file")
    if child is None:
        return leaf_name(node)
    if isinstance(child, dict) and not _content_options(node) and "backing" not in node and "file" not in child:
        name = child.get("filename")
        if name is not None and child.get("driver", "file") in PATH_PROTOCOLS:
            return str(name)
        if child.get("driver") == "nbd":
            name = nbd_names.display_name(child)
            if name is not None:
                return name
    return "json:" + json_writer.compact(_essential(node))


def _essential(node: Node) -> Node:
    """The parts of a node that its ``json:`` form shows."""
    if node.get("file") is None:
        return leaf_essential(node)
    essential = _content_options(node)
    if "driver" in node:
        essential["driver"] = node["driver"]
    driver = driver_of_node(node) if node.keys() - _COMMON else None
    for name in ("backing", *(driver.child_keys if driver is not None else ()), "file"):
        if isinstance(node.get(name), dict):
            if node[name].keys() & {"driver", "file", "filename"}:
                essential[name] = _essential(node[name])
        elif name in node and (name == "backing" or isinstance(node[name], str)):
            essential[name] = node[name]
    return essential


def shown_reference(reference: Reference) -> str:
    """How a message calls what the user named."""
    reference = named(reference)
    if isinstance(reference, str):
        return reference
    return reference.text if isinstance(reference, OptionString) else display_name(nest(reference))


def says_backing(reference: Reference) -> bool:
    """Whether it is the user who says which backing file an image has, and not the image."""
    node = _described(named(reference))
    backing = node.get("backing", True)
    if isinstance(backing, dict):
        return names_file(backing) or bool(_content_options(backing))
    return backing is None or backing == ""


def _described(reference: str | Node) -> Node:
    """The node that a user describes; an empty one for a plain name."""
    if not isinstance(reference, str):
        return nest(reference)
    return parse_reference(reference) if protocol_of(reference) == "json" else {}


def without_backing_options(reference: Reference) -> str | Node:
    """The same image without what a node says of its backing file, for operations that do not open that file."""
    reference = named(reference)
    node = _described(reference)
    if not isinstance(node.get("backing"), dict):
        return reference
    return OptionString(shown_reference(reference), {key: value for key, value in node.items() if key != "backing"})


def whole_node(image: Image) -> Node:
    """The node of an open image with all that was found out about the nodes below it.

    It has a backing file if that is another than the image itself names.
    """
    if image.format in PROTOCOLS:
        protocol: Node = image.node["file"]
        return protocol
    node = {**image.found_nodes, **image.node}
    if isinstance(image.storage, ImageStorage):
        node["file"] = whole_node(image.storage.image)
    if "backing" in node and not _has_other_backing(image):
        del node["backing"]
    elif "backing" in node:
        node["backing"] = None if image.backing is None else whole_node(image.backing)
    return node


def _has_other_backing(image: Image) -> bool:
    """Whether an image, of whose backing file its node says something, has another than it names, or none.

    As in QEMU, a backing file that the user names is another one if it is not written as in the image.
    """
    if image.backing is None:
        return image.backing_file is not None
    if says_backing(image.node):
        return image.backing.filename != image.backing_file
    named = plain_name(image.full_backing_file or "json:")
    return named is not None and image.backing.filename != named
