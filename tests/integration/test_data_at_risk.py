# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task could destroy by mistake: images below others, files that are no images, disks taken for others."""
from __future__ import annotations

from pathlib import Path

import pytest

from support import oracle

from .conftest import contents, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from support.playbook import Ansible, Tasks

pytestmark = pytest.mark.oracle

MIB = 1 << 20


def module(name: str, /, **options: Any) -> dict[str, Any]:
    return {"qimg.disk.qimg_" + name: {key: str(v) if isinstance(v, Path) else v for key, v in options.items()}}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A golden image of a raw one, in a directory, with an overlay that a guest has written to."""
    directory = tmp_path / "images"
    directory.mkdir()
    (directory / "server.raw").write_bytes(b"\1" * MIB + bytes(3 * MIB))
    oracle.qemu_img("convert", "-O", "qcow2", directory / "server.raw", directory / "golden.qcow2")
    add_overlay(directory / "web1.qcow2")
    oracle.qemu_io(directory / "web1.qcow2", "write -P 7 2M 64k", format="qcow2")
    return directory


def add_overlay(path: Path, backing_file: str = "golden.qcow2") -> None:
    oracle.qemu_img("create", "-f", "qcow2", "-b", backing_file, "-F", "qcow2", path)


def publish(images: Path, **options: Any) -> dict[str, Any]:
    return module(
        "convert",
        source=images / "server.raw",
        source_format="raw",
        path=images / "golden.qcow2",
        format="qcow2",
        replace="if_different",
        **options,
    )


def test_a_golden_image_is_not_replaced_under_its_overlays(ansible: Ansible, images: Path) -> None:
    add_overlay(images / "web2.qcow2")
    add_overlay(images / "web2-test.qcow2", "web2.qcow2")
    golden, overlays = images / "golden.qcow2", [str(images / ("web%s.qcow2" % n)) for n in ("1", "2-test", "2")]
    overlays.sort()
    assert not ansible.play({"same": publish(images)})["same"]["changed"]

    (images / "server.raw").write_bytes(b"\2" * MIB + bytes(3 * MIB))
    before = contents(images)
    for options in (["--diff"], ["--check", "--diff"]):
        result = ansible.play({"newer": publish(images)}, *options)["newer"]
        assert result["failed"] and result["error"] == "DependantsError"
        assert result["msg"] == (
            "'%s': Other images depend on it, and would read something else: %s; give the new content another path and "
            "move them to it with qimg_rebase, or set allow_dependants if they may be damaged"
            % (golden, ", ".join("'%s'" % name for name in overlays))
        )
        assert result["dependants"] == overlays
        assert result["diff"]["after"]["altered_dependants"] == overlays
        assert contents(images) == before

    for options in (["--check", "--diff"], ["--diff"]):
        result = ansible.play({"allowed": publish(images, allow_dependants=True)}, *options)["allowed"]
        assert result["changed"] and result["dependants"] == overlays
        assert result["diff"]["after"]["altered_dependants"] == overlays
        (warning,) = result["warnings"]
        assert all(name in warning for name in (str(golden), *overlays))
    assert oracle.ask_qemu_img("compare", "-f", "raw", images / "server.raw", golden).code == 0


def test_a_golden_image_that_only_takes_another_form_is_replaced(ansible: Ansible, images: Path) -> None:
    result = ansible.play({"form": publish(images, compress=True)})["form"]

    assert result["changed"] and "dependants" not in result and "warnings" not in result


def test_new_versions_are_published_beside_and_overlays_move_to_them(ansible: Ansible, images: Path) -> None:
    oracle.qemu_img("convert", "-O", "raw", images / "web1.qcow2", images / "before.raw")
    (images / "server.raw").write_bytes(b"\2" * MIB + bytes(3 * MIB))
    new = {"path": str(images / "golden-2.qcow2")}
    tasks: Tasks = {
        "publish": {"qimg.disk.qimg_convert": {**publish(images)["qimg.disk.qimg_convert"], **new}},
        "move": module(
            "rebase", path=images / "web1.qcow2", format="qcow2", backing_file="golden-2.qcow2", backing_format="qcow2"
        ),
        "remove": module("create", path=images / "golden.qcow2", format="qcow2", state="absent"),
    }
    checked, first, second = ansible.play(tasks, "--check"), ansible.play(tasks), ansible.play(tasks)

    assert failed(checked) == failed(first) == failed(second) == {}
    assert [[result["changed"] for result in results.values()] for results in (checked, first, second)] == [
        [True] * 3, [True] * 3, [False] * 3
    ]
    assert oracle.ask_qemu_img("compare", "-f", "raw", images / "before.raw", images / "web1.qcow2").code == 0


def test_whatever_changes_what_overlays_read_is_refused_and_nothing_else(ansible: Ansible, images: Path) -> None:
    oracle.qemu_img("snapshot", "-c", "one", images / "golden.qcow2")
    oracle.qemu_io(images / "golden.qcow2", "write -P 9 0 64k", format="qcow2")
    add_overlay(images / "web2.qcow2")
    oracle.qemu_io(images / "web2.qcow2", "write -P 8 0 64k", format="qcow2")
    golden = {"path": images / "golden.qcow2", "format": "qcow2"}
    refused: Tasks = {
        "remove": module("create", state="absent", **golden),
        "recreate": module("create", size="8M", on_mismatch="recreate", **golden),
        "replace": publish(images),
        "shrink": module("resize", size="1M", shrink=True, **golden),
        "amend": module("amend", options={"size": "1M"}, **golden),
        "revert": module("snapshot", name="one", state="reverted", **golden),
        "rebase": module("rebase", backing_file="none.qcow2", backing_format="qcow2", unsafe=True, **golden),
        "commit": module("commit", path=images / "web2.qcow2", format="qcow2"),
    }
    before = contents(images)
    for options in ([], ["--check"]):
        results = ansible.play(refused, *options)
        assert failed(results).keys() == refused.keys()
        for name, result in results.items():
            others = ["web1.qcow2"] if name == "commit" else ["web1.qcow2", "web2.qcow2"]
            assert result["dependants"] == [str(images / other) for other in others], name
            assert result["msg"].startswith("'%s': Other images depend on it" % (images / "golden.qcow2")), name
            assert "set allow_dependants" in result["msg"], name
        assert contents(images) == before
    accepted: Tasks = {
        "grow": module("resize", size="8M", **golden),
        "amend": module("amend", options={"lazy_refcounts": True}, **golden),
        "snapshot": module("snapshot", name="two", **golden),
        "forget": module("snapshot", name="two", state="absent", **golden),
        "rebase": module("rebase", path=images / "web1.qcow2", format="qcow2", backing_file=""),
        # It is the only overlay now.
        "commit": module("commit", path=images / "web2.qcow2", format="qcow2"),
        "remove": module("create", path=images / "web2.qcow2", format="qcow2", state="absent"),
        "remove_golden": module("create", state="absent", **golden),
    }
    results = ansible.play(accepted)
    assert failed(results) == {}
    assert all(result["changed"] and "warnings" not in result for result in results.values())
    assert {path.name for path in images.iterdir()} == {"server.raw", "web1.qcow2"}


def test_overlays_elsewhere_are_found_by_an_option_and_by_facts(ansible: Ansible, images: Path) -> None:
    elsewhere = images.parent / "machines"
    elsewhere.mkdir()
    add_overlay(elsewhere / "db1.qcow2", str(images / "golden.qcow2"))
    (images / "web1.qcow2").unlink()
    (images / "server.raw").write_bytes(b"\2" * MIB + bytes(3 * MIB))
    overlay = str(elsewhere / "db1.qcow2")
    results = ansible.play(
        {
            "unknown": {**publish(images), "check_mode": True},
            "option": publish(images, dependants_dirs=[str(elsewhere)]),
            "look": module("info", path=[overlay], facts=True),
            "fact": publish(images),
            "delegated": {**publish(images), "delegate_to": "elsewhere", "check_mode": True},
        }
    )
    assert failed(results).keys() == {"option", "fact"}
    assert results["unknown"]["changed"] and results["delegated"]["changed"]
    for name in ("option", "fact"):
        assert results[name]["dependants"] == [overlay]


def test_overlays_that_earlier_tasks_would_make_count_in_check_mode(ansible: Ansible, tmp_path: Path) -> None:
    (tmp_path / "server.raw").write_bytes(b"\1" * MIB)
    (tmp_path / "machines").mkdir()
    tasks: Tasks = {
        "golden": publish(tmp_path),
        "overlay": module(
            "create",
            path=tmp_path / "machines" / "web1.qcow2",
            format="qcow2",
            backing_file=str(tmp_path / "golden.qcow2"),
            backing_format="qcow2",
            trusted_dirs=[str(tmp_path)],
        ),
        "remove": module(
            "create", path=tmp_path / "golden.qcow2", format="qcow2", state="absent",
            dependants_dirs=[str(tmp_path / "machines")],
        ),
    }
    checked, real = ansible.play(tasks, "--check"), ansible.play(tasks)

    assert failed(checked) == failed(real)
    assert real["remove"]["dependants"] == [str(tmp_path / "machines" / "web1.qcow2")]


# Removal


def test_only_images_are_removed(ansible: Ansible, images: Path) -> None:
    (images / "notes.txt").write_text("remember the milk\n")
    (images / "directory").mkdir()
    (images / "link").symlink_to("notes.txt")
    wrong = {
        "notes": ("notes.txt", None, "its content is not that of any known image; if it is a raw image, say that"),
        "notes_as_qcow2": ("notes.txt", "qcow2", "its content is not that of a qcow2 image"),
        "link": ("link", None, "its content is not that of any known image"),
        "qcow2_as_raw": ("web1.qcow2", "raw", "its content is that of a qcow2 image, not a raw one"),
        "raw": ("server.raw", None, "its content is not that of any known image"),
        "directory": ("directory", "raw", "a directory; remove it by other means if you must"),
    }
    refused: Tasks = {
        name: module("create", path=images / file, state="absent", **({"format": format} if format else {}))
        for name, (file, format, _words) in wrong.items()
    }
    before = contents(images)
    for options in ([], ["--check"]):
        messages = failed(ansible.play_apart(refused, *options))
        assert messages.keys() == refused.keys()
        for name, (file, _format, words) in wrong.items():
            assert words in messages[name] and str(images / file) in messages[name]
        assert contents(images) == before

    removed: Tasks = {
        "raw": module("create", path=images / "server.raw", format="raw", state="absent"),
        "qcow2": module("create", path=images / "web1.qcow2", state="absent"),
    }
    results = ansible.play(removed)
    assert all(result["changed"] for result in results.values()) and "warnings" not in results["raw"]
    (warning,) = results["qcow2"]["warnings"]
    assert "Its format was detected as qcow2, because 'format' does not say it" in warning
    assert not any(result["changed"] for result in ansible.play(removed).values())


def test_a_data_file_is_removed_with_its_image_unless_it_is_not_its_own(ansible: Ansible, tmp_path: Path) -> None:
    for name in ("own", "shared"):
        options = "data_file=%s.raw" % (tmp_path / name)
        oracle.qemu_img("create", "-f", "qcow2", "-o", options, tmp_path / (name + ".qcow2"), "1M")
    (tmp_path / "copy.qcow2").write_bytes((tmp_path / "shared.qcow2").read_bytes())
    tasks: Tasks = {
        name: module("create", path=tmp_path / (name + ".qcow2"), format="qcow2", state="absent")
        for name in ("own", "shared")
    }
    checked, first, second = ansible.play(tasks, "--check"), ansible.play(tasks), ansible.play(tasks)

    for results in (checked, first):
        assert results["own"]["actions"] == ["remove the image", "remove its file '%s'" % (tmp_path / "own.raw")]
        assert "warnings" not in results["own"]
        assert results["shared"]["actions"] == ["remove the image"]
        assert results["shared"]["warnings"] == [
            "Its data file '%s' stays, because '%s' uses it, too" % (tmp_path / "shared.raw", tmp_path / "copy.qcow2")
        ]
    assert not any(result["changed"] for result in second.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.qcow2", "shared.raw"]


def test_all_files_of_a_split_vmdk_are_made_resized_and_removed_as_one_image(ansible: Ansible, tmp_path: Path) -> None:
    path = tmp_path / "disk.vmdk"
    options = {"subformat": "twoGbMaxExtentFlat"}
    made: Tasks = {"made": module("create", path=path, format="vmdk", size="3G", options=options)}
    resized: Tasks = {"resized": module("resize", path=path, format="vmdk", size="4G")}
    removed: Tasks = {"removed": module("create", path=path, format="vmdk", state="absent")}
    for tasks in (made, resized):
        assert all(result["changed"] for result in ansible.play(tasks).values())
        assert not any(result["changed"] for result in ansible.play(tasks).values())
    assert {file.name: file.stat().st_size for file in tmp_path.glob("*-f*")} == {
        "disk-f001.vmdk": 2 << 30,
        "disk-f002.vmdk": 2 << 30,
    }
    (result,) = ansible.play(removed).values()
    assert result["changed"] and list(tmp_path.iterdir()) == []


# Formats


def test_a_raw_disk_with_a_header_of_its_guest_is_changed_with_a_warning_only(ansible: Ansible, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    oracle.qemu_img("create", "-f", "qcow2", disk, "4M")
    with disk.open("r+b") as file:
        file.truncate(4 * MIB)
    (tmp_path / "plain.raw").write_bytes(bytes(4 * MIB))
    before = contents(tmp_path)
    tasks: Tasks = {
        "nothing": module("resize", path=disk, size="4M"),
        "guessed": {**module("resize", path=disk, size="8M"), "check_mode": True},
        "snapshot": {**module("snapshot", path=disk, name="one"), "check_mode": True},
        "plain": module("resize", path=tmp_path / "plain.raw", size="8M"),
        "plain_nothing": module("resize", path=tmp_path / "plain.raw", size="4M"),
    }
    results = ansible.play(tasks)
    assert contents(tmp_path) == before
    assert failed(results) == {
        "plain": "'%s': format: What seems to be a raw image is only changed if its format is named, because its guest "
        "can have it taken for another format; set format to raw if it is a raw image" % (tmp_path / "plain.raw")
    }
    for name in ("guessed", "snapshot"):
        (warning,) = results[name]["warnings"]
        assert warning.startswith("'%s': Its format was detected as qcow2, because 'format' does not say it." % disk)
        assert warning.endswith("name the format in 'format'")
    assert "warnings" not in results["nothing"] and "warnings" not in results["plain_nothing"]

    named = ansible.play({"named": module("resize", path=disk, format="raw", size="8M")})["named"]
    assert named["changed"] and "warnings" not in named and disk.stat().st_size == 8 * MIB


def test_a_copy_of_a_source_whose_format_was_detected_has_a_warning(ansible: Ansible, images: Path) -> None:
    copy = {"path": images / "copy.raw", "format": "raw"}
    results = ansible.play(
        {
            "copy": module("convert", source=images / "golden.qcow2", **copy),
            "again": module("convert", source=images / "golden.qcow2", **copy),
        }
    )
    (warning,) = results["copy"]["warnings"]
    assert warning.startswith("'%s': Its format was detected as qcow2, because 'source_format' does" % (
        images / "golden.qcow2"
    ))
    assert "warnings" not in results["again"]


def test_nothing_is_committed_into_an_image_whose_format_was_detected(ansible: Ansible, tmp_path: Path) -> None:
    oracle.qemu_img("create", "-f", "raw", tmp_path / "base.raw", "4M")
    oracle.qemu_img("create", "-f", "qcow2", "-b", "base.raw", "-F", "raw", tmp_path / "overlay.qcow2")
    oracle.qemu_io(tmp_path / "overlay.qcow2", "write -P 7 1M 64k", format="qcow2")
    overlay = {"path": tmp_path / "overlay.qcow2", "format": "qcow2"}
    image = (tmp_path / "overlay.qcow2").read_bytes()
    # An extension of an unknown kind is not the backing format.
    (tmp_path / "overlay.qcow2").write_bytes(image.replace(b"\xe2\x79\x2a\xca", b"\xe2\x79\x2a\xcb", 1))

    results = ansible.play(
        {
            "refused": module("commit", **overlay),
            "named": module("rebase", backing_file="base.raw", backing_format="raw", unsafe=True, **overlay),
            "accepted": module("commit", **overlay),
        }
    )
    assert failed(results).keys() == {"refused"}
    assert "does not say which format that has, and nothing is written by a format that was detected" in (
        results["refused"]["msg"]
    )
    assert results["accepted"]["changed"]
    assert (tmp_path / "base.raw").read_bytes()[MIB : MIB + 65536] == b"\7" * 65536
