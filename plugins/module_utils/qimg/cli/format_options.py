# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What is printed of creation options: their help, and the ``Formatting`` line."""

from __future__ import annotations

from ..formats.options import BOOL, TYPE_TEXT, with_file_options
from ..operations.new_image import creatable, creation_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..formats.options import CreateOption
    from .console import Console

_NAME_COLUMN = 24


def help_lines(options: tuple[CreateOption, ...]) -> str:
    """The options by name, one a line."""
    lines = []
    for option in sorted(options, key=lambda option: str(option.name)):
        left = "  %s=<%s>" % (option.name, TYPE_TEXT[option.type])
        lines.append("%s - %s\n" % (left.ljust(_NAME_COLUMN), option.help))
    return "".join(lines)


def print_help(console: Console, format_name: str, filename: str | None) -> int:
    """What ``-o help`` of a command that makes images prints.

    :param filename: the target, if it is known: then what its file understands belongs to it
    :raises OptionError: there is no such format or protocol
    """
    options = creation_options(format_name, filename)
    if filename is not None:
        console.write("Supported options:\n" + help_lines(options))
        return 0
    console.write("Supported %s options:\n%s\n" % (format_name, help_lines(options)))
    console.write(
        "The protocol level may support further options.\nSpecify the target filename to include those options.\n"
    )
    return 0


def formatting_line(filename: str, format_name: str, options: dict[str, Any], given: dict[str, str]) -> str:
    """``Formatting 'disk.qcow2', fmt=qcow2 …``: every option that is in force.

    :param options: values by name, in the order of their declarations
    :param given: what the user wrote
    """
    declared = {option.name: option for option in with_file_options(creatable(format_name, filename).options)}
    words = ["Formatting '%s', fmt=%s" % (filename, format_name)]
    for name, value in options.items():
        if declared[name].type == BOOL:
            # qemu-img shows yes, true and y as they were given.
            text = given.get(name, "on" if value else "off")
        elif isinstance(value, int):
            text = str(value - (1 << 64) if value >> 63 else value)
        else:
            text = str(value).replace(",", ",,")
        words.append("%s=%s" % (name, text))
    return " ".join(words) + "\n"
