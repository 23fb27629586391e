# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Formats on the shared engine for blocks keep the contract of formats."""
from __future__ import annotations

import pytest
from contract import FormatContract

from qimg import formats
from qimg.formats import driver_names
from support.block_toys import BlockToyDriver


class BlockContract(FormatContract):
    qemu_reads = False

    @pytest.fixture(autouse=True)
    def register(self, monkeypatch: pytest.MonkeyPatch) -> None:
        driver = BlockToyDriver(int(self.format[-1]))
        monkeypatch.setitem(formats._FORMATS, self.format, lambda: driver)
        monkeypatch.setattr(driver_names, "_DRIVERS", driver_names._DRIVERS | {self.format})


class TestOneLevel(BlockContract):
    format = "blocks1"


class TestTwoLevels(BlockContract):
    format = "blocks2"
