# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects that the user hands over: how they are written, and what secrets are."""
from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qimg.crypto.object_text import object_help, parse_object
from qimg.crypto.objects import ObjectStore, decode_base64
from qimg.errors import OptionError


def test_dotted_keys_are_objects_and_lists() -> None:
    assert parse_object("secret,id=s,data=a,,b,x.y=1,z.1=b,z.0=a") == {
        "qom-type": "secret", "id": "s", "data": "a,b", "x": {"y": "1"}, "z": ["a", "b"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Parameter 'qom-type' is missing"),
        (",", "Invalid parameter ''"),
        ("secret,id", "Expected '=' after parameter 'id'"),
        ("secret,a..b=1", "Invalid parameter 'a..b'"),
        ("secret,0.a=1", "Invalid parameter '0.a'"),
        ("secret,%s=1" % ("a" * 128), "Parameter '%s' is too long" % ("a" * 128)),
        ("secret,a.0=1,a.2=1", "Parameter 'a.1' missing"),
        ("secret,a.0=1,a.b=1", "Parameters 'a.*' used inconsistently"),
        ("secret,a.b=1,a=1", "Parameters 'a.*' used inconsistently"),
        ('{"qom-type": "secret", "id": 1}', "Invalid parameter type for 'id', expected: string"),
        ('{"qom-type": "tls-creds-anon", "verify-peer": "on"}',
         "Invalid parameter type for 'verify-peer', expected: boolean"),
    ],
)  # fmt: skip
def test_wrong_objects_are_refused(text: str, reason: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_object(text)

    assert caught.value.reason == reason


def test_help_is_given_where_it_is_asked_for() -> None:
    assert object_help("secret,id=s,data=help") is None and object_help("{}") is None
    assert str(object_help("?")).startswith("List of user creatable objects:\n  secret\n")
    assert str(object_help("secret,help")).startswith("secret options:\n  data=<string>\n")


@given(st.binary(max_size=40))
def test_padded_base64_is_read_back(content: bytes) -> None:
    assert decode_base64(base64.b64encode(content)) == content


@pytest.mark.parametrize(
    ("text", "content"), [(b"eHg", b""), (b"eHg=\n", b"xx"), (b"eH\ng=e", b"xx"), (b"e=Hg", b"x\x01\xe0"), (b"", b"")]
)
def test_an_incomplete_end_of_base64_is_left_out(text: bytes, content: bytes) -> None:
    assert decode_base64(text) == content


def test_a_secret_is_the_content_of_a_file_or_a_text(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"from a file\n")
    store = ObjectStore()
    store.add(parse_object("secret,id=a,file=%s" % (tmp_path / "secret")))
    store.add(parse_object('{"qom-type": "secret", "id": "b", "data": "eHg=", "format": "base64"}'))

    assert (store.secret("a"), store.password("b")) == (b"from a file\n", b"xx")
    with pytest.raises(OptionError, match="duplicate property 'a'"):
        store.add(parse_object("secret,id=a,data=x"))
    with pytest.raises(OptionError, match="Secret with id 'c' has no data"):
        store.add(parse_object("secret,id=c,data=x,keyid=c,iv=x"))
