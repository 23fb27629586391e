# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Copying a stretch of a guest disk, counted in blocks, into a new image."""
from __future__ import annotations

from collections import namedtuple

from ..errors import UNUSABLE, OptionError
from ..formats.base import ABSENT, DATA, ZERO
from ..formats.chain import chain_extents, read_extents
from ..formats.driver import READ
from ..formats.naming import shown_reference
from ..formats.opening import Opener
from ..limits import SECTOR
from ..references import text_of
from ..sizes import round_up
from .copying import READING, Copier, copy_options
from .create import resolve_options
from .new_image import creatable, empty_image, new_files
from .pieces import SourceRun, WholeDisk, source_runs
from .plan import Plan
from .room import surely_fits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ..errors import ImageError
    from ..formats.base import Image
    from ..formats.new_files import NewFiles
    from ..references import FileName, Reference
    from .plan import Progress

MAX_BLOCK_SIZE = (1 << 31) - 1


class DdRequest(
    namedtuple(
        "DdRequest",
        ["source", "target", "source_format", "format", "block_size", "count", "skip"],
        defaults=(None, "raw", 512, None, 0),
    )
):
    """What to copy; its fields are the arguments of :func:`dd`."""

    __slots__ = ()

    source: Reference
    target: Any
    source_format: str | None
    format: str
    block_size: int
    count: int | None
    skip: int

    def stretch(self, size: int) -> tuple[int, int]:
        """The guest bytes ``[start, end)`` of a source of ``size`` bytes that are copied."""
        end = size if self.count is None else min(size, self.count * self.block_size)
        return min(end, self.skip * self.block_size), end


class DdPlan(Plan):
    """A plan that also says whether everything is skipped, and more than there is (``past_end``)."""

    past_end = False


def plan_dd(request: DdRequest, opener: Opener | None = None) -> DdPlan:
    """Plan to copy blocks of a guest disk into a new image, zeroes included.

    The new image takes its name only when it is complete; what has that name now is then replaced.

    :param request: what to copy
    :param opener: which files may be opened, and how
    :raises OptionError: a number is out of range, or there is no such format
    :raises ImageError: the source cannot be opened
    """
    opener = opener or Opener()
    request = request._replace(target=text_of(request.target))
    if not 1 <= request.block_size <= MAX_BLOCK_SIZE:
        raise OptionError("Invalid bs specified. Must be between 1 and %d." % MAX_BLOCK_SIZE)
    for name, value in (("count", request.count or 0), ("skip", request.skip)):
        if value < 0:
            raise OptionError("Invalid %s specified. It must not be negative." % name)
    with opener.open(request.source, request.source_format, READ) as source:
        start, end = request.stretch(source.size)
        creatable(request.format, request.target)

    def run(opener: Opener, progress: Progress) -> None:
        with opener.open(request.source, request.source_format, READ) as source:
            _copy(request, source, opener, progress)

    action = "copy bytes %d to %d of '%s' into a new %s image" % (
        start,
        end,
        shown_reference(request.source),
        request.format,
    )
    plan = DdPlan(request.target, [action], {}, {"format": request.format, "size": end - start}, run, opener)
    plan.past_end = request.skip * request.block_size > end
    return plan


def _copy(request: DdRequest, source: Image, opener: Opener, progress: Progress) -> None:
    start, end = request.stretch(source.size)
    options = resolve_options(request.target, request.format, end - start, {}, None, None, False, opener)
    with new_files(request.target, request.format, options, opener) as files:
        if not surely_fits(creatable(request.format, request.target), options, files, None):
            _fill(request, source, options, files.trial(), opener, lambda _done: None)
        _fill(request, source, options, files, opener, progress)
        files.commit()


def _fill(
    request: DdRequest, source: Image, options: dict[str, Any], files: NewFiles, opener: Opener, progress: Progress
) -> None:
    start, end = request.stretch(source.size)
    with empty_image(request.target, request.format, files, options, opener) as target:
        if opener.rehearses:
            target.storage.lacks_data = True
        elif end > start:
            _copy_data(source, start, end, target, progress)


def _copy_data(source: Image, start: int, end: int, target: Image, progress: Progress) -> None:
    """Write every byte, zeroes too."""

    # Reading what a file has as holes gives zeroes; what a server says is zero may read as anything, or not at all.
    look = read_extents if any(layer.storage.is_map_told for layer in source.layers()) else chain_extents

    def runs() -> Iterator[SourceRun]:
        position = 0
        try:
            for run in source_runs(source, look(source, start, end - start), -start):
                position = run.start + run.length
                yield run._replace(kind=ZERO) if run.kind == ABSENT else run
        except UNUSABLE:
            # All is read anyway, and then there is an error if there has to be one.
            yield SourceRun(position, end - start - position, DATA, None, None, WholeDisk(source), start + position)
        # Images end with a sector; what follows the copied bytes in the last one reads as zeroes.
        rest = -(end - start) % SECTOR
        if rest:
            yield SourceRun(end - start, rest, ZERO, None, None, None, 0)

    total = round_up(end - start, SECTOR)
    Copier(target, False, copy_options(sparse_grain=0), lambda done: progress(done / total), _explain).run(runs())


def _explain(error: ImageError, what: str, offset: int) -> ImageError:
    """The same error in the words of ``dd``."""
    which = "from input" if what == READING else "to output"
    error.reason = "error while %s %s image file: %s" % (what, which, error.words)
    error.offset = offset
    return error


def dd(
    source: Reference,
    target: FileName,
    format: str = "raw",
    source_format: str | None = None,
    *,
    block_size: int = 512,
    count: int | None = None,
    skip: int = 0,
    opener: Opener | None = None,
    progress: Progress | None = None,
) -> None:
    """Copy blocks of a guest disk into a new image; errors as for :func:`plan_dd`.

    :param source: the image to read
    :param target: the new image, which takes its name when it is complete
    :param format: of the new image
    :param source_format: of the source; ``None``: detect it
    :param block_size: bytes of a block
    :param count: how many blocks of the source matter, counted from its beginning, those that are skipped included (as
        with qemu-img); ``None``: all
    :param skip: how many of them to leave out at the beginning
    :param opener: which files may be opened, and how
    :param progress: called with the fraction that is done, 0.0 to 1.0; what it raises ends the copy
    """
    plan_dd(DdRequest(source, target, source_format, format, block_size, count, skip), opener).apply(progress)
