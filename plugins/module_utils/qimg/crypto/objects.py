# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""User-creatable objects: passwords and keys that images need (``--object secret,id=…``)."""
from __future__ import annotations

from ..errors import MissingPackageError, OptionError, StorageError
from ..option_text import check_identifier, take_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..storage.nbd.tls import TlsCredentials

_BASE64_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\n"
_TLS_KINDS = ("tls-creds-anon", "tls-creds-psk", "tls-creds-x509")
_KEY_BYTES = 32
_IV_BYTES = 16


def parse_object(text: str) -> dict[str, Any]:
    """The properties of an object: ``secret,id=s0,file=…`` or a JSON object.

    :raises OptionError: in QEMU's words
    """
    if text.startswith("{"):
        from ..json_parser import parse_json

        properties = parse_json(text)
    else:
        properties = _parse_keyval(text)
    if "qom-type" not in properties:
        raise OptionError("Parameter 'qom-type' is missing")
    return properties  # type: ignore[no-any-return]


def _parse_keyval(text: str) -> dict[str, Any]:
    """``type,name=value,…`` with doubled commas in values."""
    properties: dict[str, Any] = {}
    rest = text
    first = True
    while rest:
        equals, comma = rest.find("="), rest.find(",")
        if first and (equals < 0 or 0 <= comma < equals):
            name, position = "qom-type", 0
        elif equals <= 0 or 0 <= comma < equals:
            word = rest if comma < 0 else rest[:comma]
            raise OptionError("No implicit parameter name for value '%s'" % word)
        else:
            name, position = rest[:equals], equals + 1
        properties[name], end = take_value(rest, position)
        rest = rest[end:]
        first = False
    return properties


class ObjectStore:
    """The objects of one command, by their ids."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes | TlsCredentials] = {}

    def add(self, properties: dict[str, Any]) -> None:
        """Define an object.

        :param properties: as :func:`parse_object` gives them; ``qom-type`` is its type
        :raises OptionError: the type is not known, a property is missing, superfluous or wrong
        :raises StorageError: a file of the object cannot be read
        """
        rest = dict(properties)
        kind = rest.pop("qom-type")
        if kind not in ("secret", *_TLS_KINDS):
            raise OptionError("Parameter 'qom-type' does not accept value '%s'" % kind)
        if "id" not in rest:
            raise OptionError("Parameter 'id' is missing")
        name = str(rest.pop("id"))
        check_identifier(name)
        if kind == "secret":
            made: bytes | TlsCredentials = self._make_secret(rest)
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

    def _make_secret(self, properties: dict[str, Any]) -> bytes:
        known = ("data", "file", "format", "keyid", "iv")
        for name in properties:
            if name.partition(".")[0] in known and "." in name:
                raise OptionError("Parameters '%s.*' are unexpected" % name.partition(".")[0])
            if name not in known:
                raise OptionError("Parameter '%s' is unexpected" % name)
        encoding = properties.get("format", "raw")
        if encoding not in ("raw", "base64"):
            raise OptionError("Parameter 'format' does not accept value '%s'" % encoding)
        content = _content(properties)
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

        raise StorageError(
            "Unable to read %s: Failed to open file \u201c%s\u201d: %s" % (path, path, os.strerror(error.errno or 0)),
            path=str(path),
            errno=error.errno,
        ) from error


def decode_base64(text: bytes) -> bytes:
    """Base64 as QEMU takes it: an incomplete end is left out.

    :raises OptionError: there are characters that do not belong there
    """
    if any(chr(byte) not in _BASE64_CHARACTERS for byte in text):
        raise OptionError("Base64 data contains invalid characters")
    import base64

    digits = text.replace(b"\n", b"").rstrip(b"=")
    if len(digits) % 4 == 1:
        digits = digits[:-1]
    return base64.b64decode(digits + b"=" * (-len(digits) % 4))
