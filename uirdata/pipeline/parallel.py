"""Many small tasks on some processes, the results in the order of the tasks."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, TypeVar

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
    try:
        with worker_pool(workers, _start_worker) as pool:
            yield from look_ahead(pool, function, tasks, ahead=4 * workers)
    except BrokenProcessPool as error:
        raise UirError(
            "a worker process was killed, most often for want of memory; run the same command again, with fewer --jobs"
        ) from error


class WorkerContext(SpawnContext):
    """
    Fresh interpreters that hold SIGINT back until their work starts.

    Not fork: the parent may hold threads of pyarrow and OpenCV, which a forked child would wait for forever.
    """

    def __init__(self) -> None:
        self.started: list[SpawnProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override]
        """Return a process that is kept in `started`."""
        process = _Worker(*args, **kwargs)
        self.started.append(process)
        return process


@contextmanager
def worker_pool(
    workers: int, start: Callable[..., None] | None = None, *args: Any, context: WorkerContext | None = None
) -> Iterator[ProcessPoolExecutor]:
    """
    Run a pool of processes while a block runs; they have ended afterwards, and what they had not begun is cancelled.

    Ctrl-C reaches the whole process group, and a worker may hear of it before this process does. A worker dies of it
    at once and silently, and this process raises KeyboardInterrupt, whichever of the two was first.

    Args:
        workers: how many processes.
        start: is called in each of them first; where it ignores SIGINT, the worker survives Ctrl-C from its first
            instruction on.
        args: what `start` is called with.
        context: where the processes come from; given where `args` hold an event or a value of it.

    Raises:
        BrokenProcessPool: a worker process was killed, and not by SIGINT.
    """
    origin = context or WorkerContext()
    try:
        with ProcessPoolExecutor(workers, origin, _begin, (start, args)) as pool:
            try:
                yield pool
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
    except BrokenProcessPool:
        # The pool has waited for its processes: all exit codes are known.
        if any(process.exitcode == -signal.SIGINT for process in origin.started):
            # Our own SIGINT is on its way; it must not arrive while somebody handles the exception below.
            time.sleep(0.5)
            raise KeyboardInterrupt from None
        raise


@contextmanager
def signals_held(*numbers: signal.Signals) -> Iterator[None]:
    """
    Hold signals back from this thread while a block runs; a process that is started in it holds them back for good.

    An interpreter takes a fraction of a second to start; a signal in that time would end it with a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Worker(SpawnProcess):
    def start(self) -> None:
        # The tracker's own start lets SIGINT through at its end, so it must be over.
        resource_tracker.ensure_running()
        with signals_held(signal.SIGINT):
            super().start()


def _begin(start: Callable[..., None] | None, args: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if start is not None:
        start(*args)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


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
