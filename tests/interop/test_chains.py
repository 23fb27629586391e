# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chains of backing files whose layers have sizes of their own, so that one between may end before those around it.

A seed decides about the chain and what is done with it, once by real qemu-img and once by us; what the guest reads must
be what a few slices of ``bytes`` say.  ``QIMG_CHAINS=5000`` runs as many cases, ``QIMG_CHAINS=700-710`` these.
"""
from __future__ import annotations

import os
import random
import shutil
from typing import NamedTuple

import pytest
from cli_differences import known_difference
from cli_file_differences import is_known_in_files
from generated_images import KIB, MIB, Scenario

from support import oracle
from support.side_by_side import Difference, SideBySide

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.oracle

_CASES = "30"
_SECTOR = 512
#: What ``create -o`` is told -> the size of a cluster.
_OPTIONS = {
    "cluster_size=512": 512,
    "cluster_size=4k": 4 * KIB,
    "cluster_size=64k": 64 * KIB,
    "cluster_size=512,compat=0.10": 512,
    "cluster_size=4k,compat=0.10": 4 * KIB,
    "cluster_size=64k,compat=0.10": 64 * KIB,
    "cluster_size=16k,extended_l2=on": 16 * KIB,
    "cluster_size=64k,extended_l2=on": 64 * KIB,
}


def cases() -> range:
    first, dash, last = os.environ.get("QIMG_CHAINS", _CASES).partition("-")
    return range(int(first), int(last) + 1) if dash else range(int(first))


class _Layer(NamedTuple):
    """An image, and what a guest reads from it."""

    name: str
    format: str
    content: bytes


class _Chain:
    """A chain, the base first, a file that does not belong to it, and what makes them."""

    def __init__(self, choices: random.Random) -> None:
        self._random = choices
        self.steps: list[list[str]] = []
        self.layers: list[_Layer] = []
        for number in range(choices.randint(2, 5)):
            self.layers.append(self._make("layer%d" % number, self.layers[-1] if self.layers else None))
        self.outside = self._make("outside", None)

    def _size(self) -> int:
        sectors = self._random.choice((8, 128, 400, MIB // _SECTOR))
        if self._random.random() < 0.3:
            return sectors * _SECTOR
        return self._random.randint(1, sectors) * _SECTOR

    def _make(self, name: str, below: _Layer | None) -> _Layer:
        size = len(below.content) if below and self._random.random() < 0.15 else self._size()
        if below is None and self._random.random() < 0.4:
            self.steps.append(["truncate", name + ".raw", str(size)])
            return self._filled(name + ".raw", "raw", bytearray(size), 0, False)
        name += ".qcow2"
        options = self._random.choice(sorted(_OPTIONS))
        words = [] if below is None else ["-b", below.name, "-F", below.format]
        self.steps.append(["qemu-img", "create", "-q", "-f", "qcow2", *words, "-o", options, name, str(size)])
        content = bytearray(size)
        if below is not None:
            shown = below.content[:size]
            content[: len(shown)] = shown
        # An image of version 2 cannot say that a cluster hides the one below.
        hides = below is None or "compat" not in options
        return self._filled(name, "qcow2", content, _OPTIONS[options], hides)

    def _filled(self, name: str, format: str, content: bytearray, cluster: int, can_discard: bool) -> _Layer:
        size = len(content)
        commands = []
        if cluster and self._random.random() < 0.4:
            # Only what is not allocated yet can be compressed.
            start = self._random.randrange(0, size, cluster)
            length = min(cluster, size - start)
            commands.append("write -c -P 99 %d %d" % (start, length))
            content[start : start + length] = b"c" * length
        for _ in range(self._random.randint(0, 4)):
            start = self._random.randrange(0, size, _SECTOR)
            length = min(self._random.choice((_SECTOR, 4 * KIB, 70 * KIB, 300 * KIB, MIB)), size - start)
            kind = self._random.choice(("data", "data", "zero", "discard"))
            byte = self._random.randint(0, 255) if kind == "data" else 0
            if kind == "discard":
                if not can_discard:
                    continue
                start = start // cluster * cluster
                length = min(-(-length // cluster) * cluster, size - start)
                commands.append("discard %d %d" % (start, length))
            elif kind == "zero":
                commands.append("write -z %s%d %d" % (self._random.choice(("", "-u ")), start, length))
            else:
                commands.append("write -P %d %d %d" % (byte, start, length))
            content[start : start + length] = bytes([byte]) * length
        if commands:
            self.steps.append(["qemu-io", name, format, *commands])
        return _Layer(name, format, bytes(content))

    def operation(self) -> tuple[list[str], dict[str, bytes]]:
        """A command line, and what is read from some images if it succeeds."""
        makers = (self._rebase, self._rebase, self._commit, self._commit, self._look, self._convert)
        return self._random.choice(makers)()

    def _overlay(self) -> int:
        """The number of a layer that has another below it; mostly the top."""
        top = len(self.layers) - 1
        return top if self._random.random() < 0.8 else self._random.randint(1, top)

    def _format(self, layer: _Layer) -> list[str]:
        chance = self._random.random()
        return [] if chance < 0.05 else ["-F", "raw" if chance < 0.1 else layer.format]

    def _rebase(self) -> tuple[list[str], dict[str, bytes]]:
        number = self._overlay()
        image = self.layers[number]
        new = self._random.choice((*self.layers[:number], *self.layers[:number], self.outside, None))
        words = ["-c"] if self._random.random() < 0.3 else []
        words += ["-b", ""] if new is None else ["-b", new.name, *self._format(new)]
        expected = {layer.name: layer.content for layer in (*self.layers[: number + 1], self.outside)}
        return ["rebase", *words, image.name], expected

    def _commit(self) -> tuple[list[str], dict[str, bytes]]:
        number = self._overlay()
        image = self.layers[number]
        words = ["-d"] if self._random.random() < 0.4 else []
        target = number - 1
        if self._random.random() < 0.8:
            target = self._random.randrange(number)
            words += ["-b", self.layers[target].name]
        below = self.layers[target]
        expected = {below.name: image.content + below.content[len(image.content) :], image.name: image.content}
        expected.update((layer.name, layer.content) for layer in self.layers[:target])
        return ["commit", *words, image.name], expected

    def _convert(self) -> tuple[list[str], dict[str, bytes]]:
        number = self._overlay()
        image = self.layers[number]
        # That it reads as what the image has below is the caller's promise, and only of this one it is true.
        below = self.layers[number - 1]
        words = ["-O", "qcow2", "-B", below.name, "-F", below.format]
        expected = {layer.name: layer.content for layer in self.layers}
        expected["new"] = image.content
        return ["convert", *words, image.name, "new"], expected

    def _look(self) -> tuple[list[str], dict[str, bytes]]:
        one, other = self._random.choice(self.layers), self._random.choice((*self.layers, self.outside))
        words = self._random.choice(
            (["compare", one.name, other.name], ["compare", "-s", one.name, other.name], ["map", one.name],
             ["map", "--output=json", one.name])
        )  # fmt: skip
        return words, {}


@pytest.mark.parametrize("case", cases())
def test_a_chain_reads_as_its_layers_say(case: int, tmp_path: Path) -> None:
    chain = _Chain(random.Random("chain %d" % case))
    images = Scenario(chain.layers, chain.steps)
    built = tmp_path / "built"
    built.mkdir()
    images.build(built)
    words, expected = chain.operation()
    try:
        _run_case(SideBySide(tmp_path, built, is_known_in_files), chain, words, expected)
    except (Difference, AssertionError) as difference:
        pytest.fail("case %d, %r, on these images:\n%s\n%s" % (case, words, images, difference), pytrace=False)
    shutil.rmtree(tmp_path)


def _run_case(pair: SideBySide, chain: _Chain, words: list[str], expected: dict[str, bytes]) -> None:
    _expect_contents(pair, {layer.name: layer.content for layer in chain.layers[-1:]})
    theirs, ours = pair.run(words)
    known = None if theirs == ours else known_difference(words, theirs, ours)
    if theirs != ours and known is None:
        raise pair.difference(theirs, ours)
    if words[0] == "compare":
        one, other = (
            next(layer.content for layer in (*chain.layers, chain.outside) if layer.name == name) for name in words[-2:]
        )
        size = max(len(one), len(other))
        strict = "-s" in words and len(one) != len(other)
        differs = one.ljust(size, b"\0") != other.ljust(size, b"\0")
        # What is allocated differs in the strict mode, too.
        assert ours.code == 1 if strict or differs else ours.code == 0 or "-s" in words
    if ours.code != 0:
        expected = {layer.name: layer.content for layer in (*chain.layers, chain.outside)}
    _expect_contents(pair, expected)
    if theirs.code == ours.code and not (known and known.files_too):
        pair.expect_same_files()


def _expect_contents(pair: SideBySide, expected: dict[str, bytes]) -> None:
    """Ours must read as expected, and be whole."""
    for name, content in expected.items():
        path = pair.ours / name
        format = "raw" if name.endswith(".raw") else "qcow2"
        found = oracle.read_guest(path, pair.ours.parent / "guest", format)
        assert len(found) == len(content), "%s has %d bytes instead of %d" % (name, len(found), len(content))
        wrong = next((at for at in range(0, len(found), _SECTOR) if found[at:][:1] != content[at:][:1]), None)
        assert found == content, "%s reads otherwise from byte %s on" % (name, wrong)
        assert format == "raw" or oracle.is_clean(path, "-f", format), "%s is not whole" % name
