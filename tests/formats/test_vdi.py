# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VDI keeps the contract of formats."""
from __future__ import annotations

from contract import FormatContract


class TestVdi(FormatContract):
    format = "vdi"
    qemu_checks = True
    grows = shrinks = True
    header_bytes = 544


class TestStaticVdi(TestVdi):
    options = {"static": True}
