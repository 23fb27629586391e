# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which format a file is taken for, what creation options are, and how cache modes are called."""
from __future__ import annotations

import pytest

from qimg.errors import OptionError
from qimg.formats import format_names, get_driver
from qimg.formats.driver_names import is_driver
from qimg.formats.options import BOOL, NUM, SIZE, STR, CreateOption, check_values, with_file_options
from qimg.formats.probing import probe
from qimg.storage.cache import cache_mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OPTIONS = (
    CreateOption("size", SIZE, "Virtual disk size"),
    CreateOption("compat", STR, "Compatibility level"),
    CreateOption("lazy", BOOL, "Postpone updates", False),
    CreateOption("bits", NUM, "Width", 16),
    CreateOption("later", STR, "Only of existing images", None, False, True),
)


@pytest.mark.parametrize(
    ("head", "format"),
    [
        (b"", "raw"),
        (b"QFI\xfb\0\0\0\2", "qcow2"),
        (b"QFI\xfb\0\0\0\3" + bytes(600), "qcow2"),
        (b"QFI\xfb\0\0\0\1", "qcow"),
        (b"QFI\xfb", "raw"),
        (b"\0QFI\xfb\0\0\0\3", "raw"),
    ],
)
def test_a_format_is_known_by_its_magic_and_version(head: bytes, format: str) -> None:
    assert probe(head, "i") == format


def test_every_format_of_the_table_has_the_name_of_its_row() -> None:
    assert [get_driver(name).name for name in format_names()] == format_names()
    assert all(is_driver(name) for name in format_names())
    assert is_driver("vmdk") and not is_driver("nonsense")
    with pytest.raises(OptionError, match="Unknown driver 'nonsense'; the formats are"):
        get_driver("nonsense")


@pytest.mark.parametrize(
    ("given", "checked"),
    [
        ({"size": "1k", "lazy": "on", "bits": "0x10"}, {"size": 1024, "lazy": True, "bits": 16}),
        ({"size": 1024, "lazy": False, "bits": 1}, {"size": 1024, "lazy": False, "bits": 1}),
        ({"compat": 3}, {"compat": "3"}),
        ({}, {}),
    ],
)
def test_values_become_what_their_declarations_say(given: dict[str, Any], checked: dict[str, Any]) -> None:
    assert check_values(OPTIONS, given) == checked


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sise": 1}, "Invalid parameter 'sise'; the options are bits, compat, later, lazy, size"),
        ({"size": True}, "Parameter 'size' expects"),
        ({"size": -1}, "Value '-1' is out of range for parameter 'size'"),
        ({"size": 1 << 64}, "Value '18446744073709551616' is out of range for parameter 'size'"),
        ({"lazy": "perhaps"}, "Parameter 'lazy' expects 'on' or 'off'"),
        ({"bits": "many"}, "Parameter 'bits' expects a number"),
    ],
)
def test_values_that_make_no_sense_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        check_values(OPTIONS, given)
    assert str(caught.value).startswith(message)


def test_synonyms_of_a_value_are_the_same_value() -> None:
    option = CreateOption("compat", STR, "", synonyms=(("v2", "0.10"), ("v3", "1.1")))

    assert option.same("v2", "0.10") and option.same("1.1", "v3") and option.same(None, None)
    assert not option.same("v2", "v3") and not option.same(None, "0.10")


def test_a_file_has_the_options_that_its_format_does_not_have() -> None:
    names = [option.name for option in with_file_options(OPTIONS)]

    assert names == ["size", "compat", "lazy", "bits", "nocow", "preallocation", "extent_size_hint"]


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("none", (True, False, False)), ("off", (True, False, False)), ("directsync", (True, True, False)),
        ("writeback", (False, False, False)), ("writethrough", (False, True, False)), ("unsafe", (False, False, True)),
    ],
)  # fmt: skip
def test_cache_modes_are_qemu_s(name: str, mode: tuple[bool, bool, bool]) -> None:
    assert tuple(cache_mode(name)) == mode


def test_there_are_no_other_cache_modes() -> None:
    with pytest.raises(OptionError, match="Invalid cache option: fast; the modes are"):
        cache_mode("fast")
