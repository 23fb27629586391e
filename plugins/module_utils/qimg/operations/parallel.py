# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Doing work of several threads' worth, and taking the results in order."""
from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any


def ordered_results(jobs: Iterable[Callable[[], Any]], threads: int) -> Iterator[Any]:
    """The results of ``jobs`` in their order, a few of them being worked on at once.

    The jobs are taken one by one in the caller's thread, so that making them may look at what is not thread-safe.  What
    a job raises is raised in place of its result; then, or when the caller stops, no further job is begun.
    """
    # concurrent.futures would do, but importing it takes a third of an interpreter start.
    sent: SimpleQueue[_Outcome | None] = SimpleQueue()
    workers: list[threading.Thread] = []
    window: deque[_Outcome] = deque()
    try:
        for job in jobs:
            window.append(_Outcome(job))
            sent.put(window[-1])
            if len(workers) < threads:
                worker = threading.Thread(target=_work, args=(sent,), name="qimg-work")
                worker.start()
                workers.append(worker)
            if len(window) > threads:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        for outcome in window:
            outcome.wanted = False
        for _worker in workers:
            sent.put(None)
        for worker in workers:
            worker.join()


class _Outcome:
    """What becomes of a job."""

    __slots__ = ("wanted", "_job", "_done", "_value", "_error")

    def __init__(self, job: Callable[[], Any]) -> None:
        self.wanted = True
        self._job = job
        self._done = threading.Lock()
        self._done.acquire()
        self._value: Any = None
        self._error: BaseException | None = None

    def find(self) -> None:
        """Do the job, unless nobody waits for it any more."""
        if self.wanted:
            try:
                self._value = self._job()
            except BaseException as error:
                self._error = error
        self._done.release()

    def result(self) -> Any:
        """Wait until it is done."""
        with self._done:
            if self._error is not None:
                raise self._error
            return self._value


def _work(sent: SimpleQueue[_Outcome | None]) -> None:
    while True:
        outcome = sent.get()
        if outcome is None:
            return
        outcome.find()
