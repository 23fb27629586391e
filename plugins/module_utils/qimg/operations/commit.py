# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Merging an overlay into one of the images below it."""
from __future__ import annotations

import errno
import os

from ..errors import NO_SPACE_REMEDY, UNUSABLE, ImageError, OptionError, StorageError, UnsupportedOperationError
from ..formats.base import ABSENT, ZERO
from ..formats.capabilities import Emptyable, HasSnapshots, Resizable
from ..formats.chain import chain_extents
from ..formats.driver import MERGE, READ, RESIZE, WRITE
from ..formats.naming import shown_reference
from ..formats.opening import Opener
from ..references import innermost_path, protocol_of, resolve_reference, text_of
from ..storage.local import LocalFile
from .compare import compare_images
from .copying import Copier, copy_options
from .pieces import SourceRun, source_runs, split_run
from .plan import Altered, Plan, nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ..formats.base import Image
    from ..formats.driver import Purpose
    from ..references import FileName, Reference
    from .plan import Progress


class CommitPlan(Plan):
    """A plan that also says whether the format of the image to write into was detected: no image names it."""

    base_is_probed = False


def plan_commit(
    reference: Reference,
    format: str | None = None,
    base: FileName | None = None,
    keep: bool = False,
    rate: int = 0,
    unless_same: bool = False,
    opener: Opener | None = None,
) -> CommitPlan:
    """Plan to write what an overlay (and the layers between) has into an image below it.

    The overlay is emptied afterwards, when the base is safely on its medium; at every moment it reads the same.

    :param reference: the overlay
    :param format: its format; ``None``: detect it
    :param base: file name of the image to write into, relative to the directory of the overlay above it; ``None``: the
        overlay's own backing file
    :param keep: leave the overlay as it is; implied where ``base`` is named
    :param rate: bytes per second at the most; 0: no limit
    :param unless_same: do nothing if the overlay has nothing to write or, where it is kept, the base has it all
    :param opener: which files may be opened, and how
    :raises OptionError: there is no such image in the chain
    :raises ImageError: one of its images cannot be opened, or the base cannot be written to
    """
    opener = opener or Opener()
    base = None if base is None else text_of(base)
    if rate < 0:
        raise OptionError("A rate must not be negative", path=shown_reference(reference))
    with opener.open(reference, format, READ) as top:
        path = top.filename
        layers = top.layers()
        depth = _find_base(layers, base, shown_reference(reference))
        target = layers[depth]
        identity = target.storage.identity
        if identity is None:
            raise UnsupportedOperationError(
                "What lies beneath it is itself an image, and cannot be committed into", path=target.filename
            )
        target.storage.check_reopening()
        base_name, base_format = target.filename, target.format
        # The name of an export does not say how to talk to its server, nor that of an image what its backing file is.
        says_all = isinstance(target.storage, LocalFile) and "backing" not in target.node
        base_reference = base_name if says_all else target.node
        grows = target.size < top.size
        size = top.size
        empties = not keep and base is None and isinstance(top, Emptyable)
        held = sum(extent.length for extent in chain_extents(top, 0, size, layers=depth) if extent.present)
        before: dict[str, Any] = {"base": base_name, "base_size": target.size, "bytes_above_base": held}
        unknown = any(layer.storage.lacks_data for layer in layers[: depth + 1])
        # Behind the end of a shorter layer between, there are zeroes to write.
        nothing_above = not held and not any(
            layer.storage.lacks_data or layer.size < size for layer in layers[:depth]
        )
        same = unless_same and not grows and not empties and not unknown and compare_images(top, target).identical
        if unless_same and not grows and (nothing_above or same):
            return CommitPlan(path, [], before, before, nothing, opener)
        above = tuple(layer.filename for layer in layers[:depth])
        overlay = layers[depth - 1]
        # A described node names its driver.
        names_format = overlay.backing_format is not None or protocol_of(overlay.backing_file or "") == "json"
        is_probed = not names_format and "backing" not in overlay.node
    after = {
        "base": base_name,
        "base_size": max(before["base_size"], size),
        "base_content": "that of '%s'" % path,
        "bytes_above_base": 0 if empties else held,
    }

    def run(opener: Opener, progress: Progress) -> None:
        with _open_base(base_reference, base_format, RESIZE if grows else MERGE, opener) as written:
            if written.storage.identity != identity:
                raise StorageError(
                    "Another file has taken the place of the backing file",
                    path=base_name,
                    remedy="find out who did that, and try again",
                )
            top = opener.variant(reuse={identity: written}).open(reference, format, WRITE)
            try:
                _fill(written, top, depth, rate, opener.rehearses, progress)
                if empties and isinstance(top, Emptyable):
                    top.make_empty()
            finally:
                top.abandon()

    actions = ["write the content of '%s' into '%s'" % (path, base_name)]
    if grows:
        actions.append("grow '%s' to %d bytes" % (base_name, size))
    if empties:
        actions.append("empty '%s'" % path)
    plan = CommitPlan(path, actions, before, after, run, opener)
    plan.altered = (Altered(base_name, above),)
    plan.base_is_probed = is_probed
    return plan


def commit(
    reference: Reference,
    format: str | None = None,
    *,
    base: FileName | None = None,
    keep: bool = False,
    rate: int = 0,
    unless_same: bool = False,
    opener: Opener | None = None,
    progress: Progress | None = None,
) -> None:
    """Write what an overlay has into an image below it; arguments and errors as for :func:`plan_commit`."""
    plan_commit(reference, format, base, keep, rate, unless_same, opener).apply(progress)


def _open_base(reference: Reference, format: str, purpose: Purpose, opener: Opener) -> Image:
    """Open for writing what is open for reading as the backing file of the overlay."""
    try:
        image: Image = opener.open(reference, format, purpose)
    except ImageError as error:
        # For qemu-img, it is not opened again.
        error.while_opening = None
        raise
    return image


def _fill(base: Image, top: Image, depth: int, rate: int, rehearses: bool, progress: Progress) -> None:
    """Have the base hold, on its medium, what the layers above it have."""
    try:
        _check_room(top, base, depth)
        if base.size < top.size:
            _grow(base, top.size)
        if rehearses:
            base.storage.lacks_data = True
        else:
            _merge(top, base, depth, rate, progress)
        base.flush()
    except UNUSABLE as error:
        error.reason = "Block job failed: %s" % error.reason
        raise


def _grow(base: Image, size: int) -> None:
    """Make room for an overlay that is larger than its base."""
    if not isinstance(base, Resizable):
        raise UnsupportedOperationError(
            "Image format driver does not support resize",
            path=base.filename,
            remedy="the base is smaller than the overlay, and cannot grow; convert the overlay instead",
        )
    base.resize(size)


def _find_base(layers: list[Image], base: str | None, shown: str) -> int:
    """The index of the image to write into."""
    top = layers[0]
    if base is not None:
        for index, layer in enumerate(layers[1:], 1):
            if _is_called(base, layer, layers[index - 1]):
                return index
        raise OptionError(
            "Did not find '%s' in the backing chain of '%s'" % (base, shown),
            path=top.filename,
            remedy="the chain is: %s" % (", ".join("'%s'" % layer.filename for layer in layers[1:]) or "empty"),
        )
    if len(layers) < 2:
        raise OptionError("Image does not have a backing file", path=top.filename)
    return 1


def _is_called(name: str, layer: Image, overlay: Image) -> bool:
    """Whether the user calls an image by this name: relative to its overlay, as the overlay itself calls it.

    Names with a protocol are compared as they are written, as QEMU does it.
    """
    stored = overlay.backing_file
    location = innermost_path(overlay.node)
    if stored is None or location is None or protocol_of(name) is not None or protocol_of(stored) is not None:
        return name == (stored or layer.filename)
    if "backing" in overlay.node and resolve_reference(location, stored) != layer.filename:
        # The user has put another image there.
        return name == layer.filename
    path = resolve_reference(location, name)
    return os.path.exists(path) and os.path.realpath(path) == os.path.realpath(layer.filename)


def _check_room(top: Image, base: Image, depth: int) -> None:
    """Refuse what would fill the disk half way: by then, bytes of the base would have been overwritten.

    :raises StorageError: the base would need more space than there is
    """
    free = base.storage.free_space
    if free is None or base.has_other_files:
        return
    unit = base.cluster_size or base.write_unit
    keeps_old = isinstance(base, HasSnapshots) and bool(base.snapshots)
    needed = 0
    last = 0
    for extent in chain_extents(top, 0, top.size, layers=depth):
        if extent.zero or not extent.present:
            continue
        start, end = max(last, extent.start // unit * unit), extent.start + extent.length
        inside = max(start, min(end, base.size))
        for run in base.runs(start, inside - start):
            if run.offset is None or run.zero or keeps_old:
                needed += run.length
        needed += end - inside
        last = end
    if needed > free:
        raise StorageError(
            "%d bytes have to be added, and %d are free: %s" % (needed, free, os.strerror(errno.ENOSPC)),
            path=base.filename,
            errno=errno.ENOSPC,
            remedy=NO_SPACE_REMEDY,
        )


def _merge(top: Image, base: Image, depth: int, rate: int, progress: Progress) -> None:
    """Copy what the layers above ``base`` have."""
    total = max(1, top.size)
    options = copy_options(rate=rate)
    copier = Copier(base, False, options, lambda done: progress(done / total), _in_few_words)
    runs = source_runs(top, chain_extents(top, 0, top.size, layers=depth))
    copier.run(_with_ends(runs, min(layer.size for layer in top.layers()[:depth])))


def _in_few_words(error: ImageError, _what: str, offset: int) -> ImageError:
    error.reason = error.words
    error.offset = offset
    return error


def _with_ends(runs: Iterator[SourceRun], end: int) -> Iterator[SourceRun]:
    """What is absent beyond the end of a shorter layer is zero, whatever the base has there.

    :param end: of the shortest layer above the base, guest bytes
    """
    for run in runs:
        for part in split_run(run, end) if run.kind == ABSENT else (run,):
            yield part._replace(kind=ZERO) if part.kind == ABSENT and part.start >= end else part
