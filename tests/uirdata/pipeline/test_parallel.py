"""Tasks on a pool of workers, a bounded number of them ahead."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import pytest

from uirdata.errors import UirError
from uirdata.pipeline.parallel import in_order, look_ahead


@pytest.fixture
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_results_come_in_the_order_of_the_tasks(pool: Executor) -> None:
    second_is_done = threading.Event()

    def work(task: int) -> int:
        if task == 0:
            assert second_is_done.wait(10)
        else:
            second_is_done.set()
        return task

    assert list(look_ahead(pool, work, range(5), ahead=2)) == [0, 1, 2, 3, 4]


def test_results_come_as_they_are_finished(pool: Executor) -> None:
    others_are_done = threading.Event()

    def work(task: int) -> int:
        if task == 0:
            assert others_are_done.wait(10)
        return task

    results = look_ahead(pool, work, range(3), ahead=2, as_finished=True)
    first = [next(results), next(results)]
    others_are_done.set()
    assert first == [1, 2]
    assert list(results) == [0]


@pytest.mark.parametrize("as_finished", [False, True])
def test_only_a_few_tasks_are_begun_ahead(pool: Executor, as_finished: bool) -> None:
    read = 0

    def tasks() -> Iterator[int]:
        nonlocal read
        for task in range(50):
            read += 1
            yield task

    for count, _ in enumerate(look_ahead(pool, abs, tasks(), ahead=4, as_finished=as_finished), start=1):
        # The results that are out, those ahead, and those that finished together with the one yielded.
        assert count <= read <= count + 8
    assert read == 50


@pytest.mark.parametrize("as_finished", [False, True])
def test_a_failure_is_raised_and_the_tasks_behind_it_are_not_begun(as_finished: bool) -> None:
    failed = threading.Event()
    begun = []

    def work(task: int) -> None:
        begun.append(task)
        if task == 0:
            raise UirError("broken")
        assert failed.wait(10)

    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(UirError, match="broken"):
            list(look_ahead(pool, work, range(100), ahead=50, as_finished=as_finished))
        failed.set()
    assert begun in ([0], [0, 1])


def test_the_caller_hears_while_no_result_comes(pool: Executor) -> None:
    heard_twice = threading.Event()
    heard = 0

    def hear() -> None:
        nonlocal heard
        heard += 1
        if heard == 2:
            heard_twice.set()

    assert list(look_ahead(pool, heard_twice.wait, [10], ahead=1, on_wait=hear)) == [True]
    assert heard >= 2


def test_processes_give_results_in_order() -> None:
    assert list(in_order(abs, range(-20, 0), workers=2)) == list(range(20, 0, -1))


def test_a_killed_worker_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(UirError, match=r"a worker process was killed.*fewer --jobs"):
        list(in_order(os._exit, [1], workers=2))
