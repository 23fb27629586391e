# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes as texts: qemu-img's grammar, and how it prints them."""
from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qimg.sizes import SizeRangeError, SizeSyntaxError, ceil_div, human_size, parse_size, round_up

UNITS = {"": 0, "b": 0, "B": 0, "k": 1, "K": 1, "m": 2, "M": 2, "g": 3, "G": 3, "t": 4, "T": 4, "p": 5, "e": 6}


@given(st.integers(0, (1 << 64) - 1), st.sampled_from(["", " ", "\t\n "]), st.sampled_from(["", "+"]))
def test_a_number_is_so_many_bytes(number: int, space: str, sign: str) -> None:
    assert parse_size("%s%s%d" % (space, sign, number)) == number
    assert parse_size("%s%#x" % (space, number)) == number


@given(st.integers(0, 15), st.sampled_from(sorted(UNITS)))
def test_suffixes_are_powers_of_1024_in_either_case(number: int, suffix: str) -> None:
    assert parse_size("%d%s" % (number, suffix)) == number * 1024 ** UNITS[suffix]


@given(st.integers(0, 1000), st.text("0123456789", min_size=1, max_size=6), st.sampled_from("kmgKMG"))
def test_fractions_are_rounded_half_up(whole: int, fraction: str, suffix: str) -> None:
    exact = (whole + Fraction(int(fraction), 10 ** len(fraction))) * 1024 ** UNITS[suffix]

    assert parse_size("%d.%s%s" % (whole, fraction, suffix)) == int(exact + Fraction(1, 2))


@pytest.mark.parametrize(
    ("text", "size"),
    [(".5k", 512), ("1.k", 1024), ("1.0", 1), ("1.b", 1), ("0x10", 16), ("0X1f", 31), ("1.5G", 3 << 29)],
)
def test_some_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", " ", "k", ".", "+", "-", "-k", "1x", "1kk", "1 k", "1.5", "1.5b", "0x", "0x1k", "0x1.8", "1e3", "--1", "-1k",
     "-.5k", "-0x1", "18446744073709551616k", "9" * 5000 + "k"],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(SizeSyntaxError):
        parse_size(text)


@pytest.mark.parametrize("text", ["-1", "-.5", "18446744073709551616", "16E", "0x10000000000000000", "9" * 5000])
def test_sizes_that_64_bits_do_not_hold_are_refused(text: str) -> None:
    with pytest.raises(SizeRangeError):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (512, "512 B"), (999, "999 B"), (1000, "0.977 KiB"), (1024, "1 KiB"), (10 << 20, "10 MiB"),
        (1536 << 20, "1.5 GiB"), (1000 << 30, "0.977 TiB"), ((1 << 64) - 1, "16 EiB"),
    ],
)  # fmt: skip
def test_sizes_are_shown_with_three_digits_and_the_next_unit_from_1000_on(size: int, text: str) -> None:
    assert human_size(size) == text


@given(st.integers(0, 1 << 64), st.integers(1, 1 << 40))
def test_rounding_up_gives_the_next_multiple(value: int, multiple: int) -> None:
    rounded = round_up(value, multiple)

    assert rounded % multiple == 0 and 0 <= rounded - value < multiple
    assert ceil_div(value, multiple) == rounded // multiple
