# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is wrong, the task fails with one sentence that says what and where, and no file has changed."""
from __future__ import annotations

import json
import os
from collections import namedtuple
from pathlib import Path

import pytest

from support import oracle

from .conftest import ON_ONE_IMAGE, contents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from support.playbook import Ansible

pytestmark = pytest.mark.oracle

Case = namedtuple("Case", ["module", "options", "message"])


def everywhere(
    name: str, message: str, without: str = "", modules: tuple[str, ...] = tuple(ON_ONE_IMAGE), **more: Any
) -> dict[str, Case]:
    """One image in every role that an image can have, ``without`` one module that has nothing against it.

    :param modules: those that are given the image
    """
    path = "{d}/" + name
    tag = "%s_%s" % (name.split(".")[0], more.get("format", ""))
    cases = {
        "%s_%s" % (module, tag): Case(module, {"path": path, **options, **more}, message)
        for module, options in ON_ONE_IMAGE.items()
        if module in modules and module != without
    }
    source = {"source": path, "path": "{d}/new.qcow2", "format": "qcow2"}
    if "format" in more:
        source["source_format"] = more["format"]
    cases["convert_" + tag] = Case("convert", source, message)
    cases["compare_" + tag] = Case("compare", {"path": path, "other_path": "{d}/good.qcow2", **more}, message)
    return cases


def create(message: str, **options: Any) -> Case:
    return Case("create", {"path": "{d}/new.qcow2", "format": "qcow2", "size": "4M", **options}, message)


def resize(message: str, **options: Any) -> Case:
    return Case("resize", {"path": "{d}/good.qcow2", **options}, message)


def amend(message: str, **options: Any) -> Case:
    return Case("amend", {"path": "{d}/good.qcow2", "options": options}, message)


def rebase(message: str, **options: Any) -> Case:
    return Case("rebase", {"path": "{d}/overlay.qcow2", **options}, message)


def bitmap(message: str, **options: Any) -> Case:
    return Case("bitmap", {"path": "{d}/good.qcow2", "name": "new", **options}, message)


def convert(message: str, **options: Any) -> Case:
    return Case(
        "convert", {"source": "{d}/good.qcow2", "path": "{d}/new.qcow2", "format": "qcow2", **options}, message
    )


NOT_A_FILE = "'file' driver requires '{d}/directory' to be a regular file; name an image file or a block device"
NOT_QCOW2 = (
    "'{d}/text': Image is not in qcow2 format; name the right format, or leave the format out to have it detected"
)
FOREIGN = (
    "'{d}/foreign.qcow2': Could not open backing file: Its backing file '{o}/secret.raw' is outside of the image's own "
    "directory; to allow it, trust its directory (trusted_dirs) or set reference_policy to 'follow'"
)
LEFT = "; or set on_mismatch to ignore if it is right as it is"
GIVE_A_SIZE = "; give a number of bytes, or a text such as 512M or 10G"

CASES = {
    **everywhere("missing.qcow2", "Could not open '{d}/missing.qcow2': No such file or directory"),
    **everywhere("directory", NOT_A_FILE, modules=("check",)),
    "info_directory": Case(
        "info",
        {"path": "{d}/directory"},
        "path: There is no image in or matching '{d}/directory'; see whether that is the right directory or pattern, "
        "or set allow_empty",
    ),
    **everywhere("text", NOT_QCOW2, modules=("info", "resize"), format="qcow2"),
    **everywhere("short.qcow2", "'{d}/short.qcow2': qcow2 header too short", modules=("info", "snapshot")),
    **everywhere(
        "orphan.qcow2",
        "'{d}/orphan.qcow2': Could not open backing file: Could not open '{d}/gone.qcow2': No such file or directory",
        modules=("check", "commit"),
    ),
    **everywhere("foreign.qcow2", FOREIGN, without="bitmap"),
    "info_empty_name": Case("info", {"path": ""}, "The name of an image is empty; give the path of an image file"),
    "info_negative_limit": Case(
        "info", {"path": "{d}/good.qcow2", "map_limit": -1}, "map_limit: -1 is negative; give 0 for no limit"
    ),
    "info_no_such_protocol": Case(
        "info",
        {"path": "host:disk.qcow2"},
        "'host:disk.qcow2': Unknown protocol 'host'; if this is the name of a file, write it with its directory: "
        "'./host:disk.qcow2'",
    ),
    "info_no_such_format": Case(
        "info", {"path": "{d}/text", "format": "nonsense"}, "'{d}/text': Unknown driver 'nonsense'; the formats are *"
    ),
    "check_cut": Case(
        "check",
        {"path": "{d}/cut.qcow2"},
        "'{d}/cut.qcow2': The image has 13 errors; repair a copy of it (repair: all), or restore it",
    ),
    "convert_cut": convert(
        "'{d}/cut.qcow2': Its metadata have errors, so that what it holds may be wrong; restore it, or check and "
        "repair a copy of it",
        source="{d}/cut.qcow2",
    ),
    "check_raw": Case(
        "check", {"path": "{d}/text", "format": "raw"}, "'{d}/text': This image format does not support checks"
    ),
    "check_leaks": Case(
        "check",
        {"path": "{d}/leaks.qcow2", "fail_on": "leaks"},
        "'{d}/leaks.qcow2': The image has 1 leaked clusters; free them (repair: leaks)",
    ),
    # create
    "create_on_directory": create(NOT_A_FILE, path="{d}/directory", on_mismatch="recreate"),
    "create_on_other_size": create(
        "'{d}/good.qcow2': The existing file is not what was asked for: its size is 4194304 bytes, not 8388608; "
        "let the disk grow with qimg_resize, and set size_policy to at_least" + LEFT,
        path="{d}/good.qcow2",
        size="8M",
    ),
    "create_on_other_format": create(
        "'{d}/text': The existing file is not what was asked for: its format is raw, not qcow2; give "
        "the new image another path, or convert the existing one with qimg_convert",
        path="{d}/text",
    ),
    "create_on_other_options": create(
        "'{d}/good.qcow2': The existing file is not what was asked for: its cluster_size is 65536, not 4096; its "
        "data_file is not set, and should be 'data'; change its options with qimg_amend, as far as that can, or name "
        "those that it has" + LEFT,
        path="{d}/good.qcow2",
        options={"cluster_size": "4k", "data_file": "data"},
    ),
    "create_on_other_backing": create(
        "'{d}/overlay.qcow2': The existing file is not what was asked for: its backing_file is 'base.qcow2', and "
        "should not be set; its backing_format is 'qcow2', and should not be set; give it the other backing file with "
        "qimg_rebase" + LEFT,
        path="{d}/overlay.qcow2",
    ),
    "create_on_itself": create(
        "'{d}/base.qcow2': Error: Trying to create an image with the same filename as the backing file",
        path="{d}/base.qcow2",
        backing_file="../images/base.qcow2",
        backing_format="qcow2",
        on_mismatch="recreate",
    ),
    "create_over_data_file": create(
        "'{d}/new.qcow2': Its data file 'text' is there already, and would be overwritten; name another data file, or "
        "remove that one",
        options={"data_file": "text"},
    ),
    "create_nowhere": create(
        "Could not create '{d}/no/new.qcow2': No such file or directory; make its directory first",
        path="{d}/no/new.qcow2",
    ),
    "create_no_such_format": create(
        "'{d}/new.qcow2': Unknown file format 'nonsense'; the formats are *", format="nonsense"
    ),
    "create_unknown_option": create(
        "'{d}/new.qcow2': Invalid parameter 'nonsense'; the options are *", options={"nonsense": 1}
    ),
    "create_bad_option": create(
        "'{d}/new.qcow2': Cluster size must be a power of two between 512 and 2048k", options={"cluster_size": 3}
    ),
    "create_number": create(
        "'{d}/new.qcow2': Parameter 'version' does not accept value '0.1'; the versions are the texts '0.10' (or 'v2') "
        "and '1.1' (or 'v3')",
        options={"compat": 0.10},
    ),
    "create_excluded_option": create(
        "'{d}/new.qcow2': Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or "
        "greater)",
        options={"compat": "v2", "lazy_refcounts": True},
    ),
    "create_zero": create(
        "'{d}/new.qcow2': size: A disk of 0 bytes is of no use; give the size that the disk shall have", size=0
    ),
    "create_negative": create("'{d}/new.qcow2': size: Size '-1' is negative or over 2**64 - 1" + GIVE_A_SIZE, size=-1),
    "create_no_size": create("'{d}/new.qcow2': Image creation needs a size parameter; give the size", size=None),
    "create_nonsense_size": create("'{d}/new.qcow2': size: '10 apples' is not a size" + GIVE_A_SIZE, size="10 apples"),
    "create_yes_size": create("'{d}/new.qcow2': size: 'True' is not a size" + GIVE_A_SIZE, size=True),
    "create_over_64_bits": create("'{d}/new.qcow2': size: Size '16E' is over 2**64 - 1" + GIVE_A_SIZE, size="16E"),
    "create_too_large": create(
        "'{d}/new.qcow2': The image size is too large for file format 'qcow2' (try using a larger cluster size)",
        size="7E",
    ),
    "create_raw_too_large": create(
        "'{d}/new.raw': The image size is too large for file format 'raw'", path="{d}/new.raw", format="raw", size="9E"
    ),
    "create_backing_missing": create(
        "'{d}/new.qcow2': Could not open '{d}/gone.qcow2': No such file or directory; this is the backing file that it "
        "is to have",
        backing_file="gone.qcow2",
        backing_format="qcow2",
    ),
    "create_backing_format_missing": create(
        "'{d}/new.qcow2': Backing file specified without backing format; say which format the backing file has (it "
        "seems to be qcow2)",
        backing_file="base.qcow2",
    ),
    "create_raw_backing": create(
        "'{d}/new.raw': Backing file not supported for file format 'raw'",
        path="{d}/new.raw",
        format="raw",
        backing_file="base.qcow2",
        backing_format="qcow2",
    ),
    "create_absent_directory": Case(
        "create",
        {"path": "{d}/directory", "state": "absent"},
        "Only image files can be removed, not '{d}/directory', a directory; remove it by other means if you must",
    ),
    # convert
    "convert_onto_other_format": convert(
        "'{d}/text': The existing file is not what was asked for: its format is raw, not qcow2; remove it, or set "
        "replace to if_different or always",
        path="{d}/text",
    ),
    "convert_onto_broken": convert(
        "'{d}/short.qcow2': The existing file is not what was asked for: it cannot be opened as an image (qcow2 header "
        "too short); remove it, or set replace to if_different or always",
        path="{d}/short.qcow2",
    ),
    "convert_onto_itself": convert(
        "'{d}/good.qcow2': The new image is also the source; give the new image another name",
        path="{d}/good.qcow2",
        replace="always",
    ),
    "convert_no_such_snapshot": convert(
        "'{d}/good.qcow2': Failed to load snapshot: Can't find snapshot; list the snapshots of the image to see which "
        "there are",
        snapshot="none",
    ),
    "convert_raw_compressed": convert(
        "'{d}/new.raw': Compression not supported for this file format", path="{d}/new.raw", format="raw", compress=True
    ),
    "convert_over_data_file": convert(
        "'{d}/new.qcow2': Its data file 'text' is there already, and would be overwritten; name another data file, or "
        "remove that one",
        options={"data_file": "text"},
    ),
    "convert_too_small": convert(
        "'{d}/new.qcow2': output file is smaller than input file", options={"size": "1M"}
    ),
    # resize
    "resize_relative": resize(
        "'{d}/good.qcow2': size: '+1M' is relative, so that every run would change the disk again; give the size that "
        "the disk is to have, or set allow_relative",
        size="+1M",
    ),
    "resize_smaller": resize(
        "'{d}/good.qcow2': The disk would become smaller, and lose what lies beyond its new end; set shrink if that is "
        "meant, or size_policy to at_least if a larger disk is fine",
        size="1M",
    ),
    "resize_zero": resize("'{d}/good.qcow2': New image size must be positive", size=0, shrink=True),
    "resize_below_zero": resize(
        "'{d}/good.qcow2': New image size must be positive", size="-8M", allow_relative=True, shrink=True
    ),
    "resize_too_large": resize(
        "'{d}/good.qcow2': New image size must be positive", size="9E"
    ),
    "resize_odd": resize("'{d}/good.qcow2': The new size must be a multiple of 512", size=1000, shrink=True),
    "resize_nonsense": resize("'{d}/good.qcow2': size: 'large' is not a size" + GIVE_A_SIZE, size="large"),
    # amend
    "amend_creation_only": amend(
        "'{d}/good.qcow2': Invalid parameter 'cluster_size'; convert the image to have it with this option",
        cluster_size=4096,
    ),
    "amend_unknown": amend("'{d}/good.qcow2': Invalid parameter 'nonsense'; the options are *", nonsense=1),
    "amend_number": amend(
        "'{d}/good.qcow2': Unknown compatibility level 0.1; the versions are the texts '0.10' (or 'v2') and '1.1' (or "
        "'v3')",
        compat=0.10,
    ),
    "amend_bits": amend(
        "'{d}/good.qcow2': Refcount width must be a power of two and may not exceed 64 bits", refcount_bits=3
    ),
    "amend_backing": amend(
        "'{d}/good.qcow2': Cannot amend the backing file; rebase the image instead", backing_file="base.qcow2"
    ),
    # rebase
    "rebase_format_missing": rebase(
        "'{d}/overlay.qcow2': Could not change the backing file to 'good.qcow2': backing format must be specified; say "
        "which format the new backing file has",
        backing_file="good.qcow2",
    ),
    "rebase_missing": rebase(
        "'{d}/overlay.qcow2': Could not open new backing file 'gone.qcow2': Could not open '{d}/gone.qcow2': No such "
        "file or directory",
        backing_file="gone.qcow2",
        backing_format="qcow2",
    ),
    "rebase_loop": rebase(
        "Could not open new backing file 'overlay.qcow2': Could not open backing file: Backing file "
        "'{d}/base.qcow2' creates an infinite loop; rebase one of the images to another backing file",
        path="{d}/base.qcow2",
        backing_file="overlay.qcow2",
        backing_format="qcow2",
    ),
    # snapshot, commit
    "snapshot_none_to_revert": Case(
        "snapshot",
        {"path": "{d}/twins.qcow2", "name": "none", "state": "reverted"},
        "'{d}/twins.qcow2': Failed to load snapshot: No such file or directory; there is no snapshot 'none'; there "
        "are: 'twin', 'twin'",
    ),
    "snapshot_no_name": Case(
        "snapshot",
        {"path": "{d}/good.qcow2", "name": ""},
        "'{d}/good.qcow2': The name or id of the snapshot is empty; say which snapshot is meant",
    ),
    "snapshot_ambiguous": Case(
        "snapshot",
        {"path": "{d}/twins.qcow2", "name": "twin", "state": "absent"},
        "'{d}/twins.qcow2': There are 2 snapshots named 'twin'; say which by its id: 1, 2",
    ),
    "snapshot_raw": Case(
        "snapshot",
        {"path": "{d}/text", "format": "raw", "name": "new"},
        "'{d}/text': Format driver 'raw' does not support internal snapshots; convert the image to qcow2, or use an "
        "overlay instead",
    ),
    "bitmap_none_to_clear": bitmap(
        "'{d}/good.qcow2': Dirty bitmap 'none' not found; the image has no bitmaps", name="none", state="cleared"
    ),
    "bitmap_raw": bitmap(
        "'{d}/text': Can't store persistent bitmaps to {d}/text: Operation not supported; convert the image to qcow2",
        path="{d}/text",
        format="raw",
    ),
    "bitmap_old_version": bitmap(
        "Operation add on bitmap new failed: Can't make bitmap 'new' persistent in '{d}/old.qcow2': Cannot store dirty "
        "bitmaps in qcow2 v2 files; amend the image to compat=1.1 first",
        path="{d}/old.qcow2",
    ),
    "bitmap_granularity": bitmap(
        "'{d}/good.qcow2': Operation add on bitmap new failed: Granularity must be power of 2 and at least 512",
        granularity=3,
    ),
    "bitmap_granularity_zero": bitmap(
        "'{d}/good.qcow2': Operation add on bitmap new failed: Granularity must be power of 2 and at least 512",
        granularity=0,
    ),
    "bitmap_other_granularity": bitmap(
        "'{d}/bits.qcow2': Bitmap 'bits' has a granularity of 65536 bytes, not 4096; a granularity cannot be changed: "
        "remove the bitmap first",
        path="{d}/bits.qcow2",
        name="bits",
        granularity="4K",
    ),
    "bitmap_needless_option": bitmap(
        "'{d}/good.qcow2': granularity: It has no meaning for state=cleared; leave it out",
        state="cleared",
        granularity="4K",
    ),
    "bitmap_merge_missing": bitmap(
        "'{d}/bits.qcow2': Dirty bitmap 'none' not found; the image has 'bits'",
        path="{d}/bits.qcow2",
        name="bits",
        state="merged",
        merge=["none"],
    ),
    "bitmap_merge_image_missing": bitmap(
        "Could not open '{d}/gone.qcow2': No such file or directory",
        path="{d}/bits.qcow2",
        name="bits",
        state="merged",
        merge=["bits"],
        merge_image="{d}/gone.qcow2",
    ),
    "bitmap_merge_other_size": bitmap(
        "'{d}/bits.qcow2': Bitmaps are of different sizes (destination size is 4194304, source size is 5242880) and "
        "can't be merged; resize one of the images first",
        path="{d}/bits.qcow2",
        name="bits",
        state="merged",
        merge=["bits"],
        merge_image="{d}/old.qcow2",
    ),
    "commit_not_in_chain": Case(
        "commit",
        {"path": "{d}/overlay.qcow2", "base": "{d}/good.qcow2"},
        "Did not find '{d}/good.qcow2' in the backing chain of '{d}/overlay.qcow2'; the chain is: '{d}/base.qcow2'",
    ),
    "commit_alone": Case("commit", {"path": "{d}/good.qcow2"}, "'{d}/good.qcow2': Image does not have a backing file"),
}


def make_inputs(at: Path, outside: Path) -> None:
    for name in ("good.qcow2", "base.qcow2", "short.qcow2", "cut.qcow2", "leaks.qcow2", "twins.qcow2", "bits.qcow2"):
        oracle.qemu_img("create", "-f", "qcow2", at / name, "4M")
        oracle.qemu_io(at / name, "write -P 1 0 1M")
    oracle.qemu_img("bitmap", "--add", at / "bits.qcow2", "bits")
    oracle.qemu_img("create", "-f", "qcow2", "-o", "compat=0.10", at / "old.qcow2", "5M")
    (at / "directory").mkdir()
    (at / "text").write_bytes(b"This is no image.\n" * 1000)
    os.truncate(at / "short.qcow2", 64)
    os.truncate(at / "cut.qcow2", 8 << 16)
    with (at / "leaks.qcow2").open("r+b") as file:
        # One more cluster, which the refcount block (always the third cluster here) says is in use.
        clusters = (at / "leaks.qcow2").stat().st_size >> 16
        file.truncate((clusters + 1) << 16)
        file.seek((2 << 16) + 2 * clusters)
        file.write(b"\0\1")
    oracle.qemu_img("snapshot", "-c", "twin", at / "twins.qcow2")
    oracle.qemu_img("snapshot", "-c", "twin", at / "twins.qcow2")
    oracle.qemu_img("create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", at / "overlay.qcow2")
    oracle.qemu_img("create", "-f", "qcow2", "-u", "-b", "gone.qcow2", "-F", "qcow2", at / "orphan.qcow2", "4M")
    oracle.qemu_img("create", "-f", "raw", outside / "secret.raw", "4M")
    oracle.qemu_img("create", "-f", "qcow2", "-b", outside / "secret.raw", "-F", "raw", at / "foreign.qcow2")


Bad = namedtuple("Bad", ["directory", "outside", "before", "results", "after"])


@pytest.fixture(scope="module")
def bad(ansible: Ansible, tmp_path_factory: pytest.TempPathFactory) -> Bad:
    directory = tmp_path_factory.mktemp("bad") / "images"
    directory.mkdir()
    outside = tmp_path_factory.mktemp("outside")
    make_inputs(directory, outside)
    before = contents(directory)
    text = json.dumps({name: {"qimg.disk.qimg_%s" % case.module: case.options} for name, case in CASES.items()})
    # One after another: the same image is in many of the tasks, and one that changes it would lock the others out.
    results = ansible.play(json.loads(text.replace("{d}", str(directory))))
    return Bad(directory, outside, before, results, contents(directory))


@pytest.mark.parametrize("name", CASES)
def test_message_says_what_is_wrong_and_what_to_do(bad: Bad, name: str) -> None:
    result = bad.results[name]
    wanted = CASES[name].message.replace("{d}", str(bad.directory)).replace("{o}", str(bad.outside))
    assert result["failed"] is True
    if wanted.endswith("*"):
        assert result["msg"].startswith(wanted[:-1])
    else:
        assert result["msg"] == wanted
    assert "\n" not in result["msg"]
    assert result["changed"] is False


def test_no_file_has_changed(bad: Bad) -> None:
    assert bad.after == bad.before


def test_details_of_an_error_are_data(bad: Bad) -> None:
    result = bad.results["info_missing_"]
    assert {key: result[key] for key in ("error", "path", "errno")} == {
        "error": "StorageError",
        "path": str(bad.directory / "missing.qcow2"),
        "errno": 2,
    }


def test_task_that_did_its_work_does_not_fail_over_what_cannot_be_read(ansible: Ansible, tmp_path: Path) -> None:
    path = str(tmp_path / "orphan.qcow2")
    oracle.qemu_img("create", "-f", "qcow2", "-u", "-b", "gone.qcow2", "-F", "qcow2", path, "4M")
    tasks: dict[str, dict[str, Any]] = {
        "bitmap": {
            "qimg.disk.qimg_bitmap": {"path": path, "format": "qcow2", "name": "new", "gather": ["info", "map"]}
        },
        "again": {"qimg.disk.qimg_bitmap": {"path": path, "name": "new"}},
        "moved": {
            "qimg.disk.qimg_rebase": {
                "path": path, "format": "qcow2", "backing_file": "elsewhere.qcow2", "backing_format": "qcow2",
                "unsafe": True, "gather": ["info", "map"],
            }
        },
    }
    results = ansible.play(tasks)
    assert {name: result["changed"] for name, result in results.items()} == {
        "bitmap": True,
        "again": False,
        "moved": True,
    }
    for name, backing in (("bitmap", "gone.qcow2"), ("moved", "elsewhere.qcow2")):
        assert not results[name]["failed"]
        assert results[name]["info"]["backing-filename"] == backing
        assert results[name]["map"] is None
        (warning, *_more) = results[name]["warnings"]
        assert warning == (
            "The result has no 'map' of the image: '%s': Could not open backing file: Could not open '%s': No such "
            "file or directory" % (path, tmp_path / backing)
        )
