# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``python -m qimg``, and what the ``qimg`` command calls: the command line, as all that a process does."""
from __future__ import annotations

import gc
import os

#: By default the collector of reference cycles runs a dozen times while modules are imported, and finds nothing.
_OBJECTS_BETWEEN_COLLECTIONS = 50000


def run() -> None:
    """Run the command line of this process and end it."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    from .cli.main import main

    code = main()
    # Everything is written and closed.  To take the interpreter apart as well costs a fifth of a short command.
    os._exit(code)


if __name__ == "__main__":
    run()
