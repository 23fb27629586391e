# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""How exports of NBD servers are named.

Three spellings mean the same: URIs (``nbd://host:port/export``, ``nbd+unix:///export?socket=path``), QEMU's older ones
(``nbd:host:port:exportname=export``, ``nbd:unix:path:exportname=export``), and node options.  The first two are turned
into the third here.  Beyond QEMU, ``nbds://`` and ``nbds+unix://`` ask for TLS, with the query parameters that the NBD
tools use (``tls-certificates``, ``tls-psk-file``, ``tls-hostname``, ``tls-verify-peer``).
"""
from __future__ import annotations

from .errors import OptionError
from .option_text import take_option
from .sizes import decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The protocols of names that this module understands (what stands before the first colon).
PROTOCOLS = ("nbd", "nbd+tcp", "nbd+unix", "nbds", "nbds+unix")
#: Assigned by IANA.
DEFAULT_PORT = "10809"
#: Options of a node that decide what the guest reads, and so belong to its name.
DECISIVE = ("driver", "server", "path", "host", "port", "export", "tls-creds", "tls-hostname", "tls")
#: Longest string that the protocol knows, export names included, in bytes.
MAX_STRING = 4096
#: Options of a server by which a host and a port can be another place; no plain name has them.
_PLACE_OPTIONS = {"to", "ipv4", "ipv6"}

_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
_INET_FLAGS = ("ipv4", "ipv6", "keep-alive")
_EXPORT_MARK = ":exportname="
#: Query parameter -> option of ``tls``.
_TLS_PARAMETERS = {"tls-certificates": "dir", "tls-psk-file": "psk-file", "tls-verify-peer": "verify-peer"}


def parse_nbd_name(name: str) -> dict[str, Any]:
    """The node options (``driver`` included) that a name stands for.

    :raises OptionError: in QEMU's words, naming ``name``
    """
    if "://" in name:
        return _parse_uri(name)
    if not name.startswith("nbd:"):
        raise OptionError("File name string for NBD must start with 'nbd:'", path=name)
    return _parse_old_name(name)


def _parse_old_name(name: str) -> dict[str, Any]:
    address = name[len("nbd:") :]
    node: dict[str, Any] = {"driver": "nbd"}
    mark = address.find(_EXPORT_MARK)
    if mark >= 0:
        node["export"] = address[mark + len(_EXPORT_MARK) :]
        address = address[:mark]
    if not address or node.get("export") == "":
        raise OptionError("NBD server address missing", path=name)
    if address.startswith("unix:"):
        node["server"] = {"type": "unix", "path": address[len("unix:") :]}
        return node
    if address.startswith("["):
        host, colon, rest = address[1:].partition("]:")
        colon = colon if host else ""
    else:
        host, colon, rest = address.partition(":")
    port, _comma, flags = rest.partition(",")
    if not colon or not port:
        kind = "IPv6 address" if address.startswith("[") else "address"
        raise OptionError("error parsing %s '%s'" % (kind, address), path=name)
    _check_flags(flags, name)
    node["server"] = {"type": "inet", "host": host, "port": port}
    return node


def _check_flags(text: str, name: str) -> None:
    """Refuse wrong values of what may follow ``host:port,`` in an older name; right ones change nothing, as in QEMU."""
    for part in text.split(","):
        flag, equals, value = part.partition("=")
        if flag == "to" and not value.isdigit():
            raise OptionError("error parsing to= argument", path=name)
        if flag in _INET_FLAGS and equals and value not in ("on", "off"):
            raise OptionError("error parsing '%s' flag '=%s'" % (flag, value), path=name)


def _parse_uri(name: str) -> dict[str, Any]:
    scheme, _mark, rest = name.partition("://")
    rest = rest.partition("#")[0]
    rest, _mark, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    node: dict[str, Any] = {"driver": "nbd"}
    parameters = _parameters(query, name)
    user = ""
    if "@" in authority:
        user, _mark, authority = authority.partition("@")
    host, port = _host_and_port(authority, name)
    if scheme.endswith("+unix"):
        socket = parameters.pop("socket", None)
        if host or port or socket is None:
            raise _bad_uri(name)
        node["server"] = {"type": "unix", "path": socket}
    elif not host:
        raise _bad_uri(name)
    else:
        node["server"] = {"type": "inet", "host": host, "port": port or DEFAULT_PORT}
    if scheme.startswith("nbds"):
        tls = {option: parameters.pop(key) for key, option in _TLS_PARAMETERS.items() if key in parameters}
        if user:
            tls["username"] = _decoded(user, name)
        node["tls"] = tls
        if "tls-hostname" in parameters:
            node["tls-hostname"] = parameters.pop("tls-hostname")
    if parameters:
        raise _bad_uri(name)
    export = _without_dot_segments(_decoded(path, name)) if slash else ""
    if export:
        node["export"] = export
    return node


def _without_dot_segments(path: str) -> str:
    """What is left of the path behind a first slash when ``.`` and ``..`` are resolved (RFC 3986, section 5.2.4)."""
    segments: list[str] = []
    names = path.split("/")
    for segment in names:
        if segment == "..":
            del segments[-1:]
        elif segment != ".":
            segments.append(segment)
    if names[-1] in (".", "..") and segments:
        segments.append("")
    return "/".join(segments)


def _host_and_port(authority: str, name: str) -> tuple[str, str]:
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _bad_uri(name)
        host, mark, zone = host.partition("%25")
        # A lone colon counts as one for QEMU, which then finds nobody of that name.
        if not (host == ":" or _is_address(host, "AF_INET6")) or (mark and not zone):
            raise _bad_uri(name)
        if mark:
            host += "%" + _decoded(zone, name)
        port = rest[1:]
    else:
        encoded, _colon, port = authority.partition(":")
        host = _decoded(encoded, name)
        if host != encoded and (_is_address(host, "AF_INET") or _is_address(host, "AF_INET6")):
            raise _bad_uri(name)
    if port and not (port.isascii() and port.isdigit() and decimal(port) < 1 << 16):
        raise _bad_uri(name)
    # A port of zero counts as none, as for QEMU.
    return host, port.lstrip("0")


def _is_address(host: str, family: str) -> bool:
    # Few names need it.
    import socket

    try:
        socket.inet_pton(getattr(socket, family), host)
    except (OSError, ValueError):
        return False
    return True


def _parameters(query: str, name: str) -> dict[str, str]:
    """The query's parameters; of several with the same name, the last counts."""
    parameters: dict[str, str] = {}
    pairs = query.split("&")
    if pairs[-1] == "":
        pairs.pop()
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise _bad_uri(name)
        parameters[_decoded(key, name)] = _decoded(value, name)
    return parameters


def _decoded(text: str, name: str) -> str:
    """Percent-decoded; what is no valid text afterwards is an error."""
    first, *others = text.split("%")
    raw = bytearray(first, "utf-8", "surrogateescape")
    for other in others:
        if len(other) < 2 or not _HEX_DIGITS.issuperset(other[:2]):
            raise _bad_uri(name)
        raw.append(int(other[:2], 16))
        raw += other[2:].encode("utf-8", "surrogateescape")
    try:
        decoded = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad_uri(name) from None
    if "\0" in decoded:
        raise _bad_uri(name)
    return decoded


def display_name(node: dict[str, Any]) -> str | None:
    """How QEMU calls the export that a node describes; ``None`` where no plain name does.

    QEMU puts names together without percent-encoding, so not every one can be read back.
    """
    server = node.get("server")
    if not isinstance(server, dict):
        if "path" in node:
            server = {"type": "unix", "path": node["path"]}
        else:
            server = {"type": "inet", "host": node.get("host"), "port": node.get("port", DEFAULT_PORT)}
    export = take_option(dict(node), "export")
    slash = "" if export is None else "/%s" % export
    scheme = "nbds" if "tls" in node else "nbd"
    if server.get("type") == "unix":
        return "%s+unix://%s?socket=%s" % (scheme, slash, server.get("path"))
    if server.get("type") == "inet" and not server.keys() & _PLACE_OPTIONS:
        return "%s://%s:%s%s" % (scheme, server.get("host"), server.get("port"), slash)
    return None


def _bad_uri(name: str) -> OptionError:
    return OptionError(
        "No valid URL specified",
        path=name,
        remedy="write nbd://host:port/export, or nbd+unix:///export?socket=path",
    )
