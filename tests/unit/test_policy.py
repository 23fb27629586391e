# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files an image may make us open."""
from __future__ import annotations

import os

import pytest

from qimg.errors import OptionError, ReferenceDeniedError
from qimg.policy import ReferencePolicy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    for directory in ("images/deeper", "images-too", "golden"):
        (tmp_path / directory).mkdir(parents=True)
    (tmp_path / "images" / "way-out").symlink_to(tmp_path / "golden")
    return tmp_path / "images" / "i.qcow2"


def allows(policy: ReferencePolicy, image: Path, target: str) -> bool:
    try:
        policy.check_file(str(image), str(image.parent / target), "backing file")
    except ReferenceDeniedError as error:
        assert error.path == str(image) and error.remedy
        return False
    return True


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("base", True), ("deeper/base", True), ("deeper/../base", True), ("../golden/base", False),
        ("way-out/base", False), ("../images-too/base", False), ("/etc/passwd", False), (".", False),
    ],
)  # fmt: skip
def test_the_same_directory_is_what_lies_below_the_image_s_after_symlinks(
    image: Path, target: str, allowed: bool
) -> None:
    assert allows(ReferencePolicy(), image, target) == allowed


def test_an_image_that_is_reached_by_a_symlink_is_where_the_link_leads(image: Path) -> None:
    link = image.parent.parent / "golden" / "link.qcow2"
    link.symlink_to(image)

    assert allows(ReferencePolicy(), link, str(image.parent / "base"))
    assert not allows(ReferencePolicy(), link, "base")


def test_further_directories_and_single_files_can_be_trusted(image: Path) -> None:
    golden = image.parent.parent / "golden"

    assert allows(ReferencePolicy(trusted_dirs=(str(golden),)), image, "way-out/base")
    assert allows(ReferencePolicy(trusted_files=(str(golden / "base"),)), image, "../golden/base")
    assert not allows(ReferencePolicy(trusted_files=(str(golden / "base"),)), image, "../golden/other")
    assert allows(ReferencePolicy(trusted_dirs=(os.sep,)), image, "/etc/passwd")


def test_follow_allows_everything_and_deny_only_what_the_user_named(image: Path) -> None:
    assert allows(ReferencePolicy("follow"), image, "/etc/passwd")
    assert not allows(ReferencePolicy("deny"), image, "base")
    assert allows(ReferencePolicy("deny", trusted_files=(str(image.parent / "base"),)), image, "base")


def test_what_is_no_local_file_has_no_directory() -> None:
    name = "nbd://host/base"

    ReferencePolicy("follow").check_remote("i", name, "backing file")
    ReferencePolicy(trusted_files=(name,)).check_remote("i", name, "backing file")
    with pytest.raises(ReferenceDeniedError, match="is not a local file"):
        ReferencePolicy(trusted_dirs=(os.sep,)).check_remote("i", name, "backing file")


def test_the_error_names_the_caller_s_own_option(image: Path) -> None:
    with pytest.raises(ReferenceDeniedError, match="set --references to 'follow'"):
        ReferencePolicy(option_name="--references").check_file(str(image), "/etc/passwd", "backing file")


def test_there_are_no_other_modes() -> None:
    with pytest.raises(OptionError, match="use one of: follow, same_directory, deny"):
        ReferencePolicy("never")  # type: ignore[arg-type]


def test_one_directory_is_not_taken_for_many() -> None:
    with pytest.raises(OptionError, match="'/srv/golden' is one name where several are expected"):
        ReferencePolicy(trusted_dirs="/srv/golden")  # type: ignore[arg-type]


def test_a_hard_link_belongs_to_the_directory_of_its_name(image: Path) -> None:
    """As the documentation says: the other names of a file are not looked for."""
    (image.parent.parent / "golden" / "secret").touch()
    os.link(image.parent.parent / "golden" / "secret", image.parent / "base")

    assert allows(ReferencePolicy(), image, "base")
