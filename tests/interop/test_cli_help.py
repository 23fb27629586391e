# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our help texts say in our own words what qemu-img's do: no command and no option may be missing."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from support import oracle
from support.in_process import qimg

pytestmark = pytest.mark.oracle

COMMANDS = (
    "amend", "bench", "bitmap", "check", "commit", "compare", "convert", "create", "dd", "info", "map", "measure",
    "rebase", "resize", "snapshot",
)  # fmt: skip

#: Misprints of qemu-img's help.
_OTHERWISE = {"amend": {"--progres"}, "measure": {"--image-options"}}

#: Options of encrypted images: they are not known yet.
_ENCRYPTION = re.compile(r"^  encrypt.*\n", re.MULTILINE)
#: What release 10 does not have.
_LATER = re.compile(r"^  keep_data_file=.*\n", re.MULTILINE)


def _named_options(text: str) -> set[str]:
    """The options that lines begin with."""
    heads = re.findall(r"^ +(-.*?)(?:  .*)?$", text, re.MULTILINE)
    return {name for head in heads for name in re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", head)}


@pytest.mark.parametrize("release", oracle.releases())
@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_a_command_is_named(command: str, release: int, tmp_path: Path) -> None:
    theirs, ours = oracle.run("qemu-img", command, "--help", release=release), qimg(command, "--help", cwd=tmp_path)

    assert (ours.code, ours.stderr) == (0, "")
    assert len(_named_options(theirs.stdout)) > 3
    missing = _named_options(theirs.stdout) - _named_options(ours.stdout) - _OTHERWISE.get(command, set())
    for option in missing:
        # A second name, which the help does not show.
        assert option.startswith("--"), option
        assert not _is_unknown(command, option, tmp_path), option


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_that_is_named_is_known(command: str, tmp_path: Path) -> None:
    """A value that is wrong for all of them is complained of, but none is unrecognized."""
    for option in sorted(_named_options(qimg(command, "--help", cwd=tmp_path).stdout) - {"-h", "--help"}):
        assert not _is_unknown(command, option, tmp_path), option


def _is_unknown(command: str, option: str, directory: Path) -> bool:
    stderr = qimg(command, option, "nonsense", cwd=directory).stderr
    return re.search("unrecognized option|invalid option|is ambiguous", stderr) is not None


def test_the_help_of_the_program_names_every_option_and_command(tmp_path: Path) -> None:
    theirs, ours = oracle.run("qemu-img", "--help").stdout, qimg("--help", cwd=tmp_path).stdout

    assert _named_options(theirs) == _named_options(ours)
    commands = [re.findall(r"^  (\w+) - ", text, re.MULTILINE) for text in (theirs, ours)]
    assert commands[0] == commands[1] == list(COMMANDS)


@pytest.mark.parametrize(
    "line",
    [
        "create -f qcow2 -o help", "create -f qcow2 -o help new", "create -f raw -o ?", "create -o help new 1M",
        "amend -f qcow2 -o help", "amend -f qcow2 -o help missing", "convert -O qcow2 -o help",
        "convert -O raw -o help one two", "create -f file -o help", "create -f host_device -o help",
    ],
)  # fmt: skip
@pytest.mark.parametrize("release", oracle.releases())
def test_lists_of_options_are_the_same_line_for_line(line: str, release: int, tmp_path: Path) -> None:
    theirs, ours = oracle.run("qemu-img", *line.split(), release=release), qimg(*line.split(), cwd=tmp_path)

    if release == oracle.WANTED_MAJOR:
        ours = ours._replace(stdout=_LATER.sub("", ours.stdout))
    assert ours == theirs._replace(stdout=_ENCRYPTION.sub("", theirs.stdout))
