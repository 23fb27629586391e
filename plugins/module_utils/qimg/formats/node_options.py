# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The options that every node has, whatever its driver."""
from __future__ import annotations

from collections import namedtuple

from ..errors import OptionError
from ..option_text import parse_boolean, take_boolean, take_option
from ..references import names_backing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..references import Node
    from ..storage.base import Storage
    from ..storage.cache import CacheMode


_MAX_NODE_NAME = 31


class OpeningOptions(
    namedtuple(
        "OpeningOptions", ["cache", "force_share", "must_be_writable", "auto_read_only", "read_only", "inherited"]
    )
):
    """How a node says that it is opened.

    ``cache``: its mode; ``force_share``: whether to take no locks; ``must_be_writable``: whether it is not to be opened
    where it cannot be written, though nobody is going to; ``auto_read_only``: whether it is opened for reading there;
    ``read_only``: whether it is opened for reading only;
    ``inherited``: the options of what lies beneath, as far as that does not say otherwise.
    """

    __slots__ = ()

    def open_storage(
        self, node: Node, writable: bool, open_storage: Callable[[Node, bool, CacheMode], Storage]
    ) -> Storage:
        """Open the node of a protocol whose options these are.

        :raises OptionError: it is to be written, and was opened for reading
        :raises StorageError: it cannot be opened
        """
        if self.must_be_writable and not writable:
            # It is an error that it cannot be written, though nothing will be.
            open_storage(node, True, self.cache).close()
        if writable and (self.auto_read_only or self.read_only):
            storage = open_storage(node, False, self.cache)
            storage.close()
            if self.read_only or storage.is_read_only:
                raise OptionError("Block node is read-only")
        return open_storage(node, writable, self.cache)


def take_opening_options(node: Node, writable: bool, cache: CacheMode, force_share: bool) -> OpeningOptions:
    """Take the options that say how a node is opened.

    :param cache: what is in force where the node does not say it; ``force_share``: likewise
    :raises OptionError: one of them is wrong, or the node cannot be opened so
    """
    inherited = {name: node[name] for name in ("read-only", "auto-read-only") if name in node}
    is_asked_to_be_writable = node.get("read-only") is not None
    read_only = take_boolean(node, "read-only")
    is_asked_to_be_writable &= not read_only
    auto_read_only = take_boolean(node, "auto-read-only")
    modes = node.get("cache")
    if isinstance(modes, dict) and modes:
        modes = dict(modes)
        direct = parse_boolean("cache.direct", take_option(modes, "direct", cache.direct))
        no_flush = parse_boolean("cache.no-flush", take_option(modes, "no-flush", cache.no_flush))
        cache = cache._replace(direct=direct, no_flush=no_flush)
        del node["cache"]
        if modes:
            node["cache"] = modes
    force_share = take_boolean(node, "force-share") or force_share
    if ((writable and not read_only) or is_asked_to_be_writable) and force_share:
        raise OptionError("force-share=on can only be used with read-only images")
    must_be_writable = is_asked_to_be_writable and not auto_read_only
    return OpeningOptions(cache, force_share, must_be_writable, auto_read_only, read_only, inherited)


def take_working_options(node: Node, discard: str, names: set[str]) -> None:
    """Take the options that say how a node works: nothing comes of them here, but they may be wrong all the same.

    QEMU looks at them when it has opened what lies beneath the node.

    :param discard: what is in force where the node does not say it
    :param names: those of the nodes that are open already; takes that of this one
    :raises OptionError: one of them is wrong
    """
    discard = take_option(node, "discard", discard)
    if discard not in ("ignore", "off", "unmap", "on"):
        raise OptionError("Invalid discard option")
    detect_zeroes = take_option(node, "detect-zeroes", "off")
    if detect_zeroes not in ("off", "on", "unmap"):
        raise OptionError("invalid parameter value: %s" % detect_zeroes)
    if detect_zeroes == "unmap" and discard in ("ignore", "off"):
        raise OptionError(
            "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap"
        )
    name = take_option(node, "node-name")
    if name is not None:
        _check_node_name(str(name), names)
        names.add(str(name))


def _check_node_name(name: str, names: set[str]) -> None:
    """Check the name of a node.

    :raises OptionError: in QEMU's words
    """
    if not name[:1].isalpha() or not name.isascii() or not all(sign.isalnum() or sign in "-._" for sign in name):
        raise OptionError("Invalid node-name: '%s'" % name)
    if name in names:
        raise OptionError("Duplicate nodes with node-name='%s'" % name)
    if len(name) > _MAX_NODE_NAME:
        raise OptionError("Node name too long")


def settle_backing(node: Node, warn: Callable[[str], None]) -> None:
    """Have ``backing`` say in one way only that there is no backing file.

    :param warn: called if it was said in the other way
    """
    if node.get("backing") == "":
        warn('Use of "backing": "" is deprecated; use "backing": null instead')
        node["backing"] = None


def take_refused_backing(node: Node, wanted: bool) -> bool:
    """Take ``backing`` out of the node of a protocol; returns whether it asks for what a protocol cannot have.

    :param wanted: whether backing files are wanted; without, it is an option like others that nobody knows
    """
    refused = wanted and names_backing(node)
    if refused or node.get("backing", "") is None:
        del node["backing"]
    return refused
