# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Giving an overlay another backing file."""
from __future__ import annotations

from itertools import chain

from ..errors import UNUSABLE, ImageError, OptionError, UnsupportedOperationError
from ..formats import format_names
from ..formats.base import ABSENT, ABSENT_ALLOCATED, DATA, ZERO
from ..formats.capabilities import Compressing, Rebasable
from ..formats.chain import chain_extents
from ..formats.driver import INFO, READ, WRITE
from ..formats.driver_names import is_driver
from ..formats.naming import says_backing, whole_node, without_backing_options
from ..formats.opening import Opener
from ..limits import MIB
from ..references import resolve_reference, text_of
from ..storage.buffers import ComparableBuffer, aligned_buffer
from ..storage.cache import WRITEBACK, CacheMode
from .copying import READING, Copier, copy_options
from .pieces import SourceRun, source_runs
from .plan import Altered, Plan, nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from ..formats.base import Extent, Image
    from ..references import FileName, Node, Reference
    from .plan import Progress

#: Guest bytes whose absent runs are looked up at once.
_WINDOW = 64 * MIB


def plan_rebase(
    reference: Reference,
    backing_file: FileName | None,
    backing_format: str | None = None,
    format: str | None = None,
    unsafe: bool = False,
    compress: bool = False,
    opener: Opener | None = None,
    backing_cache: CacheMode = WRITEBACK,
    share_backing: bool = False,
) -> Plan:
    """Plan to change the backing file.

    The guest content stays the same, unless ``unsafe`` only changes the name.

    :param reference: the overlay
    :param backing_file: the new name, as the image is to store it; ``None`` or empty: no backing file
    :param backing_format: its format; needed with a name
    :param format: of the overlay; ``None``: detect it
    :param unsafe: do not look at the old and the new backing file
    :param compress: store what has to be copied compressed
    :param opener: which files may be opened, and how
    :param backing_cache: how the new backing file is read
    :param share_backing: whether others may be writing to the new backing file
    :raises OptionError: the format is missing or unknown
    :raises ImageError: one of the images cannot be opened
    """
    opener = opener or Opener()
    wanted_file = text_of(backing_file or "") or None
    wanted_format = backing_format if wanted_file else None
    looked_at = reference if unsafe else without_backing_options(reference)
    with opener.open(looked_at, format, INFO, backing=False) as image:
        path = image.filename
        before = {"backing_file": image.backing_file, "backing_format": image.backing_format}
        _check_format(image, backing_format, compress)
        # Where the user says which backing file the image has had, this is not the one that it names.
        as_named = unsafe or not says_backing(reference)
        if not unsafe and (image.backing_file != wanted_file or not as_named):
            new = _open_new(image, wanted_file, wanted_format, opener)
            if new is not None:
                new.abandon()
        _check_change(image, wanted_file, wanted_format)
        is_ambiguous = _rebasable(image, wanted_file).is_ambiguous
    after = {"backing_file": wanted_file, "backing_format": wanted_format}
    if before == after and as_named and not is_ambiguous:
        return Plan(path, [], before, after, nothing, opener)

    def run(opener: Opener, progress: Progress) -> None:
        if unsafe:
            with opener.open(reference, format, WRITE, backing=False) as image:
                _rebasable(image, wanted_file).change_backing(wanted_file, wanted_format)
            return
        with opener.open(reference, format, WRITE) as image:
            backing_opener = opener.variant(cache=backing_cache, force_share=share_backing)
            new = _open_new(image, wanted_file, wanted_format, backing_opener)
            try:
                if opener.rehearses:
                    image.storage.lacks_data = True
                else:
                    _copy_differences(image, new, compress, progress)
                image.flush()
            finally:
                if new is not None:
                    new.abandon()
            _rebasable(image, wanted_file).change_backing(wanted_file, wanted_format)

    how = "" if unsafe else ", copying what differs"
    action = "change the backing file from %s to %s%s" % (_shown(before), _shown(after), how)
    plan = Plan(path, [action], before, after, run, opener)
    if unsafe:
        plan.altered = (Altered(path),)
    return plan


def rebase(
    reference: Reference,
    backing_file: FileName | None,
    backing_format: str | None = None,
    format: str | None = None,
    *,
    unsafe: bool = False,
    compress: bool = False,
    opener: Opener | None = None,
    backing_cache: CacheMode = WRITEBACK,
    share_backing: bool = False,
    progress: Progress | None = None,
) -> None:
    """Give an overlay another backing file; arguments and errors as for :func:`plan_rebase`."""
    plan_rebase(
        reference, backing_file, backing_format, format, unsafe, compress, opener, backing_cache, share_backing
    ).apply(progress)


def _shown(state: dict[str, Any]) -> str:
    if state["backing_file"] is None:
        return "none"
    return "'%s' (%s)" % (state["backing_file"], state["backing_format"] or "format not stored")


def _check_change(image: Image, backing_file: str | None, backing_format: str | None) -> None:
    if backing_file and backing_format is None:
        raise OptionError(
            "Could not change the backing file to '%s': backing format must be specified" % backing_file,
            path=image.filename,
            remedy="say which format the new backing file has",
        )
    try:
        _rebasable(image, backing_file).check_backing(backing_file)
    except OptionError as error:
        error.reason = "Could not change the backing file to '%s': %s" % (backing_file or "", error.reason)
        raise


def _check_format(image: Image, backing_format: str | None, compress: bool) -> None:
    if compress and not isinstance(image, Compressing):
        raise OptionError("Compression not supported for this file format", path=image.filename)
    if backing_format is not None:
        if not is_driver(backing_format):
            raise OptionError(
                "Invalid format name: '%s'" % backing_format,
                path=image.filename,
                remedy="the formats are %s" % ", ".join(format_names()),
            )


def _rebasable(image: Image, backing_file: str | None) -> Rebasable:
    if not isinstance(image, Rebasable):
        raise UnsupportedOperationError(
            "Could not change the backing file to '%s': Operation not supported" % (backing_file or ""),
            path=image.filename,
            format=image.format,
        )
    return image


def _open_new(
    image: Image, backing_file: str | None, backing_format: str | None, opener: Opener
) -> Image | None:
    if backing_file is None:
        return None
    try:
        target = resolve_reference(image.filename, backing_file)
    except UnsupportedOperationError as error:
        error.reason = "Could not resolve backing filename: %s" % error.reason
        raise
    try:
        # What cannot have a backing file cannot make a loop either.
        below = opener.below(image) if isinstance(image, Rebasable) else opener
        return below.open(target, backing_format, READ)
    except ImageError as error:
        error.while_opening = None
        error.reason = "Could not open new backing file '%s': %s" % (backing_file, error.reason)
        error.path = image.filename
        raise


def _copy_differences(image: Image, new: Image | None, compress: bool, progress: Progress) -> None:
    """Have the overlay itself hold whatever its old and its new backing file answer differently."""
    passes = [(_absent_ranges(image), image.write_unit, False)]
    if compress:
        # First whole clusters, which can be stored compressed, then parts of clusters that have something.
        passes = [
            (_absent_clusters(image), image.cluster_size or 1, True),
            (_absent_parts(image), image.write_unit, False),
        ]
    total = max(1, image.size) * len(passes)
    for number, (ranges, unit, compressed) in enumerate(passes):
        before = image.size * number
        runs = _differing_runs(image, new, ranges, unit, _layers_above(image.backing, new))
        if not _rebasable(image, None).zeroes_hide_backing:
            runs = _without_zeroes(image, runs)
        begun = _up_to_data(runs)
        if begun:
            # Zeroes are not compressed, and may be all that an image without compressed clusters needs.
            options = copy_options(compress=compressed and begun[-1].kind == DATA)
            copier = Copier(image, False, options, _later(progress, before, total), _explain)
            copier.run(_with_gaps(chain(begun, runs), image.size))
        progress((before + image.size) / total)


def _up_to_data(runs: Iterator[SourceRun]) -> list[SourceRun]:
    """The first runs, up to one that has data."""
    begun = []
    for run in runs:
        begun.append(run)
        if run.kind == DATA:
            break
    return begun


def _later(progress: Progress, before: int, total: int) -> Callable[[int], None]:
    """What tells of bytes that are done after ``before`` others."""
    return lambda done: progress((before + done) / total)


def _absent_runs(image: Image) -> Iterator[Extent]:
    """Where the overlay has nothing of its own; found window by window, because it changes behind us."""
    for start in range(0, image.size, _WINDOW):
        for run in list(image.runs(start, min(_WINDOW, image.size - start))):
            if run.kind in (ABSENT, ABSENT_ALLOCATED):
                yield run


def _absent_ranges(image: Image) -> Iterator[tuple[int, int]]:
    """All of it."""
    for run in _absent_runs(image):
        yield run.start, run.start + run.length


def _absent_clusters(image: Image) -> Iterator[tuple[int, int]]:
    """Whole clusters of it, which can be stored compressed."""
    for run in _absent_runs(image):
        first, last = _whole_clusters(image, run)
        if first < last:
            yield first, last


def _absent_parts(image: Image) -> Iterator[tuple[int, int]]:
    """Parts of clusters that have something."""
    for run in _absent_runs(image):
        stop = run.start + run.length
        first, last = _whole_clusters(image, run)
        for part in ((run.start, first), (last, stop)):
            if part[0] < part[1]:
                yield part


def _whole_clusters(image: Image, run: Extent) -> tuple[int, int]:
    """Beginning and end of the clusters that a run has nothing of; where there are none, both are its end."""
    stop = run.start + run.length
    size = image.cluster_size or 1
    if run.kind == ABSENT_ALLOCATED:
        return stop, stop
    first = min(stop, -(-run.start // size) * size)
    return first, stop if stop == image.size else max(first, stop // size * size)


def _layers_above(old: Image | None, new: Image | None) -> int | None:
    """If the new backing file is in the old chain: how many layers lie above it."""
    if new is None or new.storage.identity is None:
        return None
    for index, layer in enumerate(old.layers() if old is not None else []):
        if layer.storage.identity == new.storage.identity and _view(layer) == _view(new):
            return index
    return None


def _view(image: Image) -> tuple[str, Node]:
    """What decides, beside the file, what an image shows: the same file may be opened in more than one way."""
    return image.format, {name: value for name, value in whole_node(image).items() if name != "file"}


def _without_zeroes(image: Image, runs: Iterator[SourceRun]) -> Iterator[SourceRun]:
    """Write the zeroes among the runs as data, so that they hide what comes below; the other runs are left."""
    for run in runs:
        if run.kind != ZERO:
            yield run
            continue
        for storage, host, length in image.place(run.start, run.length):
            storage.write_zeroes(host, length, deallocate=False)


def _with_gaps(runs: Iterable[SourceRun], end: int) -> Iterator[SourceRun]:
    """The runs, with what lies between them as absent."""
    position = 0
    for run in runs:
        if run.start > position:
            yield SourceRun(position, run.start - position, ABSENT, None, None, run.layer, position)
        yield run
        position = run.start + run.length
    if position < end:
        yield SourceRun(position, end - position, ABSENT, None, None, None, position)


def _differing_runs(
    image: Image, new: Image | None, ranges: Iterable[tuple[int, int]], unit: int, shared: int | None
) -> Iterator[SourceRun]:
    """What has to be copied into the overlay of some ranges in which it has nothing."""
    old = image.backing
    differences = _Differences(old, new, unit)
    for start, end in ranges:
        for part_start, part_end in _candidates(old, start, end, unit, image.size, shared):
            yield from differences.runs(part_start, part_end)


def _candidates(
    old: Image | None, start: int, end: int, unit: int, size: int, shared: int | None
) -> Iterator[tuple[int, int]]:
    """Ranges of whole units that have to be compared.

    Where the new backing file is part of the old chain, only what the layers above it have can differ, and what lies
    beyond the end of one of them, where that shows zeroes.
    """
    if shared is None or old is None:
        yield start, end
        return
    inside = min(end, *(layer.size for layer in old.layers()[: max(1, shared)]))
    last = start
    if shared:
        for extent in chain_extents(old, start, max(0, inside - start), layers=shared):
            if extent.present:
                first = max(last, extent.start // unit * unit)
                last = min(end, -(-(extent.start + extent.length) // unit) * unit)
                if first < last:
                    yield first, last
    if end > inside:
        yield max(last, inside // unit * unit, start), end


class _Differences:
    """Compares what the old and the new backing file answer, unit by unit."""

    def __init__(self, old: Image | None, new: Image | None, unit: int) -> None:
        self._old = old
        self._new = new
        self._unit = unit
        self._piece_bytes = max(unit, MIB)
        self._ours = ComparableBuffer(self._piece_bytes)
        self._theirs = aligned_buffer(self._piece_bytes)

    def runs(self, start: int, end: int) -> Iterator[SourceRun]:
        """What the old one has where they differ, zeroes beyond its end."""
        while start < end:
            stop = min(end, (start // self._piece_bytes + 1) * self._piece_bytes)
            ours = _runs_of(self._old, start, stop, "old")
            theirs = _runs_of(self._new, start, stop, "new")
            # If both maps say that all of it is zero, nothing has to be read.
            if any(run.kind == DATA for run in ours) or any(run.kind == DATA for run in theirs):
                view = self._ours.view[: stop - start]
                _load(ours, start, view, "old")
                _load(theirs, start, self._theirs[: stop - start], "new")
                for first, last in self._differing_units(start, stop):
                    for run in ours:
                        begin = max(0, first - run.start)
                        length = min(run.length, last - run.start) - begin
                        if length > 0:
                            yield run.part(begin, length)
            start = stop

    def _differing_units(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Runs of units whose loaded bytes differ, of a range that was loaded."""
        theirs = self._theirs
        if self._ours.holds(theirs[: stop - start]):
            return
        first = -1
        position = start
        while position < stop:
            unit_end = min(stop, (position // self._unit + 1) * self._unit)
            if self._ours.holds(theirs[position - start : unit_end - start], position - start):
                if first >= 0:
                    yield first, position
                first = -1
            elif first < 0:
                first = position
            position = unit_end
        if first >= 0:
            yield first, stop


def _runs_of(image: Image | None, start: int, stop: int, which: str) -> list[SourceRun]:
    """Data and zeroes of a guest range, zeroes beyond the end."""
    inside = start
    runs = []
    if image is not None and start < image.size:
        inside = min(stop, image.size)
        try:
            runs = [
                run._replace(kind=ZERO) if run.kind == ABSENT else run
                for run in source_runs(image, chain_extents(image, start, inside - start))
            ]
        except UNUSABLE as error:
            raise _unread(error, which, start) from error
    if inside < stop:
        runs.append(SourceRun(inside, stop - inside, ZERO, None, None, None, inside))
    return runs


def _load(runs: list[SourceRun], start: int, view: memoryview, which: str) -> None:
    """Fill ``view`` with runs from ``start`` on."""
    for run in runs:
        try:
            run.reader()(view[run.start - start : run.start - start + run.length])
        except UNUSABLE as error:
            raise _unread(error, which, run.start) from error


def _unread(error: ImageError, which: str, offset: int) -> ImageError:
    """The same error, saying which backing file cannot be read; of the system's words, qemu-img says none."""
    what = "error while reading from %s backing file" % which
    error.reason = what if error.errno else "%s: %s" % (what, error.reason)
    error.offset = offset
    return error


def _explain(error: ImageError, what: str, offset: int) -> ImageError:
    """The same error in the words of ``rebase``."""
    if what == READING:
        return _unread(error, "old", offset)
    error.reason = "Error while writing to COW image: %s" % error.words
    error.offset = offset
    return error
