# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON as QEMU reads and writes it, against the standard library's."""
from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qimg import json_writer
from qimg.json_parser import JsonSyntaxError, parse_json

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)

# Reading


@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_what_the_standard_library_writes_is_read(value: object, ascii_only: bool, indent: int | None) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only, indent=indent)) == value


@given(st.text('{}[]:,"-0123456789.eE+ truefalsn\\/u', max_size=12))
def test_what_is_read_means_what_it_means_to_the_standard_library(text: str) -> None:
    try:
        found = parse_json(text)
    except JsonSyntaxError:
        return

    assert found == json.loads(text)


@given(st.lists(st.sampled_from(['{"a": ', "[", '"b"', "1", "-2.5e3", "true", "]", "}", ", ", " "]), max_size=8))
def test_what_the_standard_library_reads_is_read(pieces: list[str]) -> None:
    text = "".join(pieces)
    try:
        expected = json.loads(text)
    except ValueError:
        return

    assert parse_json(text) == expected


def test_single_quotes_are_for_shells() -> None:
    assert parse_json("""{'driver': "raw", 'size': '1"2', "o": "it's"}""") == {
        "driver": "raw", "size": '1"2', "o": "it's"
    }
    assert parse_json(r"'\'\"\u00e9\ud83d\ude00'") == "'\"é😀"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting a JSON value"),
        ("1 2", "Expecting at most one JSON value"),
        ("{", "JSON parse error, premature EOI"),
        ("[1", "JSON parse error, premature EOI"),
        ("[1 2]", "JSON parse error, expected separator in list"),
        ("{'a': 1 'b': 2}", "JSON parse error, expected separator in dict"),
        ("{'a' 1}", "JSON parse error, missing : in object pair"),
        ("{1: 2}", "JSON parse error, key is not a string in object"),
        ("{'a': 1, 'a': 2}", "JSON parse error, duplicate key"),
        ("[,]", "JSON parse error, expecting value"),
        ("yes", "JSON parse error, invalid keyword 'yes'"),
        (r"'\x'", "JSON parse error, invalid escape sequence in string"),
        (r"'\ud800'", r"JSON parse error, \ud800 is not a valid Unicode character"),
        ("'a", "JSON parse error, stray ''a'"),
        ("01", "JSON parse error, stray '01'"),
        ("#", "JSON parse error, stray '#'"),
        ("[" * 100, "JSON parse error, nesting too deep"),
    ],
)
def test_errors_are_in_qemu_s_words(text: str, message: str) -> None:
    with pytest.raises(JsonSyntaxError) as caught:
        parse_json(text)

    assert caught.value.reason == message


# Writing


@given(VALUES)
def test_what_is_written_is_the_same_value_in_ascii(value: object) -> None:
    for text in (json_writer.compact(value), json_writer.pretty(value)):
        assert text.isascii()
        assert json.loads(text) == value


def test_the_order_of_keys_is_qemu_s() -> None:
    # What qemu-img info prints of an overlay.
    keys = [
        "children", "backing-filename-format", "virtual-size", "filename", "cluster-size", "format", "actual-size",
        "format-specific", "full-backing-filename", "backing-filename", "dirty-flag",
    ]  # fmt: skip

    assert [key for key, _value in json_writer.in_order(dict.fromkeys(keys[::-1]))] == keys
    # Two keys have the same hash: of these, the one that came last is printed first.
    assert [key for key, _value in json_writer.in_order(dict.fromkeys(keys))] == [keys[1], keys[0], *keys[2:]]
    assert json_writer.compact({"file": {"driver": "file", "filename": "i"}, "driver": "raw"}) == (
        '{"driver": "raw", "file": {"driver": "file", "filename": "i"}}'
    )


def test_documents_are_indented_by_four_and_empty_ones_take_two_lines() -> None:
    assert json_writer.pretty({"a": [1, {}]}) == '{\n    "a": [\n        1,\n        {\n        }\n    ]\n}\n'


def test_bytes_that_are_no_text_become_replacement_characters() -> None:
    assert json_writer.quoted("a\udcff\x7f\"\\\n") == '"a\\uFFFD\\u007F\\"\\\\\\n"'
    assert json_writer.quoted("\ud800\udfff") == '"\\uFFFD\\uFFFD"'
    assert json_writer.quoted("é😀") == '"\\u00E9\\uD83D\\uDE00"'


def test_numbers_of_thousands_of_digits_are_large() -> None:
    positive, negative = parse_json("[%s, -%s]" % ("9" * 5000, "9" * 5000))
    assert positive == -negative > 1 << 64


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"a": "b\udcff"}', "stray '\"b\udcff'"), ('{"a": "b\udcc3c"}', "invalid UTF-8 sequence in string")],
)
def test_a_string_that_is_no_text_is_refused(text: str, words: str) -> None:
    with pytest.raises(JsonSyntaxError) as caught:
        parse_json(text)
    assert words in str(caught.value)
