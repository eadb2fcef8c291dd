"""Many small tasks on some processes, the results in the order of the tasks."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
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
            yield from _in_order(pool, function, iter(tasks), ahead=4 * workers)
        except BrokenProcessPool as error:
            raise UirError(
                "a worker process was killed, most often for want of memory; "
                "run the same command again, with fewer --jobs"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _in_order(
    pool: ProcessPoolExecutor, function: Callable[[Task], Result], tasks: Iterator[Task], ahead: int
) -> Iterator[Result]:
    waiting: deque[Future[Result]] = deque(pool.submit(function, task) for task in islice(tasks, ahead))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(pool.submit(function, task) for task in islice(tasks, 1))
        yield result


def _start_worker() -> None:
    import cv2

    # One process a core is the plan; threads inside would only compete.
    cv2.setNumThreads(1)
    # Ctrl-C reaches the whole group: workers die at once and silently, the parent says what happened.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
