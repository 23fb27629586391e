# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""New images as operations make them: the driver, the options it declares, the files, and the empty image in them."""
from __future__ import annotations

from ..errors import ImageError, OptionError, UnsupportedOperationError
from ..formats import get_driver
from ..formats.new_files import CreatedImage, NewFiles, target_driver
from ..formats.options import with_file_options
from ..references import text_of
from ..storage.base import FALLOC, FULL, OFF
from ..storage.hints import MAX_EXTENT_SIZE, FileHints

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..formats.base import Image
    from ..formats.driver import Driver
    from ..formats.opening import Opener
    from ..formats.options import CreateOption
    from ..references import FileName


def creatable(format: str, path: str) -> Driver:
    """The driver of a format whose images can be created.

    :raises OptionError: there is no such format
    :raises UnsupportedOperationError: its images are only read
    """
    try:
        driver = get_driver(format)
    except OptionError as error:
        raise OptionError("Unknown file format '%s'" % format, path=path, remedy=error.remedy) from error
    if not driver.can_create:
        raise UnsupportedOperationError(
            "Format driver '%s' does not support image creation" % format, path=path, format=format
        )
    return driver


def creation_options(format: str, path: FileName | None = None) -> tuple[CreateOption, ...]:
    """The options that a new image of a format can be given.

    :param path: where it is to be, if that is known: then what its file understands is among them
    :raises OptionError: there is no such format
    :raises UnsupportedOperationError: its images are only read
    """
    if path is None:
        return tuple(option for option in creatable(format, "").options if option.creatable)
    driver = creatable(format, text_of(path))
    return with_file_options(driver.options, target_driver(text_of(path), driver.protocol))


def new_files(path: str, format: str, options: dict[str, Any], opener: Opener, sync: bool = True) -> NewFiles:
    """The files of a new image with these options; see :class:`~qimg.formats.new_files.NewFiles`.

    :raises ImageError: they cannot be made; it knows that this is what was being done
    """
    driver = creatable(format, path)
    try:
        protocol = target_driver(path, driver.protocol)
        if driver.protocol is not None or not driver.has_option("preallocation"):
            _check_preallocation(options.get("preallocation", OFF), protocol)
        rehearsal = opener.rehearsal if opener.rehearses else None
        hints = file_hints(options)
        files = NewFiles(
            path, protocol, opener, opener.open_storage, sync, rehearsal, opener.cache, hints, opener.ownership
        )
        if files.warning and not opener.rehearses:
            opener.watcher.warning(files.warning)
        return files
    except ImageError as error:
        error.while_creating = format
        raise


def _check_preallocation(mode: str, driver: str) -> None:
    """Whether a file can have its space reserved so, for a format that leaves this to the file.

    :raises OptionError: in QEMU's words
    """
    if mode not in (OFF, "metadata", FALLOC, FULL):
        raise OptionError("invalid parameter value: %s" % mode)
    if driver != "file" and mode != OFF:
        # It is not made, but there already.
        raise OptionError("Unsupported preallocation mode '%s'" % mode)
    if mode == "metadata":
        raise OptionError("Unsupported preallocation mode: metadata")


def empty_image(
    path: str,
    format: str,
    files: NewFiles,
    options: dict[str, Any],
    opener: Opener,
    backing: Image | None = None,
) -> Image:
    """A new image, ready to be written to.

    :param backing: the image below it; closed if this fails
    :raises ImageError: it cannot be made; it knows that this is what was being done
    """
    try:
        image: Image = creatable(format, path).create(CreatedImage(files, path, format, options, backing, opener))
    except BaseException as error:
        if backing is not None:
            backing.abandon()
        if isinstance(error, ImageError):
            error.while_creating = format
        raise
    return image


def file_hints(options: dict[str, Any]) -> FileHints:
    """What the creation options say to the file system.

    :raises OptionError: the hint is too large
    """
    hint = options.get("extent_size_hint")
    if hint is not None and hint > MAX_EXTENT_SIZE:
        raise OptionError("Extent size hint is too large", remedy="the largest is %d" % MAX_EXTENT_SIZE)
    return FileHints(bool(options.get("nocow")), hint)
