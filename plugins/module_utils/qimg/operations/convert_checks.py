# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Requests that cannot be met: refused in qemu-img's order, when the sources are open and before the target is."""
from __future__ import annotations

from ..errors import OptionError, UnsupportedOperationError
from ..formats.driver import NEVER
from ..formats.options import check_values
from ..limits import SECTOR
from .bitmap_copying import bitmaps_to_copy
from .create import check_backing_options
from .new_image import creatable, creation_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..formats.base import Image
    from .conversion_request import ConvertRequest


def check_consistency(request: ConvertRequest) -> None:
    """Refuse what contradicts itself, whatever the images are.

    :raises OptionError: naming the arguments
    """
    for wrong, reason in (
        (isinstance(request.target, dict) and not request.into_existing, "a new image is made under a file name"),
        (request.options and request.into_existing, "options are for new images, not with into_existing"),
        (request.target_is_zero and not request.into_existing, "target_is_zero only goes with into_existing"),
        (request.compress and request.offload, "what is compressed cannot be offloaded"),
        (request.salvage is not None and request.offload, "salvage does not go with offload"),
        (request.skip_broken_bitmaps is not None and not request.bitmaps, "skip_broken_bitmaps only goes with bitmaps"),
        (request.rate < 0, "rate must not be negative"),
        (request.threads is not None and request.threads < 1, "threads must be at least 1"),
        (request.sparse_grain < 0 or request.sparse_grain % SECTOR, "sparse_grain must be a multiple of 512, or 0"),
    ):
        if wrong:
            raise OptionError("These arguments cannot be used so: %s" % reason, path=request.target_name)


def check_request(request: ConvertRequest, sources: list[Image]) -> None:
    """Refuse what cannot be done.

    :param sources: all of them, opened
    :raises OptionError: in qemu-img's words
    :raises UnsupportedOperationError: the format of the source or of the target cannot do this
    """
    if not request.into_existing:
        _check_new(request)
    else:
        if request.target_is_zero and request.backing_file:
            raise backing_file_shows(request)
        _check_several(request, request.backing_file)
    if request.bitmaps:
        # Who is to hear of bitmaps that are left out hears it when they are.
        bitmaps_to_copy(sources, without_effects(request).skip_broken_bitmaps)


def without_effects(request: ConvertRequest) -> ConvertRequest:
    """The same request for a trial: nobody waits for it, or hears of what it leaves out."""
    return request._replace(
        rate=0,
        salvage=None if request.salvage is None else _say_nothing,
        skip_broken_bitmaps=None if request.skip_broken_bitmaps is None else _say_nothing,
    )


def _check_several(request: ConvertRequest, backing_file: str | None) -> None:
    if backing_file is not None and len(request.sources) > 1:
        raise OptionError(
            "Having a backing file for the target makes no sense when concatenating multiple input images",
            path=request.target_name,
        )


def _say_nothing(*_what: Any) -> None:
    pass


def _check_new(request: ConvertRequest) -> None:
    driver = creatable(request.format, request.target)
    options: dict[str, Any] = check_values(creation_options(request.format, request.target), request.options or {})
    backing_file = request.backing_file if request.backing_file is not None else options.get("backing_file")
    check_backing_options(request.target, driver, request.backing_file, request.backing_format)
    _check_several(request, backing_file)
    if backing_file is not None and request.backing_format is None and "backing_fmt" not in options:
        raise OptionError(
            "Use of backing file requires explicit backing format",
            path=request.target_name,
            remedy="say which format the backing file has",
        )
    if request.compress:
        if driver.compression_with(options) == NEVER:
            raise no_compression(request)
        if options.get("preallocation", "off") != "off":
            raise OptionError("Compression and preallocation not supported at the same time", path=request.target_name)


def no_compression(request: ConvertRequest) -> UnsupportedOperationError:
    """The format of the target stores nothing compressed."""
    return UnsupportedOperationError(
        "Compression not supported for this file format", path=request.target_name, format=request.format
    )


def backing_file_shows(request: ConvertRequest) -> OptionError:
    """A target with a backing file does not read as zeroes."""
    return OptionError(
        "Cannot use --target-is-zero when the destination image has a backing file", path=request.target
    )
