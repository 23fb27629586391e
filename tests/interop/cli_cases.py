# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines whose answers are compared with real qemu-img's, by command; the images are those of cli_images.py.

Each line is what follows the name of the command, as in a shell.
"""
from __future__ import annotations

import cli_cases_changing
import cli_cases_making
import cli_cases_reading
import cli_cases_words

CASES = {
    **cli_cases_reading.LINES,
    **cli_cases_making.LINES,
    **cli_cases_changing.LINES,
    # Whole command lines.
    "": cli_cases_words.LINES,
}
