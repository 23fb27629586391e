# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three spellings of an NBD export."""
from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qimg.errors import OptionError
from qimg.nbd_names import DEFAULT_PORT, display_name, parse_nbd_name

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
#: Others are resolved in a URI.
EXPORTS = TEXTS.filter(lambda export: not {".", ".."} & set(export.split("/")))
HOSTS = st.text("abc.-", min_size=1, max_size=8)
PORTS = st.integers(1, (1 << 16) - 1)


@given(HOSTS, PORTS, EXPORTS)
def test_a_uri_with_a_host(host: str, port: int, export: str) -> None:
    node = parse_nbd_name("nbd://%s:%d/%s" % (host, port, quote(export, safe="")))

    assert node == {"driver": "nbd", "server": {"type": "inet", "host": host, "port": str(port)}, "export": export}
    assert display_name(node) == "nbd://%s:%d/%s" % (host, port, export)


@given(TEXTS, EXPORTS)
def test_a_uri_with_a_socket(path: str, export: str) -> None:
    node = parse_nbd_name("nbd+unix:///%s?socket=%s" % (quote(export, safe=""), quote(path, safe="")))

    assert node == {"driver": "nbd", "server": {"type": "unix", "path": path}, "export": export}


@given(HOSTS, PORTS, TEXTS.filter(lambda export: ":exportname=" not in export))
def test_the_older_spelling_takes_everything_as_it_is(host: str, port: int, export: str) -> None:
    assert parse_nbd_name("nbd:%s:%d:exportname=%s" % (host, port, export)) == {
        "driver": "nbd", "server": {"type": "inet", "host": host, "port": str(port)}, "export": export
    }


@pytest.mark.parametrize(
    ("name", "server"),
    [
        ("nbd:unix:/run/s", {"type": "unix", "path": "/run/s"}),
        ("nbd:[::1]:10809", {"type": "inet", "host": "::1", "port": "10809"}),
        ("nbd://[::1]", {"type": "inet", "host": "::1", "port": DEFAULT_PORT}),
        ("nbd://host", {"type": "inet", "host": "host", "port": DEFAULT_PORT}),
        ("nbd://host#fragment/x", {"type": "inet", "host": "host", "port": DEFAULT_PORT}),
        ("nbd://host:0/", {"type": "inet", "host": "host", "port": DEFAULT_PORT}),
        ("nbd+tcp://host:007", {"type": "inet", "host": "host", "port": "7"}),
        ("nbd+unix://?socket=a&socket=b", {"type": "unix", "path": "b"}),
    ],
)
def test_servers(name: str, server: dict[str, str]) -> None:
    assert parse_nbd_name(name) == {"driver": "nbd", "server": server}


def test_tls_is_asked_for_by_the_scheme_and_its_parameters() -> None:
    node = parse_nbd_name("nbds://me@host?tls-psk-file=/keys&tls-hostname=other&tls-verify-peer=false")

    assert node["tls"] == {"psk-file": "/keys", "verify-peer": "false", "username": "me"}
    assert node["tls-hostname"] == "other"
    assert parse_nbd_name("nbds+unix:///?socket=s")["tls"] == {}


@pytest.mark.parametrize(
    "name",
    [
        "nbd://", "nbd:///export", "nbd://host:port", "nbd://host:70000", "nbd://host?socket=s", "nbd+unix:///x",
        "nbd+unix://host/x?socket=s", "nbd://host/%zz", "nbd://host/%ff", "nbd://host/%00", "nbd://[::1", "nbd://[a]",
        "nbd://host?a", "nbd://host?tls-psk-file=x", "nbd://host:" + "9" * 5000,
    ],
)  # fmt: skip
def test_uris_that_make_no_sense_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match="No valid URL specified") as caught:
        parse_nbd_name(name)
    assert caught.value.path == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nbd:", "NBD server address missing"),
        ("nbd:host:1:exportname=", "NBD server address missing"),
        ("nbd:host", "error parsing address 'host'"),
        ("nbd:[::1", "error parsing IPv6 address '[::1'"),
        ("a", "File name string for NBD must start with 'nbd:'"),
    ],
)
def test_older_names_that_make_no_sense_are_refused(name: str, reason: str) -> None:
    with pytest.raises(OptionError) as caught:
        parse_nbd_name(name)
    assert caught.value.reason == reason


def test_a_server_of_another_kind_has_no_plain_name() -> None:
    assert display_name({"driver": "nbd", "server": {"type": "vsock", "cid": "1", "port": "2"}}) is None
    assert display_name({"driver": "nbd", "path": "/run/s"}) == "nbd+unix://?socket=/run/s"
