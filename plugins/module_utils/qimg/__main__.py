# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""``python -m qimg``: the command line."""
from __future__ import annotations

from .cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
