"""Many small tasks on some processes, the results in the order of the tasks."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from uirdata.errors import UirError

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_order(function: Callable[[Task], Result], tasks: Iterable[Task], workers: int) -> Iterator[Result]:
    """
    Give `function(task)` for each task, in order, a bounded number of them ahead.

    Args:
        function: of a module, so that other processes find it; what is expected to go wrong is part of its result.
        tasks: read as they are needed.
        workers: processes; 1 works in this one.

    Raises:
        UirError: a worker process was killed.
    """
    if workers < 2:
        yield from map(function, tasks)
        return
    # Not fork: the parent may hold threads of pyarrow and OpenCV, which a forked child would wait for forever.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start_worker) as pool:
        try:
            yield from look_ahead(pool, function, tasks, ahead=4 * workers)
        except BrokenProcessPool as error:
            raise UirError(
                "a worker process was killed, most often for want of memory; "
                "run the same command again, with fewer --jobs"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def look_ahead(
    pool: Executor,
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    ahead: int,
    as_finished: bool = False,
    on_wait: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """
    Yield `function(task)` for each task, while at most `ahead` of those that follow are submitted.

    When the caller stops, or a task fails, those that have not begun are cancelled.

    Args:
        pool: where they run; the caller closes it.
        function: what the pool can run.
        tasks: read as they are needed: all at once may be millions.
        ahead: enough to keep the workers busy while one result is awaited.
        as_finished: yield what is finished first, whatever the order of the tasks.
        on_wait: called for each result, and every 0.2 s while there is none.
    """
    rest = iter(tasks)
    waiting: deque[Future[Result]] = deque(pool.submit(function, task) for task in islice(rest, ahead))
    timeout_s = None if on_wait is None else 0.2
    try:
        while waiting:
            due = list(waiting) if as_finished else [waiting[0]]
            finished, _ = wait(due, timeout_s, return_when=FIRST_COMPLETED)
            for future in finished:
                waiting.remove(future)
            waiting.extend(pool.submit(function, task) for task in islice(rest, len(finished)))
            if on_wait is not None:
                on_wait()
            for future in finished:
                yield future.result()
    finally:
        for future in waiting:
            future.cancel()


def _start_worker() -> None:
    import cv2

    # One process a core is the plan; threads inside would only compete.
    cv2.setNumThreads(1)
    # Ctrl-C reaches the whole group: workers die at once and silently, the parent says what happened.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
