# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tests can do without the programs that others compare with."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def collect(tests: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Let pytest find tests where there is no QEMU, though it is required."""
    environment = {**os.environ, "PATH": str(tmp_path), "QIMG_ORACLE": "required", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "--quiet", tests],
        cwd=TESTS, env=environment, capture_output=True, text=True, check=False,
    )


def test_tests_that_do_not_ask_the_oracle_run_where_it_is_not_installed_yet(tmp_path: Path) -> None:
    done = collect("unit/test_bits.py", tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def test_tests_that_ask_the_oracle_do_not_begin_without_it_where_it_is_required(tmp_path: Path) -> None:
    done = collect("interop/test_dd.py", tmp_path)

    assert done.returncode == 4
    assert "the oracle is required (QIMG_ORACLE), but qemu-img is not installed (qemu-utils)" in done.stderr
