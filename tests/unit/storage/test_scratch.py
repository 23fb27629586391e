# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that is changed in memory only, against a string of bytes."""
from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from qimg.storage.local import LocalFile
from qimg.storage.scratch import ScratchFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pytest

#: Around the bounds of the blocks of 64 KiB in which changes are kept.
OFFSETS = st.builds(lambda block, skew: max(0, block * 65536 + skew), st.integers(0, 3), st.integers(-3, 3))
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("write"), OFFSETS, st.sampled_from([1, 5, 65536, 70000])),
        st.tuples(st.just("zero"), OFFSETS, st.sampled_from([0, 1, 5, 65536, 140000])),
        st.tuples(st.just("truncate"), OFFSETS, st.just(0)),
    ),
    max_size=6,
)


@settings(max_examples=40)
@given(CHANGES)
def test_changes_are_seen_and_forgotten(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int, int]]
) -> None:
    path = tmp_path_factory.mktemp("scratch") / "file"
    before = bytes(range(1, 251)) * 600
    path.write_bytes(before)
    expected = bytearray(before)
    with ScratchFile(LocalFile.open(str(path))) as scratch:
        for what, offset, length in changes:
            if what == "truncate":
                del expected[offset:]
                expected.extend(bytes(offset - len(expected)))
                scratch.truncate(offset)
                continue
            if length:
                expected.extend(bytes(max(0, offset + length - len(expected))))
            expected[offset : offset + length] = (b"\xff" if what == "write" else b"\0") * length
            if what == "write":
                scratch.write(offset, b"\xff" * length)
            else:
                scratch.write_zeroes(offset, length)
        assert scratch.size == len(expected)
        # What lies beyond the end reads as zeroes.
        assert scratch.read(0, len(expected) + 100) == bytes(expected) + bytes(100)
        assert scratch.read(len(expected) + 1, 10) == bytes(10)
        assert scratch.read(65530, 12) == bytes(expected[65530:65542]).ljust(12, b"\0")
    assert path.read_bytes() == before
