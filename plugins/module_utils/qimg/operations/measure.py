# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""How large a new image would become."""
from __future__ import annotations

from ..errors import OptionError, UnsupportedOperationError
from ..formats import get_driver
from ..formats.driver import READ
from ..formats.opening import Opener
from ..formats.options import check_values, with_file_options
from ..option_text import parse_size_option
from .snapshot import show_snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..formats.base import Image
    from ..formats.driver import Measurement
    from ..references import Reference
    from .snapshot import SnapshotName


def measure(
    source: Reference | None = None,
    format: str = "raw",
    size: int | None = None,
    options: dict[str, Any] | None = None,
    source_format: str | None = None,
    snapshot: SnapshotName | None = None,
    opener: Opener | None = None,
) -> Measurement:
    """How many bytes a new image would take: of the content of ``source``, or an empty one of ``size`` bytes.

    :param source: the image that would be converted
    :param format: of the new image
    :param size: guest bytes of the new image
    :param options: its creation options, by name; texts are parsed
    :param source_format: of the source; ``None``: detect it
    :param snapshot: the snapshot of the source that would be converted: its id or its name, or a pair of both
    :param opener: which files may be opened, and how
    :raises UnsupportedOperationError: that cannot be said for images of this format
    :raises ImageError: the source cannot be read
    :raises OptionError: neither or both of ``source`` and ``size`` are given
    """
    if source is not None and size is None:
        return measure_image(source, format, options, source_format, snapshot, opener)
    if size is not None and source is None:
        return measure_size(size, format, options)
    raise OptionError("Either an image or a size can be measured", remedy="give one of source and size")


def measure_size(size: int, format: str = "raw", options: dict[str, Any] | None = None) -> Measurement:
    """What an empty image of ``size`` guest bytes would take.

    :param options: creation options of the format, by name
    :raises UnsupportedOperationError: that cannot be said for images of this format
    :raises OptionError: an option has an impossible value
    """
    return _measure(format, options, parse_size_option("size", size), None)


def measure_image(
    reference: Reference,
    format: str = "raw",
    options: dict[str, Any] | None = None,
    source_format: str | None = None,
    snapshot: SnapshotName | None = None,
    opener: Opener | None = None,
) -> Measurement:
    """What a conversion of an image would take.

    :param format: of the new image
    :param options: its creation options, by name
    :param snapshot: the snapshot of the image that would be converted, as for :func:`measure`
    :raises ImageError: the image cannot be read; otherwise as :func:`measure_size`
    """
    with (opener or Opener()).open(reference, source_format, READ) as image:
        if snapshot is not None:
            show_snapshot(image, snapshot)
        return _measure(format, options, image.size, image)


def _measure(format: str, options: dict[str, Any] | None, size: int, source: Image | None) -> Measurement:
    try:
        driver = get_driver(format)
    except OptionError as error:
        raise OptionError("Unknown file format '%s'" % format, remedy=error.remedy) from error
    try:
        values = check_values(with_file_options(driver.options), options or {})
    except OptionError as error:
        error.while_creating = format
        raise
    # The size is known, whatever the options say.
    measurement = driver.measure(values, size, source)
    if measurement is None:
        raise UnsupportedOperationError("Block driver '%s' does not support size measurement" % format, format=format)
    return measurement
