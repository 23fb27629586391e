# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done with snapshots and bitmaps, on two copies of an image."""
from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from machine_choices import BITMAP_NAMES, NAMES
from two_copies import TwoCopies

from qimg.operations import bitmap, snapshot
from qimg.operations.bitmap import BitmapAction

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qimg.operations.bitmap import BitmapChange


class SnapshotRules(TwoCopies):
    """Taking, applying and deleting snapshots."""

    @rule(name=NAMES)
    def take_snapshot(self, name: str) -> None:
        done = self.step(lambda path: snapshot.create_snapshot(path, name), "snapshot", "-c", name, "i.qcow2")
        if done:
            id = str(max((int(each[0]) for each in self.snapshots), default=0) + 1)
            self.snapshots.append((id, name, self.content))

    def _spoken(self, data: st.DataObject) -> str:
        """What to call a snapshot."""
        return str(data.draw(st.sampled_from(sorted({word for each in self.snapshots for word in each[:2]}))))

    def _index(self, spoken: str, columns: tuple[int, ...]) -> int | None:
        """Which snapshot has this id (column 0) or this name (column 1)."""
        for column in columns:
            for index, each in enumerate(self.snapshots):
                if each[column] == spoken:
                    return index
        return None

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def apply_snapshot(self, data: st.DataObject) -> None:
        spoken = self._spoken(data)
        index = self._index(spoken, (0, 1))
        assert index is not None
        done = self.step(
            lambda path: snapshot.apply_snapshot(path, spoken),
            "snapshot", "-a", spoken, "i.qcow2",
            # qemu-img counts the snapshot's clusters once more before it gives up the old ones.
            theirs_may_say="Failed to load snapshot: Invalid argument",
        )  # fmt: skip
        assert done == (not self.bitmaps)
        if done:
            self.content = self.snapshots[index][2]
            if self.content is None:
                self.believe()

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def delete_snapshot(self, data: st.DataObject) -> None:
        spoken = self._spoken(data)
        index = self._index(spoken, (1,))
        if index is not None:
            find = snapshot.find_by_name
            assert self.step(
                lambda path: snapshot.plan_delete_snapshot(path, spoken, find=find).apply(),
                "snapshot",
                "-d",
                spoken,
                "i.qcow2",
            )
            del self.snapshots[index]


class BitmapRules(TwoCopies):
    """Adding, changing, merging and removing bitmaps."""

    @rule(name=BITMAP_NAMES, granularity=st.sampled_from([512, 65536]), off=st.booleans())
    def add_bitmap(self, name: str, granularity: int, off: bool) -> None:
        actions = [BitmapAction(bitmap.ADD, granularity)] + ([BitmapAction(bitmap.DISABLE)] if off else [])
        words = ["--add", "-g", granularity] + (["--disable"] if off else [])
        if self.step(lambda path: bitmap.plan_bitmap(path, name, actions).apply(), "bitmap", *words, "i.qcow2", name):
            self.bitmaps.add(name)

    @precondition(lambda self: self.bitmaps)
    @rule(name=BITMAP_NAMES, kind=st.sampled_from([bitmap.CLEAR, bitmap.ENABLE, bitmap.DISABLE]))
    def change_bitmap(self, name: str, kind: BitmapChange) -> None:
        actions = [BitmapAction(kind)]
        done = self.step(
            lambda path: bitmap.plan_bitmap(path, name, actions).apply(), "bitmap", "--" + kind, "i.qcow2", name
        )
        assert done or name not in self.bitmaps or self.dirty

    @precondition(lambda self: self.bitmaps)
    @rule(source=BITMAP_NAMES, name=BITMAP_NAMES)
    def merge_bitmaps(self, source: str, name: str) -> None:
        actions = [BitmapAction(bitmap.MERGE, source=source)]
        self.step(
            lambda path: bitmap.plan_bitmap(path, name, actions).apply(),
            "bitmap", "--merge", source, "i.qcow2", name,
        )  # fmt: skip

    @rule(name=BITMAP_NAMES)
    def remove_bitmap(self, name: str) -> None:
        actions = [BitmapAction(bitmap.REMOVE)]
        done = self.step(
            lambda path: bitmap.plan_bitmap(path, name, actions).apply(), "bitmap", "--remove", "i.qcow2", name
        )
        assert done == (name in self.bitmaps)
        self.bitmaps.discard(name)
