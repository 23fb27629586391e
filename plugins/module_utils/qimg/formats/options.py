# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Creation options: declared as data, parsed and checked in one place."""
from __future__ import annotations

from collections import namedtuple

from ..errors import OptionError
from ..sizes import SizeRangeError, SizeSyntaxError, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STR, SIZE, NUM, BOOL = "str", "size", "num", "bool"

#: How ``-o help`` writes the types.
TYPE_TEXT = {STR: "str", SIZE: "size", NUM: "num", BOOL: "bool (on/off)"}


class CreateOption(
    namedtuple(
        "CreateOption", ["name", "type", "help", "default", "creatable", "amendable"], defaults=(None, True, False)
    )
):
    """One option of ``-o``.

    ``default`` is what is in force, and shown, when the option is not given (``None``: nothing); ``creatable`` and
    ``amendable`` say to which commands it belongs.
    """

    __slots__ = ()


def parse_value(option: CreateOption, text: str) -> Any:
    """The value of an option from its text.

    :raises OptionError: in QEMU's words
    """
    if option.type == STR:
        return text
    if option.type == BOOL:
        if text in ("on", "yes", "true", "y"):
            return True
        if text in ("off", "no", "false", "n"):
            return False
        raise OptionError("Parameter '%s' expects 'on' or 'off'" % option.name)
    if option.type == NUM:
        return _parse_number(option.name, text)
    try:
        return parse_size(text)
    except SizeRangeError as error:
        if text.lstrip().startswith("-"):
            raise _not_a_size(option.name) from error
        raise OptionError("Value '%s' is out of range for parameter '%s'" % (text, option.name)) from error
    except SizeSyntaxError as error:
        raise _not_a_size(option.name) from error


def _not_a_size(name: str) -> OptionError:
    return OptionError(
        "Parameter '%s' expects a non-negative number below 2^64" % name,
        hint="Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.",
    )


def _parse_number(name: str, text: str) -> int:
    """A number as C's ``strtoull`` with base 0 reads it: ``0x`` hexadecimal, leading ``0`` octal."""
    digits = text.strip().lower()
    base = 10
    if digits.startswith("0x"):
        digits, base = digits[2:], 16
    elif len(digits) > 1 and digits.startswith("0"):
        digits, base = digits[1:], 8
    try:
        value = int(digits, base)
    except ValueError:
        raise OptionError("Parameter '%s' expects a number" % name) from None
    if value >> 64:
        raise OptionError("Value '%s' is too large for parameter '%s'" % (text, name))
    return value


def check_values(options: tuple[CreateOption, ...], values: dict[str, Any]) -> dict[str, Any]:
    """Values given by a program, checked against the declarations; texts are parsed.

    :raises OptionError: an unknown option, or a value of the wrong type
    """
    declared = {option.name: option for option in options}
    checked = {}
    for name, value in values.items():
        if name not in declared:
            raise OptionError(
                "Invalid parameter '%s'" % name,
                remedy="the options are %s" % ", ".join(sorted(declared)) if declared else None,
            )
        option = declared[name]
        if (option.type == BOOL and isinstance(value, bool)) or (option.type in (SIZE, NUM) and _is_count(value)):
            checked[name] = value
        else:
            checked[name] = parse_value(option, str(value))
    return checked


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64


def split_option_list(text: str) -> list[tuple[str, str]]:
    """``k=v,flag,noflag,name=with,,comma`` as pairs of texts (the grammar of ``-o``)."""
    pairs = []
    for part in _split_commas(text):
        name, equals, value = part.partition("=")
        if not equals:
            if part.startswith("no"):
                name, value = part[2:], "off"
            else:
                value = "on"
        pairs.append((name, value))
    return pairs


def _split_commas(text: str) -> list[str]:
    """Split at single commas; a doubled comma stands for itself."""
    parts = []
    current = ""
    position = 0
    while position < len(text):
        character = text[position]
        if character == ",":
            if text[position + 1 : position + 2] == ",":
                current += ","
                position += 2
                continue
            parts.append(current)
            current = ""
        else:
            current += character
        position += 1
    if current or parts:
        parts.append(current)
    return parts
