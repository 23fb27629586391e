# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Working on several jobs at once, and taking their results in order."""
from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any


def ordered_results(jobs: Iterable[Callable[[], Any]], threads: int) -> Iterator[Any]:
    """The results of ``jobs`` in their order, a few of them being worked on at once.

    The jobs are taken one by one in the caller's thread, so that making them may look at what is not thread-safe.
    """
    # Imported here: it brings a third of an interpreter start with it.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        window: deque[Any] = deque()
        try:
            for job in jobs:
                window.append(pool.submit(job))
                if len(window) > threads:
                    yield window.popleft().result()
            while window:
                yield window.popleft().result()
        finally:
            for future in window:
                future.cancel()
