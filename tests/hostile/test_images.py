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
