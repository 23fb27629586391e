# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""What a changing operation would do, before it does it."""
from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..formats.opening import Opener

    Progress = Callable[[float], None]


class Altered(namedtuple("Altered", ["path", "above"], defaults=((),))):
    """A file whose guest content a change alters or takes away, for whoever reads it as a backing file.

    ``path`` is its name.  ``above`` are images on it that take part in the change, topmost first: the topmost reads the
    same afterwards, and nobody else may read those between.
    """

    __slots__ = ()

    path: str
    above: tuple[str, ...]


class Plan:
    """A change that has been thought through but not made.

    :param path: the image that changes
    :param actions: one sentence for each thing that would be done, with its reason; none: nothing has to be done
    :param before: what is there now, as far as it matters
    :param after: what would be there
    :param run: makes the change; gets what to open images with, and a function to call with the fraction done (0.0 to
        1.0).  Where the opener rehearses, guest data need not be copied
    :param opener: opens the images
    """

    #: The files whose guest content others would find altered; see :func:`~qimg.operations.dependants.dependants`.
    altered: tuple[Altered, ...] = ()

    def __init__(
        self,
        path: str,
        actions: list[str],
        before: dict[str, Any],
        after: dict[str, Any],
        run: Callable[[Opener, Progress], Any],
        opener: Opener,
    ) -> None:
        self.path = path
        self.actions = actions
        self.before = before
        self.after = after
        self._run = run
        self._opener = opener

    def __repr__(self) -> str:
        return "<%s of '%s': %s>" % (type(self).__name__, self.path, "; ".join(self.actions) or "nothing to do")

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.actions)

    def apply(self, progress: Progress | None = None) -> Any:
        """Do it; an empty plan does nothing.

        :returns: what the operation returns, ``None`` for an empty plan
        """
        if not self.changed:
            return None
        return self._run(self._opener, progress or _no_progress)

    def rehearse(self) -> Any:
        """Go through it without changing anything, to meet the errors that :meth:`apply` would meet.

        What depends on free space, and the copying of guest data, is not foreseen.

        :returns: what :meth:`apply` would return, as far as it can be known
        :raises ImageError: as :meth:`apply` would
        """
        if not self.changed:
            return None
        return self._run(self._opener.rehearsing(), _no_progress)


def nothing(_opener: Opener, _progress: Progress) -> None:
    """What an empty plan runs."""


def _no_progress(_fraction: float) -> None:
    """Nobody is watching."""
