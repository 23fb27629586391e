# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What the options of an ``nbd`` node mean."""
from __future__ import annotations

from collections import namedtuple

from ... import nbd_names
from ...errors import OptionError
from ...option_text import parse_boolean, parse_number, take_option
from ...references import leaf_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INET, UNIX, VSOCK, FD = "inet", "unix", "vsock", "fd"

#: Type of server -> its options; the first ones must be given, as many as the number says.
_SERVER_OPTIONS: dict[str, tuple[int, tuple[str, ...]]] = {
    INET: (2, ("host", "port", "to", "numeric", "ipv4", "ipv6", "keep-alive", "mptcp")),
    UNIX: (1, ("path", "abstract", "tight")),
    VSOCK: (2, ("cid", "port")),
    FD: (1, ("str",)),
}
_BOOLEANS = ("numeric", "ipv4", "ipv6", "keep-alive", "mptcp", "abstract", "tight")


class NbdAddress(
    namedtuple(
        "NbdAddress", ["name", "server", "export", "tls_credentials", "tls", "tls_hostname", "context", "open_timeout"]
    )
):
    """An export and how to get at it.

    ``name``: for people; ``server``: the options of the server, ``type`` included, as a tuple of pairs; ``export``: its
    name, maybe empty; ``tls_credentials``: id of the credentials, ``None`` where there are none; ``tls``: options of
    ``nbds://`` as a tuple of pairs, ``None`` for other names; ``tls_hostname``: what the server's certificate must be
    for, ``None`` for the host of the server; ``context``: the metadata context to ask for, ``None`` for
    ``base:allocation``; ``open_timeout``: seconds for which connecting is tried again.
    """

    __slots__ = ()


def take_address(options: dict[str, Any]) -> NbdAddress:
    """Read a node, removing from ``options`` what was understood.

    :param options: those of the node, ``driver`` aside
    :raises OptionError: in QEMU's words
    """
    name = leaf_name({"driver": "nbd", **options})
    server = _take_server(options)
    export = _text(options.pop("export", None)) or ""
    if len(export.encode("utf-8", "surrogateescape")) > nbd_names.MAX_STRING:
        raise OptionError("export name too long to send to server")
    tls = options.pop("tls", None)
    reconnect_delay = parse_number("reconnect-delay", options.pop("reconnect-delay", 0))
    if reconnect_delay:
        raise OptionError(
            "The option 'reconnect-delay' is not supported",
            remedy="leave it out: a connection that is lost ends the operation, and nothing is repeated unseen",
        )
    return NbdAddress(
        name,
        tuple(server.items()),
        export,
        _text(options.pop("tls-creds", None)),
        None if tls is None else tuple(sorted(tls.items())),
        _text(options.pop("tls-hostname", None)),
        _text(options.pop("x-dirty-bitmap", None)),
        parse_number("open-timeout", options.pop("open-timeout", 0)),
    )


def _text(value: Any) -> str | None:
    text = take_option({"": value}, "")
    return None if text is None else str(text)


def _checked_port(name: str, value: Any) -> str:
    text = str(value)
    if not (text.isascii() and text.isdigit()):
        raise OptionError("Parameter '%s' expects integer" % name)
    return text


def _take_server(options: dict[str, Any]) -> dict[str, Any]:
    path, host, port = (_text(options.pop(name, None)) for name in ("path", "host", "port"))
    server = options.pop("server", None)
    if path is not None and host is not None:
        raise OptionError("path and host may not be used at the same time")
    if server is not None:
        if path is not None or host is not None or port is not None:
            raise OptionError("Cannot use 'server' and path/host/port at the same time")
    elif path is not None:
        if port is not None:
            raise OptionError("port may not be used without host")
        server = {"type": UNIX, "path": path}
    elif host is not None:
        server = {"type": INET, "host": host, "port": nbd_names.DEFAULT_PORT if port is None else port}
    if not isinstance(server, dict) or not server:
        raise OptionError("NBD server address missing", remedy="name a host, or the path of a socket")
    return _checked_server(server)


def _checked_server(given: dict[str, Any]) -> dict[str, Any]:
    given = dict(given)
    if "type" not in given:
        raise OptionError("Parameter 'type' is missing")
    for name, value in given.items():
        if value is None:
            raise OptionError("Internal error: parameter %s invalid" % name)
    kind = str(given.pop("type"))
    if kind not in _SERVER_OPTIONS:
        raise OptionError("Parameter 'type' does not accept value '%s'" % kind)
    needed, known = _SERVER_OPTIONS[kind]
    server: dict[str, Any] = {"type": kind}
    for name in known[:needed]:
        if name not in given:
            raise OptionError("Parameter '%s' is missing" % name)
        server[name] = _text(given.pop(name))
    for name in known[needed:]:
        if name in given:
            value = given.pop(name)
            server[name] = parse_boolean(name, value) if name in _BOOLEANS else _checked_port(name, value)
    if given:
        raise OptionError("Parameter '%s' is unexpected" % next(iter(given)))
    if server.get("ipv4") is False and server.get("ipv6") is False:
        raise OptionError("Cannot disable IPv4 and IPv6 at same time")
    return server
