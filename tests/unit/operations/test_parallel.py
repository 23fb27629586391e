# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of several threads, in order."""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from qimg.operations.parallel import ordered_results, work_together


def jobs(count: int, taken: list[int]) -> Iterator[Callable[[], int]]:
    for number in range(count):
        taken.append(number)
        yield lambda number=number: number * number  # type: ignore[misc]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 200])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_results_are_those_of_one_job_after_another(count: int, threads: int) -> None:
    assert list(ordered_results(jobs(count, []), threads)) == [job() for job in jobs(count, [])]


def test_results_come_in_the_order_of_their_jobs_whoever_is_done_first() -> None:
    second_is_done = threading.Event()

    def first() -> str:
        assert second_is_done.wait(30)
        return "first"

    def second() -> str:
        second_is_done.set()
        return "second"

    assert list(ordered_results([first, second, lambda: "third"], 2)) == ["first", "second", "third"]


def test_as_many_jobs_as_allowed_are_done_at_once() -> None:
    together = threading.Barrier(3)

    def job() -> int:
        # Passed only when three are here.
        return together.wait(timeout=30)

    assert sorted(ordered_results([job] * 3, 3)) == [0, 1, 2]


def test_no_more_jobs_are_taken_than_are_needed() -> None:
    taken: list[int] = []
    results = ordered_results(jobs(100, taken), 2)

    assert next(results) == 0
    assert taken == [0, 1, 2]
    results.close()  # type: ignore[attr-defined]
    assert taken == [0, 1, 2]


def test_an_error_comes_in_its_place_and_ends_the_work() -> None:
    taken: list[int] = []
    before = threading.active_count()

    def failing() -> int:
        raise KeyError("here")

    def mixed() -> Iterator[Callable[[], int]]:
        for number, job in enumerate(jobs(100, taken)):
            yield failing if number == 2 else job

    results = ordered_results(mixed(), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyError, match="here"):
        next(results)
    assert taken == [0, 1, 2, 3, 4]
    assert threading.active_count() == before


def test_an_error_of_whoever_makes_the_jobs_ends_the_work() -> None:
    before = threading.active_count()

    def broken() -> Iterator[Callable[[], int]]:
        yield lambda: 1
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        list(ordered_results(broken(), 2))
    assert threading.active_count() == before


@pytest.mark.parametrize("possible", [0, 1, 3])
def test_work_is_done_by_as_many_threads_as_there_can_be(monkeypatch: pytest.MonkeyPatch, possible: int) -> None:
    real_start = threading.Thread.start
    started: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        if len(started) == possible:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        real_start(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    assert list(ordered_results(jobs(50, []), 4)) == [job() for job in jobs(50, [])]
    assert len(started) == possible
    del started[:]
    workers = []
    work_together(4, lambda: workers.append(threading.current_thread()), pytest.fail)
    # An interrupt of this thread must not find it with a lock that others need.
    assert sorted(map(id, workers)) == sorted(map(id, started or [threading.current_thread()]))


def test_an_interrupt_while_others_work_stops_them(monkeypatch: pytest.MonkeyPatch) -> None:
    real_join = threading.Thread.join
    stopped, interrupts = threading.Event(), [KeyboardInterrupt()]

    def join(thread: threading.Thread) -> None:
        if interrupts:
            raise interrupts.pop()
        real_join(thread)

    def work() -> None:
        assert stopped.wait(30)
        done.append(threading.current_thread())

    def stop(error: BaseException) -> None:
        assert isinstance(error, KeyboardInterrupt)
        stopped.set()

    done: list[threading.Thread] = []
    monkeypatch.setattr(threading.Thread, "join", join)
    work_together(3, work, stop)
    assert len(done) == 3
    assert threading.main_thread() not in done
