# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""TLS credentials, as QEMU's ``tls-creds-…`` objects describe them."""
from __future__ import annotations

import os
from abc import ABC, abstractmethod

from ...errors import OptionError, StorageError, UnsupportedFeatureError
from ...option_text import parse_boolean

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import Any

CLIENT, SERVER = "client", "server"
#: Who we are to a server with pre-shared keys, unless told otherwise.
DEFAULT_USERNAME = "qemu"

#: GnuTLS priorities that ask for nothing special; others cannot be told to OpenSSL.
_USUAL_PRIORITIES = ("NORMAL", "@SYSTEM")
#: ``X509_V_FLAG_PARTIAL_CHAIN``: trust every certificate of the CA file, as GnuTLS does, not only self-signed ones.
#: (``ssl.VERIFY_X509_PARTIAL_CHAIN`` came with Python 3.10.)
_PARTIAL_CHAIN = 0x80000


class TlsCredentials(ABC):
    """How to prove who we are, and what to believe about the server."""

    #: For which side of a connection they were made: :data:`CLIENT` or :data:`SERVER`.
    endpoint: str = CLIENT
    #: Whether the server's certificate must be for the name by which it was called.
    checks_name: bool = False

    @property
    def refusal(self) -> str:
        """GnuTLS's words, as QEMU prints them, for a server that hangs up during the handshake."""
        return "The TLS connection was non-properly terminated."

    @abstractmethod
    def context(self) -> ssl.SSLContext:
        """What the ``ssl`` module needs.

        :raises StorageError: a file of the credentials cannot be used
        :raises UnsupportedFeatureError: this Python cannot do it
        """


class X509Credentials(TlsCredentials):
    """Certificates in a directory: ``ca-cert.pem``, ``ca-crl.pem``, ``client-cert.pem``, ``client-key.pem``.

    :param directory: ``None``: trust the system's certificate authorities, and have no certificate of our own
    :param verify_peer: whether to check the server's certificate
    """

    def __init__(self, directory: str | None, verify_peer: bool = True, endpoint: str = CLIENT) -> None:
        self._directory = directory
        #: Of the key.
        self.password: bytes | None = None
        self.checks_name = verify_peer
        self.endpoint = endpoint
        if directory is not None:
            _require(os.path.join(directory, "ca-cert.pem"))

    def context(self) -> ssl.SSLContext:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not self.checks_name:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self._directory is None:
            context.load_default_certs()
            return context
        context.verify_flags |= _PARTIAL_CHAIN
        path = os.path.join(self._directory, "ca-cert.pem")
        try:
            context.load_verify_locations(path)
            path = os.path.join(self._directory, "ca-crl.pem")
            if os.path.exists(path):
                context.load_verify_locations(path)
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
            path = os.path.join(self._directory, "client-cert.pem")
            key = os.path.join(self._directory, "client-key.pem")
            if os.path.exists(path) or os.path.exists(key):
                _require(path)
                _require(key)
                # Without a password OpenSSL would ask the terminal for one.
                context.load_cert_chain(path, key, self.password or b"")
        except OSError as error:  # ssl.SSLError is one
            reason = os.strerror(error.errno) if error.errno and not isinstance(error, ssl.SSLError) else str(error)
            raise StorageError("Unable to access credentials %s: %s" % (path, reason), path=path) from error
        return context


class PskCredentials(TlsCredentials):
    """A key that both sides know.

    :param path: a file with lines ``username:key``, the key in hexadecimal
    """

    def __init__(self, path: str, username: str = DEFAULT_USERNAME, endpoint: str = CLIENT) -> None:
        self.endpoint = endpoint
        self._username = username
        self._key = _find_key(path, username)
        self._is_asked_for = False

    @property
    def refusal(self) -> str:
        # A server that has no such keys hangs up before it asks for ours.
        return super().refusal if self._is_asked_for else "Insufficient credentials for that request."

    def context(self) -> ssl.SSLContext:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        set_callback: Callable[..., None] | None = getattr(context, "set_psk_client_callback", None)
        if set_callback is None or not getattr(ssl, "HAS_PSK", False):
            raise UnsupportedFeatureError(
                "TLS with a pre-shared key needs Python 3.13 or newer",
                remedy="use certificates (tls-creds-x509), or a newer Python",
            )
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("PSK")
        self._is_asked_for = False
        set_callback(self._answer)
        return context

    def _answer(self, _hint: str | None) -> tuple[str, bytes]:
        self._is_asked_for = True
        return self._username, self._key


class AnonymousCredentials(TlsCredentials):
    """None: the connection is encrypted, but anybody may be at its other end."""

    def __init__(self, endpoint: str = CLIENT) -> None:
        self.endpoint = endpoint

    def context(self) -> ssl.SSLContext:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # Later versions have no anonymous key exchange.
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("aNULL:@SECLEVEL=0")
        return context


def make_credentials(
    kind: str, options: dict[str, Any], secret: Callable[[str], bytes] | None = None
) -> TlsCredentials:
    """The credentials that an ``--object`` describes.

    :param kind: ``tls-creds-x509``, ``tls-creds-psk`` or ``tls-creds-anon``
    :param options: the object's properties, ``id`` aside
    :param secret: gives the secret with an id (``passwordid``)
    :raises OptionError: in QEMU's words
    :raises StorageError: a file of the credentials is not there
    """
    options = dict(options)
    endpoint = str(options.pop("endpoint", CLIENT))
    if endpoint not in (CLIENT, SERVER):
        raise OptionError("Parameter 'endpoint' does not accept value '%s'" % endpoint)
    verify_peer = parse_boolean("verify-peer", options.pop("verify-peer", True))
    directory = options.pop("dir", None)
    priority = options.pop("priority", None)
    username = str(options.pop("username", DEFAULT_USERNAME)) if kind == "tls-creds-psk" else ""
    password_id = options.pop("passwordid", None) if kind == "tls-creds-x509" else None
    is_checked = kind == "tls-creds-x509" and parse_boolean("sanity-check", options.pop("sanity-check", True))
    if options:
        raise OptionError("Parameter '%s' is unexpected" % next(iter(options)))
    if priority is not None and priority not in _USUAL_PRIORITIES:
        raise UnsupportedFeatureError(
            "Parameter 'priority' cannot be '%s'" % priority,
            remedy="leave it out: GnuTLS priority strings mean nothing to the TLS library of Python",
        )
    if kind == "tls-creds-anon":
        return AnonymousCredentials(endpoint)
    if not directory:
        raise OptionError("Missing 'dir' property value")
    if kind == "tls-creds-psk":
        return PskCredentials(os.path.join(str(directory), "keys.psk"), username, endpoint)
    credentials = X509Credentials(str(directory), verify_peer, endpoint)
    if is_checked:
        _check_dates(str(directory), endpoint)
    if password_id is not None:
        if secret is None:
            raise OptionError("No secret with id '%s'" % password_id)
        credentials.password = secret(str(password_id))
    return credentials


def _check_dates(directory: str, endpoint: str) -> None:
    """Refuse certificates that are not valid today: the first of our own, and all authorities."""
    from .certificates import check_dates

    own = os.path.join(directory, "%s-cert.pem" % endpoint)
    if endpoint == SERVER or os.path.exists(own):
        check_dates(own, endpoint, 1)
    check_dates(os.path.join(directory, "ca-cert.pem"), "CA", None)


def _require(path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise StorageError.from_os_error(error, path, "Unable to access credentials %s" % path) from error


def _find_key(path: str, username: str) -> bytes:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise StorageError.from_os_error(error, path, "Unable to access credentials %s" % path) from error
    for line in lines:
        name, colon, key = line.partition(":")
        if colon and name == username:
            try:
                return bytes.fromhex(key)
            except ValueError as error:
                raise OptionError("The key of '%s' in PSK file %s is not hexadecimal" % (username, path)) from error
    raise OptionError("Username %s not found in PSK file %s" % (username, path))
