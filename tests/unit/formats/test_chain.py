# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Extents of a guest disk: joined where they say the same, and put together from a backing chain."""
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qimg.formats.base import ABSENT, DATA, ZERO, Extent, Image
from qimg.formats.chain import chain_extents, merged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = st.lists(st.sampled_from([ABSENT, ZERO, DATA]), min_size=1, max_size=12)


class Layer(Image):
    """An image of one kind for each unit, without any bytes; neighbours of a kind are one run."""

    format = filename = "layer"

    def __init__(self, kinds: list[int], backing: Layer | None = None) -> None:
        self.kinds = kinds
        self.size = len(kinds)
        self.backing = backing

    def runs(self, offset: int, length: int) -> Iterator[Extent]:
        start = offset
        while start < offset + length:
            kind = self.kinds[start]
            end = start + 1
            while end < offset + length and self.kinds[end] == kind:
                end += 1
            yield Extent(start, end - start, kind, self if kind == DATA else None, start if kind == DATA else None)
            start = end


def seen(layers: list[list[int]], unit: int) -> tuple[int, int]:
    """What the top one of some layers shows for a unit, and how deep that lies."""
    for depth, kinds in enumerate(layers):
        if unit >= len(kinds):
            return ABSENT, depth - 1
        if kinds[unit] != ABSENT or depth == len(layers) - 1:
            return kinds[unit], depth
    raise AssertionError


@given(st.lists(KINDS, min_size=1, max_size=4))
def test_what_a_layer_does_not_have_comes_from_the_next_as_far_as_that_reaches(layers: list[list[int]]) -> None:
    image = None
    for kinds in reversed(layers):
        image = Layer(kinds, image)
    assert image is not None

    extents = list(merged(chain_extents(image, 0, image.size)))

    assert [unit for each in extents for unit in range(each.start, each.start + each.length)] == list(range(image.size))
    for each in extents:
        for unit in range(each.start, each.start + each.length):
            assert (each.kind, each.depth) == seen(layers, unit)
            if each.kind == DATA:
                assert each.offset is not None and each.offset + unit - each.start == unit
    # Neighbours that are left apart say different things.
    assert all((one.kind, one.depth) != (two.kind, two.depth) for one, two in zip(extents, extents[1:]))


@given(st.lists(KINDS, min_size=2, max_size=3), st.integers(1, 3))
def test_only_so_many_layers_are_asked_as_was_said(layers: list[list[int]], count: int) -> None:
    image = None
    for kinds in reversed(layers):
        image = Layer(kinds, image)
    assert image is not None

    for each in chain_extents(image, 0, image.size, count):
        assert (each.kind, each.depth) == seen(layers[:count], each.start)


def test_data_that_lie_apart_in_the_file_are_not_joined() -> None:
    image = Layer([DATA])
    pieces = [Extent(0, 5, DATA, image, 100), Extent(5, 5, DATA, image, 105), Extent(10, 5, DATA, image, 200)]

    assert list(merged(iter(pieces))) == [Extent(0, 10, DATA, image, 100), Extent(10, 5, DATA, image, 200)]
