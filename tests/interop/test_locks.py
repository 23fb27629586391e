# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bytes are locked for what is open: the same as by qemu-img, seen in both directions."""
from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from qimg.storage import locks
from qimg.storage.local import LocalFile
from support import in_process, oracle

pytestmark = pytest.mark.oracle


def _build(directory: Path) -> None:
    for name in ("base.raw", "other.raw"):
        (directory / name).write_bytes(b"b" * (1 << 20))
    create = ("create", "-q", "-f", "qcow2")
    oracle.qemu_img(*create, "-b", "base.raw", "-F", "raw", "over.qcow2", cwd=directory)
    oracle.qemu_img(*create, "-b", "over.qcow2", "-F", "qcow2", "top.qcow2", cwd=directory)
    oracle.qemu_img(*create, "-o", "data_file=data.raw", "external.qcow2", "1M", cwd=directory)
    oracle.qemu_io("over.qcow2", "write 0 64k", cwd=directory)


#: Commands, and the files that somebody else may be using.
COMMANDS = {
    "info top.qcow2": ("top.qcow2",),
    "map top.qcow2": ("over.qcow2", "base.raw"),
    "map external.qcow2": ("data.raw",),
    "convert -O raw external.qcow2 new.raw": ("data.raw",),
    "convert -O raw base.raw new.raw": ("base.raw",),
    "convert -n -O raw base.raw other.raw": ("other.raw",),
    "convert -n -O qcow2 other.raw external.qcow2": ("data.raw",),
    "create -f qcow2 other.raw 1M": ("other.raw",),
    "convert -O qcow2 base.raw other.raw": ("other.raw",),
    "resize -f raw other.raw 2M": ("other.raw",),
    "rebase -b other.raw -F raw over.qcow2": ("over.qcow2", "other.raw"),
    "commit over.qcow2": ("over.qcow2", "base.raw"),
}
#: How: as a raw disk of a guest, as a backing file, as a raw export.
HOLDERS = (locks.WRITE_RAW, locks.READ_IMAGE, locks.READ_DATA_FILE)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    directory = tmp_path_factory.mktemp("originals")
    _build(directory)
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.mark.parametrize("command", COMMANDS)
def test_who_is_in_the_way_of_qemu_img_is_in_ours(command: str, originals: dict[str, bytes], tmp_path: Path) -> None:
    for file, intent in itertools.product(COMMANDS[command], HOLDERS):
        answers = []
        for run in (oracle.ask_qemu_img, in_process.qimg):
            for name, content in originals.items():
                (tmp_path / name).write_bytes(content)
            (tmp_path / "new.raw").unlink(missing_ok=True)
            with LocalFile.open(str(tmp_path / file), writable=True) as holder:
                holder.lock(intent)
                answer = run(*command.split(), cwd=tmp_path)
            lock = re.search(r"Failed to get .*", answer.stderr)
            answers.append((answer.code, lock and lock.group()))
        assert answers[0] == answers[1], (command, file, intent)
        if answers[1][0]:
            assert all((tmp_path / name).read_bytes() == originals[name] for name in originals)


@pytest.mark.parametrize("command", ["create -f raw other.raw 1M", "dd if=base.raw of=other.raw"])
def test_a_raw_disk_that_somebody_writes_to_is_not_replaced(
    command: str, originals: dict[str, bytes], tmp_path: Path
) -> None:
    for name in ("base.raw", "other.raw"):
        (tmp_path / name).write_bytes(originals[name])
    with LocalFile.open(str(tmp_path / "other.raw"), writable=True) as guest:
        guest.lock(locks.WRITE_RAW)
        answer = in_process.qimg(*command.split(), cwd=tmp_path)
        assert answer.code == 1
        assert 'Failed to get shared "write" lock' in answer.stderr
        guest.write(0, b"guest")
    assert (tmp_path / "other.raw").read_bytes().startswith(b"guest")


def test_a_base_that_others_read_is_refused_in_the_words_of_qemu_img(
    originals: dict[str, bytes], tmp_path: Path
) -> None:
    answers = []
    for run in (oracle.ask_qemu_img, in_process.qimg):
        for name, content in originals.items():
            (tmp_path / name).write_bytes(content)
        with LocalFile.open(str(tmp_path / "over.qcow2")) as holder:
            holder.lock(locks.READ_IMAGE)
            answers.append(run("commit", "top.qcow2", cwd=tmp_path))
    assert answers[1] == answers[0]
    assert answers[1].code == 1
