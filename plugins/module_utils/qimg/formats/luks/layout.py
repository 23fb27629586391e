# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The header of LUKS1 (On-Disk Format Specification 1.2.3, section 2), and the ways in which its disk is enciphered."""
from __future__ import annotations

import struct
from collections import namedtuple

from ...crypto.passphrases import HASHES
from ...errors import CorruptImageError, LimitError, NotThisFormatError, UnsupportedFeatureError
from ...limits import SECTOR
from ...sizes import round_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ...storage.base import Storage

MAGIC = b"LUKS\xba\xbe"
SLOTS = 8
STRIPES = 4000
HEADER = struct.Struct(">6sH32s32s32sII20s32sI40s")
SLOT = struct.Struct(">II32sII")
HEADER_BYTES = HEADER.size + SLOTS * SLOT.size
DIGEST_BYTES = 20
SALT_BYTES = 32
ACTIVE, INACTIVE = 0x00AC71F3, 0x0000DEAD
#: Where QEMU has the first key slot, and to what it rounds the others.
SLOT_ALIGNMENT = 4096
#: More would take minutes: the time that a header asks for is limited to what people choose.
MAX_ITERATIONS = 50_000_000

#: The mode and how it makes vectors, as the header and qemu-img name them.
MODES = ("ecb", "cbc", "xts", "ctr")
IVGENS = ("plain", "plain64", "essiv")
#: Bytes of the key by the names that qemu-img has for ciphers.
AES = {"aes-128": 16, "aes-192": 24, "aes-256": 32}
#: Ciphers that QEMU has and that are not here.
OTHER_CIPHERS = (
    "des", "3des", "cast5-128", "serpent-128", "serpent-192", "serpent-256", "twofish-128", "twofish-192",
    "twofish-256", "sm4",
)  # fmt: skip


class Cipher(namedtuple("Cipher", ["algorithm", "mode", "ivgen", "ivgen_hash"])):
    """How sectors are enciphered; ``algorithm`` is ``aes-256`` or so, ``ivgen_hash`` belongs to ``essiv``."""

    __slots__ = ()

    algorithm: str
    mode: str
    ivgen: str
    ivgen_hash: str | None

    @property
    def key_bytes(self) -> int:
        """Bytes of the key of the disk."""
        return AES[self.algorithm] * (2 if self.mode == "xts" else 1)

    @property
    def stored_mode(self) -> str:
        """The mode as the header has it."""
        return "%s-%s%s" % (self.mode, self.ivgen, ":" + self.ivgen_hash if self.ivgen_hash else "")


class Slot(namedtuple("Slot", ["active", "iterations", "salt", "offset", "stripes"])):
    """One key slot; ``offset`` is that of its key material, in bytes."""

    __slots__ = ()

    active: bool
    iterations: int
    salt: bytes
    offset: int
    stripes: int


class Header(
    namedtuple("Header", ["cipher", "hash", "payload_offset", "digest", "salt", "iterations", "uuid", "slots"])
):
    """The header; ``payload_offset`` in bytes, ``digest`` that of the key of the disk."""

    __slots__ = ()

    cipher: Cipher
    hash: str
    payload_offset: int
    digest: bytes
    salt: bytes
    iterations: int
    uuid: str
    slots: tuple[Slot, ...]

    @property
    def material_bytes(self) -> int:
        """Bytes of the key material of a slot: whole sectors."""
        return round_up(self.cipher.key_bytes * STRIPES, SECTOR)

    def pack(self) -> bytes:
        """The header as it is stored."""
        head = HEADER.pack(
            MAGIC,
            1,
            self.cipher.algorithm.split("-")[0].encode(),
            self.cipher.stored_mode.encode(),
            self.hash.encode(),
            self.payload_offset // SECTOR,
            self.cipher.key_bytes,
            self.digest,
            self.salt,
            self.iterations,
            self.uuid.encode(),
        )
        return head + b"".join(
            SLOT.pack(
                ACTIVE if slot.active else INACTIVE, slot.iterations, slot.salt, slot.offset // SECTOR, slot.stripes
            )
            for slot in self.slots
        )

    def specific(self, detached: bool) -> dict[str, Any]:
        """What ``info`` says of it, in the order of qemu-img."""
        document: dict[str, Any] = {"ivgen-alg": self.cipher.ivgen, "detached-header": detached, "hash-alg": self.hash}
        document["cipher-alg"] = self.cipher.algorithm
        document["uuid"] = self.uuid
        if self.cipher.ivgen == "essiv":
            document["ivgen-hash-alg"] = self.cipher.ivgen_hash
        document["cipher-mode"] = self.cipher.mode
        document["slots"] = [_slot_document(slot) for slot in self.slots]
        document["payload-offset"] = self.payload_offset
        document["master-key-iters"] = self.iterations
        return document


def _slot_document(slot: Slot) -> dict[str, Any]:
    if slot.active:
        return {"active": True, "iters": slot.iterations, "key-offset": slot.offset, "stripes": slot.stripes}
    return {"active": False, "key-offset": slot.offset}


def slot_room(key_bytes: int) -> int:
    """From one slot to the next, as QEMU lays them out."""
    return round_up(key_bytes * STRIPES, SLOT_ALIGNMENT)


def payload_start(key_bytes: int) -> int:
    """Where the disk begins in new images."""
    return SLOT_ALIGNMENT + SLOTS * slot_room(key_bytes)


def read_header(storage: Storage, path: str, is_detached: bool) -> Header:
    """The header of an image, checked against the file.

    :param is_detached: whether the disk lies in another file
    :raises NotThisFormatError: it has none
    :raises CorruptImageError: it contradicts itself
    :raises UnsupportedFeatureError: a valid header that asks for something that is not here
    :raises LimitError: it asks for absurdly many iterations
    """
    data = storage.read(0, HEADER_BYTES)
    magic, version, name, mode, hash_name, payload, key_bytes, digest, salt, iterations, uuid = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise NotThisFormatError("Volume is not in LUKS format", path=path, format="luks")
    if version != 1:
        raise UnsupportedFeatureError(
            "LUKS version %d is not supported" % version,
            path=path,
            remedy="convert the header with 'cryptsetup convert --type luks1'" if version == 2 else None,
        )
    hash_text = _text(hash_name, path)
    if hash_text not in HASHES:
        raise UnsupportedFeatureError("The hash '%s' is not supported" % hash_text, path=path)
    cipher = parse_cipher(_text(name, path), _text(mode, path), key_bytes, path)
    slots = tuple(
        Slot(state == ACTIVE, count, slot_salt, offset * SECTOR, stripes)
        for state, count, slot_salt, offset, stripes in SLOT.iter_unpack(data[HEADER.size :])
    )
    states = {state for state, *_rest in SLOT.iter_unpack(data[HEADER.size :])}
    if not states <= {ACTIVE, INACTIVE}:
        raise CorruptImageError("A key slot is neither active nor inactive", path=path)
    header = Header(cipher, hash_text, payload * SECTOR, digest, salt, iterations, _text(uuid, path), slots)
    _check_slots(header, storage.size, path, is_detached)
    return header


def _check_slots(header: Header, size: int, path: str, is_detached: bool) -> None:
    if not header.iterations:
        raise CorruptImageError("The key of the disk has a digest of no iterations", path=path)
    total = header.iterations
    end = HEADER_BYTES
    for slot in sorted(header.slots, key=lambda slot: slot.offset):
        if slot.offset < end:
            raise CorruptImageError("A key slot lies over the header or another key slot", path=path)
        end = slot.offset + header.material_bytes
        if slot.stripes != STRIPES:
            raise CorruptImageError("A key slot has %d stripes instead of %d" % (slot.stripes, STRIPES), path=path)
        if slot.active and not slot.iterations:
            raise CorruptImageError("A key slot has no iterations", path=path)
        if slot.active and end > size:
            raise CorruptImageError("A key slot ends beyond the end of the file", path=path)
        total += slot.iterations if slot.active else 0
    if header.payload_offset < end and not is_detached:
        raise CorruptImageError("The disk begins inside the key slots", path=path)
    if total > MAX_ITERATIONS:
        raise LimitError("Its key slots ask for %d iterations of a hash" % total, path=path)


def parse_cipher(name: str, stored_mode: str, key_bytes: int, path: str) -> Cipher:
    """The cipher that a header names.

    :raises UnsupportedFeatureError: it is not here
    """
    mode, _dash, rest = stored_mode.partition("-")
    ivgen, _colon, ivgen_hash = rest.partition(":")
    bits = key_bytes * 8 // (2 if mode == "xts" else 1)
    cipher = Cipher("%s-%d" % (name, bits), mode, ivgen, ivgen_hash or None)
    known = mode in MODES and ivgen in IVGENS and (ivgen_hash in HASHES if ivgen_hash else ivgen != "essiv")
    if not known or cipher.algorithm not in AES or cipher.key_bytes != key_bytes:
        raise UnsupportedFeatureError(
            "The cipher '%s-%s' with a key of %d bytes is not supported" % (name, stored_mode, key_bytes),
            path=path,
            remedy="the ciphers here are AES with 128, 192 or 256 bits in the modes xts, cbc, ctr and ecb",
        )
    if ivgen == "essiv" and HASHES[ivgen_hash] not in AES.values():
        raise UnsupportedFeatureError("No AES cipher with key size %d available" % HASHES[ivgen_hash], path=path)
    return cipher


def _text(field: bytes, path: str) -> str:
    try:
        return field.split(b"\0", 1)[0].decode("ascii")
    except UnicodeDecodeError as error:
        raise CorruptImageError("A name in its header is not text", path=path) from error
