# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Looking for errors in an image's metadata, and repairing them."""
from __future__ import annotations

from collections import namedtuple

from ..errors import CorruptImageError, UnsupportedOperationError
from ..formats.capabilities import Checkable
from ..formats.driver import CHECK
from ..formats.opening import Opener
from ..option_text import check_choice
from .plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Literal

    from ..formats.base import Image
    from ..formats.capabilities import CheckResult
    from ..references import Reference
    from .plan import Progress

    Repair = Literal["leaks", "all"]

#: What can be repaired.
REPAIRS: tuple[Repair, ...] = ("leaks", "all")

#: Counter -> key of the JSON document, which leaves out those that are 0.
_COUNTERS = (
    ("image_end_offset", "image-end-offset"),
    ("total_clusters", "total-clusters"),
    ("corruptions", "corruptions"),
    ("corruptions_fixed", "corruptions-fixed"),
    ("leaks", "leaks"),
    ("leaks_fixed", "leaks-fixed"),
    ("allocated_clusters", "allocated-clusters"),
    ("fragmented_clusters", "fragmented-clusters"),
    ("compressed_clusters", "compressed-clusters"),
)


class CheckReport(namedtuple("CheckReport", ["filename", "format", "result"])):
    """What a check found: the image's ``filename`` and ``format``, and the counters in ``result``."""

    __slots__ = ()

    filename: str
    format: str
    result: CheckResult

    @property
    def clean(self) -> bool:
        """No errors and no leaks."""
        return bool(self.result.clean)

    def document(self) -> dict[str, Any]:
        """The object that ``check --output=json`` prints."""
        document = {"filename": self.filename, "format": self.format, "check-errors": self.result.check_errors}
        for name, key in _COUNTERS:
            value = getattr(self.result, name)
            if value:
                document[key] = value
        return document


def check(
    reference: Reference,
    format: str | None = None,
    repair: Repair | None = None,
    report: Callable[[str], None] | None = None,
    opener: Opener | None = None,
    repaired: Callable[[CheckReport], None] | None = None,
) -> CheckReport:
    """Check an image; with ``repair``, repair it in one step and check again.

    :param reference: the image
    :param format: its format; ``None``: detect it
    :param repair: ``None``: nothing; ``leaks``: what is allocated and not used; ``all``: also what contradicts itself
    :param report: called with each line that qemu-img prints on the way
    :param opener: which files may be opened, and how
    :param repaired: called with what was repaired, before it is checked again
    :returns: what is there now, with counters of what was repaired
    :raises OptionError: there is no such ``repair``
    :raises UnsupportedOperationError: the format has no checks, or cannot be repaired
    :raises ImageError: the image cannot be opened, or is too broken to be checked
    """
    opener = opener or Opener()
    _check_choice(repair)
    with opener.open(reference, format, CHECK, writable=repair is not None) as image:
        return _check_image(image, repair, report, repaired)


def check_chain(
    reference: Reference, format: str | None = None, opener: Opener | None = None
) -> list[CheckReport]:
    """Check an image and all images below it, but for those whose formats have no checks.

    :param reference: the image
    :param format: its format; ``None``: detect it
    :param opener: which files may be opened, and how
    :returns: what was found, top first
    :raises ImageError: one of them cannot be opened
    """
    with (opener or Opener()).open(reference, format, CHECK) as image:
        checkable = [layer for layer in image.layers() if isinstance(layer, Checkable)]
        return [CheckReport(layer.filename, layer.format, layer.check()) for layer in checkable]


class RepairPlan(Plan):
    """A plan that also knows what a check finds now (``found``), and what it would find after the repair (``left``)."""

    found: CheckReport
    left: CheckReport

    def apply(self, progress: Progress | None = None) -> CheckReport | None:
        """Repair the image.

        :returns: what is there now; ``None`` for an empty plan
        """
        report: CheckReport | None = super().apply(progress)
        return report


def plan_repair(
    reference: Reference, repair: Repair | None, format: str | None = None, opener: Opener | None = None
) -> RepairPlan:
    """Plan to repair an image; an empty plan if nothing would be changed.

    What the repair would do is found by doing it in memory.

    :param repair: ``leaks``, ``all``, or ``None`` to repair nothing; see :func:`check`
    :param format: of the image; ``None``: detect it
    :raises OptionError: there is no such ``repair``
    :raises UnsupportedOperationError: the format has no checks, or cannot be repaired
    :raises ImageError: the image cannot be opened, or is too broken to be checked
    """
    opener = opener or Opener()
    _check_choice(repair)
    with opener.open(reference, format, CHECK) as image:
        found = _check_image(image, None, None)
        marks = _marks(_checkable(image, repair))
        path = image.filename
    left, marks_left = found, marks
    if repair is not None and (marks or not found.clean):
        rehearsal = opener.rehearsal.copy() if opener.rehearsal is not None else None
        apart = opener.variant(force_share=False, rehearsal=rehearsal).rehearsing()
        with apart.open(reference, format, CHECK, writable=True) as image:
            left = _check_image(image, repair, None)
            marks_left = _marks(_checkable(image, repair))
    actions = []
    if left.result.corruptions_fixed:
        actions.append("repair %d corruptions" % left.result.corruptions_fixed)
    if left.result.leaks_fixed:
        actions.append("free %d leaked clusters" % left.result.leaks_fixed)
    actions += ["remove the mark '%s'" % mark for mark in marks if mark not in marks_left]

    def run(opener: Opener, _progress: Progress) -> CheckReport:
        with opener.open(reference, format, CHECK, writable=True) as image:
            return _check_image(image, repair, None)

    before = {"check": found.document(), "marks": marks}
    after = {"check": left.document(), "marks": marks_left} if actions else before
    plan = RepairPlan(path, actions, before, after, run, opener)
    plan.found, plan.left = found, left
    return plan


def check_sources(sources: Iterable[str], format: str | None, opener: Opener) -> None:
    """See that the metadata of images that are to be copied, and of those below them, are in order.

    :param format: of the sources; ``None``: find out
    :raises CorruptImageError: what would be copied may not be what was once written
    :raises ImageError: one of them cannot be opened
    """
    for source in sources:
        for report in check_chain(source, format, opener):
            if report.result.corruptions or report.result.check_errors:
                raise CorruptImageError(
                    "Its metadata have errors, so that what it holds may be wrong",
                    path=report.filename,
                    format=report.format,
                    remedy="restore it, or check and repair a copy of it",
                )


def _check_choice(repair: Repair | None) -> None:
    if repair is not None:
        check_choice("repair", repair, REPAIRS)


def _check_image(
    image: Image,
    repair: Repair | None,
    report: Callable[[str], None] | None,
    repaired: Callable[[CheckReport], None] | None = None,
) -> CheckReport:
    checkable = _checkable(image, repair)
    result = checkable.check(repair, report)
    if result.corruptions_fixed or result.leaks_fixed:
        if repaired is not None:
            repaired(CheckReport(image.filename, image.format, result))
        result = _checked_again(checkable, result, report)
    return CheckReport(image.filename, image.format, result)


def _marks(image: Checkable) -> list[str]:
    """What programs that wrote to the image have noted in it."""
    return [name for name, is_set in (("dirty", image.dirty), ("corrupt", image.corrupt)) if is_set]


def _checkable(image: Image, repair: Repair | None) -> Checkable:
    if not isinstance(image, Checkable) or (repair is not None and not image.can_repair):
        raise UnsupportedOperationError(
            "This image format does not support checks", path=image.filename, format=image.format
        )
    return image


def _checked_again(
    image: Checkable, repaired: CheckResult, report: Callable[[str], None] | None
) -> CheckResult:
    """The state after a repair, with the counters of what was repaired."""
    result = image.check(None, report)
    result.corruptions_fixed = repaired.corruptions_fixed
    result.leaks_fixed = repaired.leaks_fixed
    return result
