# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""New images for devices and exports, which are as large as they are: what does not fit is refused in time."""
from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path

import pytest

from qimg.errors import ImageError, StorageError
from qimg.operations.conversion_request import ConvertRequest
from qimg.operations.convert import plan_convert
from qimg.operations.create import OVERWRITE, create
from qimg.operations.dd import dd
from support import oracle
from support.nbd import qemu_nbd, serving, unix_listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

pytestmark = pytest.mark.oracle

MIB = 1 << 20
OLD = b"old bytes that somebody may want"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    chance = random.Random(7)
    oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "disk.qcow2", "6M", cwd=tmp_path)
    (tmp_path / "noise").write_bytes(chance.randbytes(MIB))
    oracle.qemu_io(
        "disk.qcow2", "write -s noise 1M 1M", "write -P 3 3M 700k", "write -z 4M 64k", "write -P 0 5M 300k",
        cwd=tmp_path,
    )
    oracle.qemu_img("bitmap", "--add", "-g", "4k", "disk.qcow2", "b", cwd=tmp_path)
    return tmp_path


@pytest.fixture
def export(directory: Path) -> Iterator[Any]:
    """Called with a number of bytes, gives a file of so many old bytes, and the name of the export that it is."""
    with ExitStack() as stack:

        def make(size: int) -> tuple[Path, str]:
            name = "target-%d" % size
            path = directory / name
            path.write_bytes((OLD * (size // len(OLD) + 1))[:size])
            listener = stack.enter_context(unix_listener(directory, "s-%d" % size))
            stack.enter_context(serving(qemu_nbd(name, "-x", "x"), listener, directory))
            return path, "nbd+unix:///x?socket=%s" % (directory / ("s-%d" % size))

        yield make


CONVERSIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "compressed": {"compress": True},
    "with bitmaps": {"bitmaps": True},
    "with every byte": {"sparse_grain": 0},
    "with small clusters": {"options": {"cluster_size": 512}},
    "with subclusters": {"options": {"extended_l2": True}},
    "above a backing file": {"backing_file": "", "backing_format": "qcow2"},
    "of the old version": {"options": {"compat": "v2"}},
    "slow": {"rate": 50 << 20},
}


@pytest.mark.parametrize("kind", CONVERSIONS)
def test_an_export_is_used_to_its_last_cluster_or_not_at_all(kind: str, directory: Path, export: Any) -> None:
    arguments = dict(CONVERSIONS[kind])
    if "backing_file" in arguments:
        arguments["backing_file"] = str(directory / "base.qcow2")
        oracle.qemu_img("create", "-q", "-f", "qcow2", "base.qcow2", "6M", cwd=directory)
    source = str(directory / "disk.qcow2")

    def convert(target: str) -> None:
        plan_convert(ConvertRequest((source,), None, target, "qcow2", **arguments)).apply()

    convert(str(directory / "file.qcow2"))
    needed = (directory / "file.qcow2").stat().st_size
    needed += -needed % 512

    path, name = export(needed)
    convert(name)
    assert oracle.is_clean(name, "-f", "qcow2")
    assert oracle.ask_qemu_img("compare", "-f", "qcow2", "-F", "qcow2", name, source).code == 0

    for size in (needed - 512, needed // 2, 65536):
        path, name = export(size)
        with pytest.raises(StorageError, match="No space left on device") as caught:
            convert(name)
        assert caught.value.remedy is not None and "nothing was written: use a larger one" in caught.value.remedy
        assert path.read_bytes() == (OLD * (size // len(OLD) + 1))[:size]


def test_what_surely_fits_is_read_once(directory: Path, export: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Allocated zeroes are counted as data, and still there is room: nobody needs to look at them first."""
    from qimg.formats.new_files import NewFiles

    tried: list[NewFiles] = []
    real = NewFiles.trial

    def counted(files: NewFiles) -> NewFiles:
        tried.append(files)
        return real(files)

    monkeypatch.setattr(NewFiles, "trial", counted)
    source = str(directory / "disk.qcow2")
    for size, expected in ((3 * MIB, 0), (1900 * 1024, 1)):
        _path, name = export(size)
        plan_convert(ConvertRequest((source,), None, name, "qcow2", options={"cluster_size": 4096})).apply()
        assert len(tried) == expected


@pytest.mark.parametrize("options", [{"cluster_size": 2 * MIB}, {"size": 1 << 46}, {"preallocation": "metadata"}])
def test_an_empty_image_that_does_not_fit_leaves_what_is_there(options: dict[str, Any], export: Any) -> None:
    path, name = export(MIB)
    size = None if "size" in options else 64 * MIB
    with pytest.raises(StorageError, match=r"No space left on device|Cannot grow NBD nodes"):
        create(name, "qcow2", size, options, existing=OVERWRITE)
    assert path.read_bytes() == OLD * (MIB // len(OLD))


@pytest.mark.parametrize("convert", [False, True])
@pytest.mark.parametrize("options", [{}, {"data_file_raw": True}, {"preallocation": "metadata"}])
def test_a_device_has_room_for_the_tables_of_data_elsewhere(
    options: dict[str, Any], convert: bool, directory: Path, export: Any
) -> None:
    source, data = str(directory / "disk.qcow2"), directory / "data.raw"
    options = {"data_file": str(data), "cluster_size": 4096, **options}

    def make(target: str) -> None:
        if convert:
            plan_convert(ConvertRequest((source,), None, target, "qcow2", options=options)).apply()
        else:
            create(target, "qcow2", 6 * MIB, options, existing=OVERWRITE)

    make(str(directory / "file.qcow2"))
    needed = (directory / "file.qcow2").stat().st_size
    needed += -needed % 512
    for size in (needed - 512, 4096):
        data.write_bytes(OLD)
        path, name = export(size)
        with pytest.raises(StorageError, match="No space left on device"):
            make(name)
        assert path.read_bytes() == (OLD * (size // len(OLD) + 1))[:size]
        assert data.read_bytes() == OLD
    for size in (needed, MIB):
        path, name = export(size)
        make(name)
        assert oracle.is_clean(name, "-f", "qcow2")
        if convert:
            assert oracle.ask_qemu_img("compare", "-f", "qcow2", "-F", "qcow2", name, source).code == 0


def test_dd_into_what_is_too_small_leaves_what_is_there(directory: Path, export: Any) -> None:
    path, name = export(MIB)
    with pytest.raises(StorageError, match="error while writing to output image file: No space left on device"):
        dd(str(directory / "disk.qcow2"), name, "qcow2")
    assert path.read_bytes() == OLD * (MIB // len(OLD))


def test_a_backing_file_that_is_missing_leaves_what_is_there(directory: Path, export: Any) -> None:
    path, name = export(MIB)
    request = ConvertRequest(
        (str(directory / "disk.qcow2"),), None, name, "qcow2", backing_file=str(directory / "missing"),
        backing_format="raw",
    )  # fmt: skip
    with pytest.raises(ImageError, match="Could not open backing file"):
        plan_convert(request).apply()
    assert path.read_bytes() == OLD * (MIB // len(OLD))


@pytest.mark.parametrize("preallocation", ["metadata", "falloc", "full"])
def test_a_disk_whose_space_is_reserved_shows_nothing_of_what_was_there(preallocation: str, export: Any) -> None:
    path, name = export(10 * MIB)
    create(name, "qcow2", 8 * MIB, {"preallocation": preallocation}, existing=OVERWRITE)
    assert oracle.read_guest(name, path.with_name("content"), "qcow2") == bytes(8 * MIB)
    assert oracle.map_(name, "-f", "qcow2")[0]["data"]
