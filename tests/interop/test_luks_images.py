# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LUKS as qemu-img, cryptsetup and we create, describe, read and write it."""
from __future__ import annotations

import random
import shutil
import struct
import subprocess

import pytest

from support import in_process, oracle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

pytestmark = pytest.mark.oracle

SECRET = ("--object", "secret,id=s,data=the-passphrase")
QUICK = "key-secret=s,iter-time=10"
MIB = 1 << 20
CIPHERS = (
    "cipher-mode=xts", "cipher-alg=aes-128", "cipher-alg=aes-192", "cipher-mode=cbc",
    "cipher-mode=cbc,ivgen-alg=plain,hash-alg=sha1", "cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256",
    "cipher-mode=ecb,hash-alg=sha512", "cipher-alg=aes-128,cipher-mode=ctr",
)  # fmt: skip


def node(name: str) -> tuple[str, ...]:
    return (*SECRET, "--image-opts", "driver=luks,key-secret=s,file.filename=%s" % name)


def qimg(directory: Path, *words: Any) -> str:
    answer = in_process.qimg(*words, cwd=directory)
    assert answer.code == 0, answer.stderr
    return str(answer.stdout)


def refused(directory: Path, *words: Any) -> str:
    answer = in_process.qimg(*words, cwd=directory)
    assert answer.code == 1
    return str(answer.stderr)


def make_raw(directory: Path, size: int = MIB) -> bytes:
    data = random.Random(7).randbytes(size)
    (directory / "raw").write_bytes(data)
    return data


@pytest.mark.parametrize("cipher", CIPHERS)
def test_each_cipher_is_read_in_both_directions(cipher: str, tmp_path: Path) -> None:
    data = make_raw(tmp_path)
    options = "%s,%s" % (QUICK, cipher)
    qimg(tmp_path, "convert", *SECRET, "-f", "raw", "-O", "luks", "-o", options, "raw", "ours")
    oracle.qemu_img("convert", *node("ours"), "-O", "raw", "back", cwd=tmp_path)
    assert (tmp_path / "back").read_bytes() == data
    oracle.qemu_img("convert", *SECRET, "-f", "raw", "-O", "luks", "-o", options, "raw", "theirs", cwd=tmp_path)
    qimg(tmp_path, "convert", *node("theirs"), "-O", "raw", "again")
    assert (tmp_path / "again").read_bytes() == data


def test_info_map_and_measure_say_what_qemu_img_says(tmp_path: Path) -> None:
    oracle.qemu_img("create", "-q", *SECRET, "-f", "luks", "-o", QUICK, "i", "3M", cwd=tmp_path)
    for words in (
        ("info", "i"),
        ("info", "--output=json", "i"),
        ("map", "--output=json", *node("i")),
        ("measure", *SECRET, "-O", "luks", "-o", QUICK, "--size", "1G"),
        ("create", "-f", "luks", "-o", "help"),
    ):
        assert qimg(tmp_path, *words) == oracle.qemu_img(*words, cwd=tmp_path)


def test_random_writes_of_both_programs_in_turn(tmp_path: Path) -> None:
    from qimg.crypto.objects import ObjectStore
    from qimg.formats.driver import WRITE
    from qimg.formats.opening import Opener
    from qimg.policy import DENY, ReferencePolicy

    chance = random.Random(11)
    expected = bytearray(make_raw(tmp_path))
    qimg(tmp_path, "convert", *SECRET, "-f", "raw", "-O", "luks", "-o", QUICK, "raw", "i")
    secrets = ObjectStore()
    secrets.add({"qom-type": "secret", "id": "s", "data": "the-passphrase"})
    opened = {"driver": "luks", "key-secret": "s", "file": {"driver": "file", "filename": str(tmp_path / "i")}}
    for turn in range(6):
        offset, length = chance.randrange(900_000), chance.randrange(1, 100_000)
        if turn % 2:
            offset, length = offset - offset % 512, 4096
            command = "write -P %d %d %d" % (turn, offset, length)
            words = ["qemu-io", *SECRET, "--image-opts", node("i")[-1], "-c", command]
            subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
            expected[offset : offset + length] = bytes([turn]) * length
        else:
            data = chance.randbytes(length)
            with Opener(ReferencePolicy(DENY), secrets=secrets).open(opened, None, WRITE) as image:
                image.write(offset, data)
            expected[offset : offset + length] = data
    qimg(tmp_path, "convert", *node("i"), "-O", "raw", "ours")
    oracle.qemu_img("convert", *node("i"), "-O", "raw", "theirs", cwd=tmp_path)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes() == bytes(expected)


def test_resizing_keeps_what_is_there(tmp_path: Path) -> None:
    data = make_raw(tmp_path)
    qimg(tmp_path, "convert", *SECRET, "-f", "raw", "-O", "luks", "-o", QUICK, "raw", "i")
    qimg(tmp_path, "resize", *node("i"), "2M")
    oracle.qemu_img("convert", *node("i"), "-O", "raw", "back", cwd=tmp_path)
    assert (tmp_path / "back").read_bytes()[:MIB] == data
    assert (tmp_path / "back").stat().st_size == 2 * MIB


@pytest.mark.skipif(shutil.which("cryptsetup") is None, reason="needs cryptsetup")
def test_cryptsetup_opens_our_header_and_we_a_detached_one_of_its(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"the-passphrase")

    def cryptsetup(*words: str) -> None:
        subprocess.run(["cryptsetup", *words, "-d", "key"], cwd=tmp_path, check=True, capture_output=True)

    make_raw(tmp_path)
    qimg(tmp_path, "create", *SECRET, "-f", "luks", "-o", QUICK, "ours", "1M")
    cryptsetup("open", "--test-passphrase", "ours")
    oracle.qemu_img("create", "-q", *SECRET, "-f", "luks", "-o", QUICK, "theirs", "1M", cwd=tmp_path)
    header = bytearray((tmp_path / "theirs").read_bytes()[:2068480])
    # The disk begins at the start of its own file.
    header[104:108] = bytes(4)
    (tmp_path / "header").write_bytes(header)
    (tmp_path / "body").write_bytes((tmp_path / "raw").read_bytes())
    detached = "driver=luks,key-secret=s,file.filename=body,header.driver=file,header.filename=header"
    qimg(tmp_path, "convert", *SECRET, "--image-opts", detached, "-O", "raw", "ours.raw")
    oracle.qemu_img("convert", *SECRET, "--image-opts", detached, "-O", "raw", "theirs.raw", cwd=tmp_path)
    assert (tmp_path / "ours.raw").read_bytes() == (tmp_path / "theirs.raw").read_bytes()


def test_a_wrong_or_missing_passphrase_and_values_are_refused(tmp_path: Path) -> None:
    qimg(tmp_path, "create", *SECRET, "-f", "luks", "-o", QUICK, "i", "1M")
    wrong = ("--object", "secret,id=s,data=another")
    assert "Invalid password" in refused(tmp_path, "map", *wrong, *node("i")[2:])
    assert "'key-secret' is required" in refused(tmp_path, "map", "i")
    assert "'key-secret' is required" in refused(tmp_path, "create", "-f", "luks", "n", "1M")
    for option in ("cipher-alg=x", "cipher-alg=serpent-256", "cipher-mode=x", "hash-alg=x", "ivgen-alg=x"):
        words = ("create", *SECRET, "-f", "luks", "-o", "%s,%s" % (QUICK, option), "n", "1M")
        assert option.split("=")[1] in refused(tmp_path, *words)
        assert not (tmp_path / "n").exists()


#: Version, payload offset, key bytes, iterations; of slot 0: state, iterations, offset, stripes.
@pytest.mark.parametrize("place", [6, 104, 108, 164, 208, 212, 248, 252])
@pytest.mark.parametrize("value", [0, 1, 0xFFFFFFFF])
def test_absurd_headers_are_refused_at_once(place: int, value: int, tmp_path: Path) -> None:
    qimg(tmp_path, "create", *SECRET, "-f", "luks", "-o", QUICK, "i", "64K")
    head = bytearray((tmp_path / "i").read_bytes())
    head[place : place + 4] = struct.pack(">I", value)
    (tmp_path / "i").write_bytes(head)
    answer = in_process.qimg("map", "--output=json", *node("i"), cwd=tmp_path)
    assert answer.code == 1
    assert "Traceback" not in answer.stderr
