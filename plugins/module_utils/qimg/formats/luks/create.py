# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Making LUKS images."""
from __future__ import annotations

import os
import uuid

from ...crypto.passphrases import HASHES, LEAST_ITERATIONS, check_hash, iterations_for
from ...errors import ImageError, OptionError, UnsupportedFeatureError
from ...limits import MAX_IMAGE_BYTES
from ...storage.base import OFF
from .image import LuksImage
from .keys import digest_of, sector_cipher, slot_material
from .layout import (
    AES,
    DIGEST_BYTES,
    IVGENS,
    MAX_ITERATIONS,
    MODES,
    OTHER_CIPHERS,
    SALT_BYTES,
    SLOT_ALIGNMENT,
    SLOTS,
    STRIPES,
    Cipher,
    Header,
    Slot,
    payload_start,
    slot_room,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..driver import NewImage

#: Milliseconds that it takes to try a passphrase, unless something else is asked for.
_ITER_TIME = 2000
#: The digest of the key takes this part of the time of a passphrase.
_DIGEST_SHARE = 8


def create(new: NewImage, size: int) -> LuksImage:
    """An image whose first key slot opens with the secret ``key-secret``; its disk is what the deciphered file holds.

    :raises OptionError: an option is missing or wrong
    """
    options = new.options
    passphrase = new.secret("key-secret")
    if passphrase is None:
        raise OptionError("Parameter 'key-secret' is required for cipher", path=new.filename)
    if options.get("detached-header"):
        # As qemu-img: the header would need a file of its own, and its command line cannot name one.
        raise OptionError("Parameter 'detached-header' is unexpected", path=new.filename)
    cipher = chosen_cipher(options)
    hash_name = _choice(options, "hash-alg", "sha256", HASHES)
    check_hash(hash_name)
    total = payload_start(cipher.key_bytes) + size
    if total > MAX_IMAGE_BYTES:
        raise ImageError("The image size is too large", path=new.filename, format="luks")
    key = os.urandom(cipher.key_bytes)
    header = _new_header(cipher, hash_name, key, options.get("iter-time"))
    material = slot_material(header, header.slots[0], passphrase, key)
    storage = new.main(total)
    storage.preallocate(0, total, options.get("preallocation") or OFF)
    storage.truncate(total)
    storage.write(header.slots[0].offset, material)
    storage.write(0, header.pack())
    return LuksImage(new, storage, None, header, sector_cipher(cipher, key))


def chosen_cipher(options: dict[str, Any]) -> Cipher:
    """The cipher that creation options choose.

    :raises OptionError: there is no such cipher, mode or generator
    :raises UnsupportedFeatureError: QEMU has it, and it is not here
    """
    algorithm = _choice(options, "cipher-alg", "aes-256", (*AES, *OTHER_CIPHERS))
    if algorithm not in AES:
        raise UnsupportedFeatureError(
            "The cipher '%s' is not supported" % algorithm, remedy="choose aes-128, aes-192 or aes-256"
        )
    mode = _choice(options, "cipher-mode", "xts", MODES)
    ivgen = _choice(options, "ivgen-alg", "plain64", IVGENS)
    ivgen_hash = _choice(options, "ivgen-hash-alg", "sha256" if ivgen == "essiv" else "", ("", *HASHES)) or None
    if ivgen == "essiv" and ivgen_hash is not None and HASHES[ivgen_hash] not in AES.values():
        raise OptionError(
            "No AES cipher with key size %d available" % HASHES[ivgen_hash], remedy="choose ivgen-hash-alg=sha256"
        )
    return Cipher(algorithm, mode, ivgen, ivgen_hash)


def _choice(options: dict[str, Any], name: str, default: str, values: tuple[str, ...] | dict[str, int]) -> str:
    value = options.get(name)
    if value is None:
        return default
    if value not in values:
        raise OptionError(
            "Parameter '%s' does not accept value '%s'" % (name, value),
            remedy="the values are %s" % ", ".join(value for value in values if value),
        )
    return str(value)


def _new_header(cipher: Cipher, hash_name: str, key: bytes, iter_time: int | None) -> Header:
    milliseconds = _ITER_TIME if iter_time is None else iter_time
    slot_iterations = iterations_for(hash_name, len(key), milliseconds)
    iterations = max(LEAST_ITERATIONS, iterations_for(hash_name, DIGEST_BYTES, milliseconds) // _DIGEST_SHARE)
    if slot_iterations + iterations > MAX_ITERATIONS:
        raise OptionError("The iter-time of %d ms is too long" % milliseconds, remedy="choose some seconds at most")
    slots = tuple(
        Slot(
            not index,
            0 if index else slot_iterations,
            bytes(SALT_BYTES) if index else os.urandom(SALT_BYTES),
            SLOT_ALIGNMENT + index * slot_room(len(key)),
            STRIPES,
        )
        for index in range(SLOTS)
    )
    header = Header(
        cipher,
        hash_name,
        payload_start(len(key)),
        bytes(DIGEST_BYTES),
        os.urandom(SALT_BYTES),
        iterations,
        str(uuid.uuid4()),
        slots,
    )
    return header._replace(digest=digest_of(header, key))
