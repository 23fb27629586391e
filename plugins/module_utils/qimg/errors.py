# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Everything that can go wrong, as one tree of exceptions.

::

    ImageError                     the root: catch this one
    ├── StorageError               the operating system refused (carries its errno)
    │   ├── ImageInUseError        another process holds a conflicting lock
    │   └── StorageLostError       a remote storage is gone for good
    ├── FormatError                the bytes are not what they should be
    │   ├── NotThisFormatError     the file is not an image of the wanted format
    │   ├── CorruptImageError      the image contradicts itself
    │   └── UnsupportedFeatureError   a valid image that needs something that we do not have
    ├── OptionError                the caller asked for something impossible
    │   ├── DependantsError        other images depend on what would change
    │   ├── MismatchError          what is there is not what was asked for
    │   └── ShrinkRefusedError     the disk would become smaller, and nobody has allowed it
    ├── UnsupportedOperationError  the format has no such operation
    ├── ReferenceDeniedError       an image names a file that the policy does not allow
    ├── LimitError                 a count or a size is over the limit that protects us
    ├── UnknownContentError        in a rehearsal: what an image would hold is not known
    └── MissingPackageError        an optional Python package is needed

Every error knows ``reason`` (one clause, in qemu-img's own words where qemu-img has words for it) and, where they
exist, ``path``, ``format``, ``offset``, ``errno``, ``hint`` (further lines, as qemu-img prints them) and ``remedy``
(what the user can do).  ``while_opening`` names the image that could not be opened, if that is what went wrong, and
``while_mapping`` the one of which nobody could say where it has data.
``str(error)`` is the whole sentence; :meth:`ImageError.details` is the same as a dictionary.
"""
from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ImageError(Exception):
    """An operation on an image failed; nothing was left half done."""

    def __init__(
        self,
        reason: str,
        *,
        path: str | None = None,
        format: str | None = None,
        offset: int | None = None,
        errno: int | None = None,
        hint: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path
        self.format = format
        self.offset = offset
        self.errno = errno
        self.hint = hint
        self.remedy = remedy
        #: How the user named the image that was being opened, if the error says why it cannot be.
        self.while_opening: str | None = None
        #: How the user named the image whose map was being read, if the error says why it cannot be.
        self.while_mapping: str | None = None
        #: The format of the new image that was being made at ``path``, if the error says why it cannot be.
        self.while_creating: str | None = None

    def __str__(self) -> str:
        text = self.reason
        if self.path is not None and "'%s'" % self.path not in text:
            text = "'%s': %s" % (self.path, text)
        if self.remedy:
            text = "%s; %s" % (text.rstrip("."), self.remedy)
        return text

    @property
    def words(self) -> str:
        """The system's words for it, if it has them; otherwise the reason."""
        return os.strerror(self.errno) if self.errno else self.reason

    def details(self) -> dict[str, Any]:
        """The error as plain data, for ``fail_json(msg=str(error), **error.details())``."""
        fields = {
            "error": type(self).__name__,
            "reason": self.reason,
            "path": self.path,
            "format": self.format,
            "offset": self.offset,
            "errno": self.errno,
            "hint": self.hint,
            "remedy": self.remedy,
        }
        return {key: value for key, value in fields.items() if value is not None}


#: What to do when a disk is full.
NO_SPACE_REMEDY = "free some space on its file system and try again"


class StorageError(ImageError):
    """The operating system refused to open, read, write or lock a file."""

    @classmethod
    def from_os_error(cls, error: OSError, path: str, what: str | None = None) -> StorageError:
        """The system's own words for ``errno``, preceded by ``what`` we were doing when it happened."""
        words = os.strerror(error.errno) if error.errno else str(error)
        return cls("%s: %s" % (what, words) if what else words, path=path, errno=error.errno)


class ImageInUseError(StorageError):
    """Another process uses the image in a way that excludes ours (QEMU's own locks)."""


class StorageLostError(StorageError):
    """The connection to a remote storage is broken: nothing more can be read or written, whatever the offset."""


class FormatError(ImageError):
    """The bytes of the image are not what its format asks for."""


class NotThisFormatError(FormatError):
    """The file is not an image of the format that the caller named."""


class CorruptImageError(FormatError):
    """The image's metadata contradicts itself or points outside of the file."""


class UnsupportedFeatureError(FormatError):
    """A valid image that uses a feature which this program does not know."""


class OptionError(ImageError):
    """A wrong value, an unknown option, or options that exclude each other."""


class MismatchError(OptionError):
    """What exists differs from what was asked for, and the caller has not said what to do about that."""

    #: The options in which it differs; ``format``; ``larger`` or ``smaller`` for its size.
    differing: tuple[str, ...] = ()


class DependantsError(OptionError):
    """Other images depend on the content that would change: see :func:`qimg.dependants`.

    :param path: the image that would change
    :param dependants: the paths of the others
    """

    #: So many are named in the message.
    _NAMED = 10

    def __init__(self, path: str, dependants: list[str]) -> None:
        named = ", ".join("'%s'" % name for name in dependants[: self._NAMED])
        more = len(dependants) - self._NAMED
        super().__init__(
            "Other images depend on it, and would read something else: %s%s"
            % (named, " and %d more" % more if more > 0 else ""),
            path=path,
            remedy="give them another backing file first (rebase)",
        )
        self.dependants = dependants

    def details(self) -> dict[str, Any]:
        return {**super().details(), "dependants": self.dependants}


class ShrinkRefusedError(OptionError):
    """The new size is smaller, and nobody has allowed data to be lost."""


#: What may be wrong with a stretch of an image while the rest of it is good.
UNUSABLE = (StorageError, FormatError)


class UnsupportedOperationError(ImageError):
    """The image's format cannot do this."""


class ReferenceDeniedError(ImageError):
    """An image names another file that the reference policy does not allow."""


class LimitError(ImageError):
    """A number read from an image, or asked for, is over a limit (see :mod:`qimg.limits`)."""


class UnknownContentError(ImageError):
    """What an image would hold is not known, because its data were not copied: that was only rehearsed."""


class MissingPackageError(ImageError):
    """A feature needs a Python package that is not installed."""
