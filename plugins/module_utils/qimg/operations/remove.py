# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Removing images: nothing but images, and all files of theirs."""
from __future__ import annotations

import errno
import os
import stat

from ..errors import FormatError, ImageError, MismatchError, ReferenceDeniedError, StorageError, UnsupportedFeatureError
from ..formats import format_names, get_driver
from ..formats.driver import INFO
from ..formats.new_files import target_driver
from ..formats.opening import Opener
from ..formats.probing import probe_storage
from ..references import local_path, parse_protocol_name, parse_reference, resolve_data_file, text_of
from ..storage.cache import WRITEBACK
from .create import check_unused
from .dependants import dependants
from .plan import Altered, Plan, nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..formats.base import ImageFile
    from ..references import FileName
    from .plan import Progress

_KINDS = (
    (stat.S_ISDIR, "directory"),
    (stat.S_ISBLK, "block device"),
    (stat.S_ISCHR, "character device"),
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISSOCK, "socket"),
)
_BY_OTHER_MEANS = "remove it by other means if you must"


class RemovePlan(Plan):
    """A plan that also knows which further files of the image stay, and why: one sentence each (``kept``)."""

    kept: list[str] = []


def plan_remove(
    path: FileName,
    format: str | None = None,
    directories: Iterable[FileName] = (),
    images: Iterable[FileName] = (),
    opener: Opener | None = None,
) -> RemovePlan:
    """Plan to remove an image with its own further files (a data file); an empty plan if there is no file.

    Of a symbolic link that leads to an image, only the link is removed.

    :param path: the image
    :param format: its format, which its content has to be; needed for ``raw``, because anything may be a raw image.
        ``None``: the one that is detected
    :param directories: where images may be that use a further file too, beside the directory of that
    :param images: further such images
    :param opener: which files may be removed beside the image, as if they were to be opened
    :raises MismatchError: it is not an image of that format
    :raises ImageError: it is no file, or somebody is using it
    """
    opener = opener or Opener()
    path = text_of(path)
    driver = target_driver(path)
    if driver == "nbd":
        raise StorageError(
            "Only image files can be removed, not '%s'" % path, path=path, remedy="remove it where it is served"
        )
    path = str(parse_protocol_name(path, driver)["filename"])
    content = opener.rehearsal.content(path) if opener.rehearsal is not None else None
    status = None
    if content is None or not content.is_new:
        status = _status(path, opener)
        if status is None:
            return RemovePlan(path, [], {"state": "absent"}, {"state": "absent"}, nothing, opener)
        _check_kind(path, status)
        check_unused(path)
    format = _checked_format(path, format, opener)
    files: list[str] = []
    kept: list[str] = []
    if status is None or not stat.S_ISLNK(status.st_mode):
        files, kept = _further_files(path, format, status, directories, images, opener)

    def run(opener: Opener, _progress: Progress) -> None:
        # Whoever is stopped after the first leaves a file that belongs to nothing, and no image that lacks one.
        for file in (path, *files):
            check_unused(file)
            _remove(file, opener)

    actions = ["remove the image", *("remove its file '%s'" % file for file in files)]
    plan = RemovePlan(path, actions, {"state": "present"}, {"state": "absent"}, run, opener)
    plan.altered = (Altered(path),)
    plan.kept = kept
    return plan


def _status(path: str, opener: Opener) -> os.stat_result | None:
    """What there is; ``None``: nothing."""
    try:
        if opener.rehearsal is not None and opener.rehearsal.is_gone(path):
            return None
        return os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError.from_os_error(error, path, "Could not look at '%s'" % path) from error


def _check_kind(path: str, status: os.stat_result) -> None:
    """See that it is a file, or a link to one.

    :raises StorageError: saying what it is
    """
    what = ""
    mode = status.st_mode
    if stat.S_ISLNK(mode):
        what = "symbolic link to a "
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            raise StorageError(
                "Only image files can be removed, not '%s', a symbolic link to '%s', which cannot be found"
                % (path, os.readlink(path)),
                path=path,
                errno=error.errno,
                remedy=_BY_OTHER_MEANS,
            ) from error
    for is_kind, kind in _KINDS:
        if is_kind(mode):
            raise StorageError(
                "Only image files can be removed, not '%s', a %s" % (path, what + kind),
                path=path,
                remedy=_BY_OTHER_MEANS,
            )


def _checked_format(path: str, format: str | None, opener: Opener) -> str:
    """The format of the image.

    :raises MismatchError: its content is not that of an image of the wanted format
    :raises OptionError: there is no such format
    """
    if format is not None:
        get_driver(format)
    found = _detected_format(path, opener)
    if found == "raw" and format is not None and _is_of(path, format, opener):
        # The end of the file says so, as that of a fixed VHD does.
        return format
    if found == "raw" and format != "raw":
        wanted = "any known" if format is None else "a " + format
        raise MismatchError(
            "It is not removed, because its content is not that of %s image" % wanted,
            path=path,
            remedy="if it is a raw image, say that its format is raw",
        )
    if format is not None and found != format:
        raise MismatchError(
            "It is not removed, because its content is that of a %s image, not a %s one" % (found, format),
            path=path,
            remedy="say that its format is %s, if it is such an image" % found
            if found in format_names()
            else _BY_OTHER_MEANS,
        )
    if found not in format_names():
        raise UnsupportedFeatureError(
            "Images of the format '%s' are not supported: nobody can tell which files belong to it" % found,
            path=path,
            format=found,
            remedy=_BY_OTHER_MEANS,
        )
    return found


def _is_of(path: str, format: str, opener: Opener) -> bool:
    """Whether a file can be opened as an image of a format."""
    try:
        with opener.variant(force_share=True).open(path, format, INFO, backing=False):
            return True
    except FormatError:
        return False


def _detected_format(path: str, opener: Opener) -> str:
    storage = opener.open_storage({"driver": "file", "filename": path}, False, WRITEBACK)
    try:
        return probe_storage(storage, path)
    finally:
        storage.close()


def _is_image(path: str, opener: Opener) -> bool:
    storage = opener.open_storage({"driver": "file", "filename": path}, False, WRITEBACK)
    try:
        format = probe_storage(storage, path)
        return format != "raw" and get_driver(format).is_whole(storage.read)
    finally:
        storage.close()


def _further_files(
    path: str,
    format: str,
    status: os.stat_result | None,
    directories: Iterable[FileName],
    images: Iterable[FileName],
    opener: Opener,
) -> tuple[list[str], list[str]]:
    """The further files that are the image's own, by their paths; and why others stay, one sentence each.

    :param status: of the image's file; ``None``: it is there in a rehearsal only
    """
    try:
        with opener.variant(force_share=True).open(path, format, INFO, backing=False) as image:
            named = image.files()
    except ImageError:
        # A damaged image names no files that anybody could rely on.
        return [], []
    own, kept = [], []
    for file in named:
        local = local_path(parse_reference(resolve_data_file(path, file.name))) if file.name else None
        if local is None:
            kept.append("Its %s '%s' stays, because it is not a local file" % (file.role, file.name))
        elif opener.rehearsal.exists(local) if opener.rehearsal is not None else os.path.lexists(local):
            reason = _why_not_own(path, status, file, local, opener)
            if reason is None:
                users = dependants(local, directories, images, above=(path,), opener=opener)
                reason = "'%s' uses it, too" % users[0].path if users else None
            if reason is None:
                check_unused(local)
                own.append(local)
            else:
                kept.append("Its %s '%s' stays, because %s" % (file.role, local, reason))
    return own, kept


def _why_not_own(
    path: str, status: os.stat_result | None, file: ImageFile, local: str, opener: Opener
) -> str | None:
    """Why a file that an image names may be somebody else's, in a clause; ``None``: it is the image's own.

    An image can name any file, such as the disk of a neighbour, to have it removed.
    """
    try:
        opener.policy.check_file(path, local, file.role)
        if _is_image(local, opener):
            return "it is an image itself"
        other = os.lstat(local) if os.path.lexists(local) else None
    except ReferenceDeniedError as error:
        return "the policy does not allow it to be opened (%s)" % error.reason
    except (ImageError, OSError) as error:
        return "it cannot be read (%s)" % error
    if other is None or status is None:
        return None
    if not stat.S_ISREG(other.st_mode):
        return "it is not a regular file"
    if max(status.st_nlink, other.st_nlink) > 1:
        return "one of both has further names"
    if (status.st_uid, status.st_gid) != (other.st_uid, other.st_gid):
        return "it belongs to another user or group than the image"
    return None


def _remove(path: str, opener: Opener) -> None:
    rehearsal = opener.rehearsal if opener.rehearses else None
    is_link = os.path.islink(path)
    try:
        if rehearsal is None:
            os.unlink(path)
            return
        directory = os.path.dirname(path) or "."
        if os.path.lexists(path) and not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise StorageError.from_os_error(error, path, "Could not remove '%s'" % path) from error
    if not is_link:
        rehearsal.keep(path, None)
