# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Which other files an image may make us open.

An image can name a backing file, a data file or extents.  Whoever wrote the image chose those names, so a name is a
request, not an instruction: a :class:`ReferencePolicy` answers it.  What the *user* names (an argument, an option) is
never asked about here.
"""
from __future__ import annotations

import os

from .errors import OptionError, ReferenceDeniedError
from .option_text import check_choice
from .references import protocol_of, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from .references import FileName

    ReferenceMode = Literal["follow", "same_directory", "deny"]

#: Open whatever the image names, as qemu-img does.
FOLLOW: ReferenceMode = "follow"
#: Open only what lies, after symbolic links, below the image's own directory or a trusted one.  A hard link lies where
#: its name is: a file's other names, outside of the directory, are not looked for.
SAME_DIRECTORY: ReferenceMode = "same_directory"
#: Open nothing that the image names.
DENY: ReferenceMode = "deny"

MODES = (FOLLOW, SAME_DIRECTORY, DENY)


class ReferencePolicy:
    """Decides whether a file that an image names may be opened.

    :param mode: one of :data:`FOLLOW`, :data:`SAME_DIRECTORY`, :data:`DENY`
    :param trusted_dirs: further directories whose files may be opened under :data:`SAME_DIRECTORY`
    :param option_name: how messages call the setting that would allow more (the caller's vocabulary)
    :param trusted_files: files that the user has named himself; they may be opened under every mode
    :raises OptionError: there is no such mode, or one name is given in place of several
    """

    def __init__(
        self,
        mode: ReferenceMode = SAME_DIRECTORY,
        trusted_dirs: tuple[FileName, ...] = (),
        option_name: str = "reference_policy",
        trusted_files: tuple[FileName, ...] = (),
    ) -> None:
        check_choice(option_name, mode, MODES)
        for several in (trusted_dirs, trusted_files):
            if isinstance(several, (str, bytes)):
                # Each of its characters would be trusted, "/" among them.
                raise OptionError("'%s' is one name where several are expected" % os.fsdecode(several))
        self.mode = mode
        self.trusted_dirs = tuple(os.path.realpath(os.fsdecode(directory)) for directory in trusted_dirs)
        self._trusted_names = tuple(text_of(name) for name in trusted_files)
        self.trusted_files = tuple(os.path.realpath(name) for name in self._trusted_names)
        self.option_name = option_name

    def check_file(self, referrer: str, target: str, role: str) -> None:
        """Allow ``referrer`` (path of the image) to have ``target`` (path, already resolved against it) opened.

        :param role: what the reference is, for the message: ``backing file``, ``data file``, ``extent``
        :raises ReferenceDeniedError: naming the image, the reference, and what would allow it
        """
        real = os.path.realpath(target)
        if self.mode == FOLLOW or real in self.trusted_files:
            return
        if self.mode == SAME_DIRECTORY:
            # What is no local file itself has no directory.
            own = () if protocol_of(referrer) is not None else (os.path.dirname(os.path.realpath(referrer)),)
            allowed = (*own, *self.trusted_dirs)
            if any(_is_below(real, directory) for directory in allowed):
                return
            reason = "Its %s '%s' is outside of the image's own directory" % (role, target)
            remedy = "to allow it, trust its directory (trusted_dirs) or set %s to 'follow'" % self.option_name
        else:
            reason = "Its %s '%s' may not be opened" % (role, target)
            remedy = "to allow it, set %s to 'same_directory' or 'follow'" % self.option_name
        raise ReferenceDeniedError(reason, path=referrer, remedy=remedy)

    def check_opened(self, referrer: str, fd: int, role: str) -> None:
        """See that the file that was opened is one that may be: its name may have changed since :meth:`check_file`."""
        try:
            path = os.readlink("/proc/self/fd/%d" % fd)
        except OSError:
            # No such system: what was checked is all that is known.
            return
        self.check_file(referrer, path, role)

    def check_remote(self, referrer: str, target: str, role: str) -> None:
        """The same for one that is no local file (``nbd://…``): :data:`FOLLOW` allows it, or that it is trusted."""
        if self.mode == FOLLOW or target in self._trusted_names:
            return
        raise ReferenceDeniedError(
            "Its %s '%s' is not a local file" % (role, target),
            path=referrer,
            remedy="to allow it, set %s to 'follow'" % self.option_name,
        )


def _is_below(path: str, directory: str) -> bool:
    return directory == os.sep or path.startswith(directory.rstrip(os.sep) + os.sep)


#: What the SDK and the Ansible modules use unless told otherwise.
DEFAULT_POLICY = ReferencePolicy(SAME_DIRECTORY)
