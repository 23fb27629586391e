# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: BSD-2-Clause
"""Doing work in several threads, and taking the results in order."""
from __future__ import annotations

import os
import threading
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from queue import SimpleQueue
    from typing import Any


#: More of them make nothing faster: the memory, or the medium, is what all wait for.
_MOST_THREADS = 4


def useful_threads() -> int:
    """How many threads this machine has use for: two even on one processor, which need not wait for the medium."""
    return max(2, min(_MOST_THREADS, os.cpu_count() or 1))


def work_together(threads: int, work: Callable[[], None], stop: Callable[[BaseException], None]) -> None:
    """Do the same work in several threads, until all of them have done it.

    This thread only waits for them.  Ctrl-C raises wherever it is: between taking a lock and knowing of it, the lock
    would stay taken for ever.

    :param threads: how many there are to be; there may be fewer, where the system allows no more
    :param stop: called with what interrupts this thread: every ``work()`` has to return soon
    """
    workers: list[threading.Thread] = []
    try:
        while len(workers) < threads and _start(work, workers):
            pass
        if not workers:
            work()
        for thread in workers:
            thread.join()
    except BaseException as error:
        # Nobody uses the images any more when they are closed.
        stop(error)
        for thread in workers:
            thread.join()


def _start(work: Callable[[], None], threads: list[threading.Thread]) -> bool:
    """Add a thread, if there is the memory, and the right, to have one more."""
    thread = threading.Thread(target=work, name="qimg-work", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return False
    threads.append(thread)
    return True


def ordered_results(jobs: Iterable[Callable[[], Any]], threads: int) -> Iterator[Any]:
    """The results of ``jobs`` in their order, a few of them being worked on at once.

    The jobs are taken one by one in the caller's thread, so that making them may look at what is not thread-safe.  What
    a job raises is raised in place of its result; then, or when the caller stops, no further job is begun.
    """
    # concurrent.futures would do, but importing it takes a third of an interpreter start.
    from queue import SimpleQueue

    sent: SimpleQueue[_Outcome | None] = SimpleQueue()
    workers: list[threading.Thread] = []
    window: deque[_Outcome] = deque()
    try:
        for job in jobs:
            window.append(_Outcome(job))
            if len(workers) < threads:
                _start(lambda: _work(sent), workers)
            if workers:
                sent.put(window[-1])
            else:
                window[-1].find()
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
