# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Changing creation options of an existing image."""
from __future__ import annotations

from ..errors import OptionError, UnsupportedOperationError
from ..formats import get_driver
from ..formats.capabilities import Amendable
from ..formats.driver import READ, WRITE
from ..formats.naming import without_backing_options
from ..formats.opening import Opener
from ..formats.options import check_values
from .create import shown, shown_name
from .new_image import creatable
from .plan import Altered, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..formats.base import Image
    from ..formats.options import CreateOption
    from ..references import Reference
    from .plan import Progress

_BACKING = ("backing_file", "backing_fmt")


def plan_amend(
    reference: Reference, options: dict[str, Any], format: str | None = None, opener: Opener | None = None
) -> Plan:
    """Plan to change options.

    :param reference: the image
    :param options: those that change, by name; texts are parsed
    :param format: of the image; ``None``: detect it
    :param opener: which files may be opened, and how
    :raises OptionError: an option is unknown, belongs to creation only, or has a wrong value
    :raises UnsupportedOperationError: the format has no options that can be changed
    """
    opener = opener or Opener()
    with opener.open(without_backing_options(reference), format, READ, backing=False) as image:
        path = image.filename
        wanted = _check_options(image, options)
        for name, other in (_BACKING, _BACKING[::-1]):
            if name in wanted:
                # Both or neither: an image whose backing file is named without its format has none.
                wanted.setdefault(other, None)
        current = _amendable(image).current_options()
        driver = get_driver(image.format)
        declared = {option.name: option for option in driver.options}
    changes = {
        name: value for name, value in wanted.items() if not declared[name].same(current.get(name), value)
    }
    actions = [
        "change %s from %s to %s" % (shown_name(name), shown(current.get(name)), shown(value))
        for name, value in changes.items()
    ]

    def run(opener: Opener, _progress: Progress) -> None:
        with opener.open(reference, format, WRITE) as opened:
            _amendable(opened).amend(wanted)

    after = {**current, **changes}
    plan = Plan(path, actions, current, after, run, opener)
    moves = driver.further_files(path, current) != driver.further_files(path, after)
    if moves or after["size"] < current["size"] or changes.keys() & set(_BACKING):
        plan.altered = (Altered(path),)
    return plan


def amend(
    reference: Reference, options: dict[str, Any], format: str | None = None, opener: Opener | None = None
) -> None:
    """Change options of an image in place; arguments and errors as for :func:`plan_amend`."""
    plan_amend(reference, options, format, opener).apply()


def amendable_options(format: str) -> tuple[CreateOption, ...]:
    """The options of a format that can be changed in place.

    :raises OptionError: there is no such format
    :raises UnsupportedOperationError: none can
    """
    driver = creatable(format, "")
    options = tuple(option for option in driver.options if option.amendable)
    if not options:
        raise _cannot_amend(format, None)
    return options


def _cannot_amend(format: str, path: str | None) -> UnsupportedOperationError:
    return UnsupportedOperationError(
        "Format driver '%s' does not support option amendment" % format, path=path, format=format
    )


def _amendable(image: Image) -> Any:
    if not isinstance(image, Amendable):
        raise _cannot_amend(image.format, image.filename)
    return image


def _check_options(image: Image, options: dict[str, Any]) -> dict[str, Any]:
    _amendable(image)
    declared = get_driver(image.format).options
    amendable = tuple(option for option in declared if option.amendable)
    try:
        return check_values(amendable, options)
    except OptionError as error:
        error.path = image.filename
        error.format = image.format
        names = {option.name for option in amendable}
        if all(name in names for name in options) or not _are_for_creation(declared, options):
            raise
        error.hint = "This option is only supported for image creation"
        error.remedy = "convert the image to have it with this option"
        raise


def _are_for_creation(declared: tuple[CreateOption, ...], options: dict[str, Any]) -> bool:
    """Whether an image could be made with these options."""
    try:
        check_values(tuple(option for option in declared if option.creatable), options)
    except OptionError:
        return False
    return True
