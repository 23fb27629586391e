# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One image with dirty bitmaps, changed by us and by QEMU in turns; a model in sets of numbers knows what is right."""
from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from qimg.formats.driver import CHECK, RESIZE, WRITE
from qimg.formats.opening import Opener
from qimg.operations import bitmap, convert
from qimg.operations.bitmap import BitmapAction
from qimg.operations.conversion_request import ConvertRequest
from qimg.operations.info import info
from support import oracle
from support.dirty import oracle_ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

pytestmark = pytest.mark.oracle

KIB, MIB = 1 << 10, 1 << 20
SECTOR = 512
EXAMPLES = int(os.environ.get("QIMG_MACHINE_EXAMPLES", "8"))

NAMES = st.sampled_from(["a", "b", "näme with spaces", "x" * 300])
SECTORS = st.tuples(st.integers(0, 3 * MIB // SECTOR), st.sampled_from([1, 3, 8, 127, 128, 129, 1000]))
US = st.booleans()


class Bitmaps(RuleBasedStateMachine):
    """The image, and what each bitmap should hold."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "i.qcow2"
        self.size = 0
        #: name -> [granularity, enabled, numbers of marked granules]
        self.model: dict[str, list[Any]] = {}

    def teardown(self) -> None:
        self.directory.cleanup()

    @initialize(
        options=st.sampled_from(
            [
                "cluster_size=512",
                "cluster_size=4k,refcount_bits=64",
                "cluster_size=64k",
                "cluster_size=16k,extended_l2=on",
            ]
        ),
        size=st.integers(1, 3 * MIB // SECTOR),
    )
    def create(self, options: str, size: int) -> None:
        self.size = size * SECTOR
        oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", options, self.path, self.size)

    # Actions on bitmaps

    def _act(self, us: bool, name: str, words: list[str], *actions: BitmapAction) -> None:
        if us:
            bitmap.plan_bitmap(str(self.path), name, actions).apply()
        else:
            oracle.qemu_img("bitmap", *words, self.path, name)

    @rule(us=US, name=NAMES, granularity=st.sampled_from([512, 1024, 4096, 65536, 1 << 20, 1 << 31]), off=st.booleans())
    def add(self, us: bool, name: str, granularity: int, off: bool) -> None:
        if name in self.model:
            return
        words = ["--add", "-g", str(granularity)] + (["--disable"] if off else [])
        actions = [BitmapAction(bitmap.ADD, granularity)] + ([BitmapAction(bitmap.DISABLE)] if off else [])
        self._act(us, name, words, *actions)
        self.model[name] = [granularity, not off, set()]

    @precondition(lambda self: self.model)
    @rule(us=US, data=st.data())
    def remove(self, us: bool, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        self._act(us, name, ["--remove"], BitmapAction(bitmap.REMOVE))
        del self.model[name]

    @precondition(lambda self: self.model)
    @rule(us=US, data=st.data())
    def clear(self, us: bool, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        self._act(us, name, ["--clear"], BitmapAction(bitmap.CLEAR))
        self.model[name][2] = set()

    @precondition(lambda self: self.model)
    @rule(us=US, data=st.data(), on=st.booleans())
    def enable_or_disable(self, us: bool, data: st.DataObject, on: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        word = bitmap.ENABLE if on else bitmap.DISABLE
        self._act(us, name, ["--" + word], BitmapAction(word))
        self.model[name][1] = on

    @precondition(lambda self: self.model)
    @rule(us=US, data=st.data())
    def merge(self, us: bool, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model)))
        source = data.draw(st.sampled_from(sorted(self.model)))
        self._act(us, name, ["--merge", source], BitmapAction(bitmap.MERGE, None, source))
        granularity, _enabled, numbers = self.model[source]
        for number in list(numbers):
            self._mark(name, number * granularity, min(granularity, self.size - number * granularity))

    # Guest writes

    def _mark(self, name: str, offset: int, length: int) -> None:
        granularity, _enabled, numbers = self.model[name]
        numbers.update(range(offset // granularity, (offset + length - 1) // granularity + 1))

    @rule(us=US, kind=st.sampled_from(["write", "zero", "discard"]), ranges=st.lists(SECTORS, min_size=1, max_size=3))
    def change_guest_data(self, us: bool, kind: str, ranges: list[tuple[int, int]]) -> None:
        todo = []
        for start, count in ranges:
            offset = start * SECTOR % self.size
            todo.append((offset, min(count * SECTOR, self.size - offset)))
        if us:
            with Opener().open(str(self.path), purpose=WRITE) as image:
                for offset, length in todo:
                    if kind == "write":
                        image.write(offset, b"\xcd" * length)
                    elif kind == "zero":
                        image.write_zeroes(offset, length)
                    else:
                        image.discard(offset, length)
        else:
            word = {"write": "write", "zero": "write -z", "discard": "discard"}[kind]
            oracle.qemu_io(self.path, *("%s %d %d" % (word, offset, length) for offset, length in todo))
        for name, (_granularity, enabled, _numbers) in self.model.items():
            for offset, length in todo:
                if enabled:
                    self._mark(name, offset, length)

    # What other commands do

    @rule(us=US, size=st.integers(1, 4 * MIB // SECTOR))
    def resize(self, us: bool, size: int) -> None:
        self.size = size * SECTOR
        if us:
            with Opener().open(str(self.path), purpose=RESIZE) as image:
                image.resize(self.size)  # type: ignore[attr-defined]
        else:
            oracle.qemu_img("resize", "-q", "--shrink", self.path, self.size)
        for values in self.model.values():
            values[2] = {number for number in values[2] if number * values[0] < self.size}

    @rule(us=US, cluster_size=st.sampled_from(["512", "64k"]))
    def convert(self, us: bool, cluster_size: str) -> None:
        other = self.path.with_name("other.qcow2")
        if us:
            request = ConvertRequest(
                (str(self.path),), "qcow2", str(other), "qcow2", {"cluster_size": cluster_size}, bitmaps=True
            )
            convert.plan_convert(request).apply()
        else:
            oracle.qemu_img(
                "convert", "--bitmaps", "-O", "qcow2", "-o", "cluster_size=%s" % cluster_size, self.path, other
            )
        os.replace(other, self.path)

    @invariant()
    def everybody_sees_the_same(self) -> None:
        if not self.size:
            return
        document = json.loads(oracle.qemu_img("info", "--output=json", self.path))
        theirs = document["format-specific"]["data"].get("bitmaps", [])
        assert info(str(self.path)).document()["format-specific"]["data"].get("bitmaps", []) == theirs
        wanted = {
            name: (granularity, ["auto"] if enabled else []) for name, (granularity, enabled, _) in self.model.items()
        }
        assert {each["name"]: (each["granularity"], each["flags"]) for each in theirs} == wanted
        marked = oracle_ranges(self.path, sorted(self.model))
        for name, (granularity, _enabled, numbers) in self.model.items():
            assert bitmap.dirty_ranges(str(self.path), name) == marked[name]
            touched = {
                number
                for offset, length in marked[name]
                for number in range(offset // granularity, (offset + length - 1) // granularity + 1)
            }
            assert touched == numbers
            assert sum(length for _offset, length in marked[name]) == sum(
                min(granularity, self.size - number * granularity) for number in numbers
            )
        answer = oracle.ask_qemu_img("check", self.path)
        assert answer.code == 0, answer.stdout + answer.stderr
        with Opener().open(str(self.path), purpose=CHECK) as image:
            result = image.check()  # type: ignore[attr-defined]
            assert (result.corruptions, result.leaks, result.check_errors) == (0, 0, 0)


TestBitmaps = Bitmaps.TestCase
TestBitmaps.settings = settings(max_examples=EXAMPLES, stateful_step_count=15)
