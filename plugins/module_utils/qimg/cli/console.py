# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The only place that prints."""

from __future__ import annotations

import errno
import os
import sys

from ..errors import LimitError, MissingPackageError
from ..formats.watcher import Watcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..errors import ImageError

#: Output is handed to the system in pieces of about so many characters.
_BUFFER_CHARACTERS = 1 << 16


class Console(Watcher):
    """Standard output and standard error, as qemu-img uses them.

    File names are written as the bytes that they are.

    :param program: the name before every message
    """

    def __init__(self, program: str) -> None:
        self.program = program
        #: Whether nobody reads standard output any more; a command that only prints may stop.
        self.closed = False
        #: Why standard output could not be written.  What a command does to images goes on all the same.
        self.failure: OSError | None = None
        self._pending: list[str] = []
        self._pending_characters = 0
        self._last = ""
        self._warnings: set[str] = set()

    def write(self, text: str) -> None:
        """Append to standard output."""
        self._pending.append(text)
        self._pending_characters += len(text)
        if self._pending_characters >= _BUFFER_CHARACTERS:
            self.flush()

    def write_last(self, text: str) -> None:
        """Append to standard output when all else has been said."""
        self._last += text

    def close(self) -> None:
        """Say what comes last, and have everything appear."""
        self.write(self._last)
        self._last = ""
        self.flush()

    def flush(self) -> None:
        """Have everything written so far appear."""
        text = "".join(self._pending)
        self._pending.clear()
        self._pending_characters = 0
        if self.closed or not text or sys.stdout is None:
            return
        try:
            sys.stdout.buffer.write(os.fsencode(text))
            sys.stdout.buffer.flush()
        except OSError as error:
            self.closed = True
            if error.errno != errno.EPIPE:
                self.failure = error
            _discard_output()

    def progress(self, text: str) -> None:
        """A progress line: it appears at once."""
        self.write(text)
        self.flush()

    def line(self, text: str) -> None:
        """A line of standard error, as it is."""
        self.flush()
        if sys.stderr is None:
            return
        try:
            sys.stderr.buffer.write(os.fsencode(text + "\n"))
            sys.stderr.buffer.flush()
        except OSError:
            # There is nowhere to complain about this.
            pass

    def error(self, message: str, hint: str | None = None) -> None:
        """What went wrong; hints are lines of their own."""
        self.line("%s: %s" % (self.program, message))
        if hint:
            self.line(hint)

    def warning(self, text: str) -> None:
        # An image may be opened more than once for one command.
        if text in self._warnings:
            return
        self._warnings.add(text)
        self.line("%s: warning: %s" % (self.program, text))

    def notice(self, text: str) -> None:
        self.line(text)

    def image_error(self, error: ImageError, prefix: str = "") -> None:
        """An error of the SDK, in qemu-img's words.

        :param prefix: what comes before the reason, for instance the file's name and a colon
        """
        self.error(prefix + message_of(error), error.hint)


def message_of(error: ImageError) -> str:
    """What qemu-img would say; where it has no such error, also what can be done about it."""
    text = error.reason
    if isinstance(error, (LimitError, MissingPackageError)) and error.remedy:
        text = "%s; %s" % (text.rstrip("."), error.remedy)
    if error.while_opening is not None:
        text = "Could not open '%s': %s" % (error.while_opening, text)
    return text


def _discard_output() -> None:
    """Have the interpreter not fail a second time when it flushes at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
