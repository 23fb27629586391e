# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How images are named: paths, protocols, ``json:`` and option strings, and the nodes that they stand for."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qimg.errors import OptionError, UnsupportedOperationError
from qimg.formats.naming import display_name, says_backing
from qimg.references import (
    driver_of,
    first_key,
    flatten,
    leaves,
    local_path,
    nest,
    no_such_node,
    parse_option_string,
    parse_protocol_name,
    parse_reference,
    plain_name,
    protocol_of,
    resolve_reference,
)

KEYS = st.text("abc-", min_size=1, max_size=4)
#: Nodes with children and grandchildren.
NODES = st.text("v", max_size=1)
for _level in range(3):
    NODES = st.one_of(st.text("v", max_size=1), st.dictionaries(KEYS, NODES, min_size=1, max_size=2))
NODES = st.dictionaries(KEYS, NODES, min_size=1, max_size=2)
PATHS = st.text("ab/.: ", min_size=1, max_size=12).filter(lambda path: protocol_of(path) is None)


@given(NODES)
def test_dotted_keys_and_nested_nodes_say_the_same(node: dict[str, object]) -> None:
    flat = flatten(node)

    assert not any(isinstance(value, dict) for value in flat.values())
    assert nest(flat) == node
    assert nest(node) == node


@pytest.mark.parametrize(
    ("flat", "node"),
    [
        ({"file": "a", "file.driver": "file"}, {"file": "a", "file.driver": "file"}),
        ({"file.driver": "file", "file": "a"}, {"file": "a", "file.driver": "file"}),
        ({"a.b": 1, "a.b.c": 2, "a.b.d.e": 3}, {"a": {"b": 1, "b.c": 2, "b.d.e": 3}}),
        ({"a.b": 1, "a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": {"b": 2}, "a.b": 1}, {"a": {"b": 2}}),
        ({"a": [1, [2]], "b": []}, {"a": {"0": 1, "1": {"0": 2}}, "b": []}),
    ],
)
def test_what_is_both_a_value_and_a_node_keeps_dotted_names(flat: dict[str, object], node: dict[str, object]) -> None:
    assert nest(flat) == node


def test_a_named_node_is_missing_or_has_options_of_its_own_as_well() -> None:
    assert str(no_such_node({"file": "a"}, "file")) == "Cannot find device='a' nor node-name='a'"
    assert "additional options" in str(no_such_node({"file": "a", "file.driver": "file"}, "file"))


@pytest.mark.parametrize("value", [5, 1.5, True, None, []])
def test_where_only_a_text_makes_sense_other_values_count_for_nothing(value: object) -> None:
    assert nest({"driver": value, "filename": value, "file": value}) == {}
    assert nest({"backing": value, "backing.driver": "raw"})["backing"] == (
        {"driver": "raw"} if value is not None and value != [] else value
    )


def test_dotted_keys_are_joined_with_the_node_that_is_there() -> None:
    node = {"file": {"driver": "file"}, "file.filename": "i", "backing.file": {"driver": "nbd"}}

    assert nest(node) == {"file": {"driver": "file", "filename": "i"}, "backing": {"file": {"driver": "nbd"}}}


@pytest.mark.parametrize(
    ("name", "protocol"),
    [("", None), ("a", None), ("nbd:a:1", "nbd"), ("./a:b", None), ("/a:b", None), (":a", ""), ("json:{}", "json")],
)
def test_a_protocol_is_what_stands_before_a_colon_and_any_slash(name: str, protocol: str | None) -> None:
    assert protocol_of(name) == protocol


@given(PATHS)
def test_a_path_is_called_by_itself_and_may_say_that_it_is_a_file(path: str) -> None:
    node = parse_reference(path)

    assert node == {"file": {"filename": path}}
    assert parse_reference("file:" + path) == {"file": {"driver": "file", "filename": path}}
    assert local_path(node) == path == plain_name(path) == plain_name("file:" + path)
    assert display_name({"driver": "qcow2", **node}) == path == display_name(node["file"])


def test_a_colon_behind_file_is_part_of_the_path() -> None:
    assert parse_reference("file:nbd:a")["file"]["filename"] == "./nbd:a"
    assert parse_protocol_name("nbd:a", "file") == {"driver": "file", "filename": "nbd:a"}
    assert parse_protocol_name("file:a", "file") == {"driver": "file", "filename": "a"}


def test_json_names_and_option_strings_are_nodes() -> None:
    node = {"driver": "qcow2", "file": {"driver": "file", "filename": "a,b"}}

    assert parse_reference("json:{'driver': 'qcow2', 'file.driver': 'file', 'file': {'filename': 'a,b'}}") == node
    assert parse_option_string("driver=qcow2,file.driver=file,file.filename=a,,b") == node
    assert parse_option_string("a").text == "a"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("http://a/b", "Unknown protocol 'http'"),
        ("json:{", "Could not parse the JSON options: JSON parse error, premature EOI"),
        ("json:[]", "Invalid JSON object given"),
        ("a\0b", "A file name cannot have a zero byte in it"),
        ("nbd:", "NBD server address missing"),
    ],
)
def test_names_that_stand_for_nothing_are_refused(name: str, reason: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_reference(name)

    assert (caught.value.reason, caught.value.path) == (reason, name)


def test_a_name_speaks_of_a_protocol_or_is_a_plain_path() -> None:
    assert parse_reference("a") == {"file": {"filename": "a"}}
    assert parse_reference("file:a") == {"file": {"driver": "file", "filename": "a"}}
    assert parse_reference("host_device:/dev/a") == {"file": {"driver": "host_device", "filename": "/dev/a"}}
    assert [driver_of(name) for name in ("a", "./a:b", "file:a", "nbd+unix:///a?socket=b")] == [
        None, None, "file", "nbd",
    ]  # fmt: skip


def test_a_new_image_has_no_json_name() -> None:
    with pytest.raises(OptionError, match="Unknown protocol 'json'"):
        driver_of("json:{'driver': 'file', 'filename': 'a'}")


def test_short_switches_are_warned_of() -> None:
    said: list[str] = []

    assert parse_option_string("driver=raw,read-only", said.append) == {"driver": "raw", "read-only": "on"}
    assert said == ["short-form boolean option 'read-only' deprecated\nPlease use read-only=on instead"]


def test_questions_are_no_switches_and_an_id_is_checked() -> None:
    said: list[str] = []

    assert parse_option_string("driver=raw,help,?", said.append) == {"driver": "raw", "help": "on", "?": "on"}
    assert said == []
    assert parse_option_string("driver=raw,id=a-1") == {"driver": "raw", "id": "a-1"}
    with pytest.raises(OptionError, match="Parameter 'id' expects an identifier"):
        parse_option_string("driver=raw,id=1")


def test_a_user_may_say_which_backing_file_an_image_has() -> None:
    other = {"file": {"filename": "b"}}

    assert says_backing({"driver": "qcow2", "backing": other}) and says_backing({"backing": None})
    assert not says_backing({"driver": "qcow2", "backing": {"driver": "raw"}})
    assert not says_backing("a") and says_backing("json:{'backing.file.filename': 'b'}")


def test_what_a_plain_name_does_not_say_is_shown_as_json() -> None:
    file = {"driver": "file", "filename": "i"}

    assert display_name({"driver": "raw", "size": 512, "file": file}) == (
        'json:{"driver": "raw", "size": 512, "file": {"driver": "file", "filename": "i"}}'
    )
    assert display_name({"driver": "qcow2", "file": file, "backing": None}).startswith("json:{")
    assert display_name({"driver": "qcow2", "file": file, "encrypt": {"key-secret": "s"}}) == (
        'json:{"encrypt.key-secret": "s", "driver": "qcow2", "file": {"driver": "file", "filename": "i"}}'
    )
    assert display_name({"driver": "raw", "file": {"driver": "qcow2", "file": file}}).startswith("json:{")


@pytest.mark.parametrize("name", ["nbd://host:10809/export", "nbd+unix:///export?socket=/run/s", "nbds://host:1"])
def test_exports_are_called_by_their_uri(name: str) -> None:
    node = parse_reference(name)

    assert display_name({"driver": "raw", **node}) == name == display_name(node["file"])
    assert local_path(node) is None and plain_name(name) is None


def test_every_place_for_bytes_that_a_node_opens_is_found() -> None:
    file, other, data = ({"driver": "file", "filename": name} for name in "abc")
    node = {"driver": "qcow2", "file": {"driver": "raw", "file": file}, "backing": {"file": other}, "data-file": data}

    assert list(leaves(node)) == [file, other, data]


def test_an_option_that_nobody_took_is_named_by_its_dotted_key() -> None:
    assert first_key({"cache": {"odd": 1}}) == "cache.odd"


@pytest.mark.parametrize(
    ("referrer", "name", "resolved"),
    [
        ("/a/top.qcow2", "base", "/a/base"),
        ("a/top.qcow2", "b/base", "a/b/base"),
        ("top.qcow2", "base", "base"),
        ("file:a/top.qcow2", "base", "a/base"),
        ("/a/top.qcow2", "/b/base", "/b/base"),
        ("/a/top.qcow2", "nbd://host/x", "nbd://host/x"),
        ("/a/top.qcow2", "json:{}", "json:{}"),
        ("/a/top.qcow2", "", ""),
        ("nbd://host/x", "/b/base", "/b/base"),
    ],
)
def test_a_stored_name_is_relative_to_the_image_that_stores_it(referrer: str, name: str, resolved: str) -> None:
    assert resolve_reference(referrer, name) == resolved


@pytest.mark.parametrize("referrer", ["json:{'driver': 'qcow2'}", "nbd://host/x"])
def test_only_a_path_has_a_directory(referrer: str) -> None:
    with pytest.raises(UnsupportedOperationError):
        resolve_reference(referrer, "base")
