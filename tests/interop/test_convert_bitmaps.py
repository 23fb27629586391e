# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversions that take dirty bitmaps along, beside ``qemu-img convert --bitmaps``."""
from __future__ import annotations

import shutil

import pytest

from qimg.errors import ImageError
from qimg.operations.conversion_request import ConvertRequest
from qimg.operations.convert import plan_convert
from support import oracle
from support.dirty import KIB, MIB, listed, make, marked, said, set_flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

pytestmark = pytest.mark.oracle


def source_image(path: Path) -> Path:
    """An overlay with bitmaps of its own, above an image with others."""
    base = make(path.with_name("base.qcow2"), 10 * MIB)
    oracle.qemu_img("bitmap", "--add", base, "of-the-base")
    oracle.qemu_io(base, "write 5M 1M")
    make(path, 10 * MIB + 512, "-b", str(base), "-F", "qcow2")
    for name, granularity in (("first", "512"), ("second", "64k"), ("third", "1M")):
        oracle.qemu_img("bitmap", "--add", "-g", granularity, path, name)
    oracle.qemu_img("bitmap", "--disable", path, "second")
    oracle.qemu_io(path, "write 1M 300k", "write 10M 512")
    return path


def convert(source: Path, target: Path, **arguments: Any) -> None:
    plan_convert(ConvertRequest((str(source),), "qcow2", str(target), bitmaps=True, **arguments)).apply()


@pytest.mark.parametrize("options", ["cluster_size=64k", "cluster_size=512", "extended_l2=on", "refcount_bits=64"])
@pytest.mark.parametrize("compress", [False, True])
def test_converted_images_have_the_bitmaps_that_qemu_img_gives_them(
    tmp_path: Path, options: str, compress: bool
) -> None:
    source = source_image(tmp_path / "source.qcow2")
    ours, theirs = tmp_path / "ours.qcow2", tmp_path / "theirs.qcow2"
    oracle.qemu_img(
        "convert", "--bitmaps", *(["-c"] if compress else []), "-O", "qcow2", "-o", options, source, theirs
    )
    name, value = options.split("=")
    convert(source, ours, format="qcow2", options={name: value}, compress=compress)
    assert listed(ours) == listed(theirs)
    assert marked(ours) == marked(theirs)
    assert oracle.ask_qemu_img("compare", source, ours).code == 0


def test_bitmaps_are_copied_above_a_backing_file_and_from_a_source_that_shows_a_snapshot(tmp_path: Path) -> None:
    source = source_image(tmp_path / "source.qcow2")
    oracle.qemu_img("snapshot", "-c", "s", source)
    oracle.qemu_io(source, "write 3M 1k")
    base = str(tmp_path / "base.qcow2")
    for words, arguments in (
        (["-B", base, "-F", "qcow2"], {"backing_file": base, "backing_format": "qcow2"}),
        (["-l", "s"], {"snapshot": "s"}),
    ):
        oracle.qemu_img("convert", "--bitmaps", *words, "-O", "qcow2", source, tmp_path / "theirs.qcow2")
        convert(source, tmp_path / "ours.qcow2", format="qcow2", **arguments)
        assert listed(tmp_path / "ours.qcow2") == listed(tmp_path / "theirs.qcow2")
        assert marked(tmp_path / "ours.qcow2") == marked(tmp_path / "theirs.qcow2")


def test_bitmaps_are_added_to_an_existing_target_whose_own_bitmaps_record_the_copy(tmp_path: Path) -> None:
    source = source_image(tmp_path / "source.qcow2")
    theirs = make(tmp_path / "theirs.qcow2", 10 * MIB + 512)
    oracle.qemu_img("bitmap", "--add", "-g", "64k", theirs, "own")
    ours = tmp_path / "ours.qcow2"
    shutil.copy(theirs, ours)
    oracle.qemu_img("convert", "--bitmaps", "-n", "--target-is-zero", "-O", "qcow2", source, theirs)
    convert(source, ours, format="qcow2", into_existing=True, target_is_zero=True)
    assert listed(ours) == listed(theirs)
    assert marked(ours) == marked(theirs)


def test_inconsistent_bitmaps_are_an_error_or_left_out(tmp_path: Path) -> None:
    source = source_image(tmp_path / "source.qcow2")
    set_flags(source, 3)
    ours, theirs = tmp_path / "ours.qcow2", tmp_path / "theirs.qcow2"
    answer = oracle.ask_qemu_img("convert", "--bitmaps", "-O", "qcow2", source, theirs)
    with pytest.raises(ImageError) as caught:
        convert(source, ours, format="qcow2")
    assert answer.stderr == "qemu-img: %s\n" % said(caught.value)
    assert not ours.exists()
    left_out: list[str] = []
    answer = oracle.ask_qemu_img("convert", "--bitmaps", "--skip-broken-bitmaps", "-O", "qcow2", source, theirs)
    convert(source, ours, format="qcow2", skip_broken_bitmaps=left_out.append)
    warning = "qemu-img: warning: Skipping inconsistent bitmap '%s'\n"
    assert answer.stderr == "".join(warning % name for name in left_out)
    assert listed(ours) == listed(theirs)
    assert marked(ours) == marked(theirs)


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["-O", "raw"], {"format": "raw"}),
        (["-O", "qcow2", "-o", "compat=0.10"], {"format": "qcow2", "options": {"compat": "0.10"}}),
    ],
)
def test_targets_without_bitmaps_are_refused_with_the_words_of_qemu_img(
    tmp_path: Path, words: list[str], arguments: dict[str, Any]
) -> None:
    source = source_image(tmp_path / "source.qcow2")
    answer = oracle.ask_qemu_img("convert", "--bitmaps", *words, source, tmp_path / "theirs")
    with pytest.raises(ImageError) as caught:
        convert(source, tmp_path / "ours", **arguments)
    assert answer.stderr == "qemu-img: %s\n" % said(caught.value)
    assert not (tmp_path / "ours").exists()


def test_sources_without_bitmaps_are_refused_with_the_words_of_qemu_img(tmp_path: Path) -> None:
    old = make(tmp_path / "old.qcow2", MIB, "-o", "compat=0.10")
    (tmp_path / "i.raw").write_bytes(bytes(64 * KIB))
    for source, format in ((old, "qcow2"), (tmp_path / "i.raw", "raw")):
        answer = oracle.ask_qemu_img(
            "convert", "--bitmaps", "-f", format, "-O", "qcow2", source, tmp_path / "theirs.qcow2"
        )
        request = ConvertRequest((str(source),), format, str(tmp_path / "ours.qcow2"), "qcow2", bitmaps=True)
        with pytest.raises(ImageError) as caught:
            plan_convert(request).apply()
        assert answer.stderr == "qemu-img: %s\n" % said(caught.value)
    sources = (str(old), str(old))
    answer = oracle.ask_qemu_img("convert", "--bitmaps", "-O", "qcow2", *sources, tmp_path / "theirs.qcow2")
    with pytest.raises(ImageError) as caught:
        plan_convert(ConvertRequest(sources, "qcow2", str(tmp_path / "o.qcow2"), "qcow2", bitmaps=True)).apply()
    assert answer.stderr == "qemu-img: %s\n" % said(caught.value)


@pytest.mark.parametrize(("size", "name"), [(10 * MIB + 512, "third"), (20 * MIB, "unrelated")])
def test_an_existing_target_that_cannot_take_the_bitmaps_is_refused_before_it_is_written_to(
    tmp_path: Path, size: int, name: str
) -> None:
    source = source_image(tmp_path / "source.qcow2")
    theirs = make(tmp_path / "theirs.qcow2", size)
    oracle.qemu_img("bitmap", "--add", theirs, name)
    ours = tmp_path / "ours.qcow2"
    shutil.copy(theirs, ours)
    before = ours.read_bytes()
    answer = oracle.ask_qemu_img("convert", "--bitmaps", "-n", "-O", "qcow2", source, theirs)
    with pytest.raises(ImageError) as caught:
        convert(source, ours, format="qcow2", into_existing=True)
    assert answer.stderr == "qemu-img: %s\n" % said(caught.value)
    assert ours.read_bytes() == before
