# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Reading command lines as GNU ``getopt_long`` does, from a table that also gives the help text.

The standard library's ``getopt`` and ``argparse`` bring ``re`` and ``gettext`` with them, which takes longer to import
than all of ``qimg info``; and neither says what is wrong in qemu-img's words.
"""

from __future__ import annotations

import os
from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_HELP_COLUMN = 28


class UsageError(Exception):
    """The command line makes no sense.

    :param points_to_help: whether the line that names ``--help`` follows
    :param further: a second line of the message
    :param names_command: whether the command's name stands before the message, as ``getopt_long`` has it
    """

    def __init__(
        self,
        message: str,
        points_to_help: bool = False,
        further: str | None = None,
        names_command: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.further = further
        self.points_to_help = points_to_help
        self.names_command = names_command


class HelpRequested(Exception):
    """``--help`` was given, or help with an option.

    :param text: what to print; ``None``: the help for the command
    """

    def __init__(self, text: str | None = None) -> None:
        super().__init__(text)
        self.text = text


class Option(
    namedtuple(
        "Option", ["name", "short", "long", "value", "help", "convert", "many", "collect"], defaults=(None, False, None)
    )
):
    """One option of a command.

    ``name``: the attribute of :class:`Arguments`; ``short``: its letters, if any; ``long``: its long names, the
    first of which the help shows; ``value``: how the help calls its argument, nothing for a flag; ``convert``: makes a
    value of the text (of nothing, for a flag); ``many``: every occurrence counts, the attribute is a tuple;
    ``collect``: the attribute is what this makes of what it was (``None`` at first) and the text.  Options whose order
    counts share a ``name``.
    """

    __slots__ = ()


class Command(
    namedtuple("Command", ["name", "summary", "operands", "options", "epilog", "object_error"], defaults=("", 1))
):
    """One command: ``summary`` in a few words, ``operands`` as the usage line shows them, and its options.

    ``object_error`` is the exit code where an object cannot be defined.
    """

    __slots__ = ()


class Arguments:
    """What a command line says: an attribute per option, and ``operands``."""

    operands: list[str]

    def __init__(self, command: Command) -> None:
        for option in command.options:
            setattr(self, option.name, () if option.many else None if option.value else False)
        self.operands = []

    def __getattr__(self, name: str) -> Any:
        # Only for type checkers: every attribute is set above.
        raise AttributeError(name)


def parse(command: Command, words: list[str]) -> Arguments:
    """Read the words after the command's name.

    Values are converted in their order, so that the first thing that is wrong is the one that is reported.

    :raises UsageError: an unknown option, a missing or superfluous value
    :raises HelpRequested: ``-h`` or ``--help``, or help with an option
    :raises ImageError: an object cannot be made
    """
    arguments = Arguments(command)
    for option, value in _options(command, words, arguments.operands):
        if option.name == "help":
            raise HelpRequested
        if option.collect is not None:
            setattr(arguments, option.name, option.collect(getattr(arguments, option.name), value))
            continue
        converted = option.convert(value) if option.convert is not None else value if option.value else True
        if option.many:
            converted = (*getattr(arguments, option.name), converted)
        setattr(arguments, option.name, converted)
    return arguments


HELP = Option("help", "h", ("help",), "", "display this help and exit")


def _options(command: Command, words: list[str], operands: list[str]) -> Iterator[tuple[Option, str]]:
    """The options in their order; everything else becomes an operand."""
    options = (HELP, *command.options)
    return _read(options, words, operands, "POSIXLY_CORRECT" in os.environ)


def options_before(options: tuple[Option, ...], words: list[str], rest: list[str]) -> Iterator[tuple[Option, str]]:
    """The options before the first operand; ``rest`` gets that and all that follows."""
    return _read(options, words, rest, True)


def _read(
    options: tuple[Option, ...], words: list[str], operands: list[str], in_order: bool
) -> Iterator[tuple[Option, str]]:
    rest = iter(words)
    for word in rest:
        if word == "--":
            operands.extend(rest)
        elif word.startswith("--"):
            yield _long_option(options, word, rest)
        elif word.startswith("-") and word != "-" and not _is_negative_number(word):
            yield from _short_options(options, word, rest)
        else:
            operands.append(word)
            if in_order:
                operands.extend(rest)


def _is_negative_number(word: str) -> bool:
    """``-1M`` is never an option: no option is a digit."""
    return word[1] in "0123456789."


def _long_option(options: tuple[Option, ...], word: str, rest: Iterator[str]) -> tuple[Option, str]:
    name, equals, value = word[2:].partition("=")
    found = [option for option in options if name in option.long]
    if not found:
        found = [option for option in options if any(long.startswith(name) for long in option.long)]
    if not found:
        raise _getopt_error("unrecognized option '%s'" % word)
    if len(found) > 1:
        possible = " ".join("'--%s'" % long for option in found for long in option.long if long.startswith(name))
        raise _getopt_error("option '%s' is ambiguous; possibilities: %s" % (word, possible))
    if equals and not found[0].value:
        raise _getopt_error("option '--%s' doesn't allow an argument" % _full_name(found[0], name))
    if found[0].value and not equals:
        value = _value(rest, "option '--%s' requires an argument" % _full_name(found[0], name))
    return found[0], value


def _full_name(option: Option, beginning: str) -> str:
    """The long name of an option that was shortened to its beginning."""
    return next(str(long) for long in option.long if long.startswith(beginning))


def _short_options(options: tuple[Option, ...], word: str, rest: Iterator[str]) -> Iterator[tuple[Option, str]]:
    for position, letter in enumerate(word[1:], 2):
        found = [option for option in options if letter in option.short]
        if not found or letter == ":":
            raise _getopt_error("invalid option -- '%s'" % letter)
        if found[0].value:
            yield found[0], word[position:] or _value(rest, "option requires an argument -- '%s'" % letter)
            return
        yield found[0], ""


def _value(rest: Iterator[str], missing: str) -> str:
    """The next word; ``missing`` is what is said if there is none."""
    for value in rest:
        return value
    raise _getopt_error(missing)


def _getopt_error(message: str) -> UsageError:
    return UsageError(message, True, names_command=True)


def command_help(program: str, command: Command) -> str:
    """The text of ``COMMAND --help``."""
    lines = ["%s.  Usage:" % command.summary, "", "  %s %s [OPTION]... %s" % (program, command.name, command.operands)]
    lines += ["", "Options:", *table((HELP, *command.options))]
    if command.epilog:
        lines += ["", command.epilog]
    return "\n".join(lines) + "\n"


def table(options: tuple[Option, ...]) -> Iterator[str]:
    """The lines of a help text that describe options."""
    for option in options:
        names = ["-" + letter for letter in option.short]
        names.append("--" + option.long[0])
        left = "  " + ", ".join(names) + (" " + option.value if option.value else "")
        texts = option.help.split("\n")
        if len(left) < _HELP_COLUMN:
            left = left.ljust(_HELP_COLUMN) + texts.pop(0)
        yield left
        for text in texts:
            yield " " * _HELP_COLUMN + text
