# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Looking for leaked clusters and corruption, and repairing them.

Every reference of every table is counted in memory and compared with the refcounts.  Messages and counters are those
of qemu-img.  Repairs are made in memory like any other change, and committed in one step.
"""
from __future__ import annotations

from array import array

from ....errors import CorruptImageError, FormatError
from ....intervals import IntervalSet
from ...capabilities import CheckResult
from ..changes.trimming import trim
from ..layout import COPIED, CORRUPT, DIRTY, MAX_SNAPSHOTS, OFFSET_MASK, ZERO_FLAG, words_from_bytes
from ..snapshots.table import HINT_OVERHANGING, MIN_EXTRA_BYTES
from ..tables.copied_flags import apply_copied_changes, copied_changes, data_runs, first_words
from ..tables.shared import all_l1_tables, move_table, replace_tables
from .scan import ReferenceScan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..changes.metadata import Metadata

#: So many L2 tables that L1 entries share are not looked at twice.
_MAX_REMEMBERED = 1 << 16


class CheckFailedError(FormatError):
    """The check could not be finished."""


def repair(
    metadata: Metadata, mode: str, report: Callable[[str], None], change: Callable[[Callable[[], Any]], Any]
) -> CheckResult:
    """Check an image, and repair it.

    :param mode: ``leaks`` or ``all``
    :param change: does something to the image in one step
    :raises CheckFailedError: as :func:`check`
    """
    bits = metadata.geometry.cluster_bits
    end = -(-metadata.storage.size >> bits)
    result: CheckResult = change(lambda: check(metadata, mode, report))
    if mode == "all" and result.corruptions_fixed and not result.corruptions:
        # The tables have moved: where an entry referred to their old places, its flag is now wrong.
        change(lambda: check(metadata, mode, lambda line: None))
    lost = IntervalSet()
    for first, last in metadata.refcounts.avoided:
        if last > end:
            lost.add(max(first, end), last)
    if lost and metadata.storage.size > end << bits:
        # What the file has lost must not be taken for zeroes, only because new tables lie behind it.
        trim(metadata, lost)
    return result


def check(metadata: Metadata, repair: str | None, report: Callable[[str], None]) -> CheckResult:
    """Check an image, and repair it in memory; the caller commits if anything was fixed.

    :param repair: ``None``, ``leaks`` or ``all``
    :param report: called with each line that qemu-img prints to its error stream
    :raises CheckFailedError: the image is too broken to be checked, or needs ``all`` where only ``leaks`` was asked
    """
    return _Checker(metadata, report, repair is not None, repair == "all").run()


class _Checker:
    def __init__(
        self, metadata: Metadata, report: Callable[[str], None], fix_leaks: bool, fix_errors: bool
    ) -> None:
        self._metadata = metadata
        self._report = report
        self._fix_leaks = fix_leaks
        self._fix_errors = fix_errors
        self._result = CheckResult()
        self._highest_cluster = 0
        self._incomplete_snapshots = 0
        #: How many entries of the snapshot table are too much, or have too much.
        self._dropped_snapshots = 0
        #: Clusters with more references than they should have: not all of these can be meant.
        self._disputed: set[int] = set()

    def run(self) -> CheckResult:
        result = self._result
        metadata = self._metadata
        bits = metadata.geometry.cluster_bits
        result.total_clusters = -(-(metadata.header.size // 512 * 512) >> bits)
        self._check_extensions()
        self._check_snapshot_table()
        scan = self._scan()
        for first, end in scan.dangling:
            metadata.refcounts.avoided.add(first, end)
        found_before = (result.corruptions, result.leaks, result.check_errors)
        if self._fix_errors and self._l1_claims_too_much():
            self._report("ERROR the L1 table overlaps other tables, or is longer than the file")
            raise self._failed(
                "Check failed: Input/output error", None, "nothing was repaired: restore the image from a backup"
            )
        rebuild = self._compare(scan, False, False) or scan.rebuild_needed
        if rebuild and self._fix_errors:
            self._rebuild_refcounts(scan)
        elif self._fix_leaks:
            if rebuild:
                self._report("ERROR need to rebuild refcount structures")
                raise self._failed("Check failed: Input/output error", None)
            if result.leaks or result.corruptions:
                result.corruptions, result.leaks, result.check_errors = found_before
                self._compare(scan, self._fix_leaks, self._fix_errors)
        self._fix_misplaced_zeroes(scan)
        self._check_copied_flags()
        if (self._incomplete_snapshots or self._dropped_snapshots) and self._fix_errors:
            metadata.complete_snapshots()
            result.corruptions_fixed += self._dropped_snapshots
            result.corruptions -= self._incomplete_snapshots
            result.corruptions_fixed += self._incomplete_snapshots
        if self._fix_leaks and not result.corruptions and not result.check_errors:
            metadata.header = metadata.header._replace(
                incompatible_features=metadata.header.incompatible_features & ~(DIRTY | CORRUPT)
            )
        result.image_end_offset = (self._highest_cluster + 1) << bits
        return result

    def _check_extensions(self) -> None:
        """Header extensions that occur twice make programs see different files: QEMU takes the last of a type."""
        count = self._metadata.repeated_extensions
        if count:
            self._report(
                "%s %d header extension(s) that a later one of the same type replaces"
                % ("Repairing" if self._fix_errors else "WARNING", count)
            )
            if self._fix_errors:
                self._metadata.drop_repeated_extensions()

    def _scan(self) -> ReferenceScan:
        scan = ReferenceScan(self._metadata, self._result, self._report, self._fix_errors)
        scan.run()
        return scan

    def _check_snapshot_table(self) -> None:
        """Read the table, or what of it can be kept; count the entries that lack what version 3 demands."""
        metadata = self._metadata
        if self._fix_errors:
            self._dropped_snapshots = metadata.salvage_snapshots(self._report)
        else:
            self._read_snapshot_table()
        if metadata.header.version < 3:
            return
        for index, snapshot in enumerate(metadata.snapshots):
            if snapshot.extra_length < MIN_EXTRA_BYTES:
                self._incomplete_snapshots += 1
                self._report(
                    "%s snapshot table entry %d is incomplete" % ("Repairing" if self._fix_errors else "ERROR", index)
                )
        self._result.corruptions += self._incomplete_snapshots

    def _read_snapshot_table(self) -> None:
        metadata = self._metadata
        overhang = metadata.header.nb_snapshots - MAX_SNAPSHOTS
        if overhang > 0:
            raise self._failed("ERROR snapshot table too large", HINT_OVERHANGING % overhang)
        try:
            metadata.load_snapshots()
        except FormatError as error:
            raise self._failed("ERROR failed to read the snapshot table: %s" % error.reason, error.hint) from error

    def _l1_claims_too_much(self) -> bool:
        """Whether the L1 table, as long as it says, covers other tables or space beyond the end of the file.

        Nobody can tell then which of the two is true, and new tables could be put where the L1 table reaches.
        """
        metadata = self._metadata
        start = metadata.header.l1_table_offset
        end = start + metadata.header.l1_size * 8
        if end > metadata.storage.size:
            return bool(end - metadata.storage.size >= metadata.geometry.cluster_size)
        tables = [entry & OFFSET_MASK for entry in metadata.mapping.l1]
        return start < metadata.geometry.cluster_size or any(start <= offset < end for offset in filter(None, tables))

    def _failed(
        self, reason: str, hint: str | None, remedy: str = "repair it with 'all', on a backup copy first"
    ) -> CheckFailedError:
        return CheckFailedError(
            reason,
            path=self._metadata.storage.name,
            format="qcow2",
            hint=hint,
            remedy=remedy,
        )

    # Refcounts

    def _compare(self, scan: ReferenceScan, fix_leaks: bool, fix_errors: bool) -> bool:
        """Compare refcounts and references; whether a used cluster has no refcount at all."""
        refcounts, counter = self._metadata.refcounts, scan.counter
        rebuild = False
        for first in range(0, len(counter), refcounts.block_entries):
            count = min(refcounts.block_entries, len(counter) - first)
            try:
                (actual,) = refcounts.slices(first, count)
            except CorruptImageError:
                for cluster in range(first, first + count):
                    self._report("Can't get refcount for cluster %d: Input/output error" % cluster)
                self._result.check_errors += count
                continue
            expected = counter.block(refcounts.order, first, count)
            if actual.tobytes() == expected.tobytes():
                used = len(bytes(expected.tobytes()).rstrip(b"\0"))
                if used:
                    self._highest_cluster = max(self._highest_cluster, first + (used - 1) // expected.itemsize)
                continue
            for cluster in range(first, first + count):
                refcount, references = actual[cluster - first], counter.get(cluster)
                if refcount or references:
                    self._highest_cluster = max(self._highest_cluster, cluster)
                if refcount != references:
                    rebuild = rebuild or refcount == 0
                    self._mismatch(cluster, refcount, references, fix_leaks, fix_errors)
        return rebuild

    def _mismatch(self, cluster: int, refcount: int, references: int, fix_leaks: bool, fix_errors: bool) -> None:
        result = self._result
        is_leak = refcount > references
        if not is_leak:
            self._disputed.add(cluster)
        fix = refcount != 0 and (fix_leaks if is_leak else fix_errors)
        word = "Repairing" if fix else "Leaked" if is_leak else "ERROR"
        self._report("%s cluster %d refcount=%d reference=%d" % (word, cluster, refcount, references))
        if fix:
            self._metadata.refcounts.add(cluster, 1, references - refcount)
            if is_leak:
                result.leaks_fixed += 1
            else:
                result.corruptions_fixed += 1
        elif is_leak:
            result.leaks += 1
        else:
            result.corruptions += 1

    def _rebuild_refcounts(self, scan: ReferenceScan) -> None:
        """Replace the refcount table and all blocks by ones that say what was counted."""
        result = self._result
        self._report("Rebuilding refcount structure")
        corruptions, leaks = result.corruptions, result.leaks
        result.corruptions = result.leaks = result.check_errors = 0
        result.allocated_clusters = result.compressed_clusters = result.fragmented_clusters = 0
        refcounts = self._metadata.refcounts
        structure = refcounts.structure()
        per_block = refcounts.block_entries
        refcounts.reset(
            refcounts.order,
            {
                first // per_block: scan.counter.block(
                    refcounts.order, first, min(per_block, len(scan.counter) - first)
                )
                for first in range(0, len(scan.counter), per_block)
            },
        )
        # What is still wrong is what no refcount can mend.
        rescan = ReferenceScan(self._metadata, result, self._report, False)
        rescan.ignored = set(scan.misplaced_zeroes)
        rescan.count_mapping()
        for cluster in structure:
            if refcounts.get(cluster):
                refcount = refcounts.get(cluster)
                self._report("Repairing cluster %d refcount=%d reference=%d" % (cluster, refcount, refcount - 1))
                refcounts.add(cluster, 1, -1)
        result.corruptions += self._incomplete_snapshots
        result.corruptions_fixed += max(0, corruptions - result.corruptions)
        result.leaks_fixed += max(0, leaks - result.leaks)

    def _fix_misplaced_zeroes(self, scan: ReferenceScan) -> None:
        """Have zero clusters forget their invalid places."""
        metadata = self._metadata
        geometry = metadata.geometry
        words = array("Q", (0, 0xFFFFFFFF << 32) if geometry.extended_l2 else (ZERO_FLAG,))
        active = {entry & OFFSET_MASK: l1_index for l1_index, entry in enumerate(metadata.mapping.l1)}
        others: dict[int, list[int]] = {}
        for l2_offset, index in scan.misplaced_zeroes:
            if l2_offset in active:
                entries = metadata.mapping.own_table(active[l2_offset]).entries
                entries[index * len(words) : (index + 1) * len(words)] = words
            else:
                others.setdefault(l2_offset, []).append(index)
        if others:
            self._fix_in_snapshots(others, words)

    def _fix_in_snapshots(self, places: dict[int, list[int]], words: array[int]) -> None:
        """Replace entries of L2 tables that only snapshots use.

        :param places: host offset of the table -> indexes of the entries
        """
        metadata = self._metadata
        moved = {}
        try:
            tables = all_l1_tables(metadata)
        except CorruptImageError:
            tables = []
        for l2_offset, indexes in places.items():
            if not tables or l2_offset >> metadata.geometry.cluster_bits in self._disputed:
                # It may be something else altogether, guest data for instance.
                self._result.corruptions += len(indexes)
                self._result.corruptions_fixed -= len(indexes)
                continue
            entries = words_from_bytes(metadata.storage.read(l2_offset, metadata.geometry.cluster_size))
            for index in indexes:
                entries[index * len(words) : (index + 1) * len(words)] = words
            moved[l2_offset] = move_table(metadata, l2_offset, entries)
        if moved:
            replace_tables(metadata, tables, moved)

    # COPIED flags

    def _check_copied_flags(self) -> None:
        """Compare the COPIED flags of the active tables with the refcounts."""
        metadata, result = self._metadata, self._result
        mapping, refcounts, geometry = metadata.mapping, metadata.refcounts, metadata.geometry
        repair = self._fix_errors or (
            self._fix_leaks and not (result.check_errors or result.corruptions or result.leaks)
        )
        word = "Repairing" if repair else "ERROR"
        #: L2 tables that other entries refer to as well -> how many of their entries are wrong; they are named once.
        known: dict[int, int] = {}
        #: Those that were repaired -> the first entry that referred to them, and where the repaired table is.
        moved: dict[int, tuple[int, int]] = {}
        for l1_index in range(len(mapping.l1)):
            entry = mapping.l1[l1_index]
            offset = entry & OFFSET_MASK
            if not offset:
                continue
            try:
                refcount = refcounts.get(offset >> geometry.cluster_bits)
            except CorruptImageError:
                # Said already, when the refcounts were compared.
                continue
            if (refcount == 1) != bool(entry & COPIED):
                self._flag_error(
                    "%s OFLAG_COPIED L2 cluster: l1_index=%d l1_entry=%x refcount=%d"
                    % (word, l1_index, entry, refcount),
                    repair,
                )
                if repair:
                    mapping.l1[l1_index] = offset | COPIED if refcount == 1 else offset
                    mapping.l1_dirty = True
            if offset % geometry.cluster_size:
                continue
            if offset in moved:
                self._share(l1_index, *moved[offset])
            if offset in known:
                if repair:
                    result.corruptions_fixed += known[offset]
                else:
                    result.corruptions += known[offset]
                continue
            wrong = self._check_copied_entries(l1_index, repair, word)
            if refcount == 1 or len(known) >= _MAX_REMEMBERED:
                continue
            known[offset] = wrong
            if wrong and repair:
                moved[offset] = (l1_index, mapping.l1[l1_index] & OFFSET_MASK)

    def _share(self, l1_index: int, first_index: int, offset: int) -> None:
        """Let an L1 entry refer to the table that was repaired for another one which referred to the same."""
        mapping, refcounts = self._metadata.mapping, self._metadata.refcounts
        bits = self._metadata.geometry.cluster_bits
        refcounts.drop((mapping.l1[l1_index] & OFFSET_MASK) >> bits, 1)
        refcounts.add(offset >> bits, 1, 1)
        mapping.set_entry(first_index, offset)
        mapping.set_entry(l1_index, offset)

    def _check_copied_entries(self, l1_index: int, repair: bool, word: str) -> int:
        """The same for the entries of an L2 table; how many were wrong."""
        metadata = self._metadata
        geometry = metadata.geometry
        table = metadata.mapping.table(l1_index)
        if table is None:
            return 0
        words = first_words(table.entries, geometry)
        if metadata.has_data_file:
            # Nobody else can use a cluster of the data file.
            runs = data_runs(words, geometry)
            changes = [(index, end, True) for index, end, _first in runs if not words[index] & COPIED]
        else:
            try:
                changes = copied_changes(words, geometry, metadata.refcounts)
            except CorruptImageError:
                # Said already, when the refcounts were compared.
                return 0
        for index, end, _flag in changes:
            for position in range(index, end):
                cluster = (words[position] & OFFSET_MASK) >> geometry.cluster_bits
                self._flag_error(
                    "%s OFLAG_COPIED data cluster: l2_entry=%x refcount=%d"
                    % (word, words[position], 1 if metadata.has_data_file else metadata.refcounts.get(cluster)),
                    repair,
                )
        if changes and repair:
            table = metadata.mapping.own_table(l1_index)
            apply_copied_changes(table.entries, geometry, changes)
        return sum(end - index for index, end, _flag in changes)

    def _flag_error(self, line: str, repaired: bool) -> None:
        self._report(line)
        if repaired:
            self._result.corruptions_fixed += 1
        else:
            self._result.corruptions += 1
