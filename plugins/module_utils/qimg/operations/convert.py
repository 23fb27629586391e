# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Copying guest disks into new images, or into existing ones."""
from __future__ import annotations

from ..errors import ImageError, MismatchError, OptionError, StorageError, UnknownContentError
from ..formats.capabilities import Compressing
from ..formats.naming import shown_reference
from ..formats.new_files import target_exists
from ..formats.opening import Opener
from ..formats.options import check_values
from ..limits import SECTOR
from ..option_text import check_choice
from ..references import named, text_of
from ..sizes import round_up
from ..storage.cache import WRITEBACK
from ..storage.zeros import DEFAULT_GRAIN
from . import conversion_record
from .compare import compare_joined
from .conversion import Sources, carry_out
from .conversion_request import ALWAYS, IF_DIFFERENT, NEVER, REPLACES, ConvertRequest
from .convert_checks import check_consistency, check_request
from .create import (
    BACKING,
    EXACT,
    image_differences,
    keep_further_files,
    open_existing,
    resolve_options,
    shown_name,
)
from .new_image import creatable
from .plan import Altered, Plan, nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..formats.base import Image
    from ..references import FileName, Reference
    from ..storage.cache import CacheMode
    from .conversion_record import Side
    from .conversion_request import Replace
    from .plan import Progress
    from .snapshot import SnapshotName

#: So many clusters that are not compressed are tried before they are taken to be such that do not shrink.
_SAMPLES = 16


class ConvertPlan(Plan):
    """A plan that also says whether the target has the source's content.

    ``matches``: ``True``, ``False``, or ``None`` where nobody knows; ``difference``: why not, or why nobody knows.
    ``differences`` says in what else an existing image is not what was asked for, one clause each.
    """

    matches: bool | None = None
    difference: str | None = None
    differences: list[str] = []

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
    request: ConvertRequest, replace: Replace = ALWAYS, record: bool = False, opener: Opener | None = None
) -> ConvertPlan:
    """Plan a conversion.

    :param request: what to convert, and how
    :param replace: what to do about an existing target: ``ALWAYS``, ``NEVER`` or ``IF_DIFFERENT``
    :param record: keep a record of what has the same content, so that the next plan need not compare it
    :param opener: which files may be opened, and how
    :raises MismatchError: under ``NEVER``, what is at the target is not an image of the wanted format
    :raises ImageError: a source cannot be opened, or the target cannot be made so
    """
    opener = opener or Opener()
    check_choice("replace", replace, REPLACES)
    request = _with_names(request)
    check_consistency(request)
    if not request.sources:
        raise OptionError("Must specify image file name", path=request.target_name)

    def run(opener: Opener, progress: Progress) -> None:
        with Sources(request, opener) as sources:
            sides = [conversion_record.look_at_open(image) for image in sources.images] if record else []
            backdated = carry_out(request, replace, sources, opener, progress)
        if record and backdated is not None:
            target = conversion_record.look_at(request.target, request.format, opener)
            if target is not None and conversion_record.has_settled(target, backdated):
                _remember(request, replace, sides, target)

    with Sources(request, opener) as sources:
        is_new = replace != ALWAYS and not request.into_existing and not _target_exists(request, opener)
        if is_new:
            keep_further_files(request.target, request.format, request.options or {}, opener)
        if replace == ALWAYS or request.into_existing or is_new:
            check_request(request, sources.images)
            action = "convert %s to a %s image" % (_shown(request), request.format)
            after = _after(request, sources.size)
            return _altering(request, ConvertPlan(request.target_name, [action], {}, after, run, opener))
        return _plan_over_existing(request, replace, record, sources, run, opener)


def _plan_over_existing(
    request: ConvertRequest,
    replace: Replace,
    record: bool,
    sources: Sources,
    run: Callable[[Opener, Progress], None],
    opener: Opener,
) -> ConvertPlan:
    """Plan what to do about a file that is there already, and is replaced under a condition only.

    :param run: replaces it
    :raises StorageError: we are not allowed to look at it, or somebody is using it
    """
    before: dict[str, Any]
    try:
        existing = open_existing(request.target, request.format, opener)
    except StorageError:
        raise
    except ImageError as error:
        before = {"format": None, "size": None}
        reason = "it cannot be opened as an image (%s)" % error.reason
    else:
        with existing:
            if existing.format == request.format:
                return _plan_by_content(request, replace, record, sources, existing, run, opener)
            before = {"format": existing.format, "size": existing.size}
            reason = "its format is %s, not %s" % (existing.format, request.format)
    if replace == NEVER:
        mismatch = MismatchError(
            "The existing file is not what was asked for: %s" % reason,
            path=request.target_name,
            remedy="remove it, or choose to have it replaced",
        )
        mismatch.differing = ("format",)
        raise mismatch
    check_request(request, sources.images)
    after = _after(request, sources.size)
    action = "replace the existing file: %s" % reason
    return _altering(request, ConvertPlan(request.target_name, [action], before, after, run, opener))


def _altering(request: ConvertRequest, plan: ConvertPlan) -> ConvertPlan:
    """The plan, which says that the content of the target changes; a target that is described has no one name."""
    if isinstance(request.target, str):
        plan.altered = (Altered(request.target),)
    return plan


def _plan_by_content(
    request: ConvertRequest,
    replace: Replace,
    record: bool,
    sources: Sources,
    existing: Image,
    run: Callable[[Opener, Progress], None],
    opener: Opener,
) -> ConvertPlan:
    """Plan what to do about an image of the wanted format that is there already.

    :param existing: that image, open without its backing chain
    :param run: replaces it
    """
    sides = _look_at_sources(request, sources, opener)
    target = conversion_record.look_at(request.target, request.format, opener)
    matches: bool | None = True
    difference = None
    differences: list[str] = []
    before = {"format": existing.format, "size": existing.size}
    if replace == IF_DIFFERENT:
        found, differences = _other_options(request, existing, opener)
        before.update(found)
    compress = _compression(request, replace)
    if not conversion_record.is_unchanged(sides, target, request.snapshot, request.target, compress):
        matches, difference = _compared(request, replace, sources, opener)
        other_compression = compression_difference(request, existing) if matches and compress is not None else None
        if other_compression is not None:
            differences.append(other_compression)
        elif matches and record and target is not None and conversion_record.has_settled(target):
            _remember(request, replace, sides, target)
    if replace == NEVER or (matches and not differences):
        plan = ConvertPlan(request.target_name, [], before, before, nothing, opener)
    else:
        action = "replace the existing image: %s" % "; ".join(filter(None, (difference, *differences)))
        check_request(request, sources.images)
        plan = ConvertPlan(request.target_name, [action], before, _after(request, sources.size), run, opener)
        if not matches:
            plan = _altering(request, plan)
    plan.matches, plan.difference, plan.differences = matches, difference, differences
    return plan


def _other_options(
    request: ConvertRequest, existing: Image, opener: Opener
) -> tuple[dict[str, Any], list[str]]:
    """Those of the wanted options that an existing target has, and in which of them it is not what was asked for."""
    given = dict(request.options or {})
    backing = (request.backing_file, request.backing_format)
    size = None if "size" in given else 0
    resolved = resolve_options(request.target, request.format, size, given, *backing, False, opener)
    wanted = {name: value for name, value in resolved.items() if name in given and name != "size"}
    found, differences = image_differences(existing, existing.format, resolved, wanted, EXACT)
    shown = {
        shown_name(name): value
        for name, value in found.items()
        if name in wanted or (name in BACKING and (value or resolved.get(name)))
    }
    return shown, list(differences.values())


def _compression(request: ConvertRequest, replace: Replace) -> bool | None:
    """Whether the target's data are to be compressed; ``None``: that is not asked."""
    return request.compress if replace == IF_DIFFERENT else None


def compression_difference(request: ConvertRequest, target: Image) -> str | None:
    """Why the target's data are not compressed, or not uncompressed, as asked for, in a clause; ``None``: they are.

    Clusters that do not shrink are stored as they are; whether that is why, a sample of them tells.

    :raises ImageError: the target cannot be read
    """
    samples = 0
    if not isinstance(target, Compressing) or target.cluster_size is None:
        return None
    cluster = target.cluster_size
    for extent in target.runs(0, target.size):
        if extent.compressed and not request.compress:
            return "its data are compressed, and should not be"
        if not request.compress or not extent.data or extent.zero or extent.compressed:
            continue
        compress = target.compressor()
        for start in range(round_up(extent.start, cluster), extent.start + extent.length - cluster + 1, cluster):
            if compress(memoryview(target.read(start, cluster))) is not None:
                return "its data are not compressed, and should be"
            samples += 1
            if samples == _SAMPLES:
                return None
    return None


def _compared(
    request: ConvertRequest, replace: Replace, sources: Sources, opener: Opener
) -> tuple[bool | None, str | None]:
    """Whether the target has the sources' content, and why not; ``None``: nobody knows."""
    try:
        difference = content_difference(request, sources.images, opener)
    except ImageError as error:
        if replace == NEVER:
            # The source may have been taken away since, or somebody is using the target: that is no reason to fail.
            return None, "they could not be compared (%s)" % error
        if not isinstance(error, UnknownContentError):
            raise
        return False, "they cannot be compared yet (%s)" % error
    return difference is None, difference


def _with_names(request: ConvertRequest) -> ConvertRequest:
    """The same request, with what the caller calls its files as texts."""
    if isinstance(request.sources, (str, bytes)):
        raise OptionError("The sources of a conversion are a tuple of images, not one")
    return request._replace(
        sources=tuple(named(source) for source in request.sources),
        target=named(request.target),
        backing_file=None if request.backing_file is None else text_of(request.backing_file),
    )


def _target_exists(request: ConvertRequest, opener: Opener) -> bool:
    return target_exists(request.target, opener.rehearsal, creatable(request.format, request.target).protocol)


def _look_at_sources(request: ConvertRequest, sources: Sources, opener: Opener) -> list[Side | None]:
    try:
        return [conversion_record.look_at_open(image) for image in sources.images]
    except ImageError:
        # Somebody may be using one of them, but has not written to it since.
        return [conversion_record.look_at(name, request.source_format, opener) for name in request.sources]


def _remember(request: ConvertRequest, replace: Replace, sources: list[Side | None], target: Side) -> None:
    if all(side is not None and conversion_record.has_settled(side) for side in sources):
        compress = _compression(request, replace)
        conversion_record.remember(sources, target, request.snapshot, request.target, compress)


def content_difference(request: ConvertRequest, sources: list[Image], opener: Opener) -> str | None:
    """Why the target's guest content is not the sources', in a clause; ``None``: it is.

    :raises ImageError: one of them cannot be read
    """
    with opener.open(request.target, request.format) as target:
        size = _wanted_size(request, sources)
        # A device is as long as it is; what lies behind the disk that was copied there is not looked at.
        may_be_longer = target.is_plain and target.storage.is_device
        if target.size < size or (target.size > size and not may_be_longer):
            return "its size is %d bytes, not %d" % (target.size, size)
        result = compare_joined(sources, target, size)
        if result.identical:
            return None
        return "its content differs from the source's at offset %s" % result.offset


def _wanted_size(request: ConvertRequest, sources: list[Image]) -> int:
    """The guest bytes of the new image."""
    driver = creatable(request.format, request.target)
    given = {name: value for name, value in (request.options or {}).items() if driver.has_option(name)}
    options = check_values(driver.options, given)
    size = sum(round_up(source.size, SECTOR) for source in sources)
    return driver.disk_size(round_up(options.get("size", size), SECTOR), options)


def _shown(request: ConvertRequest) -> str:
    return ", ".join("'%s'" % shown_reference(source) for source in request.sources)


def _after(request: ConvertRequest, size: int) -> dict[str, Any]:
    """What there will be, as far as the user asked for it.

    :param size: guest bytes of the sources
    """
    after = {"format": request.format, "size": size, "sources": list(request.sources), **(request.options or {})}
    for name in ("snapshot", "compress", "backing_file", "backing_format"):
        if getattr(request, name):
            after[name] = getattr(request, name)
    return after


def convert(
    source: Reference | Sequence[Reference],
    target: Reference,
    format: str | None = "raw",
    source_format: str | None = None,
    *,
    options: dict[str, Any] | None = None,
    backing_file: FileName | None = None,
    backing_format: str | None = None,
    snapshot: SnapshotName | None = None,
    compress: bool = False,
    offload: bool = False,
    sparse_grain: int = DEFAULT_GRAIN,
    into_existing: bool = False,
    target_is_zero: bool = False,
    rate: int = 0,
    salvage: Callable[[int, ImageError], None] | None = None,
    sync: bool = True,
    cache: CacheMode = WRITEBACK,
    threads: int | None = None,
    bitmaps: bool = False,
    skip_broken_bitmaps: Callable[[str], None] | None = None,
    replace: Replace = ALWAYS,
    record: bool = False,
    opener: Opener | None = None,
    progress: Progress | None = None,
) -> None:
    """Copy a guest disk, or several one after another, into a new image.

    The new image takes its name when it is complete.

    :param source: an image, or a list of images, which are put one after another, each filled up to whole sectors
    :param target: the new image
    :param format: its format; ``None``: detect that of an existing image
    :param source_format: of the sources; ``None``: detect it
    :param options: its creation options, by name
    :param backing_file: its backing file, by the name that it is to store
    :param backing_format: the format of that
    :param snapshot: the snapshot of the source to read: its id or its name, or a pair of an id and a name, which both
        have to match unless ``None``
    :param compress: store compressed clusters
    :param offload: have the kernel copy without looking for zeroes
    :param sparse_grain: runs of this many zero bytes, a multiple of 512, are not stored; 0: store everything
    :param into_existing: write into the image at ``target`` instead of making one
    :param target_is_zero: the existing image reads as zeroes
    :param rate: at most this many bytes per second; 0: no limit
    :param salvage: called with offset and error of what cannot be read, which becomes zeroes, and of that whose place
        cannot be found, which is read all the same; ``None``: either is an error
    :param sync: have the new image on the medium before it takes its name
    :param cache: how what is written to the target reaches its medium
    :param threads: how many copy at most; ``None``: as many as the machine has use for
    :param bitmaps: take the dirty bitmaps of the source along
    :param skip_broken_bitmaps: called with the name of each inconsistent bitmap, which is then left out; ``None``:
        such a bitmap is an error
    :param replace: what to do about an existing target: ``always`` replace it, ``never``, or ``if_different``, when its
        guest content is not that of the source, or its backing file, options or compression are not those asked for
    :param record: keep a record of what has the same content, so that the next conversion need not compare it
    :param opener: which files may be opened, and how
    :param progress: called with the fraction that is done, 0.0 to 1.0; what it raises ends the conversion
    :raises OptionError: arguments contradict each other
    :raises MismatchError: nothing may be replaced, and what is at the target is not an image of the wanted format
    :raises ImageError: a source cannot be read, or the target cannot be made so
    """
    sources = tuple(source) if isinstance(source, (list, tuple)) else (source,)
    request = ConvertRequest(
        sources,
        source_format,
        target,
        format,
        options,
        backing_file,
        backing_format,
        snapshot,
        compress,
        offload,
        sparse_grain,
        into_existing,
        target_is_zero,
        rate,
        salvage,
        sync,
        cache,
        threads,
        bitmaps,
        skip_broken_bitmaps,
    )
    plan_convert(request, replace, record, opener).apply(progress)
