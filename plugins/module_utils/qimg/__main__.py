# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``python -m qimg``, and what the ``qimg`` command calls: the command line, as all that a process does."""
from __future__ import annotations

# The public module of this name takes as long to import as a short command takes to run.
import _signal  # type: ignore[import-not-found]
import gc
import os
import sys

#: By default the collector of reference cycles runs a dozen times while modules are imported, and finds nothing.
_OBJECTS_BETWEEN_COLLECTIONS = 50000


def _use_utf8() -> None:
    """File names are bytes, and Python's texts are UTF-8 wherever we read or write them: so have they to be in between,
    whatever the locale is.  Python can only be told when it starts."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        with open("/proc/self/cmdline", "rb") as words:
            os.execv(sys.executable, words.read().split(b"\0")[:-1])


def run() -> None:
    """Run the command line of this process and end it."""
    _use_utf8()
    # Whoever asks for progress must not end a command that has none to tell, or does not know it yet.
    _signal.signal(_signal.SIGUSR1, _signal.SIG_IGN)
    # While there is nothing to clean up, Ctrl-C ends the process at once.
    handler = _signal.getsignal(_signal.SIGINT)
    if handler is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    from .cli.main import main

    try:
        _signal.signal(_signal.SIGINT, handler)
        # Everything is written and closed.  To take the interpreter apart as well costs a fifth of a short command.
        os._exit(main())
    except KeyboardInterrupt:
        # A calling shell is to know how this ended.
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
        os.kill(os.getpid(), _signal.SIGINT)


if __name__ == "__main__":
    run()
