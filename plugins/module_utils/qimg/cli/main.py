# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Finding the command, and turning errors into messages and exit codes."""

from __future__ import annotations

import os
import sys

from ..errors import ImageError
from .console import Console
from .options import (
    HELP,
    Command,
    HelpRequested,
    Option,
    UsageError,
    command_help,
    options_before,
    parse,
    table,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The version of qemu-img whose command line this is.
COMPATIBLE_VERSION = "11.1.0"

_STANDARD_OPTIONS = (
    HELP,
    Option("version", "V", ("version",), "", "display version information and exit"),
    Option("trace", "T", ("trace",), "TRACE", "accepted and ignored"),
)

_COMMANDS = (
    "amend", "bench", "bitmap", "check", "commit", "compare", "convert", "create", "dd", "info", "map", "measure",
    "rebase", "resize", "snapshot",
)  # fmt: skip


def _command(name: str) -> Any:
    """The module of a command.  Only the one that runs is imported, which is most of what starting costs."""
    return __import__("%s.commands.%s" % (__package__, name), None, None, ("COMMAND", "run"))


def main(argv: list[str] | None = None) -> int:
    """Run one command line.

    :param argv: the program's name, then its arguments; ``None``: those of this process
    :returns: the exit code
    """
    words = sys.argv if argv is None else argv
    program = os.path.basename(words[0]) if words else "qimg"
    if program == "__main__.py":
        program = "qimg"
    console = Console(program)
    code = _run(console, words[1:])
    console.close()
    if console.failure is not None:
        console.error("Could not write to standard output: %s" % os.strerror(console.failure.errno or 0))
        return code or 1
    return code


def _run(console: Console, words: list[str]) -> int:
    place = console.program
    try:
        command_words = _global_options(console, words)
        if not command_words:
            return 0
        name, *rest = command_words
        if name not in _COMMANDS:
            raise UsageError("Command not found: %s" % name, True)
        place = "%s %s" % (console.program, name)
        return _run_command(console, name, rest)
    except UsageError as error:
        if error.names_command:
            console.line("%s: %s" % (place, error.message))
        else:
            console.error(error.message)
        if error.further is not None:
            console.error(error.further)
        if error.points_to_help:
            console.line("Try '%s --help' for more information" % place)
    except ImageError as error:
        console.image_error(error)
    except MemoryError:
        console.error("Not enough memory")
    except Exception as error:  # pylint: disable=broad-except
        if "QIMG_TRACEBACK" in os.environ:
            raise
        console.error("internal error (%s: %s)" % (type(error).__name__, error))
        console.line("This is a bug in qimg. Set QIMG_TRACEBACK=1 to see where it is, and please report it.")
    return 1


def _run_command(console: Console, name: str, rest: list[str]) -> int:
    module = _command(name)
    command: Command = module.COMMAND
    try:
        arguments = parse(command, rest)
    except HelpRequested as request:
        console.write(command_help(console.program, command) if request.text is None else request.text)
        return 0
    except ImageError as error:
        # Nothing but objects is made while options are read.
        console.image_error(error)
        return int(command.object_error)
    code: int = module.run(console, arguments)
    return code


def _global_options(console: Console, words: list[str]) -> list[str]:
    """Take what stands before the command; returns the rest, or nothing if everything is done."""
    if not words:
        raise UsageError("Not enough arguments", True)
    rest: list[str] = []
    for option, _value in options_before(_STANDARD_OPTIONS, words, rest):
        if option.name == "help":
            console.write(_global_help(console.program))
            return []
        if option.name == "version":
            console.write(_version(console.program))
            return []
        # Tracing writes nothing to the results; whoever asks for it gets none.
    return rest


def _version(program: str) -> str:
    from .. import __version__

    if program == "qimg":
        return "qimg version %s (compatible with qemu-img %s)\n" % (__version__, COMPATIBLE_VERSION)
    return "%s version %s (qimg %s)\n" % (program, COMPATIBLE_VERSION, __version__)


def _global_help(program: str) -> str:
    from ..formats import format_names

    lines = [
        "qimg disk image utility, compatible with qemu-img.  Usage:",
        "",
        "  %s [standard options] COMMAND [--help | command options]" % program,
        "",
        "Standard options:",
        *table(_STANDARD_OPTIONS),
        "",
        "Commands (%s COMMAND --help describes each):" % program,
        "",
    ]
    lines += ["  %s - %s" % (name, _command(name).COMMAND.summary) for name in _COMMANDS]
    lines += ["", "Supported formats: %s" % " ".join(format_names())]
    return "\n".join(lines) + "\n"
