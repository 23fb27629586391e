# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMDK keeps the contract of formats."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from contract import FormatContract, restore, states

import qimg
from qimg.formats.base import ABSENT
from qimg.formats.capabilities import Resizable
from qimg.formats.driver import RESIZE, WRITE
from support.recording import Recorder


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

    def test_an_interrupted_move_of_the_directory_leaves_the_old_disk_or_the_new_one(self, tmp_path: Path) -> None:
        """Growing beyond what one grain table holds, and back."""
        if "Flat" in self.options.get("subformat", ""):
            return
        path = tmp_path / "i"
        self.create(path)
        with self.open(path, WRITE) as image:
            image.write(0, b"data" * 1024)
        for size in (100 << 20, 2 << 20):
            with self.open(path) as image:
                sizes = (image.size, size)
            before = {file: file.read_bytes() for file in self.files(path)}
            with Recorder(list(before)) as recorder:
                with self.open(path, RESIZE) as image:
                    assert isinstance(image, Resizable)
                    image.resize(size)
            for what, files in states(before, recorder.events):
                restore(files)
                with self.open(path) as image:
                    assert image.size in sizes, what
                    assert image.read(0, 8192) == b"data" * 1024 + bytes(4096), what
                    assert all(run.kind == ABSENT for run in image.runs(65536, image.size - 65536)), what
                self.check_is_clean(path, what=what)
            with self.open(path, RESIZE) as image:
                assert isinstance(image, Resizable)
                image.resize(size)
            with self.open(path) as image:
                assert image.size == size


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
