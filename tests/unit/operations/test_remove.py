# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What is removed is an image, of the format that was said, with all files of its own, and nothing else."""
from __future__ import annotations

import os
from pathlib import Path

import pytest

import qimg
from qimg.operations import remove as removing
from qimg.policy import DENY, FOLLOW
from qimg.storage.scratch import Rehearsal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MIB = 1 << 20


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def with_data_file(path: Path, data_file: str = "disk.raw", **options: Any) -> Path:
    qimg.create(path, "qcow2", MIB, {"data_file": data_file, **options})
    return path


def refused(path: Path, format: str | None = None) -> str:
    with pytest.raises(qimg.ImageError) as raised:
        qimg.plan_remove(path, format)
    return str(raised.value)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("format", ["qcow2", "vdi"])
def test_images_are_removed_whose_content_says_what_they_are(tmp_path: Path, format: str, named: bool) -> None:
    path = tmp_path / "image"
    qimg.create(path, format, MIB)

    plan = qimg.plan_remove(path, format if named else None)
    assert plan.actions == ["remove the image"] and path.exists()
    plan.apply()

    assert names(tmp_path) == []
    assert not qimg.plan_remove(path, format).changed


def test_raw_images_are_removed_if_they_are_said_to_be_raw(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    qimg.create(path, "raw", MIB)

    assert refused(path).endswith(
        "'%s': It is not removed, because its content is not that of any known image; if it is a raw image, say that "
        "its format is raw" % path
    )
    qimg.plan_remove(path, "raw").apply()
    assert names(tmp_path) == []


def test_text_files_stay(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("remember the milk\n")

    for format in (None, "qcow2", "vdi"):
        assert "its content is not that of" in refused(notes, format)
    assert notes.read_text() == "remember the milk\n"


def test_images_of_another_format_stay(tmp_path: Path) -> None:
    path = tmp_path / "image"
    qimg.create(path, "qcow2", MIB)

    for format in ("raw", "vdi"):
        message = refused(path, format)
        assert "its content is that of a qcow2 image, not a %s one" % format in message
        assert message.endswith("say that its format is qcow2, if it is such an image")
    with pytest.raises(qimg.OptionError, match="Unknown driver 'no'"):
        qimg.plan_remove(path, "no")
    assert names(tmp_path) == ["image"]


def test_images_of_a_format_that_is_not_here_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"QED\0" + bytes(4092))
    monkeypatch.setattr(removing, "format_names", lambda: ["qcow2", "raw"])

    assert "Images of the format 'qed' are not supported" in refused(path)
    assert "its content is that of a qed image, not a raw one; remove it by other means" in refused(path, "raw")
    assert names(tmp_path) == ["image"]


def test_what_is_no_file_is_called_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, target in (("to-directory", "directory"), ("nowhere", "missing"), ("to-device", "/dev/null")):
        (tmp_path / name).symlink_to(target)
    kinds = {
        "directory": "a directory",
        "pipe": "a named pipe",
        "to-directory": "a symbolic link to a directory",
        "to-device": "a symbolic link to a character device",
        "nowhere": "a symbolic link to 'missing', which cannot be found",
    }
    for name, kind in kinds.items():
        for format in (None, "raw"):
            message = "Only image files can be removed, not '%s', %s; remove it by other means if you must"
            assert refused(tmp_path / name, format) == message % (tmp_path / name, kind)
    assert names(tmp_path) == sorted(kinds)


def test_of_a_link_to_an_image_the_link_is_removed(tmp_path: Path) -> None:
    with_data_file(tmp_path / "image")
    (tmp_path / "notes.txt").touch()
    for name, target in (("link", "image"), ("wrong", "notes.txt")):
        (tmp_path / name).symlink_to(target)

    assert "not that of any known image" in refused(tmp_path / "wrong")
    qimg.plan_remove(tmp_path / "link", "qcow2").apply()

    assert names(tmp_path) == ["disk.raw", "image", "notes.txt", "wrong"]


@pytest.mark.parametrize("raw", [False, True])
def test_a_data_file_goes_with_its_image(tmp_path: Path, raw: bool) -> None:
    path = with_data_file(tmp_path / "image", data_file_raw=raw)

    plan = qimg.plan_remove(path)
    assert plan.actions == ["remove the image", "remove its file '%s'" % (tmp_path / "disk.raw")] and not plan.kept
    plan.apply()

    assert names(tmp_path) == []


def kept(path: Path, **arguments: Any) -> str:
    """Why the data file of an image stays, which is then removed."""
    plan = qimg.plan_remove(path, "qcow2", **arguments)
    plan.apply()
    (reason,) = plan.kept
    assert not path.exists()
    return reason


def test_a_data_file_stays_that_another_image_uses(tmp_path: Path) -> None:
    path = with_data_file(tmp_path / "image")
    (tmp_path / "other").write_bytes(path.read_bytes())

    assert kept(path) == "Its data file '%s' stays, because '%s' uses it, too" % (
        tmp_path / "disk.raw", tmp_path / "other"
    )
    assert names(tmp_path) == ["disk.raw", "other"]
    qimg.plan_remove(tmp_path / "other").apply()
    assert names(tmp_path) == []


def test_a_data_file_stays_that_an_image_elsewhere_uses(tmp_path: Path) -> None:
    path = with_data_file(tmp_path / "image", str(tmp_path / "disk.raw"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "other").write_bytes(path.read_bytes())

    assert "elsewhere/other' uses it, too" in kept(path, directories=[tmp_path / "elsewhere"])


def test_a_data_file_stays_that_may_not_be_opened(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    for policy, data_file in ((None, "elsewhere.raw"), (DENY, "disk.raw")):
        directory = tmp_path if policy is None else tmp_path / "elsewhere"
        path = with_data_file(tmp_path / "elsewhere" / "image", str(directory / data_file))
        opener = qimg.Opener() if policy is None else qimg.Opener(qimg.ReferencePolicy(policy))
        assert "the policy does not allow it to be opened" in kept(path, opener=opener)
    path = with_data_file(tmp_path / "elsewhere" / "image", str(tmp_path / "new.raw"))
    qimg.plan_remove(path, opener=qimg.Opener(qimg.ReferencePolicy(FOLLOW))).apply()
    assert names(tmp_path) == ["elsewhere", "elsewhere.raw"] and names(tmp_path / "elsewhere") == ["disk.raw"]


def test_a_data_file_stays_that_may_be_somebody_elses(tmp_path: Path) -> None:
    path = with_data_file(tmp_path / "image")
    neighbour = tmp_path / "disk.raw"
    image = path.read_bytes()

    neighbour.unlink()
    qimg.create(neighbour, "qcow2", MIB)
    assert "it is an image itself" in kept(path)

    path.write_bytes(image)
    neighbour.unlink()
    (tmp_path / "real.raw").touch()
    neighbour.symlink_to("real.raw")
    assert "it is not a regular file" in kept(path)

    path.write_bytes(image)
    neighbour.unlink()
    os.link(tmp_path / "real.raw", neighbour)
    assert "one of both has further names" in kept(path)
    (tmp_path / "real.raw").unlink()

    if os.geteuid() == 0:
        path.write_bytes(image)
        os.chown(neighbour, 12345, 12345)
        assert "it belongs to another user or group than the image" in kept(path)
    assert names(tmp_path) == ["disk.raw"]


def test_an_image_without_its_data_file_or_with_a_damaged_header_is_removed(tmp_path: Path) -> None:
    path = with_data_file(tmp_path / "image")
    (tmp_path / "disk.raw").unlink()
    qimg.plan_remove(path).apply()
    path.write_bytes(b"QFI\xfb\0\0\0\3" + b"\xff" * 4088)
    qimg.plan_remove(path, "qcow2").apply()

    assert names(tmp_path) == []


def test_removal_is_rehearsed_with_all_files(tmp_path: Path) -> None:
    opener = qimg.Opener()
    opener.rehearsal = Rehearsal()
    old, new = with_data_file(tmp_path / "old"), tmp_path / "new"
    qimg.plan_create(new, "qcow2", MIB, {"data_file": "new.raw"}, opener=opener).rehearse()
    qimg.plan_create(tmp_path / "plain.raw", "raw", MIB, opener=opener).rehearse()

    for path, files in ((old, "disk.raw"), (new, "new.raw")):
        plan = qimg.plan_remove(path, "qcow2", opener=opener)
        assert plan.actions[1:] == ["remove its file '%s'" % (tmp_path / files)]
        plan.rehearse()
        assert not qimg.plan_remove(path, "qcow2", opener=opener).changed
        assert not qimg.plan_remove(tmp_path / files, "raw", opener=opener).changed
    with pytest.raises(qimg.MismatchError, match="not that of any known image"):
        qimg.plan_remove(tmp_path / "plain.raw", opener=opener)
    assert names(tmp_path) == ["disk.raw", "old"]


def test_a_format_that_the_end_of_a_file_tells_is_removed_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhd"
    qimg.create(str(path), "vpc", 1 << 20, {"subformat": "fixed"})
    with pytest.raises(qimg.MismatchError):
        qimg.plan_remove(str(path))
    with pytest.raises(qimg.MismatchError):
        qimg.plan_remove(str(path), "vhdx")
    qimg.plan_remove(str(path), "vpc").apply()
    assert not path.exists()
