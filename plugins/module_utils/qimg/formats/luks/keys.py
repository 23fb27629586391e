# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The key of a LUKS1 disk: taken out of the key slots with a passphrase, and put into one."""
from __future__ import annotations

import hmac
import os

from ...crypto.passphrases import check_hash, derive_key, merge_key, split_key
from ...crypto.sectors import SectorCipher
from ...errors import OptionError
from ...limits import SECTOR
from .layout import DIGEST_BYTES, STRIPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...storage.base import Storage
    from .layout import Cipher, Header, Slot


def sector_cipher(cipher: Cipher, key: bytes) -> SectorCipher:
    """What enciphers with a key."""
    return SectorCipher(cipher.mode, cipher.ivgen, cipher.ivgen_hash, key)


def unlock(header: Header, storage: Storage, passphrase: bytes, path: str) -> bytes:
    """The key of the disk.

    :param storage: where the key slots lie
    :raises OptionError: the passphrase is that of no key slot
    """
    check_hash(header.hash)
    for slot in header.slots:
        if slot.active:
            key = _key_of_slot(header, storage, slot, passphrase)
            if hmac.compare_digest(digest_of(header, key), header.digest):
                return key
    raise OptionError(
        "Invalid password, cannot unlock any keyslot", path=path, remedy="give the passphrase of one of its key slots"
    )


def digest_of(header: Header, key: bytes) -> bytes:
    """By what the header tells the right key."""
    return derive_key(header.hash, key, header.salt, header.iterations, DIGEST_BYTES)


def _key_of_slot(header: Header, storage: Storage, slot: Slot, passphrase: bytes) -> bytes:
    length = header.cipher.key_bytes
    slot_key = derive_key(header.hash, passphrase, slot.salt, slot.iterations, length)
    material = sector_cipher(header.cipher, slot_key).decrypt(0, storage.read(slot.offset, header.material_bytes))
    return merge_key(header.hash, material[: length * STRIPES], STRIPES)


def slot_material(header: Header, slot: Slot, passphrase: bytes, key: bytes) -> bytes:
    """What to store in a key slot, so that the passphrase gives the key."""
    slot_key = derive_key(header.hash, passphrase, slot.salt, slot.iterations, len(key))
    stripes = split_key(header.hash, key, STRIPES)
    padded = stripes + os.urandom(-len(stripes) % SECTOR)
    return sector_cipher(header.cipher, slot_key).encrypt(0, padded)
