# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All kinds of NBD servers: old, narrow, encrypted, read-only and dying ones."""
from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from qimg.crypto.object_text import parse_object
from qimg.crypto.objects import ObjectStore
from qimg.errors import ImageError, ReferenceDeniedError, StorageError, StorageLostError
from qimg.formats.driver import INFO, WRITE
from qimg.formats.opening import Opener, open_image
from qimg.operations.check import check
from qimg.operations.convert import convert
from qimg.operations.create import create
from qimg.operations.map import map_image
from qimg.policy import FOLLOW, ReferencePolicy
from support import oracle
from support.in_process import qimg
from support.nbd import inet_listener, nbdkit, qemu_nbd, serving, unix_listener, write_certificates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(shutil.which("nbdkit") is None, reason="nbdkit is not installed"),
]

MIB = 1 << 20
NAME = "nbd+unix:///%s?socket=%s"


def has_ipv6() -> bool:
    """Whether this machine can talk to itself by IPv6."""
    try:
        with inet_listener(socket.AF_INET6):
            return True
    except OSError:
        return False


def pattern(size: int, seed: int = 3) -> bytes:
    chance = random.Random(seed)
    data = bytearray(size)
    for _ in range(8):
        start = chance.randrange(size)
        piece = chance.randbytes(min(size - start, 100000))
        data[start : start + len(piece)] = piece
    return bytes(data)


FLAVOURS = {
    "plain": ["file", "f"],
    "without structured replies": ["--no-sr", "file", "f"],
    "without extents": ["--filter=noextents", "file", "f"],
    "without zeroing": ["--filter=nozero", "file", "f"],
    "one at a time": ["--filter=noparallel", "file", "f"],
    "for blocks of 4 KiB": ["--filter=blocksize-policy", "file", "f", "blocksize-minimum=4096",
                            "blocksize-preferred=65536", "blocksize-maximum=1M", "blocksize-error-policy=error"],
    "for blocks of 64 KiB": ["--filter=blocksize-policy", "file", "f", "blocksize-minimum=64k",
                             "blocksize-preferred=64k", "blocksize-maximum=64k", "blocksize-error-policy=error"],
    "for little at a time": ["--filter=blocksize-policy", "file", "f", "blocksize-minimum=1",
                             "blocksize-preferred=512", "blocksize-maximum=4096", "blocksize-error-policy=error"],
    "that forces writes": ["--filter=fua", "file", "f", "fuamode=force"],
}  # fmt: skip


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_data_go_both_ways(tmp_path: Path, flavour: str) -> None:
    content = pattern(3 * MIB + 64 * 1024)
    (tmp_path / "f").write_bytes(content)
    (tmp_path / "new.raw").write_bytes(content[::-1])
    name = NAME % ("", tmp_path / "s")
    with unix_listener(tmp_path, "s") as listener, serving(nbdkit(*FLAVOURS[flavour]), listener, tmp_path):
        convert(name, str(tmp_path / "copy.qcow2"), "qcow2", source_format="raw")
        convert(str(tmp_path / "new.raw"), name, "raw", source_format="raw", into_existing=True)
    assert oracle.read_guest(tmp_path / "copy.qcow2", tmp_path / "scratch") == content
    assert (tmp_path / "f").read_bytes() == content[::-1]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_an_image_in_an_export_is_changed_in_place(tmp_path: Path, flavour: str) -> None:
    path = tmp_path / "f"
    create(str(path), "qcow2", 2 * MIB, options={"cluster_size": 4096})
    with open(path, "r+b") as file:
        file.truncate(8 * MIB)
    name = NAME % ("", tmp_path / "s")
    data = pattern(2 * MIB)
    with unix_listener(tmp_path, "s") as listener, serving(nbdkit(*FLAVOURS[flavour]), listener, tmp_path):
        with open_image(name, "qcow2", WRITE) as image:
            image.write(0, data[: MIB + 512])
            image.create_snapshot("s", 1, 1)  # type: ignore[attr-defined]
            image.write(MIB + 512, data[MIB + 512 :])
            image.write_zeroes(5 * 512, 9 * 512)
        assert check(name, "qcow2").clean
        with open_image(name, "qcow2") as image:
            assert image.read(0, image.size) == data[: 5 * 512] + bytes(9 * 512) + data[14 * 512 :]
    assert oracle.is_clean(path, "-f", "qcow2")
    assert [snapshot["name"] for snapshot in oracle.info(path, "-f", "qcow2")["snapshots"]] == ["s"]


def test_a_server_of_the_old_style_is_read(tmp_path: Path) -> None:
    content = pattern(MIB)
    (tmp_path / "f").write_bytes(content)
    with unix_listener(tmp_path, "s") as listener, serving(nbdkit("--oldstyle", "file", "f"), listener, tmp_path):
        with open_image(NAME % ("", tmp_path / "s")) as image:
            assert image.read(0, MIB) == content
        with pytest.raises(StorageError, match="Server does not support non-empty export names"):
            open_image(NAME % ("name", tmp_path / "s"))


def test_a_server_on_the_network_has_a_host_and_a_port(tmp_path: Path) -> None:
    content = pattern(MIB)
    (tmp_path / "f").write_bytes(content)
    with inet_listener() as listener, serving(qemu_nbd("f", "-x", "ex"), listener, tmp_path):
        port = listener.getsockname()[1]
        for name in ("nbd://127.0.0.1:%d/ex" % port, "nbd:127.0.0.1:%d:exportname=ex" % port):
            with open_image(name) as image:
                assert image.read(0, MIB) == content
        node: Any = {"driver": "nbd", "host": "127.0.0.1", "port": str(port), "export": "ex"}
        with open_image(node) as image:
            assert image.read(0, MIB) == content


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_a_server_is_reached_by_ipv6(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(pattern(MIB))
    served = qemu_nbd("f", "-x", "ex")
    with inet_listener(socket.AF_INET6) as listener, serving(served, listener, tmp_path):
        port = listener.getsockname()[1]
        node = "driver=nbd,server.type=inet,server.host=::1,server.port=%d,export=ex" % port
        for words in (
            ["nbd://[::1]:%d/ex" % port],
            ["nbd:[::1]:%d:exportname=ex" % port],
            ["--image-opts", node],
            ["--image-opts", node + ",server.ipv6=on"],
            ["--image-opts", "server.port=%d,server.host=::1,server.ipv4=off,driver=nbd,export=ex,server.type=inet"
             % port],
            ["--image-opts", node + ",server.to=9,server.keep-alive=on"],
            ["--image-opts", node + ",server.ipv4=on"],
        ):  # fmt: skip
            theirs, ours = (ask("map", *words, cwd=tmp_path) for ask in (oracle.ask_qemu_img, qimg))
            assert ours == theirs
            assert (ours.code == 0) is not ("ipv4=on" in words[-1])
        with open_image("nbd://[::1]:%d/ex" % port) as image:
            assert image.read(0, MIB) == pattern(MIB)


@pytest.mark.parametrize("length", [255, 256, 4074, 4096, 4097])
def test_the_name_of_an_export_may_be_long(tmp_path: Path, length: int) -> None:
    name = NAME % ("n" * length, "s")
    with unix_listener(tmp_path, "s") as listener, serving(nbdkit("memory", "1M"), listener, tmp_path):
        theirs, ours = (ask("map", "-f", "raw", name, cwd=tmp_path) for ask in (oracle.ask_qemu_img, qimg))
    assert ours == theirs
    assert (ours.code == 0) is (length <= 4096)


def test_extents_are_what_qemu_img_finds(tmp_path: Path) -> None:
    name = NAME % ("", tmp_path / "s")
    layout = "echo 0 1M hole; echo 1M 1M zero; echo 2M 1M hole,zero; echo 3M 1M"
    words = nbdkit("eval", "get_size=echo 4M", "pread=head -c $3 /dev/zero", "can_extents=exit 0", "extents=" + layout)
    with unix_listener(tmp_path, "s") as listener, serving(words, listener, tmp_path):
        found = [extent.document() for extent in map_image(name, "raw")]
        assert found == oracle.map_(name, "-f", "raw")


def test_the_error_of_the_server_is_told(tmp_path: Path) -> None:
    name = NAME % ("", tmp_path / "s")
    words = nbdkit("eval", "get_size=echo 4M", "pread=echo ENOMEM the tape is torn >&2; exit 1")
    with unix_listener(tmp_path, "s") as listener, serving(words, listener, tmp_path):
        with open_image(name, "raw") as image, pytest.raises(StorageError, match="Cannot allocate memory"):
            image.read(0, 512)


def test_what_is_served_for_reading_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(pattern(MIB))
    name = NAME % ("", tmp_path / "s")
    with unix_listener(tmp_path, "s") as listener, serving(nbdkit("-r", "file", "f"), listener, tmp_path):
        with pytest.raises(StorageError, match=r"Permission denied.*exports it for reading only"):
            open_image(name, "raw", WRITE)
    assert (tmp_path / "f").read_bytes() == pattern(MIB)


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("tls") / "pki"
    write_certificates(directory)
    return directory


def tls_server(certificates: Path) -> list[str]:
    return [
        *qemu_nbd("f", "-x", "ex", "--tls-creds", "tls"),
        "--object", "tls-creds-x509,id=tls,endpoint=server,verify-peer=yes,dir=%s" % certificates,
    ]  # fmt: skip


def objects(certificates: Path) -> ObjectStore:
    store = ObjectStore()
    store.add(parse_object("tls-creds-x509,id=mine,endpoint=client,dir=%s" % certificates))
    return store


def test_certificates_open_a_server_with_tls(tmp_path: Path, certificates: Path) -> None:
    content = pattern(MIB)
    (tmp_path / "f").write_bytes(content)
    with inet_listener() as listener, serving(tls_server(certificates), listener, tmp_path):
        port = str(listener.getsockname()[1])
        node: Any = {"driver": "nbd", "host": "localhost", "port": port, "export": "ex", "tls-creds": "mine"}
        node.pop("host")
        node.pop("port")
        node["server"] = {"type": "inet", "host": "127.0.0.1", "port": port}
        with Opener(secrets=objects(certificates)).open(node, purpose=WRITE) as image:
            assert image.read(0, MIB) == content
            image.write(512, b"secured!" * 64)
        uri = "nbds://127.0.0.1:%s/ex?tls-certificates=%s" % (port, certificates)
        with open_image(uri) as image:
            assert image.read(512, 8) == b"secured!"
    assert (tmp_path / "f").read_bytes() == content[:512] + b"secured!" * 64 + content[1024:]


def test_the_command_line_takes_credentials_as_qemu_img_does(tmp_path: Path, certificates: Path) -> None:
    (tmp_path / "f").write_bytes(pattern(MIB))
    with inet_listener() as listener, serving(tls_server(certificates), listener, tmp_path):
        port = listener.getsockname()[1]
        words = [
            "map", "--output=json", "--object", "tls-creds-x509,id=mine,endpoint=client,dir=%s" % certificates,
            "--image-opts", "driver=nbd,host=127.0.0.1,port=%d,export=ex,tls-creds=mine" % port,
        ]  # fmt: skip
        theirs = oracle.ask_qemu_img(*words)
        ours = oracle.run(sys.executable, "-c", "import sys; sys.path.insert(0, %r); sys.argv[0] = 'qemu-img'\n"
                          "from qimg.cli.main import main; sys.exit(main())" % sdk(), *words)
    assert theirs.code == 0
    assert ours == theirs


def test_a_server_with_tls_is_not_talked_to_in_the_clear(tmp_path: Path, certificates: Path) -> None:
    (tmp_path / "f").write_bytes(pattern(MIB))
    with inet_listener() as listener, serving(tls_server(certificates), listener, tmp_path):
        with pytest.raises(StorageError, match="TLS negotiation required before option"):
            open_image("nbd://127.0.0.1:%d/ex" % listener.getsockname()[1])


def test_a_server_without_tls_is_not_trusted_with_secrets(tmp_path: Path, certificates: Path) -> None:
    (tmp_path / "f").write_bytes(pattern(MIB))
    with inet_listener() as listener, serving(qemu_nbd("f", "-x", "ex"), listener, tmp_path):
        uri = "nbds://127.0.0.1:%d/ex?tls-certificates=%s" % (listener.getsockname()[1], certificates)
        with pytest.raises(StorageError, match=r"\(starttls\)"):
            open_image(uri)


def test_a_certificate_for_another_host_is_refused(tmp_path: Path, certificates: Path) -> None:
    (tmp_path / "f").write_bytes(pattern(MIB))
    with inet_listener() as listener, serving(tls_server(certificates), listener, tmp_path):
        uri = "nbds://127.0.0.1:%d/ex?tls-hostname=elsewhere&tls-certificates=%s" % (
            listener.getsockname()[1], certificates,
        )  # fmt: skip
        with pytest.raises(StorageError, match="does not match the hostname elsewhere"):
            open_image(uri)


def test_a_certificate_of_another_authority_is_refused(tmp_path: Path, certificates: Path) -> None:
    (tmp_path / "f").write_bytes(pattern(MIB))
    write_certificates(tmp_path / "other")
    with inet_listener() as listener, serving(tls_server(certificates), listener, tmp_path):
        uri = "nbds://127.0.0.1:%d/ex?tls-certificates=%s" % (listener.getsockname()[1], tmp_path / "other")
        with pytest.raises(StorageError, match="certificate"):
            open_image(uri)


def test_credentials_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"ca-cert\.pem"):
        ObjectStore().add(parse_object("tls-creds-x509,id=mine,endpoint=client,dir=%s" % tmp_path))


_PSK = "import ssl, sys; sys.exit(0 if getattr(ssl, 'HAS_PSK', False) else 1)"


@pytest.mark.parametrize("server", ["qemu-nbd", "nbdkit", "nbdkit with certificates"])
@pytest.mark.parametrize("keys", ["right", "wrong", "missing"])
def test_a_pre_shared_key_is_used_where_python_can(
    tmp_path: Path, certificates: Path, server: str, keys: str
) -> None:
    """Python can from 3.13 on; before, one sentence says so."""
    (tmp_path / "f").write_bytes(pattern(MIB))
    for name, line in (("right", "qemu:00112233"), ("wrong", "qemu:44556677"), ("missing", "bob:00112233")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys.psk").write_text(line + "\n", "ascii")
    directory = tmp_path / "right"
    served = nbdkit("--tls=require", "--tls-psk=%s/keys.psk" % directory, "file", "f")
    if server == "nbdkit with certificates":
        served = nbdkit("--tls=require", "--tls-certificates=%s" % certificates, "file", "f")
    if server == "qemu-nbd":
        served = [*qemu_nbd("f", "--tls-creds", "tls"), "--object",
                  "tls-creds-psk,id=tls,endpoint=server,dir=%s" % directory]  # fmt: skip
    with inet_listener() as listener, serving(served, listener, tmp_path):
        words = [
            "map", "--output=json", "--object", "tls-creds-psk,id=mine,endpoint=client,dir=%s" % (tmp_path / keys),
            "--image-opts", "driver=nbd,host=127.0.0.1,port=%d,tls-creds=mine" % listener.getsockname()[1],
        ]  # fmt: skip
        theirs = oracle.ask_qemu_img(*words)
        able = [name for name in (sys.executable, shutil.which("python3.13"), shutil.which("python3.14")) if name
                and oracle.run(name, "-c", _PSK).code == 0]  # fmt: skip
        program = ("import sys; sys.path.insert(0, %r); sys.argv[0] = 'qemu-img'\n"
                   "from qimg.cli.main import main; sys.exit(main())") % sdk()  # fmt: skip
        ours = oracle.run((able or [sys.executable])[0], "-c", program, *words)
    if able or keys == "missing":
        assert ours == theirs
    else:
        assert ours.code == 1
        assert ours.stderr.endswith("TLS with a pre-shared key needs Python 3.13 or newer\n")


# The end of a server


def test_a_server_that_is_killed_ends_a_copy_with_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "old.qcow2").write_bytes(b"what was there before")
    name = NAME % ("", tmp_path / "s")
    # It stops itself at the first read behind the first MiB.
    words = nbdkit(
        "eval", "get_size=echo 8M", "pread=if [ $4 -ge 1048576 ]; then kill -9 $PPID; fi; head -c $3 /dev/urandom"
    )
    with unix_listener(tmp_path, "s") as listener, serving(words, listener, tmp_path) as server:
        with pytest.raises(StorageLostError, match="Input/output error; see whether the server still runs"):
            convert(name, str(tmp_path / "old.qcow2"), "qcow2", source_format="raw")
        assert server.wait(30) == -signal.SIGKILL
    assert (tmp_path / "old.qcow2").read_bytes() == b"what was there before"


def test_a_server_that_is_killed_while_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "new.raw").write_bytes(random.Random(1).randbytes(8 * MIB))
    name = NAME % ("", tmp_path / "s")
    words = nbdkit(
        "eval", "get_size=echo 8M", "can_write=exit 0", "pread=head -c $3 /dev/zero",
        "pwrite=cat >/dev/null; if [ $4 -ge 1048576 ]; then kill -9 $PPID; fi",
    )  # fmt: skip
    with unix_listener(tmp_path, "s") as listener, serving(words, listener, tmp_path):
        with pytest.raises(ImageError, match="Input/output error; see whether the server still runs"):
            convert(str(tmp_path / "new.raw"), name, "raw", source_format="raw", into_existing=True)


# Backing files that are exports


def overlay(tmp_path: Path) -> tuple[str, str]:
    backing = NAME % ("", tmp_path / "s")
    path = str(tmp_path / "over.qcow2")
    oracle.qemu_img("create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", "raw", path, "1M")
    return path, backing


def test_an_image_may_not_connect_us_to_a_server_unless_the_user_allows_it(tmp_path: Path) -> None:
    content = pattern(MIB)
    (tmp_path / "f").write_bytes(content)
    path, backing = overlay(tmp_path)
    with unix_listener(tmp_path, "s") as listener:
        with pytest.raises(ReferenceDeniedError, match=r"is not a local file.*reference_policy"):
            open_image(path)
        # Nobody has even knocked.
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
        listener.setblocking(True)
        with serving(nbdkit("file", "f"), listener, tmp_path):
            for policy in (ReferencePolicy(FOLLOW), ReferencePolicy(trusted_files=(backing,))):
                with open_image(path, opener=Opener(policy)) as image:
                    assert image.read(0, MIB) == content


def test_an_image_that_names_a_lost_server_is_still_described(tmp_path: Path) -> None:
    path, backing = overlay(tmp_path)
    with Opener().open(path, purpose=INFO, backing=False) as image:
        assert image.backing_file == backing
    with pytest.raises(StorageError, match="Could not open backing file: Failed to connect to"):
        open_image(path, opener=Opener(ReferencePolicy(FOLLOW)))


def sdk() -> str:
    import qimg

    return os.path.dirname(os.path.dirname(os.path.abspath(qimg.__file__)))


def test_asking_for_one_export_costs_one_connection(tmp_path: Path) -> None:
    """A server that takes one client only, and ends with it, is enough for a command."""
    (tmp_path / "f").write_bytes(pattern(MIB))
    name = NAME % ("ex", tmp_path / "s")
    with unix_listener(tmp_path, "s") as listener:
        words = ["qemu-nbd", "-f", "raw", "-x", "ex", "f"]
        with serving(words, listener, tmp_path) as server:
            convert(name, str(tmp_path / "copy.raw"), "raw")
            assert server.wait(30) == 0
    assert (tmp_path / "copy.raw").read_bytes() == pattern(MIB)
    assert subprocess.run(["cmp", str(tmp_path / "copy.raw"), str(tmp_path / "f")], check=False).returncode == 0


# What servers say, in qemu-img's words

_FAILS = "echo EIO no >&2; exit 1"
_ZEROES = "pread=head -c $3 /dev/zero"
#: Command line -> what nbdkit is told, or the command line that has it.
WORDS: dict[str, list[str] | str] = {
    "map @": ["--filter=blocksize-policy", "file", "disk.raw", "blocksize-minimum=64k", "blocksize-preferred=64k",
              "blocksize-maximum=1M", "blocksize-error-policy=error"],
    "map --output=json @": "map @",
    "map -f raw @": ["file", "uneven.raw"],
    "map -f raw --output=json @": "map -f raw @",
    "map -f raw -s 3100 --output=json @": "map -f raw @",
    "info --output=json @": "map -f raw @",
    "convert -f raw -O raw @ new.raw": "map -f raw @",
    "compare -f raw -F raw @ uneven.raw": "map -f raw @",
    "dd -f raw -O raw if=@ of=new.raw": ["eval", "get_size=echo 8M", "pread=" + _FAILS],
    "compare -f raw -F raw @ disk.raw": "dd -f raw -O raw if=@ of=new.raw",
    "bench -f raw -c 3 @": "dd -f raw -O raw if=@ of=new.raw",
    "dd -f raw -O raw if=disk.raw of=@": ["eval", "get_size=echo 8M", _ZEROES,
                                          "pwrite=if [ $4 -ge 1048576 ]; then %s; fi; cat >/dev/null" % _FAILS],
    "convert -n -f raw -O raw disk.raw @": ["eval", "get_size=echo 8M", _ZEROES,
                                            "pwrite=cat > /dev/null; " + _FAILS],
    "create -f raw @ 1M": "convert -n -f raw -O raw disk.raw @",
    "create -f qcow2 @ 1M": "convert -n -f raw -O raw disk.raw @",
    "convert -f raw -O qcow2 disk.raw @": "convert -n -f raw -O raw disk.raw @",
    "map --output=json -f raw @": ["eval", "get_size=echo 8M", _ZEROES, "can_extents=exit 0", "extents=" + _FAILS],
    "map -f raw -l 1M @": "map --output=json -f raw @",
    "convert -f raw -O qcow2 @ new.qcow2": "map --output=json -f raw @",
    "info -f raw @": ["eval", "get_size=echo 8M", "open=" + _FAILS],
}  # fmt: skip


@pytest.mark.parametrize("line", WORDS)
def test_what_a_server_says_is_told_in_the_words_of_qemu_img(line: str, tmp_path: Path) -> None:
    flavour = WORDS[line]
    if isinstance(flavour, str):
        flavour = WORDS[flavour]
    answers = []
    for side in ("theirs", "ours"):
        directory = tmp_path / side
        directory.mkdir()
        (directory / "disk.raw").write_bytes(bytes(MIB) + b"x" * MIB + bytes(3 * MIB - 123 * 512) + b"y" * 150000
                                             + bytes(3 * MIB + 123 * 512 - 150000))
        (directory / "uneven.raw").write_bytes(b"q" * 3100)
        words = line.replace("@", NAME % ("x", "s")).split()
        with unix_listener(directory, "s") as listener, serving(nbdkit(*flavour), listener, directory):
            ask = oracle.ask_qemu_img if side == "theirs" else qimg
            answers.append(ask(*words, cwd=directory))
    assert answers[1] == answers[0]
    if answers[1].code:
        assert sorted(os.listdir(tmp_path / "ours")) == ["disk.raw", "s", "uneven.raw"]
