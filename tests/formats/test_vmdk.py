# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMDK keeps the contract of formats."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from contract import FormatContract

import qimg


class TestSparseVmdk(FormatContract):
    format = "vmdk"
    qemu_checks = True
    grows = shrinks = True
    header_bytes = 1024

    def naming_images(self, directory: Path, outside: Path) -> Iterator[Path]:
        parent = directory / "parent.vmdk"
        qimg.create(str(parent), "vmdk", self.size)
        overlay = directory / "overlay.vmdk"
        qimg.create(str(overlay), "vmdk", backing_file="parent.vmdk", backing_format="vmdk")
        text = overlay.read_bytes()
        line = b'parentFileNameHint="parent.vmdk"'
        new = b'parentFileNameHint="%s"' % str(outside).encode()
        start = text.index(line)
        end = text.index(b"\0", start)
        changed = text[start:end].replace(line, new)
        overlay.write_bytes(text[:start] + changed + bytes(20 * 512 - (start - 512) - len(changed)) + text[21 * 512 :])
        yield overlay
        descriptor = directory / "flat.vmdk"
        qimg.create(str(descriptor), "vmdk", self.size, {"subformat": "monolithicFlat"})
        descriptor.write_bytes(descriptor.read_bytes().replace(b'"flat-flat.vmdk"', b'"%s"' % str(outside).encode()))
        yield descriptor


class TestSparseVmdkWithZeroedGrains(TestSparseVmdk):
    options = {"zeroed_grain": True}


class TestSplitVmdk(TestSparseVmdk):
    options = {"subformat": "twoGbMaxExtentSparse"}

    def files(self, path: Path) -> list[Path]:
        return [path, path.with_name(path.name + "-s001")]


class TestFlatVmdk(TestSparseVmdk):
    options = {"subformat": "monolithicFlat"}

    def files(self, path: Path) -> list[Path]:
        return [path, path.with_name(path.name + "-flat")]
