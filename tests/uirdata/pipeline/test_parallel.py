"""Tasks on a pool of workers: a bounded number is submitted, and what happens when a worker dies."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest

from tests.uirdata.processes import children, left_by_a_killed
from uirdata.errors import UirError
from uirdata.pipeline.parallel import WorkerContext, in_order, look_ahead, worker_pool


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
        # The yielded results, the submitted tasks, and those that finished together with the one yielded.
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


def test_the_caller_is_called_while_it_waits_for_a_result(pool: Executor) -> None:
    heard_twice = threading.Event()
    heard = 0

    def hear() -> None:
        nonlocal heard
        heard += 1
        if heard == 2:
            heard_twice.set()

    assert list(look_ahead(pool, heard_twice.wait, [10], ahead=1, on_wait=hear)) == [True]
    assert heard >= 2


def square(number: int) -> int:
    return number * number


def end_of_signal(number: int) -> int:
    """Send a signal to the worker that this runs in."""
    os.kill(os.getpid(), number)
    time.sleep(60)
    raise AssertionError("unreachable")


def ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_results_come_in_the_order_of_the_tasks_from_any_number_of_workers() -> None:
    for workers in (1, 2):
        assert list(in_order(square, range(20), workers)) == [number**2 for number in range(20)]


def test_a_worker_that_receives_ctrl_c_before_its_parent_is_an_interruption_not_an_error() -> None:
    with pytest.raises(KeyboardInterrupt):
        list(in_order(end_of_signal, [signal.SIGINT], 2))


def test_a_worker_that_is_killed_is_an_error_with_advice() -> None:
    with pytest.raises(UirError, match="a worker process was killed, most often because memory ran out"):
        list(in_order(end_of_signal, [signal.SIGKILL], 2))


# An interpreter takes 0.02 to 0.2 seconds to start, and is interrupted with a traceback for most of it.
@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.04, 0.06, 0.1])
def test_a_worker_that_is_interrupted_while_it_starts_ends_silently(
    delay_s: float, capfd: pytest.CaptureFixture[str]
) -> None:
    context = WorkerContext()
    with pytest.raises(KeyboardInterrupt):
        _interrupt_at_start(context, None, delay_s)
    assert [process.exitcode for process in context.started] == [-signal.SIGINT]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.04, 0.06, 0.1])
def test_a_worker_whose_start_ignores_ctrl_c_ignores_it_from_its_first_instruction_on(delay_s: float) -> None:
    context = WorkerContext()
    assert _interrupt_survived(context, delay_s) == 9
    assert [process.exitcode for process in context.started] == [0]


def _interrupt_at_start(context: WorkerContext, start: Callable[[], None] | None, delay_s: float) -> int:
    with worker_pool(1, start, context=context) as pool:
        future = pool.submit(square, 3)
        (worker,) = context.started
        time.sleep(delay_s)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGINT)
        return future.result(timeout=60)


def _interrupt_survived(context: WorkerContext, delay_s: float) -> int:
    try:
        return _interrupt_at_start(context, ignore_interrupts, delay_s)
    except KeyboardInterrupt:
        # Raised here, it would end the whole test run.
        pytest.fail("the worker died of SIGINT")


def test_a_pool_that_breaks_without_an_interruption_raises_the_error() -> None:
    with pytest.raises(BrokenProcessPool), worker_pool(1) as pool:
        pool.submit(end_of_signal, signal.SIGTERM).result(timeout=60)


def leave(code: int) -> None:
    os._exit(code)


def test_a_worker_that_ends_by_itself_is_not_said_to_have_been_killed() -> None:
    with pytest.raises(UirError, match="a worker process ended with exit code 3; its own message says why"):
        list(in_order(leave, [3], 2))


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_a_worker_that_the_system_cannot_start_is_an_error_with_advice(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(SpawnProcess, "start", refuse)
    with pytest.raises(UirError, match=rf"cannot be started \({os.strerror(number)}\); run the command .* --jobs"):
        list(in_order(square, [1, 2], 2))


_EVENT = """
import os
from uirdata.pipeline.parallel import WorkerContext

event = WorkerContext().Event()
os._exit(0)
"""


def test_semaphores_of_a_process_that_ends_at_once_are_removed_without_a_warning() -> None:
    # Waits for the tracker, too: it holds the other end of stderr.
    done = subprocess.run([sys.executable, "-c", _EVENT], capture_output=True, check=True, timeout=60)
    assert done.stderr == b""


_LIMITED = """
import os
import sys
from pathlib import Path
from uirdata.pipeline.verifying.limited_workers import inspect_limited
from uirdata.pipeline.verifying.pixel_checks import Group

root = Path(sys.argv[1])
os.mkfifo(root / "a.png")  # Its reader waits for ever.
list(inspect_limited([Group(root, "a.png", (), 0)], 1))
"""


def test_a_worker_with_limits_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    file = -1

    def reading(parent: int) -> list[int]:
        nonlocal file
        with contextlib.suppress(OSError):
            # Fails until the worker reads; afterwards it waits for bytes.
            file = os.open(tmp_path / "a.png", os.O_WRONLY | os.O_NONBLOCK) if file < 0 else file
        return children(parent) if file >= 0 else []

    try:
        assert left_by_a_killed(_LIMITED, tmp_path, reading, count=1) == []
    finally:
        os.close(file)
