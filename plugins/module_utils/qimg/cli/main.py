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
    from types import ModuleType

#: The version of qemu-img whose command line this is.
COMPATIBLE_VERSION = "10.0.0"


def _amend() -> ModuleType:
    from .commands import amend

    return amend


def _bench() -> ModuleType:
    from .commands import bench

    return bench


def _bitmap() -> ModuleType:
    from .commands import bitmap

    return bitmap


def _check() -> ModuleType:
    from .commands import check

    return check


def _commit() -> ModuleType:
    from .commands import commit

    return commit


def _compare() -> ModuleType:
    from .commands import compare

    return compare


def _convert() -> ModuleType:
    from .commands import convert

    return convert


def _create() -> ModuleType:
    from .commands import create

    return create


def _dd() -> ModuleType:
    from .commands import dd

    return dd


def _info() -> ModuleType:
    from .commands import info

    return info


def _map() -> ModuleType:
    from .commands import map as map_command

    return map_command


def _measure() -> ModuleType:
    from .commands import measure

    return measure


def _rebase() -> ModuleType:
    from .commands import rebase

    return rebase


def _resize() -> ModuleType:
    from .commands import resize

    return resize


def _snapshot() -> ModuleType:
    from .commands import snapshot

    return snapshot


_STANDARD_OPTIONS = (
    HELP,
    Option("version", "V", ("version",), "", "display version information and exit"),
    Option("trace", "T", ("trace",), "TRACE", "accepted and ignored"),
)

_COMMANDS = {
    "amend": _amend,
    "bench": _bench,
    "bitmap": _bitmap,
    "check": _check,
    "commit": _commit,
    "compare": _compare,
    "convert": _convert,
    "create": _create,
    "dd": _dd,
    "info": _info,
    "map": _map,
    "measure": _measure,
    "rebase": _rebase,
    "resize": _resize,
    "snapshot": _snapshot,
}


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
    try:
        code = _run(console, words[1:])
        console.flush()
    except KeyboardInterrupt:
        return _die_of_interrupt()
    if console.failure is not None:
        console.error("Could not write to standard output: %s" % os.strerror(console.failure.errno or 0))
        return code or 1
    return code


def _run(console: Console, words: list[str]) -> int:
    try:
        return _dispatch(console, words)
    except UsageError as error:
        for line in error.message.split("\n"):
            console.error(line)
        if error.points_to_help:
            console.line("Try '%s --help' for more information" % console.program)
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


def _dispatch(console: Console, words: list[str]) -> int:
    command_words = _global_options(console, words)
    if not command_words:
        return 0
    name, *rest = command_words
    if name not in _COMMANDS:
        raise UsageError("Command not found: %s" % name, True)
    module = _COMMANDS[name]()
    command: Command = module.COMMAND
    try:
        arguments = parse(command, rest)
        if getattr(arguments, "objects", ()):
            from ..crypto.objects import ObjectStore

            arguments.secrets = ObjectStore.of(arguments.objects)
    except HelpRequested:
        console.write(command_help(console.program, command))
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
    lines += ["  %s - %s" % (name, _COMMANDS[name]().COMMAND.summary) for name in _COMMANDS]
    lines += ["", "Supported formats: %s" % " ".join(format_names())]
    return "\n".join(lines) + "\n"


def _die_of_interrupt() -> int:
    """End as a program that knows nothing of Ctrl-C, so that a calling shell knows too."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    return 130
