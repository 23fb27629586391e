# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that do what no server may: each gets one clear sentence, at once and in little memory."""
from __future__ import annotations

import random
import struct
import threading

import pytest

from qimg.errors import ImageError, StorageError, StorageLostError
from qimg.storage.nbd.client import NbdClient, Timeouts
from support.scripted_nbd import (
    ACK,
    GO,
    GREETING,
    INFO,
    MAGIC,
    META_CONTEXT,
    SET_META_CONTEXT,
    SIZE,
    STRUCTURED_REPLY,
    UNSUPPORTED,
    Peer,
    block_sizes,
    export_info,
    option_reply,
    scripted,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any


def client() -> NbdClient:
    return NbdClient(Timeouts(5.0, 5.0, 5.0))


HANDSHAKES = {
    "nothing": lambda peer: None,
    "another protocol": lambda peer: peer.say(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"),
    "a web server": lambda peer: peer.say(b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nConnection: close\r\n\r\n"),
    "half a greeting": lambda peer: peer.say(GREETING[:11]),
    "a second magic that is none": lambda peer: peer.say(MAGIC + b"\xff" * 200),
    "noise": lambda peer: peer.say(random.Random(1).randbytes(1 << 16)),
    "nothing after the greeting": lambda peer: peer.greet(),
}


def answering(*answers: bytes) -> Callable[[Peer], None]:
    """A script that greets and answers the client's options with these, one after another."""

    def script(peer: Peer) -> None:
        peer.greet()
        for answer in answers:
            peer.take_option()
            peer.say(answer)

    return script


NO = option_reply(STRUCTURED_REPLY, UNSUPPORTED)
YES = option_reply(STRUCTURED_REPLY, ACK)
OPTIONS = {
    "a reply without magic": answering(b"\0" * 20),
    "a reply to another option": answering(option_reply(GO, ACK)),
    "a reply of 4 GiB": answering(option_reply(STRUCTURED_REPLY, ACK, length=0xFFFFFFFF)),
    "an error of 4 GiB": answering(option_reply(STRUCTURED_REPLY, UNSUPPORTED, length=0xFFFFFFFF)),
    "a reply that ends early": answering(option_reply(STRUCTURED_REPLY, UNSUPPORTED, b"no", 100)),
    "information where none was asked for": answering(option_reply(STRUCTURED_REPLY, INFO, b"\0" * 12)),
    "contexts without end": answering(
        YES, b"".join(option_reply(SET_META_CONTEXT, META_CONTEXT, b"\0\0\0\1x" * 100) for _ in range(1000))
    ),
    "a context without a number": answering(YES, option_reply(SET_META_CONTEXT, META_CONTEXT, b"\0")),
    "no description of the export": answering(NO, option_reply(GO, ACK)),
    "a description that is too short": answering(NO, option_reply(GO, INFO, b"\0\0\1")),
    "a description of no kind": answering(NO, option_reply(GO, INFO, b"\0")),
    "information without end": answering(NO, option_reply(GO, INFO, export_info()) * 1000),
    "an export of 2^64-1 bytes": answering(
        NO, option_reply(GO, INFO, export_info((1 << 64) - 1)) + option_reply(GO, ACK)
    ),
    "an export of 2^63 bytes": answering(NO, option_reply(GO, INFO, export_info(1 << 63)) + option_reply(GO, ACK)),
    "an unknown error": answering(NO, option_reply(GO, 0x8000FFFF, b"\x1b[2J\x07 cleared")),
    **{
        "block sizes %r" % (sizes,): answering(
            NO,
            option_reply(GO, INFO, export_info()) + option_reply(GO, INFO, block_sizes(*sizes)) + option_reply(GO, ACK),
        )
        for sizes in ((0, 0, 0), (3, 4096, 1 << 20), (1 << 20, 1 << 20, 1 << 20), (512, 1000, 1 << 20),
                      (4096, 512, 4096), (512, 512, 100), (512, 512, 0))
    },
}  # fmt: skip


@pytest.mark.parametrize("name", [*HANDSHAKES, *OPTIONS])
def test_a_handshake_that_goes_wrong_is_one_sentence(tmp_path: Path, name: str) -> None:
    script = HANDSHAKES.get(name) or OPTIONS[name]
    with scripted(tmp_path, script) as options:
        nbd = client()
        with pytest.raises(StorageError) as caught:
            nbd.open(dict(options), False)
        nbd.close()
    text = str(caught.value)
    assert str(tmp_path / "s") in text
    assert len(text) < 500 and "\n" not in text and text.isprintable(), text
    hint = caught.value.hint or ""
    assert all(line.isprintable() for line in hint.split("\n"))


# Replies: each is made from the request that it answers.


def simple(error: int = 0, payload: bytes = b"", magic: int = 0x67446698) -> Callable[..., bytes]:
    return lambda request: struct.pack(">II8s", magic, error, request[0]) + payload


def chunk(kind: int, payload: bytes, flags: int = 1, length: int | None = None) -> Callable[..., bytes]:
    return lambda request: struct.pack(
        ">IHH8sI", 0x668E33EF, flags, kind, request[0], len(payload) if length is None else length
    ) + payload


def data_at(shift: int, payload: bytes, flags: int = 1) -> Callable[..., bytes]:
    return lambda request: chunk(1, struct.pack(">Q", request[2] + shift) + payload, flags)(request)


def hole_at(shift: int, length: int) -> Callable[..., bytes]:
    return lambda request: chunk(2, struct.pack(">QI", (request[2] + shift) % (1 << 64), length))(request)


READS: dict[str, Callable[[Any], bytes]] = {
    "no magic": simple(magic=0xDEADBEEF),
    "a simple reply with data": simple(payload=b"x" * 4096),
    "an answer to what nobody asked": lambda request: struct.pack(">IHH8sI", 0x668E33EF, 1, 0, b"someone.", 0),
    "no data at all": chunk(0, b""),
    "too little data": data_at(0, b"x" * 100),
    "too much data": data_at(0, b"x" * 5000),
    "data from before": chunk(1, struct.pack(">q", -512) + b"x" * 4096),
    "data from behind": data_at(4096, b"x" * 512),
    "no length": data_at(0, b""),
    "data of 4 GiB": chunk(1, b"\0" * 8, length=0xFFFFFFFF),
    "a length of less than nothing": chunk(1, b"\0" * 8, length=4),
    "the same data twice": lambda request: data_at(0, b"x" * 4096, 0)(request) + data_at(0, b"y" * 4096)(request),
    "a hole of 4 GiB": hole_at(0, 0xFFFFFFFF),
    "a hole before": hole_at(-4096, 4096),
    "a hole of nothing": hole_at(0, 0),
    "a hole in too many bytes": chunk(2, b"\0" * 13),
    "an unknown chunk": chunk(77, b"?"),
    "an end that goes on": chunk(0, b"", flags=0),
    "blocks that nobody asked about": chunk(5, struct.pack(">III", 1, 4096, 0)),
    "an error of 4 GiB": chunk(0x8001, b"\0\0\0\5", length=0xFFFFFFFF),
    "an error that is none": chunk(0x8001, struct.pack(">IH", 0, 0)),
    "an error with more words than bytes": chunk(0x8001, struct.pack(">IH", 5, 4000) + b"short"),
    "errors without end": lambda request: chunk(0x8001, struct.pack(">IH", 5, 0), flags=0)(request) * 5000,
    "pieces without end": lambda request: b"".join(
        chunk(1, struct.pack(">Q", request[2] + 2 * place) + b"x", flags=0)(request) for place in range(2000)
    ),
    "half a header": lambda request: simple()(request)[:7],
    "the end": lambda request: b"",
}  # fmt: skip


@pytest.mark.parametrize("name", READS)
def test_a_reply_that_breaks_the_rules_ends_the_connection(tmp_path: Path, name: str) -> None:
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.say(READS[name](peer.take_request()))

    with scripted(tmp_path, script) as options:
        nbd = client()
        storage = nbd.open(dict(options), False)
        with pytest.raises(StorageLostError, match="see whether the server still runs") as caught:
            storage.read(8192, 4096)
        # It stays lost: no later answer is believed.
        with pytest.raises(StorageLostError):
            storage.read(0, 512)
        nbd.close()
    assert str(caught.value).isprintable()


STATUSES = {
    "no block": chunk(5, struct.pack(">I", 1)),
    "half a block": chunk(5, struct.pack(">III", 1, 4096, 0)[:-2]),
    "a block of no length": chunk(5, struct.pack(">IIIII", 1, 0, 0, SIZE, 0)),
    "another context": chunk(5, struct.pack(">III", 2, SIZE, 0)),
    "16 million blocks": chunk(5, b"", length=128 << 20),
    "nothing": chunk(0, b""),
    "two answers": lambda request: chunk(5, struct.pack(">III", 1, SIZE, 0), flags=0)(request) * 2,
}


@pytest.mark.parametrize("name", STATUSES)
def test_a_description_of_blocks_that_makes_no_sense_is_refused(tmp_path: Path, name: str) -> None:
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.say(STATUSES[name](peer.take_request()))

    with scripted(tmp_path, script) as options:
        nbd = client()
        storage = nbd.open(dict(options), False)
        with pytest.raises(StorageLostError):
            list(storage.extents(0, SIZE))
        nbd.close()


def test_blocks_beyond_the_end_are_cut(tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        peer.welcome()
        peer.say(chunk(5, struct.pack(">IIIII", 1, 4096, 3, 0xFFFFFFFF, 0))(peer.take_request()))

    with scripted(tmp_path, script) as options:
        nbd = client()
        with nbd.open(dict(options), False) as storage:
            assert [(start, length) for start, length, _kind in storage.extents(0, SIZE)] == [
                (0, 4096), (4096, SIZE - 4096),
            ]  # fmt: skip
        nbd.close()


def test_structured_replies_that_were_not_agreed_on_are_refused(tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        peer.welcome(structured=False, context=False)
        peer.say(data_at(0, b"x" * 512)(peer.take_request()))

    with scripted(tmp_path, script) as options:
        nbd = client()
        with nbd.open(dict(options), False) as storage, pytest.raises(StorageLostError, match="not agreed on"):
            storage.read(0, 512)
        nbd.close()


def test_words_of_a_server_do_no_harm(tmp_path: Path) -> None:
    def script(peer: Peer) -> None:
        peer.welcome()
        words = b"\x1b]0;title\x07\r\nqemu-img: all is well"
        peer.say(chunk(0x8001, struct.pack(">IH", 5, len(words)) + words)(peer.take_request()))

    with scripted(tmp_path, script) as options:
        nbd = client()
        with nbd.open(dict(options), False) as storage, pytest.raises(StorageError) as caught:
            storage.read(0, 512)
        nbd.close()
    assert caught.value.errno == 5
    assert (caught.value.hint or "").isprintable()


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    done = threading.Event()
    with scripted(tmp_path, lambda peer: done.wait(30)) as options:
        with pytest.raises(StorageError, match="the server has stopped answering"):
            NbdClient(Timeouts(0.05, 0.05, 0.05)).open(dict(options), False)
        done.set()


def test_a_server_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    done = threading.Event()

    def script(peer: Peer) -> None:
        peer.welcome()
        done.wait(30)

    with scripted(tmp_path, script) as options:
        nbd = NbdClient(Timeouts(5.0, 5.0, 0.05))
        with nbd.open(dict(options), False) as storage, pytest.raises(StorageLostError, match="has stopped answering"):
            storage.read(0, 512)
        done.set()
        nbd.close()


def test_a_name_that_no_server_can_have_is_not_sent(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="export name too long"):
        client().open({"path": str(tmp_path / "s"), "export": "x" * 5000}, False)
