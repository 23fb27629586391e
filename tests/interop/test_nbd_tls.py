# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates that are good, and such that are not: what is said of them is what qemu-img says."""
from __future__ import annotations

import gc
import re
import shutil
import warnings
from pathlib import Path

import pytest

from qimg.crypto.object_text import parse_object
from qimg.crypto.objects import ObjectStore
from qimg.errors import ImageError
from qimg.formats.opening import Opener
from support import oracle
from support.in_process import qimg
from support.nbd import inet_listener, nbdkit, qemu_nbd, serving, write_certificates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.oracle import Answer

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(shutil.which("nbdkit") is None, reason="nbdkit is not installed"),
]

#: Directory -> the days, counted from today, between which its certificates are valid.
DAYS = {"good": (-1, 2), "other": (-1, 2), "expired": (-5, -1), "future": (1, 5)}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories of certificates, each with an authority of its own; ``…-ca`` has the authority's only."""
    root: Path = tmp_path_factory.mktemp("certificates")
    for name, (first_day, last_day) in DAYS.items():
        write_certificates(root / name, first_day, last_day)
        (root / (name + "-ca")).mkdir()
        shutil.copy(root / name / "ca-cert.pem", root / (name + "-ca"))
    (root / "disk.raw").write_bytes(b"secret" * 1024)
    return root


def asked(certificates: Path, server: Sequence[str], client: str, more: str = "") -> list[Answer]:
    """What real qemu-img and we say to a server, given the credentials in the directory ``client``."""
    answers = []
    for ask in (oracle.ask_qemu_img, qimg):
        with inet_listener() as listener, serving(server, listener, certificates):
            port = listener.getsockname()[1]
            answer = ask(
                "map", "--output=json", "--object", "tls-creds-x509,id=mine,endpoint=client,dir=" + client,
                "--image-opts", "driver=nbd,host=127.0.0.1,port=%d,export=x,tls-creds=mine%s" % (port, more),
                cwd=certificates,
            )  # fmt: skip
            answers.append(answer._replace(stderr=re.sub(r"port=\d+", "port", answer.stderr)))
    return answers


def served_by_nbdkit(directory: str, *options: str) -> list[str]:
    return nbdkit("--tls=require", "--tls-certificates=" + directory, *options, "file", "disk.raw")


@pytest.mark.parametrize(
    ("server", "client", "more", "works"),
    [
        ("good", "good", "", True),
        ("good", "good-ca", "", True),
        ("good", "good", ",tls-hostname=localhost", True),
        ("good", "good", ",tls-hostname=elsewhere", False),
        ("good", "other", "", False),
        ("good", "other,verify-peer=no", "", True),
        ("expired", "expired-ca", "", False),
        ("expired", "good,verify-peer=no", "", True),
        ("future", "future-ca", "", False),
    ],
)
def test_a_server_is_believed_as_qemu_img_believes_it(
    certificates: Path, server: str, client: str, more: str, works: bool
) -> None:
    theirs, ours = asked(certificates, served_by_nbdkit(server), client, more)
    assert ours == theirs
    assert (ours.code == 0) is works


@pytest.mark.parametrize("client", ["good-ca", "other,verify-peer=no"])
def test_a_client_that_a_server_does_not_believe_is_told_so(certificates: Path, client: str) -> None:
    server = [
        *qemu_nbd("disk.raw", "-x", "x", "--tls-creds", "tls"),
        "--object", "tls-creds-x509,id=tls,endpoint=server,verify-peer=yes,dir=good",
    ]  # fmt: skip
    # What is said, and when it is noticed, depends on the TLS library.
    for answer in asked(certificates, server, client):
        assert (answer.code, answer.stdout) == (1, "")
        assert re.match(r"qemu-img: Could not open '[^\n]*': [^\n]+\n$", answer.stderr), answer


#: Directory -> the files in it, and of whose certificates they are, one after another.
MIXTURES = {
    "two old ones": {"ca-cert.pem": ["future/client"], "client-cert.pem": ["expired/client"]},
    "an old second authority": {"ca-cert.pem": ["good/ca", "expired/client"]},
    "an authority to come": {"ca-cert.pem": ["future/client"]},
    "an old second certificate": {"client-cert.pem": ["good/client", "expired/client"]},
    "an old server": {"server-cert.pem": ["expired/server"]},
}


@pytest.mark.parametrize(
    ("credentials", "refused"),
    [
        ("good", False),
        ("expired", True),
        ("future", True),
        ("expired-ca", False),
        ("expired,verify-peer=no", True),
        ("expired,passwordid=x", True),
        ("expired,sanity-check=off", False),
        ("two old ones", True),
        ("an old second authority", True),
        ("an authority to come", True),
        ("an old second certificate", False),
        ("an old server", False),
        ("an old server,endpoint=server", True),
    ],
)
def test_certificates_of_another_time_are_refused_before_they_are_used(
    certificates: Path, tmp_path: Path, credentials: str, refused: bool
) -> None:
    for name, files in MIXTURES.items():
        shutil.copytree(certificates / "good", tmp_path / name)
        for file, parts in files.items():
            (tmp_path / name / file).write_bytes(
                b"".join((certificates / (part + "-cert.pem")).read_bytes() for part in parts)
            )
    for name in ("good", "expired", "expired-ca", "future"):
        shutil.copytree(certificates / name, tmp_path / name)
    (tmp_path / "disk.raw").write_bytes(bytes(512))
    words = ["info", "--object", "tls-creds-x509,id=mine,dir=%s" % credentials, "disk.raw"]
    if "endpoint" not in credentials:
        words[2] += ",endpoint=client"
    theirs, ours = (ask(*words, cwd=tmp_path) for ask in (oracle.ask_qemu_img, qimg))
    assert ours == theirs
    assert (ours.code == 1) is refused


def test_an_nbdkit_that_hangs_up_on_a_client_is_noticed(certificates: Path) -> None:
    """When it is noticed is a race, which qemu-img has several words for."""
    _theirs, ours = asked(certificates, served_by_nbdkit("good", "--tls-verify-peer"), "good-ca")
    assert ours.code == 1
    assert re.search(
        r"Failed to (send option request header: Unable to write to|read option reply: Unable to read from) socket: "
        r"(Broken pipe|Connection reset by peer)$|"
        r"Failed to read option reply: Cannot read from TLS channel: The TLS connection was non-properly terminated\.$",
        ours.stderr,
    ), ours


@pytest.mark.parametrize(
    ("server", "client", "export"),
    [
        ("good", "good", "missing"),
        ("good", "good-ca", "x"),
        ("good", "other", "x"),
        ("good", "good,endpoint=server", "x"),
    ],
)
def test_no_socket_is_left_open_where_tls_or_what_follows_fails(
    certificates: Path, server: str, client: str, export: str
) -> None:
    command = [
        *qemu_nbd("disk.raw", "-x", "x", "--tls-creds", "tls"),
        "--object", "tls-creds-x509,id=tls,endpoint=server,verify-peer=yes,dir=" + server,
    ]  # fmt: skip
    directory, *more = client.split(",")
    objects = ObjectStore()
    words = ["tls-creds-x509,id=mine", "dir=%s" % (certificates / directory), *(more or ["endpoint=client"])]
    objects.add(parse_object(",".join(words)))
    with inet_listener() as listener, serving(command, listener, certificates):
        node = {
            "driver": "nbd", "host": "127.0.0.1", "port": str(listener.getsockname()[1]), "export": export,
            "tls-creds": "mine",
        }  # fmt: skip
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with pytest.raises(ImageError):
                Opener(secrets=objects).open(node)
            gc.collect()
    assert [str(warning.message) for warning in caught if warning.category is ResourceWarning] == []
