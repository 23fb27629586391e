# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every kind of image is copied into every other one; qemu-img compares what comes out."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import qimg
from qimg.formats import format_names, get_driver
from support import in_process, oracle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

pytestmark = pytest.mark.oracle

#: Name -> format and creation options.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "raw": ("raw", {}),
    "qcow2": ("qcow2", {}),
    "qcow2-v2": ("qcow2", {"compat": "0.10", "cluster_size": 4096}),
    "qcow2-extended": ("qcow2", {"extended_l2": True}),
    "vdi": ("vdi", {}),
    "vdi-static": ("vdi", {"static": True}),
    "vpc": ("vpc", {}),
    "vpc-exact": ("vpc", {"force_size": True}),
    "vpc-fixed": ("vpc", {"subformat": "fixed", "force_size": True}),
    "vhdx": ("vhdx", {}),
    "vhdx-fixed": ("vhdx", {"subformat": "fixed", "block_size": 1 << 20}),
    "parallels": ("parallels", {}),
    "qed": ("qed", {}),
    "qed-small": ("qed", {"cluster_size": 4096, "table_size": 2}),
    "vmdk": ("vmdk", {}),
    "vmdk-zeroed": ("vmdk", {"zeroed_grain": True}),
    "vmdk-flat": ("vmdk", {"subformat": "monolithicFlat"}),
    "vmdk-split": ("vmdk", {"subformat": "twoGbMaxExtentSparse"}),
    "vmdk-split-flat": ("vmdk", {"subformat": "twoGbMaxExtentFlat"}),
    "vmdk-stream": ("vmdk", {"subformat": "streamOptimized"}),
}
SIZE = (6 << 20) + 512


def test_every_format_that_can_be_made_is_in_the_matrix() -> None:
    makable = {name for name in format_names() if get_driver(name).can_create}
    # An encrypted one needs a secret, and has tests of its own.
    assert makable - {"luks"} == {format for format, _options in KINDS.values()}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file system with some files, where it can be made, and a length that is no whole number of blocks."""
    path: Path = tmp_path_factory.mktemp("matrix") / "disk.raw"
    with path.open("wb") as file:
        file.truncate(SIZE - 512)
    if shutil.which("mkfs.ext4"):
        subprocess.run(["mkfs.ext4", "-q", "-F", "-d", str(Path(__file__).parent), path], check=False)
    with path.open("r+b") as file:
        file.seek(3 << 20)
        file.write(b"\5" * 70_000)
        file.seek(SIZE - 512)
        file.write(b"\7" * 512)
    return path


def expect_the_same_description(path: Path, format: str) -> None:
    """Both programs describe an image in the same words."""
    info = in_process.qimg("info", "--output=json", "-f", format, path.name, cwd=path.parent)
    theirs = oracle.ask_qemu_img("info", "--output=json", "-f", format, path.name, cwd=path.parent)
    assert (info.code, info.stdout) == (theirs.code, theirs.stdout)


@pytest.mark.parametrize("source", KINDS)
def test_a_copy_has_the_content_of_its_source(source: str, disk: Path, tmp_path: Path) -> None:
    source_format, source_options = KINDS[source]
    path = tmp_path / "source"
    words = ",".join(
        "%s=%s" % (name, {True: "on", False: "off"}.get(value, value)) for name, value in source_options.items()
    )
    oracle.qemu_img(
        "convert", "-f", "raw", "-O", source_format, *(["-o", words] if words else []), disk, path
    )
    for target, (format, options) in KINDS.items():
        copy = tmp_path / target
        qimg.convert(str(path), str(copy), format, source_format, options=options)
        same = oracle.ask_qemu_img(
            "compare", "-f", "raw", "-F", format, disk, copy, cwd=tmp_path
        )
        assert same.code == 0, (target, same)
        expect_the_same_description(copy, format)
        checked = oracle.ask_qemu_img("check", "-q", "-f", format, copy, cwd=tmp_path)
        # 63: the format has no check.
        assert checked.code in (0, 63), (target, checked)
        qimg.plan_remove(str(copy), format).apply()
