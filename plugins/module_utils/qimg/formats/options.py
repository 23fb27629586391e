# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Creation options: declared as data, parsed and checked in one place."""
from __future__ import annotations

import os
from collections import namedtuple

from ..errors import OptionError
from ..option_text import parse_boolean, parse_number, parse_size_option
from ..references import text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STR, SIZE, NUM, BOOL = "str", "size", "num", "bool"

#: How ``-o help`` writes the types.
TYPE_TEXT = {STR: "str", SIZE: "size", NUM: "num", BOOL: "bool (on/off)"}


class CreateOption(
    namedtuple(
        "CreateOption",
        ["name", "type", "help", "default", "creatable", "amendable", "synonyms"],
        defaults=(None, True, False, ()),
    )
):
    """One option of ``-o``.

    ``type`` is ``str``, ``size`` (bytes), ``num`` or ``bool``; ``default`` is what is in force, and shown, when the
    option is not given (``None``: nothing); ``creatable`` and ``amendable`` say to which commands it belongs;
    ``synonyms`` are pairs of another word for a value, and the value.
    """

    __slots__ = ()

    name: str
    type: str
    help: str
    default: Any
    creatable: bool
    amendable: bool
    synonyms: tuple[tuple[str, str], ...]

    def same(self, value: Any, other: Any) -> bool:
        """Whether two values of the option mean the same."""
        synonyms = dict(self.synonyms)
        return bool(synonyms.get(value, value) == synonyms.get(other, other))


#: What a file understands, whatever format is in it.
FILE_OPTIONS = (
    CreateOption("size", SIZE, "Virtual disk size"),
    CreateOption("nocow", BOOL, "Turn off copy-on-write (valid only on btrfs)"),
    CreateOption("preallocation", STR, "Preallocation mode (allowed values: off, falloc, full)"),
    CreateOption("extent_size_hint", SIZE, "Extent size hint for the image file, 0 to disable"),
)
#: The same for what is not made, but there already: a device, an export of a server.
EXISTING_OPTIONS = (
    CreateOption("size", SIZE, "Virtual disk size"),
    CreateOption("preallocation", STR, "Preallocation mode (allowed values: off)"),
)


def with_file_options(options: tuple[CreateOption, ...], protocol: str = "file") -> tuple[CreateOption, ...]:
    """The creation options of a format, then those of the file beneath it that the format does not have itself."""
    own = tuple(option for option in options if option.creatable)
    names = {option.name for option in own}
    beneath = FILE_OPTIONS if protocol == "file" else EXISTING_OPTIONS
    return (*own, *(option for option in beneath if option.name not in names))


def parse_value(option: CreateOption, text: str) -> Any:
    """The value of an option from its text.

    :raises OptionError: in QEMU's words
    """
    if option.type == STR:
        return text
    if option.type == BOOL:
        return parse_boolean(option.name, text)
    if option.type == NUM:
        return parse_number(option.name, text)
    return parse_size_option(option.name, text)


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
            checked[name] = parse_value(option, _text(value))
    return checked


def _text(value: Any) -> str:
    return text_of(value) if isinstance(value, (bytes, os.PathLike)) else str(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64
