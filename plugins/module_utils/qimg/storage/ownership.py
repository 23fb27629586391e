# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Whose new files are, and who may do what with them."""
from __future__ import annotations

import errno
import os
import stat
from collections import namedtuple

#: What a file system says that has no extended attributes.
_NO_ATTRIBUTES = (errno.EOPNOTSUPP, errno.ENOSYS)


class Ownership(namedtuple("Ownership", ["uid", "gid", "mode"], defaults=(None, None, None))):
    """Whose a new file is to be, and its permissions; ``None``: as those of the file that it replaces, or as usual."""

    __slots__ = ()

    def apply(self, fd: int) -> None:
        """Have an open file be so.

        :raises OSError: we have no right to
        """
        if self.uid is not None or self.gid is not None:
            os.fchown(fd, -1 if self.uid is None else self.uid, -1 if self.gid is None else self.gid)
        if self.mode is not None:
            # After the owner: changing that can take permissions away.
            os.fchmod(fd, self.mode)


def copy_ownership(old_fd: int, new_fd: int) -> None:
    """Owner, mode and extended attributes (ACLs, SELinux label) of the file that is being replaced."""
    status = os.fstat(old_fd)
    try:
        os.fchown(new_fd, status.st_uid, status.st_gid)
    except PermissionError:
        # Somebody else's file in a directory of ours: the new one is ours, as when an editor saves it.
        pass
    # No image is a program that runs with its owner's rights.
    os.fchmod(new_fd, stat.S_IMODE(status.st_mode) & 0o777)
    for name in _attributes(old_fd):
        try:
            os.setxattr(new_fd, name, os.getxattr(old_fd, name))
        except OSError as error:
            if error.errno not in (*_NO_ATTRIBUTES, errno.EPERM, errno.EACCES, errno.EINVAL):
                raise


def _attributes(fd: int) -> list[str]:
    try:
        return os.listxattr(fd)
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTES:
            raise
        return []
