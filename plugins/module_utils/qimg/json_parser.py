# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Reading JSON as QEMU does: also in single quotes, and with QEMU's messages.

``json:{'driver': 'qcow2', …}`` is a file name that people type into shells; QEMU's own parser takes single quotes for
that reason, the standard library's does not.  It also takes longer to import than most images take to open.
"""
from __future__ import annotations

from .errors import OptionError
from .sizes import MAX_UINT64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SPACE = " \t\r\n"
_DIGITS = "0123456789"
#: The bytes 0xFE and 0xFF, as Python has what is no UTF-8.
_NEVER_UTF_8 = "\udcfe\udcff"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "/": "/", "\\": "\\", '"': '"', "'": "'"}
_KEYWORDS = {"true": True, "false": False, "null": None}
#: No name of an image needs more, and each level costs two of the interpreter's thousand nested calls.
_MAX_DEPTH = 64
#: What is no integer of 64 bits is a floating-point number.
_MIN_INTEGER = -(1 << 63)
_MAX_INTEGER_DIGITS = 20


class JsonSyntaxError(OptionError):
    """The text is not JSON."""


def parse_json(text: str) -> Any:
    """The value that ``text`` stands for.

    :raises JsonSyntaxError: in QEMU's words
    """
    parser = _Parser(text)
    if parser.peek() is None:
        raise JsonSyntaxError("Expecting a JSON value")
    value = parser.value(0)
    if parser.peek() is not None:
        raise JsonSyntaxError("Expecting at most one JSON value")
    return value


def _error(what: str) -> JsonSyntaxError:
    return JsonSyntaxError("JSON parse error, %s" % what)


class _Parser:
    """Recursive descent over one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def peek(self) -> str | None:
        """The next character that is not space; ``None`` at the end."""
        text = self._text
        while self._position < len(text) and text[self._position] in _SPACE:
            self._position += 1
        return text[self._position] if self._position < len(text) else None

    def value(self, depth: int) -> Any:
        first = self.peek()
        if first is None:
            raise _error("premature EOI")
        if depth > _MAX_DEPTH:
            raise _error("nesting too deep")
        if first == "{":
            return self._object(depth)
        if first == "[":
            return self._array(depth)
        if first in "\"'":
            return self._string(first)
        if first in _DIGITS + "-":
            return self._number()
        if first in _LETTERS:
            return self._keyword()
        if first in "}],:":
            raise _error("expecting value")
        raise _error("stray '%s'" % first)

    def _object(self, depth: int) -> dict[str, Any]:
        self._position += 1
        result: dict[str, Any] = {}
        if self.peek() == "}":
            self._position += 1
            return result
        while True:
            key = self.value(depth + 1)
            if not isinstance(key, str):
                raise _error("key is not a string in object")
            self._expect(":", "missing : in object pair")
            value = self.value(depth + 1)
            if key in result:
                raise _error("duplicate key")
            result[key] = value
            if self._next() == "}":
                return result
            self._expect_comma("expected separator in dict")

    def _array(self, depth: int) -> list[Any]:
        self._position += 1
        result: list[Any] = []
        if self.peek() == "]":
            self._position += 1
            return result
        while True:
            result.append(self.value(depth + 1))
            if self._next() == "]":
                return result
            self._expect_comma("expected separator in list")

    def _next(self) -> str | None:
        character = self.peek()
        if character is None:
            raise _error("premature EOI")
        self._position += 1
        return character

    def _expect_comma(self, message: str) -> None:
        if self._text[self._position - 1] != ",":
            raise _error(message)

    def _expect(self, character: str, message: str) -> None:
        if self._next() != character:
            raise _error(message)

    def _string(self, quote: str) -> str:
        text = self._text
        start = self._position
        self._position += 1
        pieces: list[str] = []
        while True:
            if self._position >= len(text):
                raise _error("stray '%s'" % text[start:])
            character = text[self._position]
            self._position += 1
            if character == quote:
                return "".join(pieces)
            if character == "\\":
                pieces.append(self._escape())
            elif ord(character) < 32 or character in _NEVER_UTF_8:
                raise _error("stray '%s'" % text[start : self._position])
            elif "\udc80" <= character <= "\udcff":
                raise _error("invalid UTF-8 sequence in string")
            else:
                pieces.append(character)

    def _escape(self) -> str:
        character = self._text[self._position : self._position + 1]
        self._position += 1
        if character == "u":
            start = self._position - 2
            code = self._hex4()
            if 0xD800 <= code < 0xDC00 and self._text[self._position : self._position + 2] == "\\u":
                self._position += 2
                code = 0x10000 + ((code & 0x3FF) << 10) + self._hex4() - 0xDC00
            if not code:
                # As QEMU encodes it, so that no string ends there.
                return "\udcc0\udc80"
            if 0xD800 <= code < 0xE000 or code >= 0x110000:
                raise _error("%s is not a valid Unicode character" % self._text[start : self._position])
            return chr(code)
        if character not in _ESCAPED or not character:
            raise _error("invalid escape sequence in string")
        return _ESCAPED[character]

    def _hex4(self) -> int:
        digits = self._text[self._position : self._position + 4]
        if len(digits) != 4 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
            raise _error("invalid escape sequence in string")
        self._position += 4
        return int(digits, 16)

    def _take(self, allowed: str) -> int:
        """Go past characters; how many there were."""
        start = self._position
        while self._position < len(self._text) and self._text[self._position] in allowed:
            self._position += 1
        return self._position - start

    def _number(self) -> int | float:
        text = self._text
        start = self._position
        whole = True
        if text[start] == "-":
            self._position += 1
        valid = self._take(_DIGITS) > 0
        digits = text[start : self._position].lstrip("-")
        if digits.startswith("0") and digits != "0":
            # The second digit is the first that does not belong there.
            raise _error("stray '%s'" % text[start : self._position - len(digits) + 2])
        if valid and text[self._position : self._position + 1] == ".":
            whole = False
            self._position += 1
            valid = self._take(_DIGITS) > 0
        if valid and text[self._position : self._position + 1] in ("e", "E"):
            whole = False
            self._position += 1
            if text[self._position : self._position + 1] in ("+", "-"):
                self._position += 1
            valid = self._take(_DIGITS) > 0
        if not valid:
            raise _error("stray '%s'" % text[start : self._position + 1])
        number = text[start : self._position]
        if whole and len(digits) <= _MAX_INTEGER_DIGITS and _MIN_INTEGER <= int(number) <= MAX_UINT64:
            return int(number)
        return float(number)

    def _keyword(self) -> Any:
        start = self._position
        self._take(_LETTERS)
        word = self._text[start : self._position]
        if word not in _KEYWORDS:
            raise _error("invalid keyword '%s'" % word)
        return _KEYWORDS[word]
