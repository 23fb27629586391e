# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images on which command lines are compared."""
from __future__ import annotations

from pathlib import Path

import cli_images
import pytest

from support.side_by_side import template


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the images of cli_images.py."""
    return template(tmp_path_factory.getbasetemp() / "cli-images", cli_images.build)
