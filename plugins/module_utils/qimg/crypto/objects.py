# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""User-creatable objects: passwords and keys that images need (``--object secret,id=…``)."""
from __future__ import annotations

from ..errors import MissingPackageError, OptionError, StorageError
from ..option_text import check_identifier
from .object_text import TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..storage.nbd.tls import TlsCredentials

_BASE64_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_PAD = ord("=")
_KEY_BYTES = 32
_IV_BYTES = 16


class ObjectStore:
    """The objects of one command, by their ids."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes | TlsCredentials] = {}

    def add(self, properties: dict[str, Any]) -> None:
        """Define an object.

        :param properties: as :func:`.object_text.parse_object` gives them; ``qom-type`` is its type
        :raises OptionError: the type is not known, a property is missing, superfluous or wrong
        :raises StorageError: a file of the object cannot be read
        """
        rest = dict(properties)
        _refuse_nested(rest, "qom-type")
        kind = rest.pop("qom-type")
        if kind not in TYPES:
            raise OptionError("Parameter 'qom-type' does not accept value '%s'" % kind)
        _refuse_nested(rest, "id")
        if "id" not in rest:
            raise OptionError("Parameter 'id' is missing")
        name = str(rest.pop("id"))
        check_identifier(name)
        if kind == "secret":
            made: bytes | TlsCredentials = self._make_secret(rest, name)
        else:
            from ..storage.nbd.tls import make_credentials

            made = make_credentials(kind, rest, self.password)
        if name in self._objects:
            raise OptionError("attempt to add duplicate property '%s' to object (type 'container')" % name)
        self._objects[name] = made

    def secret(self, name: str) -> bytes:
        """The bytes of a secret.

        :raises OptionError: there is none of that id
        """
        found = self._objects.get(name)
        if found is None:
            raise OptionError("No secret with id '%s'" % name)
        if not isinstance(found, bytes):
            raise OptionError("Object with id '%s' is not a secret" % name)
        return found

    def tls_credentials(self, name: str) -> TlsCredentials:
        """The TLS credentials with an id.

        :raises OptionError: there are none
        """
        found = self._objects.get(name)
        if found is None:
            raise OptionError("No TLS credentials with id '%s'" % name)
        if isinstance(found, bytes):
            raise OptionError("Object with id '%s' is not TLS credentials" % name)
        return found

    def password(self, name: str) -> bytes:
        """A secret that is typed by people, and so must be text.

        :raises OptionError: there is none of that id, or it is not UTF-8
        """
        secret = self.secret(name)
        try:
            secret.decode("utf-8")
        except UnicodeDecodeError as error:
            raise OptionError("Data from secret %s is not valid UTF-8" % name) from error
        return secret

    def _make_secret(self, properties: dict[str, Any], own_name: str) -> bytes:
        known = TYPES["secret"]
        for name in known:
            _refuse_nested(properties, name)
        for name in properties:
            if name not in known:
                raise OptionError("Parameter '%s' is unexpected" % name)
        encoding = properties.get("format", "raw")
        if encoding not in ("raw", "base64"):
            raise OptionError("Parameter 'format' does not accept value '%s'" % encoding)
        content = _content(properties)
        if properties.get("keyid") == own_name:
            raise OptionError("Secret with id '%s' has no data" % own_name)
        if "keyid" in properties:
            return self._decrypt(content, encoding, properties)
        return decode_base64(content) if encoding == "base64" else content

    def _decrypt(self, content: bytes, encoding: str, properties: dict[str, Any]) -> bytes:
        """AES-256-CBC under another secret."""
        key = self.secret(str(properties["keyid"]))
        if len(key) != _KEY_BYTES:
            raise OptionError("Key should be %d bytes in length" % _KEY_BYTES)
        if "iv" not in properties:
            raise OptionError("IV is required to decrypt secret")
        iv = decode_base64(str(properties["iv"]).encode("utf-8", "surrogateescape"))
        if len(iv) != _IV_BYTES:
            raise OptionError("IV should be %d bytes in length not %d" % (_IV_BYTES, len(iv)))
        encrypted = decode_base64(content) if encoding == "base64" else content
        if len(encrypted) % _IV_BYTES:
            raise OptionError("Length %d must be a multiple of block size %d" % (len(encrypted), _IV_BYTES))
        try:
            from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        except ImportError as error:
            raise MissingPackageError(
                "An encrypted secret needs the Python package 'cryptography'",
                remedy="install it, or give the secret without keyid",
            ) from error
        decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
        plain: bytes = decryptor.update(encrypted) + decryptor.finalize()
        padding = plain[-1] if plain else 0
        if padding > _IV_BYTES or padding > len(plain):
            raise OptionError("Incorrect number of padding bytes (%d) found on decrypted data" % padding)
        return plain[: len(plain) - padding]


def _content(properties: dict[str, Any]) -> bytes:
    data, path = properties.get("data"), properties.get("file")
    if data is not None and path is not None:
        raise OptionError("'file' and 'data' are mutually exclusive")
    if data is not None:
        return str(data).encode("utf-8", "surrogateescape")
    if path is None:
        raise OptionError("Either 'file' or 'data' must be provided")
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        import os

        how = "Error reading" if isinstance(error, IsADirectoryError) else "Failed to open"
        raise StorageError(
            "Unable to read %s: %s file \u201c%s\u201d: %s" % (path, how, path, os.strerror(error.errno or 0)),
            path=str(path),
            errno=error.errno,
        ) from error


def _refuse_nested(properties: dict[str, Any], name: str) -> None:
    """Refuse ``name.key=…``, where ``name`` is a text."""
    if isinstance(properties.get(name), (dict, list)):
        raise OptionError("Parameters '%s.*' are unexpected" % name)


def decode_base64(text: bytes) -> bytes:
    """Base64 as QEMU takes it: what does not fill a group of four digits at the end is left out.

    :raises OptionError: there are characters that do not belong there
    """
    digits = text.replace(b"\n", b"")
    if any(byte not in _BASE64_DIGITS and byte != _PAD for byte in digits):
        raise OptionError("Base64 data contains invalid characters")
    decoded = bytearray()
    for position in range(0, len(digits) - 3, 4):
        group = digits[position : position + 4]
        value = 0
        for digit in group:
            value = value << 6 | (0 if digit == _PAD else _BASE64_DIGITS.index(digit))
        # Signs of padding leave bytes out wherever they stand.
        first, second, third = value.to_bytes(3, "big")
        decoded.append(first)
        if group[2] != _PAD:
            decoded.append(second)
        if group[3] != _PAD:
            decoded.append(third)
    return bytes(decoded)
