"""Engines that build shards: processes of this machine, or a Ray cluster. Both give the same bytes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Protocol

from uirdata.errors import UirError, UsageError
from uirdata.pipeline.building.shard_task import ShardTask, build_shard
from uirdata.pipeline.parallel import WorkerContext, look_ahead, worker_pool
from uirdata.progress import Progress
from uirdata.storage.shards import ShardState

EngineName = Literal["local", "ray"]


class Engine(Protocol):
    """Builds shards, in any order."""

    def run(self, tasks: Iterable[ShardTask], progress: Progress) -> Iterator[ShardState]:
        """
        Build the shards of all tasks; `progress` receives the samples under the name "samples".

        Yields:
            The state of each finished shard.

        Raises:
            StorageError: a shard cannot be written; finished shards are kept.
            UirError: a worker process was killed.
        """
        ...


@dataclass(frozen=True)
class LocalEngine:
    """
    Processes of this machine.

    Attributes:
        workers: number of processes; 1 uses the calling process.
    """

    workers: int = 1

    def run(self, tasks: Iterable[ShardTask], progress: Progress) -> Iterator[ShardState]:
        """Build the shards as in `Engine`."""
        if self.workers < 2:
            for task in tasks:
                yield build_shard(task, lambda: progress.advance("samples"))
            return
        context = WorkerContext()
        counter = context.Value("Q", 0)
        try:
            with worker_pool(self.workers, _start_worker, counter, context=context) as pool:
                yield from _collect(pool, iter(tasks), self.workers, counter, progress)
        except BrokenProcessPool as error:
            raise UirError(
                "a worker process was killed, most often because memory ran out. Finished shards are kept; "
                "run the same command again, with fewer --workers"
            ) from error


@dataclass(frozen=True)
class RayEngine:
    """
    A Ray cluster: the one at RAY_ADDRESS, or one that is started on this machine. Root and shard folder must be the
    same paths on every machine. A lost worker is replaced.

    Attributes:
        retries: how often a shard is restarted after its worker died.
    """

    retries: int = 5

    def run(self, tasks: Iterable[ShardTask], progress: Progress) -> Iterator[ShardState]:
        """Build the shards as in `Engine`."""
        try:
            import ray
        except ImportError:
            raise UsageError(
                "--engine ray needs Ray: pip install 'universal-image-restoration[ray]'; or use --engine local"
            ) from None
        began = not ray.is_initialized()
        if began:
            ray.init(
                address=os.environ.get("RAY_ADDRESS"),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        try:
            yield from self._collect(ray, iter(tasks), progress)
        except ray.exceptions.RayError as error:
            raise UirError(
                f"Ray failed on a shard ({type(error).__name__}). Finished shards are kept; run the same command again"
            ) from error
        finally:
            if began:
                ray.shutdown()

    def _collect(self, ray: Any, tasks: Iterator[ShardTask], progress: Progress) -> Iterator[ShardState]:
        remote = ray.remote(max_retries=self.retries, num_cpus=1)(_build_on_ray)
        # A few submitted tasks keep the workers busy; all at once would hold every sample of the plan in memory.
        ahead = int(ray.cluster_resources().get("CPU", 1)) + 2
        waiting = [remote.remote(task) for task in islice(tasks, ahead)]
        while waiting:
            done, waiting = ray.wait(waiting)
            waiting += [remote.remote(task) for task in islice(tasks, len(done))]
            for state, failure in ray.get(done):
                if failure is not None:
                    raise failure
                progress.advance("samples", state.samples)
                yield state


def _build_on_ray(task: ShardTask) -> tuple[ShardState | None, UirError | None]:
    # Expected failures are returned as values: Ray would wrap them in its own exception, and retry.
    _one_thread()
    try:
        return build_shard(task), None
    except UirError as error:
        return None, error


def _collect(
    pool: ProcessPoolExecutor, tasks: Iterator[ShardTask], workers: int, counter: Any, progress: Progress
) -> Iterator[ShardState]:
    reported = 0

    def report() -> None:
        nonlocal reported
        # Without its lock, which a killed worker may have held.
        made = int(counter.get_obj().value)
        progress.advance("samples", made - reported)
        reported = made

    # A few submitted tasks keep the workers busy; all at once would hold every sample of the plan in memory.
    yield from look_ahead(pool, _build_in_worker, tasks, ahead=workers + 2, as_finished=True, on_wait=report)


# Set once in each worker process by the pool's initializer, which has no other way to pass it on.
_counter: Any = None


def _start_worker(counter: Any) -> None:
    global _counter
    _counter = counter
    _one_thread()


def _one_thread() -> None:
    import cv2

    # There is one process per core; threads inside a process would only compete.
    cv2.setNumThreads(1)


def _build_in_worker(task: ShardTask) -> ShardState:
    return build_shard(task, _count)


def _count() -> None:
    with _counter.get_lock():
        _counter.value += 1
