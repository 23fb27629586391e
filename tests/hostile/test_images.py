# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images from strangers: what they name is not opened unless the policy allows it."""
from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

import qimg

OPENED: list[str] = []


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        OPENED.append(os.path.realpath(os.fsdecode(arguments[0])))


sys.addaudithook(_watch)

SECRET = {"driver": "file", "filename": "SECRET"}
NAMES = {
    "absolute": "SECRET",
    "above": "../secret",
    "symlink": "link",
    "file": "file:SECRET",
    "json": {"driver": "raw", "file": SECRET},
    "json_backing": {"driver": "qcow2", "file": {"driver": "file", "filename": "GOOD"}, "backing": {"file": SECRET}},
    "json_file_in_file": {"driver": "raw", "file": {"filename": "GOOD", "file": SECRET}},
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_backing_file_elsewhere_is_not_opened(kind: str, tmp_path: Path) -> None:
    secret, inside = tmp_path / "secret", tmp_path / "in"
    inside.mkdir()
    secret.write_bytes(b"s" * 512)
    (inside / "link").symlink_to(secret)
    good, path = str(inside / "good.qcow2"), str(inside / "disk.qcow2")
    qimg.create(good, "qcow2", size=1 << 20)
    name = NAMES[kind]
    text = name if isinstance(name, str) else "json:" + json.dumps(name)
    text = text.replace("SECRET", str(secret)).replace("GOOD", good)
    qimg.create(path, "qcow2", size=1 << 20)
    with open(path, "r+b") as file:
        file.seek(8)
        file.write((4096).to_bytes(8, "big") + len(text).to_bytes(4, "big"))
        file.seek(4096)
        file.write(text.encode())

    OPENED.clear()
    with pytest.raises(qimg.ReferenceDeniedError):
        qimg.open_image(path)

    assert str(Path(path).resolve()) in OPENED
    assert str(secret.resolve()) not in OPENED


def _link_that_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> Path:
    """A directory with a file that becomes a link to a secret file as soon as the policy has allowed it."""
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "secret").write_bytes(b"s" * 65536)
    (inside / name).write_bytes(b"g" * 65536)
    check_file = qimg.ReferencePolicy.check_file

    def check_and_change(self: qimg.ReferencePolicy, referrer: str, target: str, role: str) -> None:
        check_file(self, referrer, target, role)
        (inside / name).unlink()
        (inside / name).symlink_to(tmp_path / "secret")

    monkeypatch.setattr(qimg.ReferencePolicy, "check_file", check_and_change)
    return inside


@pytest.mark.parametrize("kind", ["backing_file", "data_file"])
def test_a_file_that_is_exchanged_after_it_was_allowed_is_not_used(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = _link_that_changes(tmp_path, monkeypatch, "other.raw")
    path = str(inside / "disk.qcow2")
    if kind == "data_file":
        (inside / "other.raw").unlink()
        qimg.create(path, "qcow2", 65536, options={"data_file": "other.raw"})
    else:
        qimg.create(path, "qcow2", 65536, backing_file="other.raw", backing_format="raw")
    for purpose in ("read", "write"):
        with pytest.raises(qimg.ReferenceDeniedError, match="is outside of the image's own directory"):
            qimg.open_image(path, purpose=purpose)
        (inside / "other.raw").unlink()
        (inside / "other.raw").write_bytes(b"g" * 65536)
    assert (tmp_path / "secret").read_bytes() == b"s" * 65536


def test_an_image_with_options_is_still_where_its_file_is(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    data = {"driver": "file", "filename": str(inside / "data.raw")}
    qimg.create(str(inside / "middle.qcow2"), "qcow2", 65536, options={"data_file": "data.raw"})
    file = {"driver": "file", "filename": str(inside / "middle.qcow2")}
    node = {"driver": "qcow2", "file": {"driver": "raw", "file": file}, "backing": None}
    qimg.create(str(inside / "disk.qcow2"), "qcow2", 65536)
    with qimg.open_image({**node, "driver": "qcow2"}) as image:
        assert image.filename.startswith("json:")
    (inside / "data.raw").rename(tmp_path / "data.raw")
    (inside / "data.raw").symlink_to(tmp_path / "data.raw")
    with pytest.raises(qimg.ReferenceDeniedError):
        qimg.open_image(node)
    # What the user names himself is not asked about.
    with qimg.open_image({**node, "data-file": data}) as image:
        assert image.read(0, 512) == bytes(512)


def test_a_commit_does_not_write_into_a_file_that_has_taken_the_place_of_the_base(tmp_path: Path) -> None:
    base, path = tmp_path / "base.raw", str(tmp_path / "disk.qcow2")
    base.write_bytes(b"b" * 65536)
    qimg.create(path, "qcow2", 65536, backing_file="base.raw", backing_format="raw")
    with qimg.open_image(path, purpose="write") as image:
        image.write(0, b"new" * 1000)
    plan = qimg.plan_commit(path)
    base.rename(tmp_path / "moved.raw")
    base.write_bytes(b"o" * 65536)
    with pytest.raises(qimg.StorageError, match="Another file has taken the place of the backing file"):
        plan.apply()
    assert base.read_bytes() == b"o" * 65536
