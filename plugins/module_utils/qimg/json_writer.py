# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""JSON text as QEMU writes it.

QEMU keeps objects in a hash table of 512 buckets and prints them bucket by bucket, so the order of the keys follows
from their names alone.  Programs should not depend on it, but people compare outputs, and two tools that print the
same document should print the same text.
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_BUCKETS = 512
_INDENT = "    "

#: What cannot stand in a JSON string as it is: quotes, control characters, DEL.
_ESCAPES = {code: "\\u%04X" % code for code in (*range(32), 127)}
_ESCAPES.update({8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"})


def _bucket(key: str) -> int:
    """QEMU's hash of a key: of its length, then of every byte, shifted by 0, 5, 10, 15, 20, 1, 6 … bits."""
    name = key.encode("utf-8", "surrogateescape")
    value = 0x238F13AF * len(name)
    for index, byte in enumerate(name):
        value += byte << (5 * index % 24)
    return (1103515243 * value + 12345) % _BUCKETS


def in_order(mapping: dict[str, Any]) -> list[tuple[str, Any]]:
    """The items of a dictionary in the order in which QEMU would print them."""
    # A bucket is a list to which new entries are put first.
    items = list(mapping.items())
    items.reverse()
    items.sort(key=lambda item: _bucket(item[0]))
    return items


def quoted(text: str) -> str:
    """A JSON string; what is not ASCII is escaped, bytes that are not UTF-8 become U+FFFD."""
    if not text.isascii():
        text = "".join(_escaped_wide(character) for character in text.translate(_ESCAPES))
    else:
        text = text.translate(_ESCAPES)
    return '"%s"' % text


def _escaped_wide(character: str) -> str:
    code = ord(character)
    if code < 128:
        return character
    if 0xD800 <= code < 0xE000:
        code = 0xFFFD
    if code < 0x10000:
        return "\\u%04X" % code
    code -= 0x10000
    return "\\u%04X\\u%04X" % (0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF))


def compact(value: Any) -> str:
    """One line, as in ``json:{…}`` file names."""
    if isinstance(value, dict):
        return "{%s}" % ", ".join("%s: %s" % (quoted(key), compact(item)) for key, item in in_order(value))
    if isinstance(value, (list, tuple)):
        return "[%s]" % ", ".join(compact(item) for item in value)
    return _scalar(value)


def pretty(value: Any) -> str:
    """A whole document, indented by four spaces, with a newline at its end."""
    return "".join(_pretty(value, "")) + "\n"


def _pretty(value: Any, indent: str) -> Iterator[str]:
    inner = indent + _INDENT
    if isinstance(value, dict):
        yield "{"
        separator = "\n"
        for key, item in in_order(value):
            yield "%s%s%s: " % (separator, inner, quoted(key))
            yield from _pretty(item, inner)
            separator = ",\n"
        yield "\n%s}" % indent
    elif isinstance(value, (list, tuple)):
        yield "["
        separator = "\n"
        for item in value:
            yield separator + inner
            yield from _pretty(item, inner)
            separator = ",\n"
        yield "\n%s]" % indent
    else:
        yield _scalar(value)


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return "%.17g" % value
    return quoted(str(value))
