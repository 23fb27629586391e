# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VHD keeps the contract of formats."""
from __future__ import annotations

from contract import FormatContract


class TestDynamicVhd(FormatContract):
    format = "vpc"
    grows = shrinks = True
    header_bytes = 1560


class TestExactVhd(TestDynamicVhd):
    options = {"force_size": True}


class TestFixedVhd(FormatContract):
    format = "vpc"
    options = {"subformat": "fixed"}
    # Of the two places of the footer of a disk that grows or shrinks, one is in the guest's data for a moment.
    grows = shrinks = False
