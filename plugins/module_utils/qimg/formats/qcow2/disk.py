# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""The parts of a qcow2 image that changes of its size and options work with."""
from __future__ import annotations

from abc import abstractmethod

from ..base import Image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .changes.metadata import Metadata
    from .writing.writer import Writer


class Qcow2Disk(Image):
    """A guest disk, its metadata, and what lays out its data."""

    metadata: Metadata

    @property
    @abstractmethod
    def writer(self) -> Writer:
        """What lays out guest data.

        :raises UnsupportedOperationError: the image is open for reading only
        """

    @abstractmethod
    def change_size(self, size: int, preallocation: str) -> None:
        """As :meth:`~qimg.formats.capabilities.Resizable.resize`, but not yet on disk."""
