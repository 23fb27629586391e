# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Options as text: lists of them (``a=1,b=x,,y,flag``), and the values of one."""
from __future__ import annotations

from .errors import OptionError
from .sizes import MAX_UINT64, SizeRangeError, SizeSyntaxError, decimal, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

_SIZE_HINT = "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively."


def split_option_list(text: str, implied_name: str | None = None) -> list[tuple[str, str]]:
    """The options of a list as pairs of texts.

    Options are separated by commas; a doubled comma in a value stands for one.  ``flag`` is ``flag=on`` and ``noflag``
    is ``flag=off``; with ``implied_name``, a first element without ``=`` is the value of that option.
    """
    return [pair for pair, _short in split_with_forms(text, implied_name)]


def split_with_forms(text: str, implied_name: str | None = None) -> list[tuple[tuple[str, str], str | None]]:
    """As :func:`split_option_list`, each with its short form (``flag``, ``noflag``) if that is how it was written."""
    options: list[tuple[tuple[str, str], str | None]] = []
    position = 0
    while position < len(text):
        equals = text.find("=", position)
        comma = text.find(",", position)
        if comma < 0:
            comma = len(text)
        if position == 0 and implied_name is not None and not 0 <= equals < comma:
            value, position = take_value(text, position)
            options.append(((implied_name, value), None))
        elif 0 <= equals < comma:
            name = text[position:equals]
            value, position = take_value(text, equals + 1)
            options.append(((name, value), None))
        else:
            word = text[position:comma]
            position = comma + 1
            pair = (word[2:], "off") if word.startswith("no") else (word, "on")
            options.append((pair, word))
    return options


def take_value(text: str, position: int) -> tuple[str, int]:
    """The value that begins at ``position``, doubled commas undone, and where the next option begins."""
    pieces = []
    while True:
        comma = text.find(",", position)
        if comma < 0:
            pieces.append(text[position:])
            return "".join(pieces), len(text)
        pieces.append(text[position:comma])
        if text[comma + 1 : comma + 2] != ",":
            return "".join(pieces), comma + 1
        pieces.append(",")
        position = comma + 2


def check_identifier(text: str) -> None:
    """Refuse an ``id`` that is none.

    :raises OptionError: in QEMU's words
    """
    if not text.isascii() or not text[:1].isalpha() or not all(sign.isalnum() or sign in "-._" for sign in text):
        raise OptionError(
            "Parameter 'id' expects an identifier",
            hint="Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.",
        )


def take_option(options: dict[str, Any], name: str, default: Any = None) -> Any:
    """Take the value of an option out of a node: a text, or a number.

    As for QEMU, a switch is ``on`` or ``off``, and what has no text (``null``, an empty object or list) is as good as
    not given.  Options beneath that name stay where they are: they are not its value.
    """
    value = options.get(name)
    if isinstance(value, dict) and value:
        return default
    options.pop(name, None)
    if value is None or isinstance(value, (dict, list)):
        return default
    if isinstance(value, bool):
        return "on" if value else "off"
    return value


def take_boolean(options: dict[str, Any], name: str, default: bool = False) -> bool:
    """The same for a switch.

    :raises OptionError: it is neither on nor off
    """
    return parse_boolean(name, take_option(options, name, default))


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """See that an argument is one of the words that it may be.

    :raises OptionError: it is not
    """
    if value not in choices:
        raise OptionError(
            "Parameter '%s' does not accept value '%s'" % (name, value), remedy="use one of: %s" % ", ".join(choices)
        )


def parse_boolean(name: str, value: Any) -> bool:
    """A boolean option.

    :param value: a text, or already a boolean
    :raises OptionError: neither
    """
    if isinstance(value, bool):
        return value
    if value in ("on", "yes", "true", "y"):
        return True
    if value in ("off", "no", "false", "n"):
        return False
    raise OptionError("Parameter '%s' expects 'on' or 'off'" % name)


def parse_size_option(name: str, value: Any) -> int:
    """An option that is a number of bytes.

    :param value: a text, or already a number
    :raises OptionError: neither
    """
    try:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_UINT64:
            return value
        return parse_size(str(value))
    except SizeRangeError as error:
        raise OptionError("Value '%s' is out of range for parameter '%s'" % (value, name)) from error
    except SizeSyntaxError as error:
        raise OptionError(
            "Parameter '%s' expects a non-negative number below 2^64" % name, hint=_SIZE_HINT
        ) from error


def parse_number(name: str, value: Any) -> int:
    """An option that is a number, as C's ``strtoull`` with base 0 reads it: a negative number wraps around at 2**64.

    :raises OptionError: it is not a number, or over 64 bits
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number = c_integer(str(value))
    if number is None:
        raise OptionError("Parameter '%s' expects a number" % name)
    if abs(number) > MAX_UINT64:
        raise OptionError("Value '%s' is too large for parameter '%s'" % (value, name))
    return number & MAX_UINT64


def c_integer(text: str) -> int | None:
    """A whole number as C reads it with base 0: ``0x`` is hexadecimal, a leading ``0`` octal.

    :returns: ``None`` for anything else
    """
    digits = text.lstrip(" \t\n\v\f\r").lower()
    negative = digits.startswith("-")
    if digits[:1] in ("-", "+"):
        digits = digits[1:]
    base = 10
    if digits.startswith("0x"):
        digits, base = digits[2:], 16
    elif digits.startswith("0"):
        base = 8
    if not digits or digits.strip("0123456789abcdef"[:base]):
        return None
    number = decimal(digits) if base == 10 else int(digits, base)
    return -number if negative else number
