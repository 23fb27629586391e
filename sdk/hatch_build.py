# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Where the package's files and its version come from.

In a checkout the package lies in the Ansible collection; a source distribution carries a copy as ``src/qimg``.
"""
from __future__ import annotations

import os
import re
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface


def _package(root: str) -> tuple[str, bool]:
    """The directory of the package, and whether it is the copy of a source distribution."""
    copy = os.path.join(root, "src", "qimg")
    if os.path.isdir(copy):
        return copy, True
    return os.path.join(root, "..", "plugins", "module_utils", "qimg"), False


class VersionFromPackage(MetadataHookInterface):
    """The version stands in ``qimg/__init__.py`` and nowhere else."""

    def update(self, metadata: dict[str, Any]) -> None:
        with open(os.path.join(_package(self.root)[0], "__init__.py"), encoding="utf-8") as source:
            found = re.search(r'^__version__ = "([^"]+)"$', source.read(), re.MULTILINE)
        if found is None:
            raise ValueError("there is no __version__ in qimg/__init__.py")
        metadata["version"] = found.group(1)


class FilesOfTheCollection(BuildHookInterface[Any]):
    """A wheel made from a checkout takes the package from the collection; an editable one finds it by its path."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        package, is_copy = _package(self.root)
        if version != "editable" and not is_copy:
            build_data["force_include"][package] = "qimg"
