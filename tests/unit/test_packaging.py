# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection and the Python package must agree on."""
from __future__ import annotations

import re
from pathlib import Path

import qimg

CHECKOUT = Path(__file__).resolve().parents[2]


def test_the_collection_has_the_version_of_the_sdk() -> None:
    found = re.search(r"^version: (\S+)$", (CHECKOUT / "galaxy.yml").read_text(encoding="utf-8"), re.MULTILINE)

    assert found is not None and found.group(1) == qimg.__version__


def test_the_python_package_carries_the_licence_of_the_sdk() -> None:
    licence = (CHECKOUT / "LICENSES" / "BSD-2-Clause.txt").read_bytes()

    assert (CHECKOUT / "sdk" / "LICENSE").read_bytes() == licence


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest imports them all as if they lay in one directory."""
    names = [path.name for path in (CHECKOUT / "tests").rglob("test_*.py")]

    assert sorted({name for name in names if names.count(name) > 1}) == []
