# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""raw keeps the contract of formats."""
from __future__ import annotations

from contract import FormatContract


class TestRaw(FormatContract):
    format = "raw"
    grows = shrinks = True
