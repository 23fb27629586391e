# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The driver of LUKS images."""
from __future__ import annotations

from ...errors import ImageError, OptionError
from ...limits import MAX_IMAGE_BYTES
from ..driver import INFO, Driver, Measurement
from ..options import BOOL, NUM, SIZE, STR, CreateOption
from .image import LuksImage
from .layout import payload_start, read_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..base import Image
    from ..driver import ImageSource, NewImage


class LuksDriver(Driver):
    """LUKS version 1."""

    name = "luks"
    options = (
        CreateOption("cipher-alg", STR, "Name of encryption cipher algorithm"),
        CreateOption("cipher-mode", STR, "Name of encryption cipher mode"),
        CreateOption("detached-header", BOOL, "Create a detached LUKS header"),
        CreateOption("hash-alg", STR, "Name of encryption hash algorithm"),
        CreateOption("iter-time", NUM, "Time to spend in PBKDF in milliseconds"),
        CreateOption("ivgen-alg", STR, "Name of IV generator algorithm"),
        CreateOption("ivgen-hash-alg", STR, "Name of IV generator hash algorithm"),
        CreateOption("key-secret", STR, "ID of the secret that provides the keyslot passphrase"),
        CreateOption("size", SIZE, "Virtual disk size"),
    )
    child_keys = ("header",)
    shares_writers = True

    def open(self, source: ImageSource) -> Image:
        """Open an image; its key slots are unlocked unless only its header is asked for.

        :raises FormatError: the header is broken
        :raises OptionError: the passphrase is missing or wrong
        """
        detached = source.open_file("header", None, "header", True) if source.node.get("header") else None
        try:
            passphrase = source.secret("key-secret")
            header = read_header(detached or source.storage, source.filename, detached is not None)
            cipher = None
            if source.purpose != INFO:
                if passphrase is None:
                    raise OptionError("Parameter 'key-secret' is required for cipher", path=source.filename)
                from .keys import sector_cipher, unlock

                key = unlock(header, detached or source.storage, passphrase, source.filename)
                cipher = sector_cipher(header.cipher, key)
            return LuksImage(source, source.storage, detached, header, cipher)
        except BaseException:
            if detached is not None:
                detached.close()
            raise

    def create(self, new: NewImage) -> Image:
        from .create import create

        return create(new, self.disk_size(new.options["size"], new.options))

    def measure(self, options: dict[str, Any], size: int, source: Image | None) -> Measurement | None:
        """The header and the disk, which takes its whole size.

        :raises OptionError: no secret is named, or an option has no such value
        """
        from .create import chosen_cipher

        if options.get("key-secret") is None:
            raise OptionError("Parameter 'key-secret' is required for cipher")
        total = payload_start(chosen_cipher(options).key_bytes) + self.disk_size(size, options)
        if total > MAX_IMAGE_BYTES:
            raise ImageError("The image size is too large", format="luks")
        return Measurement(total, total)

    def main_file_size(self, options: dict[str, Any], size: int) -> int:
        from .create import chosen_cipher

        return payload_start(chosen_cipher(options).key_bytes) + self.disk_size(size, options)


DRIVER = LuksDriver()
