# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""qcow2 keeps the contract of formats."""
from __future__ import annotations

from pathlib import Path

from contract import FormatContract

import qimg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class TestQcow2(FormatContract):
    format = "qcow2"
    qemu_checks = True
    grows = shrinks = True
    header_bytes = 1024

    def naming_images(self, directory: Path, outside: Path) -> Iterator[Path]:
        qimg.create(
            str(directory / "over"), "qcow2", 1 << 20,
            backing_file=str(outside), backing_format="raw", opener=qimg.Opener(qimg.ReferencePolicy("follow")),
        )
        yield directory / "over"
        content = outside.read_bytes()
        outside.unlink()
        qimg.create(str(directory / "split"), "qcow2", 1 << 20, {"data_file": str(outside)})
        outside.write_bytes(content)
        yield directory / "split"


class TestQcow2Version2(TestQcow2):
    options = {"compat": "0.10", "cluster_size": 4096}


class TestQcow2ExtendedL2(TestQcow2):
    options = {"extended_l2": "on", "cluster_size": 32768, "refcount_bits": 1}


class TestQcow2SmallestClusters(TestQcow2):
    options = {"cluster_size": 512, "refcount_bits": 64}


class TestQcow2WithDataFile(TestQcow2):
    options = {"data_file": "i.data"}
    qemu_checks = False

    def create(self, path: Path, size: int | None = None) -> None:
        self.options = {"data_file": str(path) + ".data"}
        super().create(path, size)

    def files(self, path: Path) -> list[Path]:
        return [path, path.with_name(path.name + ".data")]
