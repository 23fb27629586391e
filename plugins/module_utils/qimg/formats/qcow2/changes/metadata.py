# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""All metadata of one qcow2 file, changed in memory and committed in one step.

This is shadow paging.  Everything that changes is written to clusters that the image on disk does not use; then one
write of the header's sector makes it the image.  Whenever the process or the machine dies, what is on disk is the
image before the transaction or the image after it, and both are free of errors and of leaks.
"""
from __future__ import annotations

from ....errors import FormatError, StorageError
from ....limits import DEFAULT_LIMITS, Limits
from ..layout import (
    BITMAPS_VALID,
    EXT_BACKING_FORMAT,
    EXT_BITMAPS,
    EXT_DATA_FILE,
    EXT_PADDING,
    EXTENDED_L2,
    EXTERNAL_DATA_FILE,
    KNOWN_AUTOCLEAR,
    MAX_BACKING_NAME,
    MAX_L1_BYTES,
    OFFSET_MASK,
    Geometry,
    Header,
    check_features,
    check_room,
    pack_extensions,
    parse_extensions,
    parse_header,
    without_repetitions,
    words_from_bytes,
)
from ..tables.mapping import Mapping
from ..validation import validate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable

    from ....intervals import IntervalSet
    from ....storage.base import Storage
    from ..bitmaps.directory import BitmapDirectory
    from ..refcounts.allocator import Refcounts
    from ..snapshots.table import Snapshot


class Metadata:
    """Header, tables, refcounts, snapshots and bitmaps of one qcow2 file.

    :param live: the beginning of the file as it is on disk, up to the last byte that counts (``b""``: a new file)
    """

    def __init__(
        self,
        storage: Storage,
        header: Header,
        extensions: list[tuple[int, bytes]],
        backing_file: bytes,
        live: bytes,
        limits: Limits = DEFAULT_LIMITS,
        fresh: bool = False,
    ) -> None:
        self.storage = storage
        self.header = header
        self.extensions = extensions
        self.backing_file = backing_file
        self.geometry = Geometry(header.cluster_bits, bool(header.incompatible_features & EXTENDED_L2))
        self.fresh = fresh
        self.limits = limits
        self._live = live
        #: The state that the first cluster on disk says; a new file says nothing yet.
        self._committed = None if fresh else self._header_state()
        self._refcounts: Refcounts | None = None
        self._mapping: Mapping | None = None
        self._snapshots: list[Snapshot] | None = None
        self._snapshot_table_bytes = 0
        self._snapshots_changed = False
        self._bitmaps: BitmapDirectory | None = None
        self._file_size = storage.size
        #: Whether a failed write leaves open which state the file says, so that both must stay whole.
        self._undecided = False
        #: How many header extensions on disk are followed by another one of their type, which counts instead.
        self.repeated_extensions = 0
        #: The external data file, where guest data lies if there is one.
        self.data_file: Storage | None = None

    @classmethod
    def load(cls, storage: Storage, limits: Limits = DEFAULT_LIMITS) -> Metadata:
        """Read and validate the header of an existing image; tables are read when they are needed.

        :raises FormatError: the header is not valid
        """
        path = storage.name
        try:
            header = parse_header(storage.read(0, 512), path)
            cluster = storage.read(0, 1 << header.cluster_bits)
        except StorageError as error:
            error.reason = "Could not read qcow2 header: %s" % error.words
            raise
        if header.version >= 3:
            header = parse_header(cluster, path)
        extensions = parse_extensions(cluster, header, path)
        check_features(header, extensions, path)
        validate(header, path)
        backing_file = b""
        live_end = header.header_length + len(pack_extensions(extensions))
        if header.backing_file_offset:
            name_end = header.backing_file_offset + header.backing_file_size
            if header.backing_file_size > min(MAX_BACKING_NAME, len(cluster) - header.backing_file_offset):
                raise FormatError("Backing file name too long", path=path, format="qcow2")
            # To QEMU, a name ends with a zero byte.
            backing_file = cluster[header.backing_file_offset : name_end].partition(b"\0")[0]
            live_end = max(live_end, name_end)
        kept = [extension for extension in extensions if extension[0] != EXT_PADDING]
        metadata = cls(storage, header, without_repetitions(kept), backing_file, cluster[:live_end], limits)
        metadata.repeated_extensions = len(kept) - len(metadata.extensions)
        return metadata

    # Parts, read (and imported) when needed: to tell what an image is, most are not

    @property
    def refcounts(self) -> Refcounts:
        """How often each host cluster is used."""
        if self._refcounts is None:
            from ..refcounts.allocator import Refcounts

            self._refcounts = Refcounts(
                self.storage,
                self.geometry,
                self.header.refcount_order,
                self.header.refcount_table_offset,
                self.header.refcount_table_clusters,
                self.limits.table_cache_bytes // 2,
                self.fresh,
            )
            self._refcounts.find_tables = self._table_runs
            self._refcounts.find_uncounted = self._uncounted_runs
        return self._refcounts

    @property
    def mapping(self) -> Mapping:
        """The active L1 table and its L2 tables."""
        if self._mapping is None:
            entries = self.header.l1_size
            if self.fresh:
                l1 = words_from_bytes(bytes(entries * 8))
            else:
                l1 = self.read_l1(self.header.l1_table_offset, entries)
            self._mapping = Mapping(
                self.storage,
                self.geometry,
                l1,
                self.header.l1_table_offset,
                self.refcounts,
                self.limits.table_cache_bytes // 2,
                self.fresh,
            )
        return self._mapping

    def read_l1(self, offset: int, entries: int) -> array[int]:
        """An L1 table.

        :raises StorageError: it cannot be read
        :raises CorruptImageError: it has so many L2 tables that they cannot be in the file
        """
        l1 = words_from_bytes(self.storage.read(offset, entries * 8))
        check_room(l1, self.storage, self.geometry, offset, "An L1 table has more L2 tables")
        return l1

    def view_l1(self, l1: array[int]) -> None:
        """Read the guest disk by another L1 table from now on; for images that are only read."""
        self._mapping = Mapping(self.storage, self.geometry, l1, 0, self.refcounts, self.limits.table_cache_bytes // 2)

    @property
    def snapshots(self) -> list[Snapshot]:
        """The snapshot table; change it by :meth:`set_snapshots`."""
        return self.load_snapshots() if self._snapshots is None else self._snapshots

    def load_snapshots(self) -> list[Snapshot]:
        """Read the snapshot table.

        :raises FormatError: it is too large
        """
        if not self.header.nb_snapshots:
            self._snapshots = []
            return self._snapshots
        from ..snapshots import table as snapshot_table

        self._snapshots, self._snapshot_table_bytes = snapshot_table.read_table(
            self.storage, self.header.snapshots_offset, self.header.nb_snapshots, self.header.size
        )
        return self._snapshots

    def salvage_snapshots(self, report: Callable[[str], None]) -> int:
        """Read what can be kept of a snapshot table that is too large; :meth:`complete_snapshots` makes it so.

        :param report: called with each line that qemu-img prints
        :returns: how many entries were left out or cut
        """
        from ..snapshots import table as snapshot_table

        self._snapshots, self._snapshot_table_bytes, dropped = snapshot_table.salvage_table(
            self.storage, self.header.snapshots_offset, self.header.nb_snapshots, self.header.size, report
        )
        return dropped

    @property
    def snapshot_table_bytes(self) -> int:
        """Length of the snapshot table on disk."""
        return self._snapshot_table_bytes if self.snapshots else 0

    def _table_runs(self) -> list[tuple[int, int]]:
        """Where all metadata lie, but for the L2 tables of snapshots: runs ``(first, end)`` of clusters."""
        geometry, mapping = self.geometry, self.mapping
        areas = [(0, geometry.cluster_size), (mapping.l1_offset, len(mapping.l1) * 8)]
        areas += [(entry & OFFSET_MASK, geometry.cluster_size) for entry in filter(None, mapping.l1)]
        areas.append((self.header.snapshots_offset, self.snapshot_table_bytes))
        for snapshot in self.snapshots:
            # A longer one is a broken entry, and not worth the room.
            if snapshot.l1_size * 8 <= MAX_L1_BYTES:
                areas.append((snapshot.l1_table_offset, snapshot.l1_size * 8))
        areas.append((self.bitmaps.offset, self.bitmaps.length))
        areas += [(bitmap.bits.table_offset, bitmap.bits.table_entries * 8) for bitmap in self.bitmaps.bitmaps]
        bits = geometry.cluster_bits
        runs = [(offset >> bits, -(-(offset + length) >> bits)) for offset, length in areas if length]
        return runs + [(cluster, cluster + 1) for cluster in self.refcounts.structure()]

    def _uncounted_runs(self, free: IntervalSet) -> list[tuple[int, int]]:
        """Runs of clusters that entries refer to, among those that are said to be free."""
        from ..refcounts.uncounted import used_among

        header = self.header
        l1_tables = [(header.l1_table_offset, header.l1_size)]
        l1_tables += [(snapshot.l1_table_offset, snapshot.l1_size) for snapshot in self.snapshots]
        bitmaps = [bitmap.bits for bitmap in self.bitmaps.bitmaps]
        bitmap_tables = [(bits.table_offset, bits.table_entries) for bits in bitmaps if bits.table_offset]
        return used_among(free, self.storage, self.geometry, l1_tables, bitmap_tables, self.has_data_file)

    def set_snapshots(self, entries: list[Snapshot]) -> None:
        """Replace the snapshot table."""
        if self.snapshots is not entries:
            self._snapshots = entries
        self._snapshots_changed = True

    def complete_snapshots(self) -> None:
        """Have the snapshot table written anew, with all that version 3 demands in each entry."""
        entries = [entry.completed() for entry in self.snapshots]
        if self.header.snapshots_offset + self._snapshot_table_bytes > self.storage.size:
            # The old table is not in the file at all: there is nothing to free.
            self._snapshot_table_bytes = 0
        self.set_snapshots(entries)

    @property
    def has_valid_bitmaps(self) -> bool:
        """Whether the bitmaps extension may be trusted (section "Bitmaps extension")."""
        return bool(self.header.autoclear_features & BITMAPS_VALID) and self.extension(EXT_BITMAPS) is not None

    @property
    def has_ignored_bitmaps(self) -> bool:
        """Whether there are bitmaps that another program did not keep up to date, so that they no longer count."""
        return self.extension(EXT_BITMAPS) is not None and not self.has_valid_bitmaps

    @property
    def may_have_bitmaps(self) -> bool:
        """Whether there is a reason to look at :attr:`bitmaps`."""
        return self._bitmaps is not None or self.has_valid_bitmaps

    @property
    def has_new_bits(self) -> bool:
        """Whether bitmaps have changed in memory."""
        return self._bitmaps is not None and self._bitmaps.changed

    @property
    def bitmaps(self) -> BitmapDirectory:
        """The bitmap directory; empty where the image has none that may be trusted.

        :raises CorruptImageError: the directory is broken
        """
        if self._bitmaps is None:
            from ..bitmaps.directory import BitmapDirectory

            extension = self.extension(EXT_BITMAPS) if self.has_valid_bitmaps else None
            self._bitmaps = BitmapDirectory(
                self.storage, self.geometry, self.refcounts, extension, self.header.size // 512 * 512
            )
        return self._bitmaps

    # Header extensions

    def extension(self, kind: int) -> bytes | None:
        """The content of a header extension."""
        for found, content in self.extensions:
            if found == kind:
                return content
        return None

    def set_extension(self, kind: int, content: bytes | None) -> None:
        """Replace a header extension; ``None`` removes it."""
        if content is None:
            self.extensions = [extension for extension in self.extensions if extension[0] != kind]
            return
        for index, (found, _old) in enumerate(self.extensions):
            if found == kind:
                self.extensions[index] = (kind, content)
                return
        self.extensions.append((kind, content))

    def drop_repeated_extensions(self) -> None:
        """Write the header anew with the next commit, without the extensions that do not count."""
        if self.repeated_extensions:
            self._committed = None
            self.repeated_extensions = 0

    def check_bitmaps_room(self) -> None:
        """Whether the first cluster can say that there are bitmaps; guest data that is written before the next commit
        must not be lost because it cannot.

        :raises ImageError: it has no room for that
        """
        from ..bitmaps.directory import EXTENSION_BYTES
        from . import header_area

        extensions = [extension for extension in self.extensions if extension[0] != EXT_BITMAPS]
        extensions.append((EXT_BITMAPS, bytes(EXTENSION_BYTES)))
        header_area.check_room(self._live, self.header, extensions, self.backing_file, self.storage.name)

    @property
    def backing_format(self) -> str | None:
        """The stored format of the backing file."""
        return _text(self.extension(EXT_BACKING_FORMAT))

    @property
    def data_file_name(self) -> str | None:
        """The stored name of the external data file."""
        return _text(self.extension(EXT_DATA_FILE))

    @property
    def has_data_file(self) -> bool:
        """Whether guest data lies in another file."""
        return bool(self.header.incompatible_features & EXTERNAL_DATA_FILE)

    # Committing

    def commit(self) -> list[tuple[int, int]]:
        """Make all changes since the last commit the image on disk, in one step.

        :returns: runs of host clusters ``(first, end)`` that are free from now on
        :raises ImageError: the image on disk is the one before or the one after; the object must be given up (see
            :meth:`roll_back`)
        """
        from . import header_area

        self._place_tables()
        if self.fresh:
            self._live = b""
        self.storage.flush()
        if self.data_file is not None:
            self.data_file.flush()
        self._drop_unknown_autoclear()
        if self._header_state() != self._committed:
            self._undecided = True
            try:
                self._live = header_area.write(
                    self.storage, self._live, self.header, self.extensions, self.backing_file
                )
            except header_area.HeaderFullError:
                self._undecided = False
                raise
            self._undecided = False
            self._committed = self._header_state()
        freed = self._refcounts.begin() if self._refcounts is not None else []
        if self._mapping is not None:
            self._mapping.begin()
        if self._bitmaps is not None:
            self._bitmaps.begin()
        self.fresh = False
        self._file_size = self.storage.size
        return freed

    def _header_state(self) -> tuple[Header, list[tuple[int, bytes]], bytes]:
        """Everything that the first cluster says, but for where in it the backing file name lies."""
        header = self.header._replace(backing_file_offset=0, backing_file_size=0)
        return header, list(self.extensions), self.backing_file

    def _place_tables(self) -> None:
        """Write every changed table where the image on disk does not look, and have the header point there."""
        changes = {}
        if self._bitmaps is not None and self._bitmaps.changed:
            self._bitmaps.place()
            self.set_extension(EXT_BITMAPS, self._bitmaps.extension())
            valid = self.header.autoclear_features & ~BITMAPS_VALID
            if self._bitmaps.bitmaps:
                valid |= BITMAPS_VALID
            changes["autoclear_features"] = valid
        if self._snapshots_changed:
            changes.update(self._place_snapshots())
        mapping = self._mapping
        if mapping is not None:
            mapping.place_l1()
        if self._refcounts is not None and self._refcounts.changed:
            table_offset, table_clusters = self._refcounts.relocate()
            changes.update(refcount_table_offset=table_offset, refcount_table_clusters=table_clusters)
        if mapping is not None:
            mapping.write()
            changes.update(l1_table_offset=mapping.l1_offset, l1_size=len(mapping.l1))
        self.header = self.header._replace(**changes)

    def _place_snapshots(self) -> dict[str, int]:
        from ..snapshots import table as snapshot_table

        bits = self.geometry.cluster_bits
        if self._snapshot_table_bytes:
            old = self.header.snapshots_offset >> bits
            self.refcounts.drop(old, -(-self._snapshot_table_bytes >> bits))
        packed = snapshot_table.pack_table(self.snapshots)
        self._snapshot_table_bytes = len(packed)
        self._snapshots_changed = False
        if not packed:
            return {"nb_snapshots": 0, "snapshots_offset": 0}
        offset = self.refcounts.allocate_table(-(-len(packed) >> bits)) << bits
        self.storage.write(offset, packed)
        return {"nb_snapshots": len(self.snapshots), "snapshots_offset": offset}

    def begin_writing(self) -> None:
        """Before guest data is overwritten where it is: no feature that we do not know may still be said to be true.

        Other changes become visible in one step together with the bits that :meth:`commit` clears.
        """
        if not self.fresh and self.header.autoclear_features & ~KNOWN_AUTOCLEAR:
            self.commit()

    def _drop_unknown_autoclear(self) -> None:
        """A program that changes an image clears the autoclear bits that it does not know (section "Header")."""
        bits = self.header.autoclear_features & KNOWN_AUTOCLEAR
        if not bits & BITMAPS_VALID:
            self.set_extension(EXT_BITMAPS, None)
        self.header = self.header._replace(autoclear_features=bits)

    def roll_back(self, data_file_size: int | None = None) -> None:
        """Give up what was not committed: cut off what the transaction added to the file.

        The object cannot be used afterwards.

        :param data_file_size: length that the external data file had before, if it was made longer for a larger disk
        """
        if self.fresh or self._undecided:
            return
        if self.storage.size > self._file_size:
            self.storage.truncate(self._file_size)
        if self.data_file is not None and data_file_size is not None and self.data_file.size > data_file_size:
            self.data_file.truncate(data_file_size)

    def save_bitmaps(self) -> None:
        """After a roll back, have the bitmaps on disk know of guest data that was overwritten in place before it.

        Without this they would stay marked as in use, and nobody could use them again.

        :raises ImageError: that is not possible; then they stay so
        """
        if self._bitmaps is not None and self._bitmaps.behind and not self._undecided:
            metadata = Metadata.load(self.storage, self.limits)
            metadata.bitmaps.catch_up(self._bitmaps)
            metadata.commit()

    def cut_off(self, end: int) -> None:
        """Make the file end at a host offset, if it is longer; nothing that lies behind is in use."""
        if self.storage.size > end:
            self.storage.truncate(end)
            self._file_size = end


def _text(content: bytes | None) -> str | None:
    """A name that is stored; for QEMU it ends at the first zero byte."""
    return None if content is None else content.partition(b"\0")[0].decode("utf-8", "surrogateescape")
