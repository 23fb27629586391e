# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""User-creatable objects as text: ``secret,id=s0,file=…``, or a JSON object; and what can be said of them."""
from __future__ import annotations

from ..errors import OptionError
from ..option_text import take_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STRING, _BOOLEAN = "string", "bool"
_TLS = {"dir": _STRING, "endpoint": "QCryptoTLSCredsEndpoint", "priority": _STRING, "verify-peer": _BOOLEAN}
#: The types of objects and their properties, ``id`` aside, with the names that QEMU has for what they can be.
TYPES: dict[str, dict[str, str]] = {
    "secret": {
        "data": _STRING, "file": _STRING, "format": "QCryptoSecretFormat", "keyid": _STRING, "iv": _STRING,
    },
    "tls-creds-anon": _TLS,
    "tls-creds-psk": {**_TLS, "username": _STRING},
    "tls-creds-x509": {**_TLS, "passwordid": _STRING, "sanity-check": _BOOLEAN},
}  # fmt: skip

_DIGITS = frozenset("0123456789")
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_NAME = _LETTERS | _DIGITS | frozenset("-_")
_MAX_KEY = 127


def parse_object(text: str) -> dict[str, Any]:
    """The properties of an object.

    :raises OptionError: in QEMU's words
    """
    if text.startswith("{"):
        from ..json_parser import parse_json

        properties: dict[str, Any] = parse_json(text)
        _check_types(properties)
    else:
        properties = _tree(_pairs(text)[0])
    if "qom-type" not in properties:
        raise OptionError("Parameter 'qom-type' is missing")
    return properties


def object_help(text: str) -> str | None:
    """What there is to say to ``help``, or ``secret,help``; ``None`` where nobody asks.

    :raises OptionError: it is no list
    """
    if text.startswith("{"):
        return None
    flat, asks = _pairs(text)
    if not asks:
        return None
    kind = flat.get("qom-type", "")
    if kind not in TYPES:
        return "".join(("List of user creatable objects:\n", *("  %s\n" % name for name in TYPES)))
    lines = ["  %s=<%s>\n" % option for option in sorted(TYPES[kind].items())]
    return "".join(("%s options:\n" % kind, *lines))


def _pairs(text: str) -> tuple[dict[str, str], bool]:
    """The dotted keys of a list with their values, doubled commas undone, and whether it asks for help."""
    flat: dict[str, str] = {}
    asks = False
    position = 0
    while position < len(text):
        end = min(place for place in (text.find("=", position), text.find(",", position), len(text)) if place >= 0)
        key = text[position:end]
        if text[end : end + 1] == "=":
            _check_key(key)
            flat[key], position = take_value(text, end + 1)
            continue
        if key in ("help", "?"):
            asks = True
        elif position == 0 and key:
            flat["qom-type"] = key
        else:
            _check_key(key)
            raise OptionError("Expected '=' after parameter '%s'" % key)
        position = end + 1
    return flat, asks


def _check_key(key: str) -> None:
    if not _is_key(key):
        raise OptionError("Invalid parameter '%s'" % key)
    if len(key) > _MAX_KEY:
        raise OptionError("Parameter '%s' is too long" % key)


def _is_key(key: str) -> bool:
    """Names joined by dots; but for the first, they can be positions in a list."""
    first, *others = key.split(".")
    names = [first, *(name for name in others if not name or not _DIGITS.issuperset(name))]
    return all(name[:1] in _LETTERS and _NAME.issuperset(name) for name in names)


def _tree(flat: dict[str, str]) -> dict[str, Any]:
    """Dotted keys as dictionaries and lists.

    :raises OptionError: they contradict each other
    """
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        place: Any = tree
        *path, last = key.split(".")
        for depth, step in enumerate(path):
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise _inconsistent(".".join(path[: depth + 1]))
        if isinstance(place.get(last), dict):
            raise _inconsistent(key)
        place[last] = value
    return {name: _lists(value, name) for name, value in tree.items()}


def _lists(value: Any, key: str) -> Any:
    if not isinstance(value, dict):
        return value
    items = {name: _lists(item, "%s.%s" % (key, name)) for name, item in value.items()}
    positions = [name for name in items if _DIGITS.issuperset(name)]
    if not positions:
        return items
    if len(positions) < len(items):
        raise _inconsistent(key)
    for position in range(len(items)):
        if str(position) not in items:
            raise OptionError("Parameter '%s.%d' missing" % (key, position))
    return [items[str(position)] for position in range(len(items))]


def _inconsistent(key: str) -> OptionError:
    return OptionError("Parameters '%s.*' used inconsistently" % key)


def _check_types(properties: dict[str, Any]) -> None:
    """JSON says itself what is a text and what is a switch.

    :raises OptionError: something is not what it has to be
    """
    kind = properties.get("qom-type", "")
    if not isinstance(kind, str):
        raise _wrong_type("qom-type", _STRING)
    for name, what in {"id": _STRING, **TYPES[kind]}.items() if kind in TYPES else ():
        if name not in properties:
            continue
        if what == _BOOLEAN and not isinstance(properties[name], bool):
            raise _wrong_type(name, "boolean")
        if what != _BOOLEAN and not isinstance(properties[name], str):
            raise _wrong_type(name, _STRING)


def _wrong_type(name: str, expected: str) -> OptionError:
    return OptionError("Invalid parameter type for '%s', expected: %s" % (name, expected))
