# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that break the rules of the handshake, or end in it: what is said of them is what qemu-img says."""
from __future__ import annotations

import struct
from pathlib import Path

import pytest

from support import oracle
from support.in_process import qimg
from support.scripted_nbd import (
    ACK,
    GO,
    GREETING,
    INFO,
    MAGIC,
    META_CONTEXT,
    OPTION,
    SET_META_CONTEXT,
    STRUCTURED_REPLY,
    Peer,
    block_sizes,
    export_info,
    option_reply,
    scripted,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.oracle

_OLDSTYLE = struct.pack(">Q", 0x00420281861253)
_ERROR = 1 << 31


def saying(data: bytes) -> Callable[[Peer], None]:
    """A server that says something and hangs up."""
    return lambda peer: peer.say(data)


def old_newstyle(data: bytes, flags: int = 0) -> Callable[[Peer], None]:
    """A server that only knows how to export a name: what it says to that."""

    def script(peer: Peer) -> None:
        peer.say(MAGIC + OPTION + struct.pack(">H", flags))
        peer.take(4)
        peer.take_option()
        peer.say(data)

    return script


def answering(option: int, data: bytes) -> Callable[[Peer], None]:
    """A good server but for one option."""
    return lambda peer: peer.welcome(instead={option: data})


def informing(*parts: bytes) -> Callable[[Peer], None]:
    """A good server but for what it tells of the export."""
    return answering(GO, b"".join(option_reply(GO, INFO, part) for part in parts) + option_reply(GO, ACK))


def context(name: bytes) -> bytes:
    return option_reply(SET_META_CONTEXT, META_CONTEXT, struct.pack(">I", 1) + name)


SCRIPTS: dict[str, Callable[[Peer], None]] = {
    "nothing": saying(b""),
    "another protocol": saying(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"),
    "half the magic": saying(GREETING[:5]),
    "no second magic": saying(GREETING[:11]),
    "another second magic": saying(MAGIC + b"\xff" * 200),
    "half the flags": saying(GREETING[:17]),
    "the greeting": saying(GREETING),
    "a name for an old server": saying(MAGIC + _OLDSTYLE + struct.pack(">QI", 512, 1) + bytes(124)),
    "no length": old_newstyle(b""),
    "no flags": old_newstyle(struct.pack(">Q", 512)),
    "no reserved bytes": old_newstyle(struct.pack(">QH", 512, 1)),
    "no reserved bytes needed": old_newstyle(struct.pack(">QH", 512, 1), 2),
    **{
        "%s with %s" % (option_name, what): answering(option, reply)
        for option_name, option in (
            ("structured replies", STRUCTURED_REPLY), ("a context", SET_META_CONTEXT), ("go", GO)
        )
        for what, reply in (
            ("no magic", b"X" * 20),
            ("a reply to another option", option_reply(option + 1, ACK)),
            ("a long end", option_reply(option, ACK, length=1 << 30)),
            ("an end with data", option_reply(option, ACK, b"1234")),
            ("an unknown reply", option_reply(option, 99, b"1234")),
            ("the reply to another option", option_reply(option, 2, b"1234")),
        )
    },
    **{"go with error %d" % error: answering(GO, option_reply(GO, _ERROR + error)) for error in (*range(2, 11), 77)},
    "structured replies with an error": answering(STRUCTURED_REPLY, option_reply(STRUCTURED_REPLY, _ERROR + 5)),
    "a context with an error": answering(SET_META_CONTEXT, option_reply(SET_META_CONTEXT, _ERROR + 5)),
    "an error with words": answering(GO, option_reply(GO, _ERROR + 2, b"not you")),
    "half a reply": answering(GO, option_reply(GO, ACK)[:10]),
    "another context": answering(SET_META_CONTEXT, context(b"base:other")),
    "no context": answering(SET_META_CONTEXT, option_reply(SET_META_CONTEXT, ACK)),
    "the context twice": answering(SET_META_CONTEXT, context(b"base:allocation") * 2),
    "a context without a number": answering(SET_META_CONTEXT, option_reply(SET_META_CONTEXT, META_CONTEXT, b"ab")),
    "nothing about the export": informing(),
    "an information without a type": informing(b"a"),
    "a short description": informing(export_info()[:-1]),
    "a long description": informing(export_info() + b"x"),
    "an unknown information": informing(struct.pack(">H", 77) + b"hello", export_info()),
    "an export without flags": informing(export_info(flags=0)),
    "an export of 2^63-1 bytes": informing(export_info((1 << 63) - 1)),
    "half of the block sizes": informing(struct.pack(">HI", 3, 1), export_info()),
    **{
        "block sizes %r" % (sizes,): informing(block_sizes(*sizes), export_info())
        for sizes in ((0, 4096, 1 << 25), (3, 4096, 1 << 25), (512, 256, 1 << 25), (512, 1000, 1 << 25),
                      (512, 512, 256), (512, 4096, 1000), (512, 4096, 0), (1, 4096, 0xFFFFFFFF), (4096, 4096, 5000),
                      (1 << 17, 4096, 1 << 25), (1 << 17, 1 << 17, 1 << 16))
    },
}  # fmt: skip


#: What docs/differences.md says of blocks, under "An export may end inside a sector".
BLOCKS: dict[str, tuple[Callable[[Peer], None], str, str]] = {
    "too large": (
        informing(block_sizes(1 << 17, 1 << 17, 1 << 25), export_info()),
        "", "server minimum block size 131072 is too large",
    ),
    "not whole": (
        informing(block_sizes(512, 4096, 1 << 25), export_info(1000)),
        "export size 1000 is not multiple of minimum block size 512", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_as_the_protocol_has_them(tmp_path: Path, name: str) -> None:
    script, theirs, ours = BLOCKS[name]
    for ask, refusal in ((oracle.ask_qemu_img, theirs), (qimg, ours)):
        directory = tmp_path / ask.__name__
        directory.mkdir()
        with scripted(directory, script):
            answer = ask("info", "-f", "raw", "nbd+unix:///x?socket=s", cwd=directory)
        assert answer.code == (1 if refusal else 0), answer
        assert answer.stderr.endswith(refusal and ": %s\n" % refusal)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_handshake_ends_in_the_words_of_qemu_img(tmp_path: Path, name: str) -> None:
    answers = []
    for ask in (oracle.ask_qemu_img, qimg):
        directory = tmp_path / ask.__name__
        directory.mkdir()
        with scripted(directory, SCRIPTS[name]):
            answers.append(ask("info", "-f", "raw", "nbd+unix:///x?socket=s", cwd=directory))
    assert answers[1] == answers[0]
