# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Who hears of what is neither a result nor an error."""
from __future__ import annotations


class Watcher:
    """Is told what happens beside errors and results.  This one does not care; the command line prints."""

    def warning(self, text: str) -> None:
        """Something that the user should know."""

    def notice(self, text: str) -> None:
        """Lines that qemu-img prints as they are, without its name before them."""
