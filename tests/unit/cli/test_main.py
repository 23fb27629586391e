# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command is found by its name, and every bug shows as one sentence."""
from __future__ import annotations

from pathlib import Path

import pytest

from qimg.cli import commands, main
from qimg.cli.options import Arguments, Command


def test_every_file_of_commands_is_a_command_of_its_name() -> None:
    files = {path.stem for path in Path(next(iter(commands.__path__))).glob("[a-z]*.py")}

    assert set(main._COMMANDS) == files
    assert [main._command(name).COMMAND.name for name in main._COMMANDS] == list(main._COMMANDS)


class Broken:
    COMMAND = Command("broken", "Fail", "", ())

    @staticmethod
    def run(_console: object, _arguments: Arguments) -> int:
        raise ZeroDivisionError("division by zero")


def test_a_bug_is_one_sentence_and_a_traceback_only_for_those_who_ask(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "_command", lambda _name: Broken)
    monkeypatch.delenv("QIMG_TRACEBACK", raising=False)

    assert main.main(["qimg", "info"]) == 1
    assert capfd.readouterr().err.splitlines()[0] == "qimg: internal error (ZeroDivisionError: division by zero)"
    monkeypatch.setenv("QIMG_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main.main(["qimg", "info"])
