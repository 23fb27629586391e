# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The handshake: from a connected socket to an export that answers requests."""
from __future__ import annotations

import os
import time
from collections import namedtuple

from ...errors import OptionError, StorageError
from ...limits import MAX_IMAGE_BYTES
from ...nbd_names import MAX_STRING
from . import layout
from .wire import PlainWire, TlsWire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .address import NbdAddress
    from .tls import TlsCredentials
    from .wire import Wire

#: No reply to an option that we send is longer, or has more parts.
_MAX_OPTION_REPLY = 64 << 10
_MAX_OPTION_REPLIES = 256

#: How the end of a negotiation is explained; the rest of the sentence names the option.
_REFUSALS = {
    layout.NBD_REP_ERR_UNSUP: "Unsupported by the server:",
    layout.NBD_REP_ERR_POLICY: "Denied by server for",
    layout.NBD_REP_ERR_INVALID: "Invalid parameters for",
    layout.NBD_REP_ERR_PLATFORM: "Server lacks support for",
    layout.NBD_REP_ERR_TLS_REQD: "TLS negotiation required before",
    layout.NBD_REP_ERR_UNKNOWN: "Requested export not available",
    layout.NBD_REP_ERR_SHUTDOWN: "Server shutting down before",
    layout.NBD_REP_ERR_BLOCK_SIZE_REQD: "Server requires block sizes to be asked for before",
    layout.NBD_REP_ERR_TOO_BIG: "Request or reply too big for",
}


class Export(
    namedtuple("Export", ["size", "flags", "minimum", "preferred", "maximum", "structured", "context_id"])
):
    """What the server says about an export.

    ``size``: bytes; ``flags``: the transmission flags; ``minimum``, ``preferred``, ``maximum``: block sizes in bytes;
    ``structured``: whether replies are; ``context_id``: of the metadata context, ``None``: there is none.
    """

    __slots__ = ()


class _RefusedError(Exception):
    """The server answered an option with an error."""

    def __init__(self, option: int, kind: int, message: str) -> None:
        super().__init__(message)
        self.option = option
        self.kind = kind
        self.message = message


class ProtocolError(Exception):
    """The server did what no server may."""


def negotiate(
    wire: PlainWire, address: NbdAddress, credentials: TlsCredentials | None, seconds: float
) -> tuple[Wire, Export]:
    """Choose the export.

    :param credentials: ``None``: without TLS
    :param seconds: how long all of it may take
    :returns: what to talk through from now on (the socket, or TLS on it), and the export
    :raises StorageError: the server has no such export, does not let us in, or does not speak NBD
    """
    negotiation = _Negotiation(wire, address, time.monotonic() + seconds)
    try:
        return negotiation.run(credentials)
    except _RefusedError as error:
        negotiation.abort()
        raise _refusal(error, address.name) from error
    except ProtocolError as error:
        raise StorageError(
            "What answers there is not a sane NBD server: %s" % error, path=address.name, remedy="check the address"
        ) from error
    except OSError as error:
        words = os.strerror(error.errno) if error.errno else str(error)
        raise StorageError("Failed to negotiate with the server: %s" % words, path=address.name) from error


def _refusal(error: _RefusedError, name: str) -> StorageError:
    reason = _REFUSALS.get(error.kind, "Error 0x%x for" % error.kind)
    hints = []
    if error.kind == layout.NBD_REP_ERR_TLS_REQD:
        hints.append("Did you forget a valid tls-creds?")
    if error.kind != layout.NBD_REP_ERR_UNKNOWN:
        reason += " option %d (%s)" % (error.option, layout.OPTION_NAMES[error.option])
    if error.message:
        hints.append("server reported: %s" % error.message)
    return StorageError(reason, path=name, hint="\n".join(hints) or None)


def readable(message: bytes) -> str:
    """A text of the server as something that can be printed without harm."""
    text = message[:MAX_STRING].decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "?" for character in text)


class _Negotiation:
    def __init__(self, wire: PlainWire, address: NbdAddress, deadline: float) -> None:
        self._plain = wire
        self._wire: Wire = wire
        self._address = address
        self._deadline = deadline
        self._export_name = address.export.encode("utf-8", "surrogateescape")

    def run(self, credentials: TlsCredentials | None) -> tuple[Wire, Export]:
        magic, style = layout.GREETING.unpack(self._receive(layout.GREETING.size))
        if magic != layout.NBDMAGIC or style not in (layout.IHAVEOPT, layout.CLISERV_MAGIC):
            raise ProtocolError("it does not begin as one")
        if style == layout.CLISERV_MAGIC:
            return self._wire, self._oldstyle(credentials)
        (flags,) = layout.HANDSHAKE_FLAGS.unpack(self._receive(layout.HANDSHAKE_FLAGS.size))
        known = flags & (layout.NBD_FLAG_FIXED_NEWSTYLE | layout.NBD_FLAG_NO_ZEROES)
        self._send(layout.CLIENT_FLAGS.pack(known))
        no_zeroes = bool(flags & layout.NBD_FLAG_NO_ZEROES)
        if not flags & layout.NBD_FLAG_FIXED_NEWSTYLE:
            if credentials is not None:
                raise self._has_no("TLS")
            return self._wire, self._checked(*self._export_name_only(no_zeroes))
        if credentials is not None:
            self._start_tls(credentials)
        structured = self._is_granted(layout.NBD_OPT_STRUCTURED_REPLY)
        context_id = self._choose_context() if structured else None
        if context_id is None and self._address.context is not None:
            raise StorageError(
                "Could not open image: Invalid argument",
                path=self._address.name,
                remedy="the server has no metadata context '%s' for this export" % self._address.context,
            )
        try:
            found = self._go()
        except _RefusedError as error:
            if error.kind != layout.NBD_REP_ERR_UNSUP:
                raise
            found = (*self._export_name_only(no_zeroes), None)
        return self._wire, self._checked(*found, structured, context_id)

    def abort(self) -> None:
        """End it in the way that the protocol asks for; whether the server listens no longer matters."""
        try:
            self._send(layout.OPTION.pack(layout.IHAVEOPT, layout.NBD_OPT_ABORT, 0))
        except OSError:
            return

    # Ways to an export

    def _oldstyle(self, credentials: TlsCredentials | None) -> Export:
        if credentials is not None:
            raise self._has_no("TLS")
        if self._export_name:
            raise self._has_no("exports with names")
        size, flags = layout.OLDSTYLE_EXPORT.unpack(self._receive(layout.OLDSTYLE_EXPORT.size))
        self._receive(layout.RESERVED_BYTES)
        return self._checked(size, flags & 0xFFFF)

    def _export_name_only(self, no_zeroes: bool) -> tuple[int, int]:
        self._send_option(layout.NBD_OPT_EXPORT_NAME, self._export_name)
        try:
            answer = self._receive(layout.NEWSTYLE_EXPORT.size)
            if not no_zeroes:
                self._receive(layout.RESERVED_BYTES)
        except ConnectionError as error:
            # This option has no other way to say no.
            raise StorageError("Requested export not available", path=self._address.name) from error
        size, flags = layout.NEWSTYLE_EXPORT.unpack(answer)
        return size, flags

    def _go(self) -> tuple[int, int, tuple[int, int, int] | None]:
        """``NBD_OPT_GO``: size, transmission flags, block sizes."""
        request = b"".join(
            (
                layout.LENGTH.pack(len(self._export_name)),
                self._export_name,
                layout.SHORT.pack(1),
                layout.SHORT.pack(layout.NBD_INFO_BLOCK_SIZE),
            )
        )
        found: tuple[int, int] | None = None
        sizes: tuple[int, int, int] | None = None
        for kind, payload in self._option(layout.NBD_OPT_GO, request):
            if kind != layout.NBD_REP_INFO or len(payload) < 2:
                raise ProtocolError("it answers the choice of an export with something else")
            (what,) = layout.SHORT.unpack_from(payload)
            if what == layout.NBD_INFO_EXPORT:
                if len(payload) != layout.INFO_EXPORT.size:
                    raise ProtocolError("its description of the export has a wrong length")
                found = layout.INFO_EXPORT.unpack(payload)[1:]
            elif what == layout.NBD_INFO_BLOCK_SIZE:
                if len(payload) != layout.INFO_BLOCK_SIZE.size:
                    raise ProtocolError("its description of block sizes has a wrong length")
                sizes = layout.INFO_BLOCK_SIZE.unpack(payload)[1:]
        if found is None:
            raise ProtocolError("it does not describe the export")
        return (*found, sizes)

    def _checked(
        self,
        size: int,
        flags: int,
        sizes: tuple[int, int, int] | None = None,
        structured: bool = False,
        context_id: int | None = None,
    ) -> Export:
        """The export, if what the server says of it makes sense ("Block size constraints")."""
        if size > MAX_IMAGE_BYTES:
            raise ProtocolError("it says that the export has %d bytes" % size)
        if not flags & layout.NBD_FLAG_HAS_FLAGS:
            flags = 0
        minimum, preferred, maximum = sizes or (1, 4096, layout.DEFAULT_MAXIMUM)
        if not 0 < minimum <= layout.MAX_MINIMUM or minimum & (minimum - 1):
            raise ProtocolError("its minimum block size is %d" % minimum)
        if preferred < minimum or preferred & (preferred - 1):
            raise ProtocolError("its preferred block size is %d" % preferred)
        if maximum < minimum or (maximum % minimum and maximum != layout.MAX_LENGTH):
            raise ProtocolError("its maximum block size is %d" % maximum)
        return Export(size, flags, minimum, preferred, maximum, structured, context_id)

    # Options

    def _start_tls(self, credentials: TlsCredentials) -> None:
        if credentials.endpoint != "client":
            raise OptionError("Expected TLS credentials for a client endpoint", path=self._address.name)
        server = dict(self._address.server)
        hostname = self._address.tls_hostname or server.get("host")
        if credentials.checks_name and not hostname:
            raise OptionError(
                "No hostname for certificate validation", path=self._address.name, remedy="give tls-hostname"
            )
        context = credentials.context()
        for _reply in self._option(layout.NBD_OPT_STARTTLS, b""):
            raise ProtocolError("it answers STARTTLS with something else")
        import ssl

        raw = self._plain.raw
        raw.settimeout(self._left())
        try:
            secured = context.wrap_socket(raw, server_hostname=hostname)
        except ssl.SSLCertVerificationError as error:
            raise StorageError(_certificate_words(error, hostname), path=self._address.name) from error
        except (OSError, ValueError) as error:
            # GnuTLS and OpenSSL have different words for everything that can go wrong here.
            words = getattr(error, "reason", None) or str(error)
            if isinstance(error, ssl.SSLEOFError):
                # So GnuTLS, and QEMU with it, calls a server that hangs up: it does not take our credentials.
                words = "The TLS connection was non-properly terminated."
            raise StorageError("TLS handshake failed: %s" % words, path=self._address.name) from error
        self._wire = TlsWire(secured)

    def _is_granted(self, option: int) -> bool:
        try:
            for _reply in self._option(option, b""):
                raise ProtocolError("it answers option %d with something else" % option)
        except _RefusedError:
            return False
        return True

    def _choose_context(self) -> int | None:
        """Ask for what is zero and what is data ("Metadata querying"); ``None``: the server does not say."""
        wanted = layout.BASE_ALLOCATION if self._address.context is None else self._address.context
        query = wanted.encode("utf-8", "surrogateescape")
        request = b"".join(
            (
                layout.LENGTH.pack(len(self._export_name)),
                self._export_name,
                layout.LENGTH.pack(1),
                layout.LENGTH.pack(len(query)),
                query,
            )
        )
        chosen = None
        try:
            for kind, payload in self._option(layout.NBD_OPT_SET_META_CONTEXT, request):
                if kind != layout.NBD_REP_META_CONTEXT or len(payload) < layout.LENGTH.size:
                    raise ProtocolError("it answers the choice of a metadata context with something else")
                if payload[layout.LENGTH.size :] == query:
                    (chosen,) = layout.LENGTH.unpack_from(payload)
        except _RefusedError:
            return None
        return chosen

    def _option(self, option: int, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Send an option; its replies but for the final one.

        :raises _RefusedError: the final one is an error
        """
        self._send_option(option, data)
        for _count in range(_MAX_OPTION_REPLIES):
            header = self._receive(layout.OPTION_REPLY.size)
            magic, answered, kind, length = layout.OPTION_REPLY.unpack(header)
            if magic != layout.OPTION_REPLY_MAGIC or answered != option:
                raise ProtocolError("it does not answer option %d" % option)
            if length > _MAX_OPTION_REPLY:
                raise ProtocolError("it answers option %d with %d bytes" % (option, length))
            payload = self._receive(length)
            if kind & layout.REPLY_IS_ERROR:
                raise _RefusedError(option, kind, readable(payload))
            if kind == layout.NBD_REP_ACK:
                return
            yield kind, payload
        raise ProtocolError("its answer to option %d has no end" % option)

    def _send_option(self, option: int, data: bytes) -> None:
        self._send(layout.OPTION.pack(layout.IHAVEOPT, option, len(data)) + data)

    # Bytes, all before the deadline

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the server has stopped answering")
        return left

    def _send(self, data: bytes) -> None:
        self._wire.set_timeout(self._left())
        self._wire.send(data)

    def _receive(self, length: int) -> bytes:
        buffer = bytearray(length)
        view = memoryview(buffer)
        while len(view):
            self._wire.set_timeout(self._left())
            view = view[self._wire.receive_some(view) :]
        return bytes(buffer)

    def _has_no(self, what: str) -> StorageError:
        return StorageError("The server is too old for %s" % what, path=self._address.name)


def _certificate_words(error: Exception, hostname: str | None) -> str:
    """GnuTLS's words, as QEMU prints them, for what OpenSSL found wrong with the server's certificate."""
    code = getattr(error, "verify_code", 0)
    if code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
        return "Certificate does not match the hostname %s" % hostname
    if code in (2, 18, 19, 20, 21):  # no issuer, or one that is not trusted
        return "The certificate hasn't got a known issuer"
    if code == 10:  # X509_V_ERR_CERT_HAS_EXPIRED
        return "The certificate has expired"
    if code == 9:  # X509_V_ERR_CERT_NOT_YET_VALID
        return "The certificate is not yet activated"
    if code == 23:  # X509_V_ERR_CERT_REVOKED
        return "The certificate has been revoked"
    return "The certificate is not trusted: %s" % getattr(error, "verify_message", error)
