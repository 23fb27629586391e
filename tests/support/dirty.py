# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images with dirty bitmaps, and what the bitmaps hold as real QEMU sees it.

qemu-nbd exports them; the smallest of NBD clients asks for them.
"""
from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import tempfile

from qimg.formats.driver import CHECK
from qimg.formats.opening import Opener
from qimg.operations import bitmap
from qimg.operations.info import info
from support import oracle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from qimg.errors import ImageError

KIB, MIB = 1 << 10, 1 << 20

_OPTION_MAGIC = b"IHAVEOPT"
_SET_META_CONTEXT, _GO, _STRUCTURED_REPLY = 10, 7, 8
_ACK, _INFO, _META_CONTEXT = 1, 3, 4
_BLOCK_STATUS = 7
_PIECE = 1 << 31
#: The descriptor by which a passed socket is known.
_FIRST_PASSED = 3


class _Client:
    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._socket.settimeout(30)

    def close(self) -> None:
        self._socket.close()

    def _receive(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            piece = self._socket.recv(length - len(data))
            assert piece, "qemu-nbd hung up"
            data += piece
        return data

    def _option(self, option: int, payload: bytes) -> list[tuple[int, bytes]]:
        self._socket.sendall(_OPTION_MAGIC + struct.pack(">II", option, len(payload)) + payload)
        replies: list[tuple[int, bytes]] = []
        while True:
            _magic, _option, kind, length = struct.unpack(">QIII", self._receive(20))
            body = self._receive(length)
            assert kind < 1 << 31, "qemu-nbd refused option %d: %r" % (option, body)
            if kind == _ACK:
                return replies
            replies.append((kind, body))

    def negotiate(self, contexts: list[str]) -> tuple[int, dict[int, str]]:
        """The size of the export, and the numbers of the contexts."""
        greeting = self._receive(18)
        assert greeting[:16] == b"NBDMAGIC" + _OPTION_MAGIC
        self._socket.sendall(struct.pack(">I", 3))
        self._option(_STRUCTURED_REPLY, b"")
        queries = b"".join(struct.pack(">I", len(name.encode())) + name.encode() for name in contexts)
        asked = self._option(_SET_META_CONTEXT, struct.pack(">II", 0, len(contexts)) + queries)
        numbers = {struct.unpack(">I", body[:4])[0]: body[4:].decode() for kind, body in asked if kind == _META_CONTEXT}
        for kind, body in self._option(_GO, struct.pack(">IH", 0, 0)):
            if kind == _INFO and struct.unpack(">H", body[:2])[0] == 0:
                return struct.unpack(">Q", body[2:10])[0], numbers
        raise AssertionError("qemu-nbd did not say how large the export is")

    def block_status(self, offset: int, length: int) -> dict[int, list[tuple[int, int]]]:
        """For each context, ``(length, flags)`` of the runs from ``offset`` on."""
        self._socket.sendall(struct.pack(">IHHQQI", 0x25609513, 0, _BLOCK_STATUS, 1, offset, length))
        found: dict[int, list[tuple[int, int]]] = {}
        while True:
            _magic, flags, kind, _cookie, size = struct.unpack(">IHHQI", self._receive(20))
            body = self._receive(size)
            assert kind < 1 << 15, "qemu-nbd failed: %r" % body
            if size:
                words = struct.unpack(">%dI" % (size // 4), body)
                found[words[0]] = list(zip(words[1::2], words[2::2]))
            if flags & 1:
                return found


def oracle_ranges(path: Any, names: list[str]) -> dict[str, list[tuple[int, int]]]:
    """The dirty ranges ``(offset, length)`` of consistent bitmaps of an image."""
    if not names:
        return {}
    with tempfile.TemporaryDirectory() as directory:
        address = os.path.join(directory, "nbd")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(1)
            server = _serve(listener, path, names)
        client = _Client(address)
        try:
            size, numbers = client.negotiate(["qemu:dirty-bitmap:%s" % name for name in names])
            return {
                context[len("qemu:dirty-bitmap:") :]: _ranges(client, size, number)
                for number, context in numbers.items()
            }
        finally:
            # It ends when we hang up; only then are its locks gone.
            client.close()
            _, complaint = server.communicate(timeout=30)
            assert server.returncode == 0, complaint.decode()


def _serve(listener: socket.socket, path: Any, names: list[str]) -> subprocess.Popen[bytes]:
    """Start qemu-nbd on a socket that listens already, so that nobody has to wait for it (socket activation)."""

    def hand_over() -> None:
        os.dup2(listener.fileno(), _FIRST_PASSED)
        os.set_inheritable(_FIRST_PASSED, True)

    words = ["--read-only", "-f", "qcow2", *(word for name in names for word in ("--bitmap", name)), str(path)]
    return subprocess.Popen(
        ["sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec qemu-nbd "$@"', "qemu-nbd", *words],
        preexec_fn=hand_over,  # noqa: PLW1509 (no threads run here)
        pass_fds=(_FIRST_PASSED,),
        stderr=subprocess.PIPE,
    )


def _ranges(client: _Client, size: int, number: int) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    offset = 0
    while offset < size:
        for length, flags in client.block_status(offset, min(size - offset, _PIECE))[number]:
            length = min(length, size - offset)
            if flags & 1:
                if ranges and sum(ranges[-1]) == offset:
                    ranges[-1] = (ranges[-1][0], ranges[-1][1] + length)
                else:
                    ranges.append((offset, length))
            offset += length
    return ranges


def make(path: Path, size: int = 10 * MIB, *options: str) -> Path:
    oracle.qemu_img("create", "-q", "-f", "qcow2", *options, path, size)
    return path


def listed(path: Path) -> Any:
    """The bitmaps as qemu-img lists them; ours must say the same."""
    document = json.loads(oracle.qemu_img("info", "--output=json", path))
    theirs = document["format-specific"]["data"].get("bitmaps")
    assert info(str(path)).document()["format-specific"]["data"].get("bitmaps") == theirs
    return theirs


def marked(path: Path) -> dict[str, list[tuple[int, int]]]:
    """What every consistent bitmap marks: theirs, which ours must equal; both find no error in the image."""
    usable = [each.name for each in bitmap.list_bitmaps(str(path)) if not each.inconsistent]
    theirs = oracle_ranges(path, usable)
    assert {name: bitmap.dirty_ranges(str(path), name) for name in usable} == theirs
    assert oracle.ask_qemu_img("check", path).code == 0
    with Opener().open(str(path), purpose=CHECK) as image:
        result = image.check()  # type: ignore[attr-defined]
        assert (result.corruptions, result.leaks, result.check_errors) == (0, 0, 0)
    return theirs


def set_flags(path: Path, flags: int) -> None:
    """Change the flags of the first bitmap of an image, as a program that died would have left them."""
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack(">II", 0x23852875, 24))
    directory = struct.unpack_from(">Q", data, at + 24)[0]
    struct.pack_into(">I", data, directory + 12, flags)
    path.write_bytes(data)


def said(error: ImageError) -> str:
    return error.reason + ("\n" + error.hint if error.hint else "")
