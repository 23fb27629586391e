# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines with two mistakes, and fixed lines with a change, drawn by a seed: what qemu-img meets first is named.

``QIMG_TWO_MISTAKES=5000`` runs as many cases of both, ``QIMG_TWO_MISTAKES=700-710`` these.
"""
from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from cli_differences import known_difference
from cli_file_differences import is_known_in_files
from cli_support import split
from mutated_lines import mutation

from support.side_by_side import SideBySide

pytestmark = pytest.mark.oracle

_CASES = "40"

#: What is wrong in every command.
_EVERYWHERE = ("--nonsense", "--object secret,id=s", "--object nonsense,id=s")
_IMAGES = (
    "data.qcow2", "over.qcow2", "missing", "lost.qcow2", "odd.raw", "nope:x", "json:{", "folder", "unknown.qcow2",
)  # fmt: skip
_NODES = (
    "--image-opts driver=nonsense",
    "--image-opts driver=qcow2,file.filename=data.qcow2,nonsense=1",
    "--image-opts driver=qcow2,file.filename=data.qcow2,read-only=x",
)
_IMAGE_OPTIONS = ("-f nonsense", "-f raw", "--image-opts")

#: Command -> options that are wrong, what is right to name (``IMAGE``: one of the above), and what is not.
_COMMANDS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "amend": (
        ("-o size=x", "-o nonsense=1", "-o compat=9", "-o cluster_size=4k", "-o backing_file=x", "-o ,", "-t nonsense",
         "-o data_file=x", "-o refcount_bits=5", "-o preallocation=off"),
        "-o lazy_refcounts=on IMAGE", ("IMAGE", "-o size=20M", "-o size=20M IMAGE more", "-o help IMAGE"),
    ),
    "bench": (
        ("-c 0", "-c x", "-d 0", "-s 0", "-s x", "-S -1", "-o x", "-o 9E", "-t nonsense", "-i x", "-i native",
         "--flush-interval 1", "--pattern 7", "-w --pattern 256", "-w -U", "-o 20M"),
        "-c 1 -d 1 IMAGE", ("-c 1 -d 1",),
    ),
    "bitmap": (
        ("-g 3k", "-g x", "-F raw", "-b missing", "--merge b0", "--remove", "-b data.qcow2 -F nonsense --merge x"),
        "--add IMAGE b", ("IMAGE b", "--add IMAGE", "--add IMAGE ''", "--clear IMAGE b"),
    ),
    "check": (
        ("-r x", "-r all -U", "--output=xml", "-T nonsense"), "IMAGE", ("", "IMAGE more"),
    ),
    "commit": (
        ("-b missing", "-b ''", "-r x", "-t nonsense"), "IMAGE", ("", "IMAGE more"),
    ),
    "compare": (
        ("-F nonsense", "-T nonsense", "-F raw"), "IMAGE other.qcow2", ("IMAGE", "IMAGE missing", "missing IMAGE"),
    ),
    "convert": (
        ("-O nonsense", "-o cluster_size=3k", "-o nonsense=1", "-o size=x", "-t nonsense", "-T nonsense", "-l x",
         "-S 3", "-m 0", "-m x", "-r x", "-c -C", "-S 4k -C", "-C --salvage", "--target-is-zero", "--target-image-opts",
         "-B missing -F qcow2", "-B other.qcow2", "-F qcow2", "--skip-broken-bitmaps", "--bitmaps", "-n -o size=1M",
         "-c -o preallocation=full", "-O raw -c", "-n"),
        "-O qcow2 IMAGE new", ("-O qcow2 IMAGE", "-O qcow2 IMAGE folder/x/new", "-O qcow2 IMAGE missing new"),
    ),
    "create": (
        ("-f nonsense", "-o cluster_size=3k", "-o nonsense=1", "-o size=x", "-o size=1M", "-b missing -F qcow2",
         "-b other.qcow2", "-F qcow2", "-F nonsense -b other.qcow2", "-o preallocation=x", "-o ,",
         "-o compat=0.10,lazy_refcounts=on", "-u -b x", "-o data_file_raw=on"),
        "-f qcow2 new 1M", ("-f qcow2 new", "-f qcow2 new x", "-f qcow2 new 9E", "-f qcow2 new 1M more",
                            "-f qcow2 folder/x/new 1M"),
    ),
    "dd": (
        ("-O nonsense", "bs=0", "bs=x", "count=x", "skip=-1", "seek=1"), "if=IMAGE of=new",
        ("if=IMAGE", "of=new", "if=IMAGE of=folder/x/new"),
    ),
    "info": (("--output=xml", "-U"), "IMAGE", ("", "IMAGE more")),
    "map": (("--output=xml", "-s x", "-l -1"), "IMAGE", ("", "IMAGE more")),
    "measure": (
        ("-O nonsense", "-o cluster_size=3k", "-o nonsense=1", "-o size=x", "-l x", "--output=xml", "--size 1M",
         "--size x", "-o preallocation=x", "-o compat=9"),
        "-O qcow2 IMAGE", ("-O qcow2", "-O qcow2 IMAGE more"),
    ),
    "rebase": (
        ("-F nonsense", "-t nonsense", "-T nonsense", "-c", "-u", "-U", "-b missing"),
        "-b other.qcow2 -F qcow2 IMAGE", ("IMAGE", "-b other.qcow2 IMAGE", "-b other.qcow2 -F qcow2"),
    ),
    "resize": (
        ("--preallocation=x", "--preallocation=full", "--shrink"), "IMAGE 20M",
        ("IMAGE", "IMAGE x", "IMAGE 9E", "IMAGE 1M", "IMAGE -90M", "IMAGE +0"),
    ),
    "snapshot": (
        ("-l", "-a x", "-d x", "-U"), "-c y IMAGE", ("-c y", "-c y IMAGE more", "IMAGE"),
    ),
}  # fmt: skip


def cases() -> range:
    first, dash, last = os.environ.get("QIMG_TWO_MISTAKES", _CASES).partition("-")
    return range(int(first), int(last) + 1) if dash else range(int(first))


def line_of(case: int) -> str:
    """A command line; each command comes once in so many cases as there are commands."""
    choices = random.Random("mistakes %d" % case)
    command = list(_COMMANDS)[case % len(_COMMANDS)]
    options, right, wrong = _COMMANDS[command]
    everywhere = _EVERYWHERE if command == "create" else (*_EVERYWHERE, *_IMAGE_OPTIONS)
    # Two in options (o), one there and one in the image (i) or in all that is named (w), or both in what is named.
    kinds = choices.choice(("oo", "oo", "oi", "oi", "ow", "wi"))
    words = []
    for _ in range(kinds.count("o")):
        words.append(choices.choice(options if choices.random() < 0.8 else everywhere))
    image = choices.choice(_IMAGES if "i" in kinds else _IMAGES[:2])
    operands = (choices.choice(wrong) if "w" in kinds else right).replace("IMAGE", "'%s'" % image)
    if "i" in kinds and "--image-opts" not in " ".join(words) and command not in ("create", "compare", "dd"):
        if choices.random() < 0.3:
            flag, node = choices.choice(_NODES).split(" ")
            words.append(flag)
            operands = operands.replace("'%s'" % image, node)
    return " ".join((command, *words, operands))


@pytest.mark.parametrize("case", cases())
def test_the_same_mistake_is_named_as_by_qemu_img(case: int, images: Path, tmp_path: Path) -> None:
    _expect_same(split(line_of(case)), images, tmp_path)


@pytest.mark.parametrize("case", cases())
def test_a_changed_line_is_answered_as_by_qemu_img(case: int, images: Path, tmp_path: Path) -> None:
    _expect_same(mutation(case), images, tmp_path)


def _expect_same(words: list[str], images: Path, directory: Path) -> None:
    pair = SideBySide(directory, images, is_known_in_files)
    theirs, ours = pair.run(words)
    if theirs != ours:
        known = known_difference(words, theirs, ours)
        if known is None:
            raise pair.difference(theirs, ours)
        if theirs.code != ours.code or known.files_too:
            return
    pair.expect_same_files()
    shutil.rmtree(directory)
