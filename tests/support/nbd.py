# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real NBD servers, each on a socket that listens before the server runs, so that nobody has to wait for it."""
from __future__ import annotations

import datetime
import gc
import ipaddress
import os
import socket
import subprocess
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

#: The descriptor by which a passed socket is known (socket activation).
_FIRST_PASSED = 3


@contextmanager
def unix_listener(directory: Path, name: str) -> Iterator[socket.socket]:
    """A listening Unix socket ``name`` in a directory, whose path may be longer than such an address.

    The name stays when it is closed.
    """
    with socket.socket(socket.AF_UNIX) as listener:
        fd = os.open(directory, os.O_PATH)
        try:
            listener.bind("/proc/self/fd/%d/%s" % (fd, name))
        finally:
            os.close(fd)
        listener.listen(16)
        yield listener


@contextmanager
def inet_listener(family: socket.AddressFamily = socket.AF_INET) -> Iterator[socket.socket]:
    """A listening TCP socket on this machine, on a port that is free."""
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as listener:
        yield listener


@contextmanager
def serving(words: Sequence[str], listener: socket.socket, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server on a listening socket; at the end everything that it was told is in its files."""

    def hand_over() -> None:
        os.dup2(listener.fileno(), _FIRST_PASSED)
        os.set_inheritable(_FIRST_PASSED, True)

    server = subprocess.Popen(
        ["sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh", *words],
        preexec_fn=hand_over,  # noqa: PLW1509 (no threads run here)
        pass_fds=(_FIRST_PASSED,),
        cwd=cwd,
        stderr=subprocess.PIPE,
    )
    try:
        yield server
    finally:
        # Servers wait for their clients, and a connection lasts as long as the opener that made it.
        gc.collect()
        server.terminate()
        try:
            server.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            # It waits for a client, which a test that failed has left connected.
            server.kill()
            server.communicate()


def qemu_nbd(image: str, *options: str, format: str = "raw") -> list[str]:
    """The command line of a qemu-nbd that stays when its client goes."""
    return ["qemu-nbd", "--persistent", "--shared=0", "-f", format, *options, image]


def nbdkit(*options: str) -> list[str]:
    """The command line of an nbdkit."""
    return ["nbdkit", "--foreground", *options]


def write_certificates(directory: Path, first_day: int = -1, last_day: int = 2) -> None:
    """What QEMU's ``tls-creds-x509`` wants in a directory, for both ends; the server is ``localhost``.

    :param first_day: of the ends' certificates, counted from today; ``last_day``: likewise
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.datetime.now(datetime.timezone.utc)
    authority_key = ec.generate_private_key(ec.SECP256R1())

    def certificate(subject: str, key: ec.EllipticCurvePrivateKey, usage: x509.ObjectIdentifier | None) -> bytes:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=-9 if usage is None else first_day))
            .not_valid_after(now + datetime.timedelta(days=9 if usage is None else last_day))
            .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(usage is not None, False, usage is not None, False, False, usage is None, False, False,
                              False),
                critical=True,
            )
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(authority_key, hashes.SHA256())
        encoded: bytes = signed.public_bytes(serialization.Encoding.PEM)
        return encoded

    directory.mkdir()
    (directory / "ca-cert.pem").write_bytes(certificate("authority", authority_key, None))
    for end, usage in (("server", ExtendedKeyUsageOID.SERVER_AUTH), ("client", ExtendedKeyUsageOID.CLIENT_AUTH)):
        key = ec.generate_private_key(ec.SECP256R1())
        (directory / ("%s-cert.pem" % end)).write_bytes(certificate(end, key, usage))
        (directory / ("%s-key.pem" % end)).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
