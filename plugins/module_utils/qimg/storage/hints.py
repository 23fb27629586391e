# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What a file system should know about a new image file.  File systems that do not care ignore it."""
from __future__ import annotations

import fcntl
import os
import struct
from collections import namedtuple

#: As QEMU: the smallest piece that XFS allocates for an image, against fragmentation.
_DEFAULT_EXTENT_SIZE = 1 << 20
#: What the system has room for.
MAX_EXTENT_SIZE = (1 << 32) - 1

# <linux/fs.h>
_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_FS_IOC_FSGETXATTR = 0x801C581F
_FS_IOC_FSSETXATTR = 0x401C5820
_FS_NOCOW_FL = 0x00800000
_FS_XFLAG_EXTSIZE = 0x00000800
#: struct fsxattr: fsx_xflags, fsx_extsize, fsx_nextents, fsx_projid, fsx_cowextsize, padding.
_FSXATTR = struct.Struct("=IIIII8s")


class FileHints(namedtuple("FileHints", ["nocow", "extent_size"], defaults=(False, None))):
    """``nocow``: no copy-on-write (btrfs); ``extent_size``: bytes that are allocated together (XFS), 0: no matter,
    ``None``: nobody asked."""

    __slots__ = ()

    def apply(self, fd: int) -> str | None:
        """Tell the file system, as long as the file is empty.

        :returns: a warning, if it does not take what somebody asked for; nothing depends on it
        """
        if self.nocow:
            try:
                # Their numbers say a long, but it is an int that they read and write.
                flags = bytearray(struct.calcsize("i"))
                fcntl.ioctl(fd, _FS_IOC_GETFLAGS, flags)
                wanted = struct.unpack("i", flags)[0] | _FS_NOCOW_FL
                fcntl.ioctl(fd, _FS_IOC_SETFLAGS, struct.pack("i", wanted))
            except OSError:
                # As qemu-img: the file is as good without.
                pass
        extent_size = _DEFAULT_EXTENT_SIZE if self.extent_size is None else self.extent_size
        if extent_size:
            try:
                attributes = bytearray(_FSXATTR.size)
                fcntl.ioctl(fd, _FS_IOC_FSGETXATTR, attributes)
                xflags, _extsize, *rest = _FSXATTR.unpack(attributes)
                fcntl.ioctl(
                    fd, _FS_IOC_FSSETXATTR, _FSXATTR.pack(xflags | _FS_XFLAG_EXTSIZE, extent_size, *rest)
                )
            except OSError as error:
                if self.extent_size is not None:
                    return "Failed to set extent size hint: %s" % os.strerror(error.errno or 0)
        return None


NO_HINTS = FileHints()
