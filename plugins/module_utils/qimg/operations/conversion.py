# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Carrying out a conversion: the new image is made, or the existing one is written to."""
from __future__ import annotations

from ..errors import UNUSABLE, ImageError, OptionError, StorageError, StorageLostError
from ..formats.base import ABSENT, DATA, ZERO
from ..formats.capabilities import Compressing
from ..formats.chain import chain_extents, top_extents
from ..formats.driver import ALWAYS, SOURCE, WRITE
from ..formats.nested import ImageStorage
from ..limits import SECTOR
from ..references import resolve_reference
from ..sizes import round_up
from .bitmap_copying import bitmaps_to_copy, check_holder, check_target, copy_bitmaps
from .conversion_request import NEVER
from .convert_checks import backing_file_shows, check_request, no_compression, without_effects
from .copying import LOOKING, WRITING, Copier, CopyOptions, at_offset, copy_options
from .create import resolve_options
from .new_image import creatable, empty_image, new_files
from .pieces import SourceRun, WholeDisk, runs_on_top, source_runs
from .room import surely_fits
from .snapshot import show_snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ..formats.base import Extent, Image
    from ..formats.new_files import NewFiles
    from ..formats.opening import Opener
    from ..storage.base import Storage
    from .conversion_request import ConvertRequest, Replace
    from .plan import Progress


class Sources:
    """The sources of a conversion, opened when they are first needed, and once.

    :param request: names them, and the snapshot that the first one is to show
    :param opener: which files may be opened, and how
    """

    def __init__(self, request: ConvertRequest, opener: Opener) -> None:
        self._request = request
        self._opener = opener
        self._images: list[Image] = []

    def __enter__(self) -> Sources:
        return self

    def __exit__(self, *_exception: object) -> None:
        for image in self._images:
            image.abandon()

    @property
    def images(self) -> list[Image]:
        """All of them.

        :raises OptionError: there are several, and it is not said which of them has the snapshot
        :raises ImageError: one of them cannot be opened
        """
        if not self._images:
            self._images = self._open()
        return self._images

    def _open(self) -> list[Image]:
        request = self._request
        images: list[Image] = []
        try:
            for name in request.sources:
                images.append(self._opener.open(name, request.source_format, SOURCE))
            if request.snapshot is not None:
                if len(images) > 1 and isinstance(request.snapshot, str):
                    raise OptionError("No support for concatenating multiple snapshot", path=request.target_name)
                show_snapshot(images[0], request.snapshot)
        except BaseException:
            for image in images:
                image.abandon()
            raise
        return images

    @property
    def size(self) -> int:
        """The guest bytes of all of them, each filled up to whole sectors."""
        return sum(round_up(image.size, SECTOR) for image in self.images)


def carry_out(
    request: ConvertRequest, replace: Replace, sources: Sources, opener: Opener, progress: Progress
) -> int | None:
    """Make the new image, or write into the one that is there.

    :param replace: as :func:`~qimg.operations.convert.plan_convert` takes it
    :returns: the modification time that a new target was given, in nanoseconds
    """
    if request.into_existing:
        _fill_existing(request, sources.images, opener, progress)
        return None
    return _make_new(request, replace, sources, opener, progress)


def _make_new(
    request: ConvertRequest, replace: Replace, opened: Sources, opener: Opener, progress: Progress
) -> int | None:
    sources, total = opened.images, opened.size
    check_request(request, sources)
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
    if creatable(request.format, request.target).compression_with(options) == ALWAYS:
        request = request._replace(compress=True)
    with empty_image(request.target, request.format, files, options, opener, backing) as target:
        old_bytes = files.keeps_content or _shows_old_bytes(target, options)
        target_is_zero = target.reads_zero_when_new and not old_bytes
        _copy(request, sources, target, target_is_zero, opener.rehearses, progress)


def _try_making(request: ConvertRequest, options: dict[str, Any], opener: Opener) -> None:
    """Make the new image, but give it no name.

    :raises ImageError: it cannot be made
    """
    with new_files(request.target, request.format, options, opener.variant(cache=request.cache), request.sync) as files:
        with empty_image(request.target, request.format, files, options, opener):
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
        error.while_opening = request.target_name
        raise
    try:
        return opener.open(resolved, options.get("backing_fmt"))
    except ImageError as error:
        # What is wrong with the image itself comes first.
        with empty_image(request.target, request.format, files.trial(), options, opener):
            pass
        error.reason = "Could not open backing file: %s" % error.reason
        error.while_opening = request.target_name
        error.path = request.target_name
        raise


def _too_small(request: ConvertRequest) -> OptionError:
    return OptionError("output file is smaller than input file", path=request.target_name)


def _shows_old_bytes(target: Image, options: dict[str, Any]) -> bool:
    """Whether the space that is reserved for a new image may hold something else than zeroes, as that of a device may.

    In a file it is zero, and zeroes must not be written: that would give back the space that was asked for.
    """
    if options.get("preallocation", "off") == "off":
        return False
    return target.has_other_files or not target.storage.reads_zero_when_new


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
        lengths = [found for source in sources for found in _lengths(source)]
        _copy_data(request, sources, target, target_is_zero, progress)
        _check_lengths(lengths)
    if bitmaps:
        copy_bitmaps(sources[0], target, bitmaps)


def _lengths(source: Image) -> Iterator[tuple[Storage, int]]:
    """The files that the content of a source may lie in, and how long they are now."""
    for layer in source.layers():
        for storage in (layer.storage, *(file.storage for file in layer.files())):
            if isinstance(storage, ImageStorage):
                yield from _lengths(storage.image)
            elif storage is not None:
                yield storage, storage.size


def _check_lengths(lengths: list[tuple[Storage, int]]) -> None:
    """Refuse what was cut off while it was copied: it has been read as zeroes.

    :param lengths: files, and how long they were before
    :raises StorageError: one has become shorter
    """
    for storage, length in lengths:
        if storage.size < length:
            raise StorageError(
                "'%s' has become shorter while it was copied: it had %d bytes, and has %d"
                % (storage.name, length, storage.size),
                path=storage.name,
                remedy="see what changes it, and convert it again when nothing does",
            )


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
        runs = _runs(source, top_extents if on_top else chain_extents, shift, request.salvage)
        if on_top:
            yield from runs_on_top(runs, target)
        else:
            for run in runs:
                yield run._replace(kind=ZERO) if run.kind == ABSENT else run
        shift += round_up(source.size, SECTOR)


def _runs(
    source: Image,
    look: Callable[[Image, int, int], Iterator[Extent]],
    shift: int,
    salvage: Callable[[int, ImageError], None] | None,
) -> Iterator[SourceRun]:
    """What a source has, as far as can be found out; where nobody knows, ``salvage`` has it read."""
    position = 0
    window = source.size
    while position < source.size:
        length = min(window, source.size - position)
        try:
            for run in source_runs(source, look(source, position, length), shift):
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
