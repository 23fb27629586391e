# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""From when until when certificates are valid (RFC 5280, section 4.1.2.5), which the ``ssl`` module does not tell."""
from __future__ import annotations

import binascii
import time

from ...errors import StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
_INTEGER, _SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x02, 0x30, 0x17, 0x18, 0xA0
#: Two digits of a year from here on are in the last century.
_LAST_CENTURY = b"50"


def check_dates(path: str, kind: str, most: int | None) -> None:
    """Refuse a certificate that is not valid today.

    What cannot be read is left to those who use it.

    :param path: a file of certificates (PEM)
    :param kind: how the error calls them
    :param most: how many of them matter, from the first on; ``None``: all
    :raises StorageError: in QEMU's words; or the file cannot be read
    """
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError as error:
        raise StorageError.from_os_error(error, path, "Unable to access credentials %s" % path) from error
    now = time.strftime("%Y%m%d%H%M%SZ", time.gmtime()).encode("ascii")
    for certificate in text.split(_BEGIN)[1:][:most]:
        try:
            first, last = _validity(binascii.a2b_base64(certificate.partition(_END)[0]))
        except (ValueError, IndexError):
            continue
        if last < now:
            raise StorageError("The %s certificate %s has expired" % (kind, path), path=path)
        if first > now:
            raise StorageError("The %s certificate %s is not yet active" % (kind, path), path=path)


def _validity(encoded: bytes) -> tuple[bytes, bytes]:
    """The first and the last moment, as ``YYYYMMDDHHMMSSZ``, which are in order when they are compared."""
    (_tag, certificate), *_rest = _elements(encoded)
    (_tag, signed), *_rest = _elements(certificate)
    fields = list(_elements(signed))
    if fields[0][0] == _VERSION:
        del fields[0]
    # Serial number, algorithm, issuer; then the two moments.
    if [tag for tag, _content in fields[:4]] != [_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE]:
        raise ValueError("not a certificate")
    first, last = _elements(fields[3][1])
    return _moment(*first), _moment(*last)


def _elements(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    """Tags and contents of what follows one another in DER."""
    position = 0
    while position < len(encoded):
        tag, length = encoded[position], encoded[position + 1]
        position += 2
        if length & 0x80:
            bytes_of_length = length & 0x7F
            length = int.from_bytes(encoded[position : position + bytes_of_length], "big")
            position += bytes_of_length
        content = encoded[position : position + length]
        if len(content) < length:
            raise ValueError("cut short")
        yield tag, content
        position += length


def _moment(tag: int, text: bytes) -> bytes:
    if tag == _UTC_TIME:
        return (b"19" if text[:2] >= _LAST_CENTURY else b"20") + text
    if tag == _GENERALIZED_TIME:
        return text
    raise ValueError("not a moment")
