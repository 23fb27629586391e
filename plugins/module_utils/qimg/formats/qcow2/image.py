# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""A qcow2 image as a guest disk."""
from __future__ import annotations

from ...errors import ImageError, LimitError, OptionError, StorageError, UnsupportedOperationError
from ..base import DATA, Extent, Image, ImageFile, without_holes
from ..capabilities import (
    Amendable,
    BitmapInfo,
    Checkable,
    CheckResult,
    Compressing,
    Emptyable,
    HasBitmaps,
    HasSnapshots,
    Rebasable,
    RenamesFiles,
    Resizable,
    SnapshotInfo,
)
from . import description
from .changes.metadata import Metadata
from .changes.trimming import trim
from .disk import Qcow2Disk
from .layout import (
    COPIED,
    CORRUPT,
    CRYPT_NONE,
    DIRTY,
    EXT_BACKING_FORMAT,
    MAX_BACKING_NAME,
    RAW_EXTERNAL_DATA,
    STATUS_TABLE_BYTES,
)
from .tables.reading import TableReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from ...storage.base import Buffer, Storage
    from ..base import Origin
    from .bitmaps.directory import BitmapDirectory
    from .snapshots.table import Snapshot
    from .writing.writer import Writer

#: What messages call the file that guest data may lie in.
DATA_FILE = "data file"
#: Freed runs shorter than this are left to be used again.
_MIN_DISCARD = 256 << 10


class Qcow2Image(
    Qcow2Disk,
    Resizable,
    Checkable,
    HasSnapshots,
    HasBitmaps,
    Rebasable,
    Amendable,
    Compressing,
    Emptyable,
    RenamesFiles,
):
    """A guest disk in a qcow2 file.

    :param metadata: owns the storage from now on
    :param backing: the opened backing file, owned from now on
    """

    can_repair = True

    def __init__(self, origin: Origin, metadata: Metadata, backing: Image | None = None) -> None:
        self.metadata = metadata
        self.cluster_size = metadata.geometry.cluster_size
        self.encrypted = metadata.header.crypt_method != CRYPT_NONE
        self._limits = origin.limits
        self._decompress: Callable[[bytes, int], bytes] | None = None
        self._sparse: bool | None = None
        self._reader: TableReader | None = None
        self._writer: Writer | None = None
        super().__init__(origin, metadata.storage, backing)

    # What the header says

    @property
    def size(self) -> int:  # type: ignore[override]
        size: int = self.metadata.header.size
        return size // 512 * 512

    @property
    def backing_file(self) -> str | None:  # type: ignore[override]
        name = self.metadata.backing_file
        return name.decode("utf-8", "surrogateescape") if name else None

    @property
    def backing_format(self) -> str | None:  # type: ignore[override]
        return self.metadata.backing_format

    @property
    def dirty(self) -> bool:  # type: ignore[override]
        return bool(self.metadata.header.incompatible_features & DIRTY)

    @property
    def corrupt(self) -> bool:  # type: ignore[override]
        return bool(self.metadata.header.incompatible_features & CORRUPT)

    @property
    def data_storage(self) -> Storage:
        """Where guest data lies: the external data file, or the image's own file."""
        return self.metadata.data_file or self.storage

    def format_specific(self) -> dict[str, Any]:
        return description.format_specific(self.metadata, self.bitmaps)

    def files(self) -> list[ImageFile]:
        if not self.metadata.has_data_file:
            return []
        return [ImageFile("data-file", self.metadata.data_file_name, self.metadata.data_file, DATA_FILE)]

    def rename_file(self, key: str, name: str) -> None:
        self.amend({"data_file": name})

    def creation_options(self) -> dict[str, Any]:
        return description.creation_options(self.metadata)

    # Reading

    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        if self._sparse is False and self._reader is not None:
            return self._reader.runs(self.metadata.mapping, offset, length)
        return self._runs(offset, length)

    def _runs(self, offset: int, length: int) -> Iterator[Extent]:
        if self._reader is None:
            metadata = self.metadata
            # What is written to may get another version.
            has_zeroes = self.writable or metadata.header.version >= 3
            self._reader = TableReader(
                metadata.geometry, self.data_storage, metadata.has_data_file, self.storage.name, has_zeroes
            )
        runs = self._reader.runs(self.metadata.mapping, offset, length)
        yield from self._without_holes(runs) if self._is_sparse else runs

    def _without_holes(self, runs: Iterator[Extent]) -> Iterator[Extent]:
        """Split data runs by what the file system knows to be holes."""
        for run in runs:
            if run.kind == DATA:
                yield from without_holes(run)
            else:
                yield run

    @property
    def _is_sparse(self) -> bool:
        """Whether the file has markedly fewer bytes than its refcounts say, as after ``preallocation=metadata``."""
        if self._sparse is None:
            allocated = self.storage.allocated_size
            if allocated is None or self.writable:
                self._sparse = False
                return False
            bits = self.metadata.geometry.cluster_bits
            real_clusters = allocated >> bits
            threshold = max(real_clusters * 10 // 9, real_clusters + 2)
            file_clusters = -(-self.storage.size >> bits)
            refcounts = self.metadata.refcounts
            self._sparse = file_clusters >= threshold and refcounts.uses(threshold, file_clusters, allocated)
        return self._sparse

    def cluster_limits(self) -> dict[str, int]:
        geometry = self.metadata.geometry
        return {
            "write-zeroes-alignment": geometry.subcluster_size,
            "discard-alignment": geometry.cluster_size,
        }

    @property
    def write_unit(self) -> int:
        return self.metadata.geometry.subcluster_size

    def lookup_end(self, offset: int) -> int:
        geometry = self.metadata.geometry
        span = geometry.l2_span
        if self.metadata.mapping.table(offset // span) is not None:
            span = min(span, STATUS_TABLE_BYTES // 8 // geometry.entry_words * geometry.cluster_size)
        return min(self.size, int((offset // span + 1) * span))

    def encoded_reader(self, offset: int, length: int) -> Callable[[Buffer], None]:
        geometry = self.metadata.geometry
        jobs = []
        position, end = offset, offset + length
        while position < end:
            table = self.metadata.mapping.table(position // geometry.l2_span)
            index = (position >> geometry.cluster_bits) % geometry.l2_entries * geometry.entry_words
            inner = position & (geometry.cluster_size - 1)
            piece = min(end - position, geometry.cluster_size - inner)
            host, readable = geometry.compressed_range(table.entries[index] if table else 0)
            jobs.append((position - offset, inner, piece, host, readable))
            position += piece
        from . import compression

        if self._decompress is None:
            self._decompress = compression.decompressor(self.metadata.header.compression_type)
        return compression.CompressedReader(self.storage, jobs, geometry.cluster_size, self._decompress)

    # Writing

    @property
    def writer(self) -> Writer:
        if self._writer is None:
            self.check_writable()
            from .writing.writer import Writer

            self.metadata.begin_writing()
            self._writer = Writer(self.metadata, self)
        return self._writer

    def _place(self, offset: int, length: int) -> list[tuple[Storage, int, int]]:
        return self.writer.place(offset, length)

    def _write_zeroes(self, offset: int, length: int, deallocate: bool) -> None:
        self.writer.write_zeroes(offset, length, deallocate)

    def _discard(self, offset: int, length: int) -> None:
        self.writer.discard(offset, length)

    def compressor(self) -> Callable[[Buffer], bytes | None]:
        from . import compression

        if self.metadata.has_data_file:
            raise UnsupportedOperationError(
                "An image with an external data file cannot hold compressed clusters",
                path=self.filename,
                format=self.format,
                remedy="leave out the compression",
            )
        compress = compression.compressor(self.metadata.header.compression_type)
        limit = self.metadata.geometry.cluster_size

        def compress_cluster(data: Buffer) -> bytes | None:
            packed = compress(data)
            return packed if len(packed) < limit else None

        return compress_cluster

    def write_compressed(self, offset: int, data: bytes | None, plain: memoryview) -> None:
        self.writer.write_compressed(offset, data, plain)

    def _flush(self) -> None:
        if self._writer is not None:
            self._writer.finish()
        self._commit()

    def _commit(self) -> None:
        """Make every change the image on disk, and give larger runs that it freed back to the file system."""
        freed = self.metadata.commit()
        bits = self.metadata.geometry.cluster_bits
        for first, end in freed:
            if (end - first) << bits >= _MIN_DISCARD:
                self.storage.discard(first << bits, (end - first) << bits)

    def _change(self, work: Callable[[], Any]) -> Any:
        """Make a change that is either complete on disk or did not happen; an error leaves the image as it was."""
        self.check_writable()
        if self._writer is not None or self.metadata.has_new_bits:
            # A change that is refused must not have done anything, not even cleared unknown autoclear bits.
            self.flush()
        data_file = self.metadata.data_file
        old_end = data_file.size if data_file is not None else None
        try:
            result = work()
            self.flush()
            return result
        except BaseException as error:
            self.metadata.roll_back(old_end)
            self.metadata = Metadata.load(self.storage, self._limits)
            self.metadata.data_file = data_file
            self._writer = self._reader = None
            if isinstance(error, MemoryError):
                raise LimitError("There is not enough memory to change its tables", path=self.filename) from error
            raise

    def check_resize(self) -> None:
        from .changes.resizing import check_state

        check_state(self.metadata)

    def resize(self, size: int, preallocation: str = "off") -> None:
        self._change_with_size(lambda: self.change_size(size, preallocation))
        if preallocation != "off":
            trim(self.metadata)

    def _change_with_size(self, work: Callable[[], Any]) -> None:
        """As :meth:`_change`, for work that may make the disk smaller: what lay beyond its end goes once it may."""
        old_size = self.metadata.header.size
        self._change(work)
        if self.metadata.header.size < old_size:
            try:
                self._drop_beyond_end()
            except StorageError as error:
                error.remedy = "the disk has its new size, but the file has not given back all its space"
                raise

    def _drop_beyond_end(self) -> None:
        """Give back what a disk that has become smaller no longer needs."""
        data_file = self.metadata.data_file
        if data_file is None:
            self._clear_beyond_end()
        elif data_file.size > self.metadata.header.size:
            data_file.truncate(self.metadata.header.size)
        trim(self.metadata)

    def _clear_beyond_end(self) -> None:
        """Zero what the last cluster still holds beyond the end: a later, larger disk must not show it again."""
        end = self.metadata.header.size
        tail = -end % self.metadata.geometry.cluster_size
        table = self.metadata.mapping.table(end // self.metadata.geometry.l2_span) if tail else None
        if table is None:
            return
        index = (end >> self.metadata.geometry.cluster_bits) % self.metadata.geometry.l2_entries
        if table.entries[index * self.metadata.geometry.entry_words] & COPIED:
            for _start, length, kind, storage, host, _depth in self.runs(end, tail):
                if kind == DATA:
                    self.metadata.refcounts.check_data(host >> self.metadata.geometry.cluster_bits, 1)
                    storage.write_zeroes(host, length, deallocate=False)

    def change_size(self, size: int, preallocation: str) -> None:
        from .changes import resizing

        resizing.resize(self, size, preallocation)

    def check(self, repair: str | None = None, report: Callable[[str], None] | None = None) -> CheckResult:
        from .check import checker as checking

        say = report or (lambda line: None)
        if repair is None:
            return checking.check(self.metadata, None, say)
        return checking.repair(self.metadata, repair, say, self._change)

    @property
    def snapshots(self) -> list[SnapshotInfo]:
        return [snapshot.info() for snapshot in self.metadata.snapshots]

    def create_snapshot(self, name: str, seconds: int, nanoseconds: int) -> SnapshotInfo:
        from .snapshots import actions as snapshot_actions

        encoded = name.encode("utf-8", "surrogateescape")
        entry: Snapshot = self._change(
            lambda: snapshot_actions.create(self.metadata, encoded, seconds, nanoseconds)
        )
        return entry.info()

    def check_apply(self) -> None:
        from .snapshots import actions as snapshot_actions

        snapshot_actions.check_apply(self.metadata)

    def apply_snapshot(self, snapshot: SnapshotInfo) -> None:
        from .snapshots import actions as snapshot_actions

        self._change(lambda: snapshot_actions.apply(self.metadata, self._entry(snapshot)))

    def delete_snapshot(self, snapshot: SnapshotInfo) -> None:
        from .snapshots import actions as snapshot_actions

        self._change(lambda: snapshot_actions.delete(self.metadata, self._entry(snapshot)))

    def view_snapshot(self, snapshot: SnapshotInfo) -> None:
        from .snapshots import actions as snapshot_actions

        l1 = snapshot_actions.snapshot_l1(self.metadata, self._entry(snapshot))
        self.metadata.view_l1(l1)

    def _entry(self, wanted: SnapshotInfo) -> Snapshot:
        for snapshot in self.metadata.snapshots:
            if snapshot.info() == wanted:
                return snapshot
        raise OptionError("snapshot not found", path=self.filename)

    @property
    def bitmaps(self) -> list[BitmapInfo]:
        metadata = self.metadata
        return [bitmap.info() for bitmap in metadata.bitmaps.bitmaps] if metadata.may_have_bitmaps else []

    @property
    def can_hold_bitmaps(self) -> bool:
        return bool(self.metadata.header.version >= 3)

    @property
    def default_granularity(self) -> int:
        from .bitmaps.directory import default_granularity

        return default_granularity(self.metadata.geometry.cluster_size)

    def _changeable_bitmaps(self) -> BitmapDirectory:
        self.check_writable()
        return self.metadata.bitmaps

    def add_bitmap(self, name: str, granularity: int | None = None, enabled: bool = True) -> None:
        if not self.can_hold_bitmaps:
            raise UnsupportedOperationError(
                "Can't make bitmap '%s' persistent in '%s': Cannot store dirty bitmaps in qcow2 v2 files"
                % (name, self.filename),
                path=self.filename,
                format=self.format,
                remedy="amend the image to compat=1.1 first",
            )
        size = self.default_granularity if granularity is None else granularity
        self.metadata.check_bitmaps_room()
        self._changeable_bitmaps().add(name, size, enabled)

    def remove_bitmap(self, name: str) -> None:
        bitmaps = self._changeable_bitmaps()
        bitmaps.remove(bitmaps.get(name))

    def clear_bitmap(self, name: str) -> None:
        self._changeable_bitmaps().usable(name).bits.clear()

    def enable_bitmap(self, name: str) -> None:
        bitmaps = self._changeable_bitmaps()
        bitmaps.set_enabled(bitmaps.usable(name), True)

    def disable_bitmap(self, name: str) -> None:
        bitmaps = self._changeable_bitmaps()
        bitmaps.set_enabled(bitmaps.usable(name), False)

    def dirty_pieces(self, name: str) -> Iterator[tuple[int, bytes]]:
        return self.metadata.bitmaps.pieces(self.metadata.bitmaps.usable(name))

    def merge_into_bitmap(self, name: str, granularity: int, pieces: Iterable[tuple[int, bytes]]) -> None:
        bitmaps = self._changeable_bitmaps()
        bitmaps.merge(bitmaps.usable(name), granularity, pieces)

    @property
    def zeroes_hide_backing(self) -> bool:
        # Version 2 has no zero flag: without a backing file, clusters of zeroes are absent ones.
        return bool(self.metadata.header.version >= 3 or self.metadata.backing_file)

    @property
    def is_ambiguous(self) -> bool:
        return self.metadata.repeated_extensions > 0

    def check_backing(self, backing_file: str | None) -> None:
        if not backing_file:
            return
        if len(backing_file.encode("utf-8", "surrogateescape")) > MAX_BACKING_NAME:
            raise OptionError("Backing file name too long", path=self.filename)
        if self.metadata.header.autoclear_features & RAW_EXTERNAL_DATA:
            raise OptionError(
                "An image whose data file is valid as a raw image (data_file_raw) cannot have a backing file",
                path=self.filename,
                format=self.format,
                remedy="amend it with data_file_raw=off first",
            )

    def change_backing(self, backing_file: str | None, backing_format: str | None) -> None:
        self.check_backing(backing_file)
        name = (backing_file or "").encode("utf-8", "surrogateescape")

        def change() -> None:
            self.metadata.backing_file = name
            self.metadata.drop_repeated_extensions()
            content = backing_format.encode() if backing_file and backing_format else None
            self.metadata.set_extension(EXT_BACKING_FORMAT, content)

        has_written = self._writer is not None
        self._change(change)
        if has_written:
            # What the copied data needed meanwhile is at the end of the file.
            trim(self.metadata)

    def current_options(self) -> dict[str, Any]:
        from .changes import amending

        return amending.current_options(self.metadata)

    def amend(self, options: dict[str, Any]) -> None:
        from .changes import amending

        self._change_with_size(lambda: amending.amend(self, options))

    def make_empty(self) -> None:
        from .changes import resizing

        self._change(lambda: resizing.drop_all(self.metadata))
        trim(self.metadata)
        if self.metadata.data_file is not None:
            self.metadata.data_file.discard(0, self.metadata.data_file.size)

    def _release(self) -> None:
        if self.writable and not self.metadata.fresh:
            self.metadata.roll_back()
            try:
                self.metadata.save_bitmaps()
            except ImageError:
                # What made us give up does so again; the bitmaps say on disk that they are not to be trusted.
                pass
        super()._release()
