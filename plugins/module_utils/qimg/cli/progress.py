# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""How far a command has come: ``-p``, and one line at SIGUSR1."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from .console import Console


class ProgressMeter:
    """Call it with the fraction that is done.

    Use as a context manager around the work: it ends the line, whatever happens.

    :param console: where to print
    :param enabled: whether to show every step (``-p``); if not, only whoever sends SIGUSR1 gets a line
    :param step: how many percent more have to be done before the next line
    """

    def __init__(self, console: Console, enabled: bool, step: float) -> None:
        self._console = console
        self._enabled = enabled
        self._step = step
        self._shown = 0.0
        self._begun = False
        self._asked = False

    def begin(self) -> None:
        """Show that nothing is done yet; otherwise the first call does so."""
        self._begun = True
        if self._enabled:
            self._console.progress("    (%3.2f/100%%)\r" % 0.0)

    def __call__(self, fraction: float) -> None:
        if not self._begun:
            self.begin()
        percent = min(100.0, 100.0 * fraction)
        if self._enabled:
            if abs(percent - self._shown) > self._step or (percent in (0.0, 100.0) and percent != self._shown):
                self._shown = percent
                self._console.progress("    (%3.2f/100%%)\r" % percent)
        elif self._asked:
            self._asked = False
            self._console.line("    (%3.2f/100%%)" % percent)

    def __enter__(self) -> ProgressMeter:
        # The public module of this name imports three others.
        import _signal  # type: ignore[import-not-found]
        import threading

        if threading.current_thread() is threading.main_thread():
            _signal.signal(_signal.SIGUSR1, self._ask)
        return self

    def _ask(self, _signal: int, _frame: FrameType | None) -> None:
        self._asked = True

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._enabled and exception is not None:
            # On a terminal, what went wrong is written over the line, as qemu-img does it.
            self._console.write_last("\n")
        elif self._enabled:
            self._console.progress("\n")
