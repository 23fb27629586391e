# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""QED keeps the contract of formats."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from contract import FormatContract

import qimg


class TestQed(FormatContract):
    format = "qed"
    qemu_checks = True
    grows = shrinks = True
    header_bytes = 96

    def naming_images(self, directory: Path, outside: Path) -> Iterator[Path]:
        path = directory / "overlay.qed"
        qimg.create(str(path), "qed", self.size, backing_file=str(outside), backing_format="raw", open_backing=False)
        yield path


class TestQedWithSmallTables(TestQed):
    options = {"cluster_size": 4096, "table_size": 2}
