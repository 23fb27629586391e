# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parallels keeps the contract of formats."""
from __future__ import annotations

from contract import FormatContract


class TestParallels(FormatContract):
    format = "parallels"
    qemu_checks = True
    grows = shrinks = True
    header_bytes = 80
    options = {"cluster_size": 64 << 10}


class TestParallelsWithSmallClusters(TestParallels):
    options = {"cluster_size": 1536}
