# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The handshake: from a connected socket to an export that answers requests."""
from __future__ import annotations

import errno
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

#: No part of a reply to an option that we send is longer, and none has more parts.
_MAX_OPTION_REPLY = 64 << 10
_MAX_OPTION_REPLIES = 256
#: So many bytes of a name that nobody has asked for are shown.
_MAX_SHOWN = 200

#: How the end of a negotiation is explained; the rest of the sentence names the option.
_REFUSALS = {
    layout.NBD_REP_ERR_UNSUP: "Unsupported by the server:",
    layout.NBD_REP_ERR_POLICY: "Denied by server for",
    layout.NBD_REP_ERR_INVALID: "Invalid parameters for",
    layout.NBD_REP_ERR_PLATFORM: "Server lacks support for",
    layout.NBD_REP_ERR_TLS_REQD: "TLS negotiation required before",
    layout.NBD_REP_ERR_UNKNOWN: "Requested export not available",
    layout.NBD_REP_ERR_SHUTDOWN: "Server shutting down before",
    layout.NBD_REP_ERR_BLOCK_SIZE_REQD: "Server requires INFO_BLOCK_SIZE for",
}


#: What is said of a final reply with data in it.
_WRONG_ACKS = {
    layout.NBD_OPT_SET_META_CONTEXT: "Unexpected length to ACK response",
    layout.NBD_OPT_GO: "server sent invalid NBD_REP_ACK",
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
    """The server did what no server may; what, in QEMU's words where it has any."""


def negotiate(
    wire: PlainWire, address: NbdAddress, credentials: TlsCredentials | None, seconds: float
) -> tuple[Wire, Export]:
    """Choose the export.

    :param credentials: ``None``: without TLS
    :param seconds: how long all of it may take
    :returns: what to talk through from now on (the socket, or TLS on it), and the export; closed if this fails
    :raises StorageError: the server has no such export, does not let us in, or does not speak NBD
    """
    negotiation = _Negotiation(wire, address, time.monotonic() + seconds)
    try:
        return _finish(negotiation, address, credentials)
    except BaseException:
        # With TLS, the socket is no longer the one that we were given.
        negotiation.close()
        raise


def _finish(
    negotiation: _Negotiation, address: NbdAddress, credentials: TlsCredentials | None
) -> tuple[Wire, Export]:
    try:
        return negotiation.run(credentials)
    except _RefusedError as error:
        negotiation.abort()
        raise _refusal(error, address.name) from error
    except ProtocolError as error:
        raise StorageError(
            str(error), path=address.name, remedy="see whether what answers there is an NBD server"
        ) from error


def _refusal(error: _RefusedError, name: str) -> StorageError:
    reason = _REFUSALS.get(error.kind, "Unknown error code when asking for")
    hints = []
    if error.kind == layout.NBD_REP_ERR_TLS_REQD:
        hints.append("Did you forget a valid tls-creds?")
    if error.kind != layout.NBD_REP_ERR_UNKNOWN:
        reason += " option %s" % _option_words(error.option)
    if error.message:
        hints.append("server reported: %s" % error.message)
    return StorageError(reason, path=name, hint="\n".join(hints) or None)


def _option_words(option: int) -> str:
    return "%d (%s)" % (option, layout.OPTION_NAMES.get(option, "<unknown>"))


def _reply_words(kind: int) -> str:
    return "%d (%s)" % (kind, layout.REPLY_NAMES.get(kind, "<unknown>"))


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
        (magic,) = layout.MAGIC.unpack(self._receive(layout.MAGIC.size, "initial magic"))
        if magic != layout.NBDMAGIC:
            raise ProtocolError("Bad initial magic received: 0x%x" % magic)
        (style,) = layout.MAGIC.unpack(self._receive(layout.MAGIC.size, "server magic"))
        if style not in (layout.IHAVEOPT, layout.CLISERV_MAGIC):
            raise ProtocolError("Bad server magic received: 0x%x" % style)
        if style == layout.CLISERV_MAGIC:
            return self._wire, self._oldstyle(credentials)
        (flags,) = layout.HANDSHAKE_FLAGS.unpack(self._receive(layout.HANDSHAKE_FLAGS.size, "server flags"))
        known = flags & (layout.NBD_FLAG_FIXED_NEWSTYLE | layout.NBD_FLAG_NO_ZEROES)
        self._send(layout.CLIENT_FLAGS.pack(known), "clientflags field")
        no_zeroes = bool(flags & layout.NBD_FLAG_NO_ZEROES)
        if not flags & layout.NBD_FLAG_FIXED_NEWSTYLE:
            if credentials is not None:
                raise self._has_no("TLS")
            self._check_context(None)
            return self._wire, self._checked(*self._export_name_only(no_zeroes))
        if credentials is not None:
            self._start_tls(credentials)
        structured = self._is_granted(layout.NBD_OPT_STRUCTURED_REPLY)
        context_id = self._choose_context() if structured else None
        self._check_context(context_id)
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
            self._send_option(layout.NBD_OPT_ABORT, b"")
        except StorageError:
            return

    # Ways to an export

    def _oldstyle(self, credentials: TlsCredentials | None) -> Export:
        if credentials is not None:
            raise self._has_no("TLS")
        if self._export_name:
            raise StorageError("Server does not support non-empty export names", path=self._address.name)
        self._check_context(None)
        (size,) = layout.OFFSET.unpack(self._receive(layout.OFFSET.size, "export length"))
        (flags,) = layout.LENGTH.unpack(self._receive(layout.LENGTH.size, "export flags"))
        self._receive(layout.RESERVED_BYTES, "reserved block")
        return self._checked(size, flags & 0xFFFF)

    def _check_context(self, context_id: int | None) -> None:
        """A metadata context that was asked for must be there."""
        if context_id is None and self._address.context is not None:
            raise StorageError(
                "Could not open image: Invalid argument",
                path=self._address.name,
                remedy="the server has no metadata context '%s' for this export" % self._address.context,
            )

    def _export_name_only(self, no_zeroes: bool) -> tuple[int, int]:
        self._send_option(layout.NBD_OPT_EXPORT_NAME, self._export_name)
        try:
            (size,) = layout.OFFSET.unpack(self._receive(layout.OFFSET.size, "export length"))
            (flags,) = layout.SHORT.unpack(self._receive(layout.SHORT.size, "export flags"))
            if not no_zeroes:
                self._receive(layout.RESERVED_BYTES, "reserved block")
        except StorageError as error:
            # This option has no other way to say no.
            error.remedy = "see whether the server has this export"
            raise
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
            if kind != layout.NBD_REP_INFO:
                raise ProtocolError("unexpected reply type %s, expected 3 (info)" % _reply_words(kind))
            if len(payload) < layout.SHORT.size:
                raise ProtocolError("NBD_REP_INFO length %d is too short" % len(payload))
            (what,) = layout.SHORT.unpack_from(payload)
            if what == layout.NBD_INFO_EXPORT:
                _check_info(payload, layout.INFO_EXPORT.size)
                found = layout.INFO_EXPORT.unpack(payload)[1:]
            elif what == layout.NBD_INFO_BLOCK_SIZE:
                _check_info(payload, layout.INFO_BLOCK_SIZE.size)
                sizes = layout.INFO_BLOCK_SIZE.unpack(payload)[1:]
        # Flags say at least that there are flags.
        if found is None or not found[1]:
            raise ProtocolError("broken server omitted NBD_INFO_EXPORT")
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
            raise StorageError(
                "Could not refresh total sector count: File too large",
                path=self._address.name,
                errno=errno.EFBIG,
                remedy="the server says that the export has %d bytes" % size,
            )
        if not flags & layout.NBD_FLAG_HAS_FLAGS:
            flags = 0
        minimum, preferred, maximum = sizes or (1, 4096, layout.DEFAULT_MAXIMUM)
        if not minimum or minimum & (minimum - 1):
            raise ProtocolError("server minimum block size %d is not a power of two" % minimum)
        if preferred < minimum or preferred & (preferred - 1):
            raise ProtocolError("server preferred block size %d is not valid" % preferred)
        if maximum < minimum:
            raise ProtocolError("server maximum block size %d is not valid" % maximum)
        if minimum > layout.MAX_MINIMUM:
            raise ProtocolError("server minimum block size %d is too large" % minimum)
        return Export(size, flags, minimum, preferred, maximum // minimum * minimum, structured, context_id)

    # Options

    def close(self) -> None:
        """Let go of the connection."""
        self._wire.close()
        self._plain.close()

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
        self._ask(layout.NBD_OPT_STARTTLS)
        import ssl

        raw = self._plain.raw
        raw.settimeout(self._left())
        try:
            secured = context.wrap_socket(raw, suppress_ragged_eofs=False, server_hostname=hostname)
        except ssl.SSLCertVerificationError as error:
            raise StorageError(
                _certificate_words(error, hostname),
                path=self._address.name,
                remedy="OpenSSL says of it: %s" % error.verify_message,
            ) from error
        except (OSError, ValueError) as error:
            # GnuTLS and OpenSSL have different words for everything that can go wrong here.
            words = getattr(error, "reason", None) or str(error)
            if isinstance(error, ssl.SSLEOFError):
                # It does not take our credentials.
                words = credentials.refusal
            raise StorageError("TLS handshake failed: %s" % words, path=self._address.name) from error
        self._wire = TlsWire(secured)

    def _is_granted(self, option: int) -> bool:
        try:
            self._ask(option)
        except _RefusedError:
            return False
        return True

    def _ask(self, option: int) -> None:
        """Send an option without data that is granted or refused.

        :raises _RefusedError: the latter
        """
        self._send_option(option, b"")
        kind, length = self._reply(option)
        if kind & layout.REPLY_IS_ERROR:
            raise self._refused(option, kind, length)
        if kind == layout.NBD_REP_ACK:
            if length:
                words = (option, layout.OPTION_NAMES[option], length)
                raise ProtocolError("Option %d ('%s') response length is %d (it should be zero)" % words)
            return
        raise ProtocolError(
            "Server answered option %s with unexpected reply %s" % (_option_words(option), _reply_words(kind))
        )

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
                if kind != layout.NBD_REP_META_CONTEXT:
                    raise ProtocolError("Unexpected reply type %s, expected 4 (meta context)" % _reply_words(kind))
                if len(payload) <= layout.LENGTH.size:
                    raise ProtocolError(
                        "Failed to negotiate meta context, server answered with unexpected length %d" % len(payload)
                    )
                if payload[layout.LENGTH.size :] != query:
                    raise ProtocolError(
                        "Failed to negotiate meta context '%s', server answered with different context '%s'"
                        % (readable(query), readable(payload[layout.LENGTH.size :][:_MAX_SHOWN]))
                    )
                if chosen is not None:
                    raise ProtocolError("Server answered with more than one context")
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
            kind, length = self._reply(option)
            if kind & layout.REPLY_IS_ERROR:
                raise self._refused(option, kind, length)
            if kind == layout.NBD_REP_ACK:
                if length:
                    raise ProtocolError(_WRONG_ACKS[option])
                return
            if length > _MAX_OPTION_REPLY:
                raise ProtocolError("%s response of %d bytes is too long" % (_option_words(option), length))
            yield kind, self._receive(length, "option reply")
        raise ProtocolError("The response to option %s has no end" % _option_words(option))

    def _reply(self, option: int) -> tuple[int, int]:
        """The kind of the next reply, and how many bytes follow."""
        header = self._receive(layout.OPTION_REPLY.size, "option reply")
        magic, answered, kind, length = layout.OPTION_REPLY.unpack(header)
        if magic != layout.OPTION_REPLY_MAGIC:
            raise ProtocolError("Unexpected option reply magic")
        if answered != option:
            raise ProtocolError(
                "Unexpected option type %s, expected %s" % (_option_words(answered), _option_words(option))
            )
        return kind, length

    def _refused(self, option: int, kind: int, length: int) -> _RefusedError:
        if length > _MAX_OPTION_REPLY:
            raise ProtocolError("option %s error message of %d bytes is too long" % (_option_words(option), length))
        return _RefusedError(option, kind, readable(self._receive(length, "option error message")))

    def _send_option(self, option: int, data: bytes) -> None:
        header = layout.OPTION.pack(layout.IHAVEOPT, option, len(data))
        self._send(header + data, "option request header")

    # Bytes, all before the deadline

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the server has stopped answering")
        return left

    def _send(self, data: bytes, what: str) -> None:
        try:
            self._wire.set_timeout(self._left())
            self._wire.send(data)
        except OSError as error:
            raise self._lost("Failed to send %s" % what, "Unable to write to socket", error) from error

    def _receive(self, length: int, what: str) -> bytes:
        buffer = bytearray(length)
        view = memoryview(buffer)
        try:
            while len(view):
                self._wire.set_timeout(self._left())
                view = view[self._wire.receive_some(view) :]
        except OSError as error:
            raise self._lost("Failed to read %s" % what, "Unable to read from socket", error) from error
        return bytes(buffer)

    def _lost(self, what: str, how: str, error: OSError) -> StorageError:
        words = str(error)
        if error.errno:
            words = "%s: %s" % (how, os.strerror(error.errno))
        return StorageError(
            "%s: %s" % (what, words), path=self._address.name, remedy="see whether an NBD server still runs there"
        )

    def _has_no(self, what: str) -> StorageError:
        return StorageError("The server is too old for %s" % what, path=self._address.name)


def _check_info(payload: bytes, size: int) -> None:
    if len(payload) != size:
        raise ProtocolError("remaining export info len %d is unexpected size" % (len(payload) - layout.SHORT.size))


def _certificate_words(error: Exception, hostname: str | None) -> str:
    """GnuTLS's words, as QEMU prints them, for what OpenSSL found wrong with the server's certificate."""
    code = getattr(error, "verify_code", 0)
    if code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
        return "Certificate does not match the hostname %s" % hostname
    if code in (2, 18, 19, 20, 21):  # no issuer, or one that is not trusted
        return "The certificate hasn't got a known issuer"
    if code == 23:  # X509_V_ERR_CERT_REVOKED
        return "The certificate has been revoked"
    return "The certificate is not trusted"
