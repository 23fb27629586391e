# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When certificates are valid, as far as their bytes say it."""
from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qimg.errors import StorageError
from qimg.storage.nbd.certificates import check_dates

UTC, GENERALIZED = 0x17, 0x18


def element(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    if len(content) < 128:
        return bytes((tag, len(content))) + content
    return bytes((tag, 0x82)) + len(content).to_bytes(2, "big") + content


def certificate(first: bytes, last: bytes, version: bytes = element(0xA0, element(2, b"\2"))) -> bytes:
    """The beginning of one, up to its moments; long enough for a length of several bytes."""
    issuer = element(0x30, bytes(200))
    signed = element(0x30, version, element(2, b"\1"), element(0x30), issuer, element(0x30, first, last))
    return element(0x30, signed, element(0x30), element(3, bytes(64)))


def pem(encoded: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n" % base64.encodebytes(encoded)


OLD = element(UTC, b"991231235959Z")
PAST = element(UTC, b"200101000000Z")
FAR = element(GENERALIZED, b"29991231235959Z")
FARTHER = element(GENERALIZED, b"99991231235959Z")


@pytest.mark.parametrize(
    ("encoded", "words"),
    [
        (certificate(OLD, FAR), None),
        (certificate(PAST, FAR, version=b""), None),
        (certificate(OLD, PAST), "The client certificate .* has expired"),
        (certificate(OLD, PAST, version=b""), "The client certificate .* has expired"),
        (certificate(FAR, FARTHER), "The client certificate .* is not yet active"),
    ],
)
def test_a_certificate_is_valid_between_its_moments(tmp_path: Path, encoded: bytes, words: str | None) -> None:
    (tmp_path / "c.pem").write_bytes(b"as text\n" + pem(encoded))
    if words is None:
        check_dates(str(tmp_path / "c.pem"), "client", 1)
    else:
        with pytest.raises(StorageError, match=words):
            check_dates(str(tmp_path / "c.pem"), "client", 1)


def test_only_so_many_certificates_matter(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_bytes(pem(certificate(OLD, FAR)) + pem(certificate(OLD, PAST)))
    check_dates(str(tmp_path / "c.pem"), "client", 1)
    with pytest.raises(StorageError, match="has expired"):
        check_dates(str(tmp_path / "c.pem"), "CA", None)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_no_certificate_is_left_to_others(tmp_path: Path, data: st.DataObject) -> None:
    whole = certificate(OLD, FAR)
    broken = data.draw(
        st.one_of(
            st.binary(max_size=300),
            st.integers(0, len(whole) - 1).map(lambda end: whole[:end]),
            st.tuples(st.integers(0, 20), st.integers(0, 255)).map(
                lambda change: whole[: change[0]] + bytes((change[1],)) + whole[change[0] + 1 :]
            ),
        )
    )
    (tmp_path / "c.pem").write_bytes(pem(broken))
    check_dates(str(tmp_path / "c.pem"), "client", None)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"Unable to access credentials .*c\.pem: No such file or directory"):
        check_dates(str(tmp_path / "c.pem"), "client", 1)
