# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of options, and the values of options: booleans, sizes, numbers as C reads them."""
from __future__ import annotations

import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qimg.errors import OptionError
from qimg.option_text import (
    check_identifier,
    parse_boolean,
    parse_number,
    parse_size_option,
    split_option_list,
    split_with_forms,
    take_boolean,
    take_option,
)

NAMES = st.text("abcdefg.-_", min_size=1, max_size=8)
VALUES = st.text("abc,=.:/ ", max_size=10)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=5))
def test_a_list_is_read_back_as_it_was_written_with_doubled_commas(options: list[tuple[str, str]]) -> None:
    text = ",".join("%s=%s" % (name, value.replace(",", ",,")) for name, value in options)

    assert split_option_list(text) == options


@given(VALUES.filter(lambda value: value and "=" not in value), st.lists(st.tuples(NAMES, VALUES), max_size=2))
def test_the_first_element_may_be_the_value_of_an_implied_option(value: str, rest: list[tuple[str, str]]) -> None:
    text = ",".join([value.replace(",", ",,"), *("%s=%s" % (name, each.replace(",", ",,")) for name, each in rest)])

    assert split_option_list(text, "file") == [("file", value), *rest]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", []),
        ("size=1", [("size", "1")]),
        ("size=1,", [("size", "1")]),
        ("size=", [("size", "")]),
        ("size=1,,2", [("size", "1,2")]),
        ("size=1,,,b=2", [("size", "1,"), ("b", "2")]),
        ("a=b=c", [("a", "b=c")]),
    ],
)
def test_commas_and_equals_signs(text: str, options: list[tuple[str, str]]) -> None:
    assert split_option_list(text) == options


def test_words_are_switches_and_know_how_they_were_written() -> None:
    assert split_with_forms("lazy,nocow,size=1") == [
        (("lazy", "on"), "lazy"),
        (("cow", "off"), "nocow"),
        (("size", "1"), None),
    ]


@pytest.mark.parametrize("value", ["on", "yes", "true", "y", True])
def test_true(value: object) -> None:
    assert parse_boolean("b", value) is True


@pytest.mark.parametrize("value", ["off", "no", "false", "n", False])
def test_false(value: object) -> None:
    assert parse_boolean("b", value) is False


@pytest.mark.parametrize("value", ["", "On", "1", 1, None])
def test_what_is_neither_true_nor_false_is_refused(value: object) -> None:
    with pytest.raises(OptionError, match="Parameter 'b' expects 'on' or 'off'"):
        parse_boolean("b", value)


def test_a_size_option_says_what_is_wrong_with_its_value() -> None:
    assert parse_size_option("size", "1k") == 1024 and parse_size_option("size", 7) == 7
    with pytest.raises(OptionError, match="Parameter 'size' expects a non-negative number below 2\\^64"):
        parse_size_option("size", "large")
    with pytest.raises(OptionError, match="Value '16E' is out of range for parameter 'size'"):
        parse_size_option("size", "16E")


SIGNS = st.sampled_from(["", "-", "+", " ", " -"])


def as_c_reads_it(text: str) -> int | None:
    """``strtoull`` with base 0; ``None``: it does not take the whole text, or the number is over 64 bits."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.strtoull.restype = ctypes.c_ulonglong
    libc.strtoull.argtypes = (ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int)
    end = ctypes.c_char_p()
    ctypes.set_errno(0)
    number = libc.strtoull(text.encode(), ctypes.byref(end), 0)
    return None if end.value or ctypes.get_errno() else int(number)


@given(
    st.one_of(
        st.builds("{}{}{}".format, SIGNS, st.sampled_from(["", "0"]), st.text("01234567", max_size=4)),
        st.builds("{}{}{}".format, SIGNS, st.sampled_from(["", "0x", "0X"]), st.text("0189abfx", max_size=4)),
        st.integers(-(1 << 65), 1 << 65).map(str),
    )
)
def test_numbers_are_read_as_c_reads_them(text: str) -> None:
    expected = as_c_reads_it(text) if text.strip(" +-") else None
    try:
        found = parse_number("n", text)
    except OptionError:
        found = None

    assert found == expected


@pytest.mark.parametrize("text", ["9" * 5000, "-" + "9" * 5000, "0x" + "f" * 5000, "0" + "7" * 5000])
def test_numbers_of_thousands_of_digits_are_too_large(text: str) -> None:
    with pytest.raises(OptionError, match="is too large for parameter 'n'"):
        parse_number("n", text)
    assert parse_number("n", "0" * 5000 + "7") == 7


def test_an_option_is_taken_as_text_or_number_and_nothing_is_no_value() -> None:
    options: dict[str, object] = {"a": True, "b": False, "c": 5, "d": None, "e": [], "f": {}, "g": {"x": 1}, "h": "on"}

    assert [take_option(options, name, "default") for name in "abcdefg"] == [
        "on", "off", 5, "default", "default", "default", "default",
    ]  # fmt: skip
    assert take_boolean(options, "h") and not take_boolean(options, "missing")
    assert options == {"g": {"x": 1}}


@pytest.mark.parametrize("text", ["", "1", "-a", "a/b", "a b", "\xe9"])
def test_an_identifier_begins_with_a_letter(text: str) -> None:
    with pytest.raises(OptionError, match="Parameter 'id' expects an identifier"):
        check_identifier(text)
