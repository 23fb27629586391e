# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of the README files, run as they are written; the integration tests play the tasks among them."""
from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import qimg
from qimg.cli.main import main

CHECKOUT = Path(__file__).resolve().parents[2]


def examples(page: str, language: str) -> list[str]:
    """The blocks of a page in one language."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", (CHECKOUT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [text for found, text in blocks if found == language]


@pytest.mark.parametrize("page", ["README.md", "sdk/README.md"])
def test_the_examples_run_one_after_another(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "server.raw").write_bytes(b"a disk" * (1 << 17))
    qimg.create("golden.qcow2", "qcow2", size=1 << 20)

    lines = [line[2:] for text in examples(page, "console") for line in text.splitlines() if line.startswith("$ qimg ")]
    assert [main(shlex.split(line)) for line in lines] == [0] * len(lines) and len(lines) >= 3
    programs = examples(page, "python")
    for program in programs:
        exec(compile(program, page, "exec"), {})

    assert programs and qimg.compare("server.raw", "server.qcow2").identical
