# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VHDX keeps the contract of formats."""
from __future__ import annotations

from contract import FormatContract


class TestVhdx(FormatContract):
    format = "vhdx"
    qemu_checks = True
    grows = shrinks = True
    options = {"block_size": 1 << 20}
    # The metadata: all before them has a checksum.
    header_start = (3 << 20) + (64 << 10)
    header_bytes = 48


class TestVhdxWithoutZeroState(TestVhdx):
    options = {"block_size": 1 << 20, "block_state_zero": False}


class TestFixedVhdx(TestVhdx):
    options = {"block_size": 1 << 20, "subformat": "fixed"}
