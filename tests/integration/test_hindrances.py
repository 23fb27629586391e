# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images in use, missing rights, a full disk: the task fails with one sentence, and no file has changed."""
from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from support import oracle

from .conftest import ON_ONE_IMAGE, contents, failed, set_refcounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from support.playbook import Ansible

pytestmark = pytest.mark.oracle

WHO = "as root or as a user who has the right"


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    """A directory with a qcow2 and a raw image that qemu-nbd, as a virtual machine would, is writing to."""
    directory = tmp_path / "held"
    directory.mkdir()
    oracle.qemu_img("create", "-f", "qcow2", directory / "base.qcow2", "4M")
    oracle.qemu_img("create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", directory / "held.qcow2")
    for name in ("held.raw", "free.raw"):
        oracle.qemu_img("create", "-f", "raw", directory / name, "4M")
    oracle.qemu_io(directory / "held.qcow2", "write -P 1 0 64k")
    processes = []
    try:
        for format in ("qcow2", "raw"):
            pid_file = tmp_path / ("%s.pid" % format)
            words = ["qemu-nbd", "--fork", "--persistent", "--pid-file", str(pid_file), "-f", format]
            subprocess.run([*words, "-k", str(tmp_path / format), str(directory / ("held." + format))], check=True)
            processes.append(int(pid_file.read_text()))
        yield directory
    finally:
        for process in processes:
            os.kill(process, 15)


def test_image_in_use_is_left_alone_and_with_force_share_looked_at(ansible: Ansible, held: Path) -> None:
    path = str(held / "held.qcow2")
    raw = str(held / "held.raw")
    same = {"backing_file": "base.qcow2", "backing_format": "qcow2"}
    refused = {
        "held_" + module: {"qimg.disk.qimg_%s" % module: {"path": path, **options}}
        for module, options in ON_ONE_IMAGE.items()
        if module != "info"
    }
    refused["held_map"] = {"qimg.disk.qimg_info": {"path": path, "gather": ["map"]}}
    refused["held_recreate"] = {
        "qimg.disk.qimg_create": {"path": path, "format": "qcow2", "size": "9M", "on_mismatch": "recreate"}
    }
    refused["held_absent"] = {"qimg.disk.qimg_create": {"path": path, "state": "absent"}}
    refused["held_source"] = {
        "qimg.disk.qimg_convert": {"source": path, "path": str(held / "new.raw"), "format": "raw"}
    }
    refused["held_target"] = {
        "qimg.disk.qimg_convert": {
            "source": str(held / "free.raw"), "path": path, "format": "qcow2", "replace": "always",
        }
    }
    refused["held_raw_source"] = {
        "qimg.disk.qimg_convert": {
            "source": raw, "source_format": "raw", "path": str(held / "new.raw"), "format": "raw",
        }
    }
    refused["held_raw"] = {"qimg.disk.qimg_resize": {"path": raw, "format": "raw", "size": "8M"}}
    refused["held_forced"] = {"qimg.disk.qimg_resize": {"path": path, "size": "8M", "force_share": True}}
    refused["held_mode"] = {
        "qimg.disk.qimg_create": {"path": path, "format": "qcow2", **same, "mode": "0640"}
    }
    accepted: dict[str, dict[str, Any]] = {
        "look_info": {"qimg.disk.qimg_info": {"path": path, "backing_chain": True}},
        "look_create": {"qimg.disk.qimg_create": {"path": path, "format": "qcow2", **same}},
        "look_resize": {"qimg.disk.qimg_resize": {"path": path, "size": "4M"}},
        "look_snapshot": {"qimg.disk.qimg_snapshot": {"path": path, "name": "none", "state": "absent"}},
        "look_rebase": {"qimg.disk.qimg_rebase": {"path": path, **same}},
        "look_amend": {"qimg.disk.qimg_amend": {"path": path, "options": {"refcount_bits": 16}}},
        "look_convert": {"qimg.disk.qimg_convert": {"source": raw, "path": path, "format": "qcow2"}},
    }
    shared = {"force_share": True}
    accepted["share_check"] = {"qimg.disk.qimg_check": {"path": path, **shared}}
    accepted["share_map"] = {"qimg.disk.qimg_info": {"path": path, "gather": ["map", "check"], **shared}}
    accepted["share_resize"] = {"qimg.disk.qimg_resize": {"path": path, "size": "4M", **shared}}
    #: Where the image is only read, and could be read all the same.
    hinted = {"held_check", "held_map", "held_source", "held_raw_source"}
    before = contents(held)
    for options in ([], ["--check"]):
        results = ansible.play_apart({**refused, **accepted}, *options)
        assert failed(results).keys() == refused.keys(), options
        for name, message in failed(results).items():
            assert ("'%s'" % (raw if name.startswith("held_raw") else path)) in message, name
            assert "another process is using the image: stop it (for a running VM, use the VM's own tools)" in message
            assert results[name]["error"] == "ImageInUseError", name
            assert ("; with force_share it can be read all the same" in message) == (name in hinted), name
        assert not any(results[name]["changed"] for name in accepted)
        assert results["look_info"]["images"][path]["info"]["virtual-size"] == 4 << 20
        assert contents(held) == before


def test_source_in_use_is_copied_if_the_user_says_so(ansible: Ansible, held: Path) -> None:
    copy = {"source": str(held / "held.qcow2"), "source_format": "qcow2", "format": "raw", "force_share": True}
    (held.parent / "copies").mkdir()
    results = ansible.play(
        {
            "copy": {"qimg.disk.qimg_convert": {**copy, "path": str(held.parent / "copies" / "copy.raw")}},
            "target": {
                "qimg.disk.qimg_convert": {
                    **copy, "source": str(held / "free.raw"), "source_format": "raw", "path": str(held / "held.raw"),
                    "replace": "always",
                }
            },
        }
    )
    assert failed(results).keys() == {"target"}
    assert results["copy"]["changed"]
    (warning,) = results["copy"]["warnings"]
    assert warning.startswith("'%s' is in use: it was not checked" % copy["source"])
    assert (held.parent / "copies" / "copy.raw").read_bytes()[:65536] == b"\1" * 65536


@pytest.fixture
def foreign_python(open_directory: Path) -> str:
    """A Python that runs as somebody who has no rights here."""
    if os.geteuid() != 0:
        return sys.executable
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed (util-linux)")
    foreign = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    # The Python that runs the tests may lie where only its owner can go.
    for python in ("/usr/bin/python3", os.path.realpath(sys.executable)):
        if os.path.exists(python) and not subprocess.run([*foreign.split(), python, "-c", ""], check=False).returncode:
            break
    else:
        pytest.skip("no Python here can be run by everybody")
    script = open_directory / "python3"
    script.write_text('#!/bin/sh\nexec %s %s "$@"\n' % (foreign, python))
    script.chmod(0o755)
    return str(script)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that everybody can reach."""
    directory = Path(tempfile.mkdtemp(prefix="qimg-rights-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def test_rights_are_missed_in_check_mode_too(ansible: Ansible, foreign_python: str, open_directory: Path) -> None:
    for name, mode in (("readable.qcow2", 0o444), ("secret.qcow2", 0)):
        oracle.qemu_img("create", "-f", "qcow2", open_directory / name, "4M")
        (open_directory / name).chmod(mode)
    open_directory.chmod(0o555)
    readable, secret = str(open_directory / "readable.qcow2"), str(open_directory / "secret.qcow2")
    tasks: dict[str, dict[str, Any]] = {
        "secret_" + module: {"qimg.disk.qimg_%s" % module: {"path": secret, **options}}
        for module, options in ON_ONE_IMAGE.items()
    }
    for module in ("snapshot", "resize", "amend"):
        tasks["readable_" + module] = {"qimg.disk.qimg_%s" % module: {"path": readable, **ON_ONE_IMAGE[module]}}
    tasks["create_new"] = {
        "qimg.disk.qimg_create": {"path": str(open_directory / "new.qcow2"), "format": "qcow2", "size": "4M"}
    }
    tasks["create_absent"] = {"qimg.disk.qimg_create": {"path": readable, "state": "absent"}}
    tasks["convert_new"] = {
        "qimg.disk.qimg_convert": {"source": readable, "path": str(open_directory / "new.raw"), "format": "raw"}
    }
    before = contents(open_directory)
    for options in ([], ["--check"]):
        results = ansible.play(
            {**tasks, "look": {"qimg.disk.qimg_info": {"path": readable}}}, *options, python=foreign_python
        )
        assert failed(results).keys() == tasks.keys(), options
        for name, message in failed(results).items():
            assert message.endswith(": Permission denied; run the task with become, " + WHO), name
            assert str(open_directory) in message
        assert results["look"]["images"][readable]["info"]["virtual-size"] == 4 << 20
        assert contents(open_directory) == before
    open_directory.chmod(stat.S_IRWXU)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four mebibytes."""
    directory = tmp_path / "small"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", directory], check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def test_full_disk_leaves_everything_as_it_was(ansible: Ansible, small_disk: Path, tmp_path: Path) -> None:
    path, base, overlay = (str(small_disk / name) for name in ("image.qcow2", "base.qcow2", "overlay.qcow2"))
    oracle.qemu_img("create", "-f", "qcow2", path, "64M")
    oracle.qemu_io(path, "write -P 1 0 128k")
    oracle.qemu_img("snapshot", "-c", "old", path)
    oracle.qemu_io(path, "write -P 2 0 64k")
    oracle.qemu_img("create", "-f", "qcow2", base, "4M")
    oracle.qemu_io(base, "write -P 1 0 128k")
    oracle.qemu_img("create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", overlay)
    # The first half is there in the base already, and would be overwritten before the second finds no room.
    oracle.qemu_io(overlay, "write -P 2 64k 256k")
    oracle.qemu_img("create", "-f", "raw", small_disk / "image.raw", "128k")
    oracle.qemu_img("create", "-f", "qcow2", small_disk / "corrupt.qcow2", "4M")
    oracle.qemu_io(small_disk / "corrupt.qcow2", "write -P 1 0 128k")
    set_refcounts(small_disk / "corrupt.qcow2", 5, 0)
    (tmp_path / "source.raw").write_bytes(os.urandom(1 << 20))
    free = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(free.f_bavail * free.f_frsize - (64 << 10)))
    tasks: dict[str, dict[str, Any]] = {
        "snapshot": {"qimg.disk.qimg_snapshot": {"path": path, "name": "new"}},
        "revert": {"qimg.disk.qimg_snapshot": {"path": path, "name": "old", "state": "reverted"}},
        "delete": {"qimg.disk.qimg_snapshot": {"path": path, "name": "old", "state": "absent"}},
        "bitmap": {"qimg.disk.qimg_bitmap": {"path": path, "name": "new"}},
        "amend": {"qimg.disk.qimg_amend": {"path": base, "options": {"refcount_bits": 64}}},
        "rebase": {"qimg.disk.qimg_rebase": {"path": overlay, "backing_file": ""}},
        "commit": {"qimg.disk.qimg_commit": {"path": overlay}},
        "check": {"qimg.disk.qimg_check": {"path": str(small_disk / "corrupt.qcow2"), "repair": "all"}},
        "resize": {"qimg.disk.qimg_resize": {"path": base, "size": "80G"}},
        "resize_metadata": {"qimg.disk.qimg_resize": {"path": path, "size": "80M", "preallocation": "metadata"}},
        "resize_falloc": {"qimg.disk.qimg_resize": {"path": path, "size": "80M", "preallocation": "falloc"}},
        "resize_full": {"qimg.disk.qimg_resize": {"path": path, "size": "80M", "preallocation": "full"}},
        "resize_raw": {
            "qimg.disk.qimg_resize": {
                "path": str(small_disk / "image.raw"), "format": "raw", "size": "4M", "preallocation": "falloc",
            }
        },
        "resize_raw_full": {
            "qimg.disk.qimg_resize": {
                "path": str(small_disk / "image.raw"), "format": "raw", "size": "4M", "preallocation": "full",
            }
        },
        "create": {
            "qimg.disk.qimg_create": {
                "path": str(small_disk / "new.raw"),
                "format": "raw",
                "size": "4M",
                "options": {"preallocation": "full"},
            }
        },
        "convert": {
            "qimg.disk.qimg_convert": {
                "source": str(tmp_path / "source.raw"), "path": str(small_disk / "new.qcow2"), "format": "qcow2",
            }
        },
        "replace": {
            "qimg.disk.qimg_convert": {
                "source": str(tmp_path / "source.raw"), "path": path, "format": "qcow2", "replace": "always",
            }
        },
    }
    before = contents(small_disk)
    results = ansible.play(tasks)
    assert failed(results).keys() == tasks.keys()
    for name, message in failed(results).items():
        assert message.endswith(": No space left on device; free some space on its file system and try again"), name
        assert str(small_disk) in message
    assert contents(small_disk) == before
