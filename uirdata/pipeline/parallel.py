"""Pools of worker processes for many small tasks."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
import threading
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
    Yield `function(task)` for each task, in order, while a bounded number of the next tasks is submitted.

    Args:
        function: a function of a module, so that other processes can import it; expected failures are part of its
            result.
        tasks: read when they are needed.
        workers: number of processes; 1 uses the calling process.

    Raises:
        UirError: a worker process was killed.
    """
    if workers < 2:
        yield from map(function, tasks)
        return
    with killed_workers_named(), worker_pool(workers, _start_worker) as pool:
        yield from look_ahead(pool, function, tasks, ahead=4 * workers)


@contextmanager
def killed_workers_named(then: str = "run the command again with fewer --jobs") -> Iterator[None]:
    """
    Turn the loss of a worker process in the block into an error that names its usual cause, and what to do.

    Raises:
        UirError: a worker process was killed.
    """
    try:
        yield
    except BrokenProcessPool as error:
        raise UirError(f"a worker process was killed, most often because memory ran out; {then}") from error


class WorkerContext(SpawnContext):
    """
    Multiprocessing context of new interpreters that block SIGINT until their work starts.

    Not fork: the parent may have threads of pyarrow and OpenCV, for which a forked child would wait forever.
    """

    def __init__(self) -> None:
        self.started: list[SpawnProcess] = []
        _start_tracker()

    def Process(self, *args: Any, **kwargs: Any) -> SpawnProcess:  # type: ignore[override]
        """Return a new process, which is also added to `started`."""
        process = _Worker(*args, **kwargs)
        self.started.append(process)
        return process


@contextmanager
def worker_pool(
    workers: int, start: Callable[..., None] | None = None, *args: Any, context: WorkerContext | None = None
) -> Iterator[ProcessPoolExecutor]:
    """
    Run a pool of processes while the block runs; at its end, tasks that have not begun are cancelled, and all processes
    have ended.

    Ctrl-C sends SIGINT to the whole process group, and a worker may receive it before this process does. A worker ends
    at once and silently, and this process raises KeyboardInterrupt, whichever of the two received it first.

    Args:
        workers: number of processes.
        start: called first in each of them; if it ignores SIGINT, the worker survives Ctrl-C from its first instruction
            on.
        args: arguments of `start`.
        context: context of the processes; needed if `args` hold an event or a value of it.

    Raises:
        BrokenProcessPool: a worker process was killed, and not by SIGINT.
        UirError: a worker process cannot be started, or has ended by itself.
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
            # This process will receive SIGINT, too; it must not arrive while the exception below is handled.
            time.sleep(0.5)
            raise KeyboardInterrupt from None
        codes = [process.exitcode or 0 for process in origin.started]
        # When one is lost, the pool ends the others with SIGTERM, so the largest code is that of a failure of its own.
        if max(codes) > 0 and -signal.SIGKILL not in codes:
            raise UirError(f"a worker process ended with exit code {max(codes)}; its own message says why") from None
        raise


@contextmanager
def signals_held(*numbers: signal.Signals) -> Iterator[None]:
    """
    Block signals in this thread while the block runs; a process that is started in it keeps them blocked.

    An interpreter takes a fraction of a second to start; a signal in that time would end it with a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_tracker() -> None:
    """Start the process that removes the semaphores of this one when it was killed; it does so without a warning."""
    before = sys.warnoptions.copy()
    sys.warnoptions.append("ignore:resource_tracker")
    try:
        resource_tracker.ensure_running()
    finally:
        sys.warnoptions[:] = before


class _Worker(SpawnProcess):
    def start(self) -> None:
        # The start of the resource tracker unblocks SIGINT at its end, so it must be finished before.
        _start_tracker()
        with signals_held(signal.SIGINT):
            try:
                super().start()
            except OSError as error:
                # Too many open files is an error of every command, and named there.
                if error.errno not in (errno.EAGAIN, errno.ENOMEM):
                    raise
                raise UirError(
                    f"a worker process cannot be started ({error.strerror}); run the command again with fewer --jobs "
                    "or --workers"
                ) from error


def end_with_parent() -> None:
    """
    End this process as soon as the one that started it is gone: a killed command must leave no workers behind.

    They would wait for work for ever, each with its memory. The thread that waits for the parent costs nothing.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_end, args=(parent,), name="end with parent", daemon=True).start()


def _wait_and_end(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _begin(start: Callable[..., None] | None, args: tuple[Any, ...]) -> None:
    end_with_parent()
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

    When the caller stops, or a task fails, tasks that have not begun are cancelled.

    Args:
        pool: where the tasks run; the caller closes it.
        function: a function that the pool can run.
        tasks: read when they are needed, because there may be millions.
        ahead: number of submitted tasks; enough to keep the workers busy while the caller waits for one result.
        as_finished: yield results as they are finished, not in the order of the tasks.
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

    # There is one process per core; threads inside a process would only compete.
    cv2.setNumThreads(1)
