# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Copying guest disks into new images, or into existing ones."""
from __future__ import annotations

from ..errors import (
    UNUSABLE,
    ImageError,
    MismatchError,
    OptionError,
    StorageError,
    StorageLostError,
    UnknownContentError,
)
from ..formats.capabilities import Compressing
from ..formats.chain import chain_extents
from ..formats.new_files import target_exists
from ..formats.opening import INFO, SOURCE, WRITE, Opener
from ..formats.options import check_values
from ..limits import SECTOR
from ..references import resolve_reference
from ..sizes import round_up
from . import conversion_record
from .bitmap_copying import bitmaps_to_copy, check_holder, check_target, copy_bitmaps
from .compare import compare_joined
from .conversion_request import ConvertRequest
from .convert_checks import backing_file_shows, check_request, no_compression, without_effects
from .copying import LOOKING, WRITING, Copier, CopyOptions, at_offset, copy_options
from .create import creatable, empty_image, keep_data_file, new_files, resolve_options
from .pieces import ABSENT, DATA, ZERO, SourceRun, WholeDisk, runs_on_top, source_runs
from .plan import Plan, nothing
from .room import surely_fits
from .snapshot import show_snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ..formats.base import Image
    from ..formats.new_files import NewFiles
    from .conversion_record import Side
    from .plan import Progress

# When an existing target is replaced.
ALWAYS = "always"  #: without looking, as qemu-img does
NEVER = "never"  #: never: an image of the wanted format is fine, anything else an error
IF_DIFFERENT = "if_different"  #: when its guest content is not that of the source


class ConvertPlan(Plan):
    """A plan that also says whether the target has the source's content.

    ``matches``: ``True``, ``False``, or ``None`` where nobody knows; ``difference``: why not, or why nobody knows.
    """

    matches: bool | None = None
    difference: str | None = None

    def apply(self, progress: Progress | None = None) -> Any:
        result = super().apply(progress)
        if self.changed:
            self.matches, self.difference = True, None
        return result

    def rehearse(self) -> Any:
        result = super().rehearse()
        if self.changed:
            self.matches, self.difference = True, None
        return result


def plan_convert(
    request: ConvertRequest, replace: str = ALWAYS, record: bool = False, opener: Opener | None = None
) -> ConvertPlan:
    """Plan a conversion.

    :param replace: what to do about an existing target: ``ALWAYS``, ``NEVER`` or ``IF_DIFFERENT``
    :param record: keep a record of what has the same content, so that the next plan need not compare it
    :raises MismatchError: under ``NEVER``, what is at the target is not an image of the wanted format
    :raises ImageError: a source cannot be opened, or the target cannot be made so
    """
    opener = opener or Opener()
    if not request.sources:
        raise OptionError("Must specify image file name", path=request.target)

    def run(opener: Opener, progress: Progress) -> None:
        sources = _look_at_sources(request, opener) if record else []
        backdated = _convert(request, replace, opener, progress)
        if record and backdated is not None:
            target = conversion_record.look_at(request.target, request.format, opener)
            if target is not None and conversion_record.has_settled(target, backdated):
                _remember(request, sources, target)

    is_new = replace != ALWAYS and not request.into_existing and not _target_exists(request, opener)
    if is_new:
        keep_data_file(request.target, (request.options or {}).get("data_file"), opener)
    if replace == ALWAYS or request.into_existing or is_new:
        size = _try_sources(request, opener)
        action = "convert %s to a %s image" % (_shown(request), request.format)
        return ConvertPlan(request.target, [action], {}, _after(request, size), run, opener)
    before = _existing(request.target, opener)
    if before["format"] != request.format:
        reason = before.pop("problem", None) or "its format is %s, not %s" % (before["format"], request.format)
        if replace == NEVER:
            raise MismatchError(
                "The existing file is not what was asked for: %s" % reason,
                path=request.target,
                remedy="remove it, or choose to have it replaced",
            )
        after = _after(request, _try_sources(request, opener))
        return ConvertPlan(request.target, ["replace the existing file: %s" % reason], before, after, run, opener)
    sources = _look_at_sources(request, opener)
    target = conversion_record.look_at(request.target, request.format, opener)
    unchanged = ConvertPlan(request.target, [], before, before, nothing, opener)
    unchanged.matches = True
    if conversion_record.is_unchanged(sources, target, request.snapshot, request.target):
        return unchanged
    try:
        difference = content_difference(request, opener)
    except ImageError as error:
        if replace == NEVER:
            # The source may have been taken away since, or somebody is using the target: that is no reason to fail.
            unchanged.matches = None
            unchanged.difference = "they could not be compared (%s)" % error
            return unchanged
        if not isinstance(error, UnknownContentError):
            raise
        difference = "they cannot be compared yet (%s)" % error
    if difference is None:
        if record and target is not None and conversion_record.has_settled(target):
            _remember(request, sources, target)
        return unchanged
    if replace == NEVER:
        unchanged.matches, unchanged.difference = False, difference
        return unchanged
    after = _after(request, _try_sources(request, opener))
    plan = ConvertPlan(request.target, ["replace the existing image: %s" % difference], before, after, run, opener)
    plan.matches, plan.difference = False, difference
    return plan


def _target_exists(request: ConvertRequest, opener: Opener) -> bool:
    return target_exists(request.target, opener.rehearsal, creatable(request.format, request.target).protocol)


def _look_at_sources(request: ConvertRequest, opener: Opener) -> list[Side | None]:
    return [conversion_record.look_at(name, request.source_format, opener) for name in request.sources]


def _remember(request: ConvertRequest, sources: list[Side | None], target: Side) -> None:
    if all(side is not None and conversion_record.has_settled(side) for side in sources):
        conversion_record.remember(sources, target, request.snapshot, request.target)


def content_difference(request: ConvertRequest, opener: Opener) -> str | None:
    """Why the target's guest content is not the sources', in a clause; ``None``: it is.

    :raises ImageError: one of them cannot be read
    """
    sources = _open_sources(request, opener)
    try:
        with opener.open(request.target, request.format) as target:
            size = _wanted_size(request, sources)
            if target.size != size:
                return "its size is %d bytes, not %d" % (target.size, size)
            result = compare_joined(sources, target)
            if result.identical:
                return None
            return "its content differs from the source's at offset %s" % result.offset
    finally:
        for source in sources:
            source.abandon()


def _wanted_size(request: ConvertRequest, sources: list[Image]) -> int:
    """Guest bytes of the new image."""
    asked = {name: value for name, value in (request.options or {}).items() if name == "size"}
    if asked:
        options = tuple(option for option in creatable(request.format, request.target).options if option.name == "size")
        return round_up(check_values(options, asked)["size"], SECTOR)
    return sum(round_up(source.size, SECTOR) for source in sources)


def _shown(request: ConvertRequest) -> str:
    return ", ".join("'%s'" % source for source in request.sources)


def _existing(path: str, opener: Opener) -> dict[str, Any]:
    """Format and size of an existing file; if it is not an image, they are ``None``, and ``problem`` says why.

    :raises StorageError: we are not allowed to look, or somebody is using it
    """
    try:
        with opener.open(path, None, INFO, backing=False) as image:
            return {"format": image.format, "size": image.size}
    except StorageError:
        raise
    except ImageError as error:
        return {"format": None, "size": None, "problem": "it cannot be opened as an image (%s)" % error.reason}


def _after(request: ConvertRequest, size: int) -> dict[str, Any]:
    """What there will be, as far as the user asked for it.

    :param size: guest bytes of the sources
    """
    after = {"format": request.format, "size": size, "sources": list(request.sources), **(request.options or {})}
    for name in ("snapshot", "compress", "backing_file", "backing_format"):
        if getattr(request, name):
            after[name] = getattr(request, name)
    return after


def _try_sources(request: ConvertRequest, opener: Opener) -> int:
    """Find out now what would make the conversion fail later.

    :returns: the guest bytes of all sources
    """
    sources = _open_sources(request, opener)
    try:
        check_request(request, sources)
        return sum(round_up(source.size, SECTOR) for source in sources)
    finally:
        for source in sources:
            source.abandon()


def _open_sources(request: ConvertRequest, opener: Opener) -> list[Image]:
    """All sources, the first one showing the wanted snapshot.

    :raises OptionError: there are several, and it is not said which of them has the snapshot
    """
    sources: list[Image] = []
    try:
        for name in request.sources:
            sources.append(opener.open(name, request.source_format, SOURCE))
        if request.snapshot is not None:
            if len(sources) > 1 and isinstance(request.snapshot, str):
                raise OptionError("No support for concatenating multiple snapshot", path=request.target)
            show_snapshot(sources[0], request.snapshot)
    except BaseException:
        for source in sources:
            source.abandon()
        raise
    return sources


def _convert(request: ConvertRequest, replace: str, opener: Opener, progress: Progress) -> int | None:
    """:returns: the modification time that a new target was given, in nanoseconds"""
    sources = _open_sources(request, opener)
    try:
        if request.into_existing:
            _fill_existing(request, sources, opener, progress)
            return None
        return _make_new(request, replace, sources, opener, progress)
    finally:
        for source in sources:
            source.abandon()


def _make_new(
    request: ConvertRequest, replace: str, sources: list[Image], opener: Opener, progress: Progress
) -> int | None:
    check_request(request, sources)
    total = sum(round_up(source.size, SECTOR) for source in sources)
    given = dict(request.options or {})
    size = total if "size" not in given else None

    def resolved(backing_file: str | None, backing_format: str | None) -> dict[str, Any]:
        return resolve_options(
            request.target, request.format, size, given, backing_file, backing_format, False, opener
        )

    try:
        options = resolved(request.backing_file, request.backing_format)
    except OptionError:
        # What is wrong with the image itself comes first, as where the backing file cannot be opened.
        given = {name: value for name, value in given.items() if name not in ("backing_file", "backing_fmt")}
        _try_making(request, resolved(None, None), opener)
        raise
    if options["size"] < total:
        raise _too_small(request)
    with new_files(request.target, request.format, options, opener.variant(cache=request.cache), request.sync) as files:
        copied = sources if request.sparse_grain else None
        if not surely_fits(creatable(request.format, request.target), options, files, copied, request.bitmaps):
            _fill_new(without_effects(request), sources, options, files.trial(), opener, lambda _done: None)
        _fill_new(request, sources, options, files, opener, progress)
        backdated = files.backdate()
        if replace == NEVER:
            # There was nothing when that was asked.
            files.require_new()
            files.require_new_others()
        files.commit()
    return backdated


def _fill_new(
    request: ConvertRequest,
    sources: list[Image],
    options: dict[str, Any],
    files: NewFiles,
    opener: Opener,
    progress: Progress,
) -> None:
    backing = _open_backing(request, files, options, opener)
    with empty_image(request.target, request.format, files, options, backing) as target:
        target_is_zero = target.reads_zero_when_new and not _shows_old_bytes(target, options)
        _copy(request, sources, target, target_is_zero, opener.rehearses, progress)


def _try_making(request: ConvertRequest, options: dict[str, Any], opener: Opener) -> None:
    """Make the new image, but give it no name.

    :raises ImageError: it cannot be made
    """
    with new_files(request.target, request.format, options, opener.variant(cache=request.cache), request.sync) as files:
        with empty_image(request.target, request.format, files, options):
            pass


def _open_backing(
    request: ConvertRequest, files: NewFiles, options: dict[str, Any], opener: Opener
) -> Image | None:
    """The backing file of the new image, which completes what is written only in part."""
    if not options.get("backing_file"):
        return None
    try:
        resolved = resolve_reference(request.target, options["backing_file"])
    except ImageError as error:
        error.while_opening = request.target
        raise
    try:
        return opener.open(resolved, options.get("backing_fmt"))
    except ImageError as error:
        # What is wrong with the image itself comes first.
        with empty_image(request.target, request.format, files.trial(), options):
            pass
        error.reason = "Could not open backing file: %s" % error.reason
        error.while_opening = request.target
        error.path = request.target
        raise


def _too_small(request: ConvertRequest) -> OptionError:
    return OptionError("output file is smaller than input file", path=request.target)


def _shows_old_bytes(target: Image, options: dict[str, Any]) -> bool:
    """Whether the space that is reserved for a new image may hold something else than zeroes, as that of a device may.

    In a file it is zero, and zeroes must not be written: that would give back the space that was asked for.
    """
    if options.get("preallocation", "off") == "off":
        return False
    return "data_file" in options or not target.storage.reads_zero_when_new


def _fill_existing(request: ConvertRequest, sources: list[Image], opener: Opener, progress: Progress) -> None:
    opener = opener.variant(cache=request.cache, force_share=False, discard="unmap")
    with opener.open(request.target, request.format, WRITE) as target:
        if request.bitmaps:
            check_holder(target)
        if request.compress and not isinstance(target, Compressing):
            raise no_compression(request)
        if target.size < sum(source.size for source in sources):
            raise _too_small(request)
        if request.target_is_zero and target.backing_file:
            raise backing_file_shows(request)
        _copy(request, sources, target, request.target_is_zero, opener.rehearses, progress)


def _copy(
    request: ConvertRequest,
    sources: list[Image],
    target: Image,
    target_is_zero: bool,
    rehearses: bool,
    progress: Progress,
) -> None:
    bitmaps = bitmaps_to_copy(sources, request.skip_broken_bitmaps) if request.bitmaps else []
    if request.bitmaps:
        check_target(sources[0], target, bitmaps)
    if rehearses:
        target.storage.lacks_data = True
    else:
        _copy_data(request, sources, target, target_is_zero, progress)
    if bitmaps:
        copy_bitmaps(sources[0], target, bitmaps)


def _copy_data(
    request: ConvertRequest, sources: list[Image], target: Image, target_is_zero: bool, progress: Progress
) -> None:
    total = max(1, sum(source.size for source in sources))
    options: CopyOptions = copy_options(
        request.sparse_grain, request.compress, request.offload, request.rate, request.salvage, request.threads
    )
    if not target_is_zero and request.sparse_grain and target.backing_file is None:
        # One request for all instead of one for each run of zeroes.
        try:
            target_is_zero = target.zero_quickly(0, sum(round_up(source.size, SECTOR) for source in sources))
        except UNUSABLE as error:
            raise at_offset(error, WRITING, 0) from error
    copier = Copier(target, target_is_zero, options, lambda done: progress(min(1.0, done / total)))
    copier.run(_all_runs(request, sources, target))


def _all_runs(request: ConvertRequest, sources: list[Image], target: Image) -> Iterator[SourceRun]:
    shift = 0
    # Above the backing file that was asked for, what the source's own top image does not have is there already.
    on_top = bool(request.backing_file or (request.options or {}).get("backing_file"))
    for source in sources:
        runs = _runs(source, 1 if on_top else None, shift, request.salvage)
        if on_top:
            yield from runs_on_top(runs, source, target)
        else:
            for run in runs:
                yield run._replace(kind=ZERO) if run.kind == ABSENT else run
        shift += round_up(source.size, SECTOR)


def _runs(
    source: Image, depth: int | None, shift: int, salvage: Callable[[int, ImageError], None] | None
) -> Iterator[SourceRun]:
    """What a source has, as far as can be found out; where nobody knows, ``salvage`` has it read."""
    position = 0
    window = source.size
    while position < source.size:
        length = min(window, source.size - position)
        try:
            for run in source_runs(source, chain_extents(source, position, length, depth), shift):
                position = run.start + run.length - shift
                yield run
            window = 2 * length
        except UNUSABLE as error:
            is_lost = isinstance(error, StorageLostError)
            if length > SECTOR and not is_lost:
                # What fails may lie behind much that does not.
                window = round_up(length // 2, SECTOR)
                continue
            failure = at_offset(error, LOOKING, position)
            if salvage is None or is_lost:
                raise
            salvage(position, failure)
            yield SourceRun(position + shift, length, DATA, None, None, WholeDisk(source), position)
            position += length


def convert(
    source: str,
    target: str,
    format: str = "raw",
    source_format: str | None = None,
    progress: Progress | None = None,
    opener: Opener | None = None,
    **arguments: Any,
) -> None:
    """Copy one guest disk into a new image.

    :param source: a file name; to put several disks one after another, use :func:`plan_convert`
    :param arguments: ``options``, ``compress``, ``backing_file``, ``snapshot``, … as in :class:`ConvertRequest`
    """
    request = ConvertRequest((source,), source_format, target, format, **arguments)
    plan_convert(request, opener=opener).apply(progress)
