"""Where shards are made: processes of this machine, or a Ray cluster. The result is the same to the byte."""

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
    """Makes shards, in any order."""

    def run(self, tasks: Iterable[ShardTask], progress: Progress) -> Iterator[ShardState]:
        """
        Make the shards of all tasks; `progress` hears of samples under the name "samples".

        Raises:
            StorageError: a shard cannot be written; the others that are finished stay.
            UirError: a worker died again and again.
        """
        ...


@dataclass(frozen=True)
class LocalEngine:
    """
    Processes of this machine.

    Attributes:
        workers: how many; 1 works in this one.
    """

    workers: int = 1

    def run(self, tasks: Iterable[ShardTask], progress: Progress) -> Iterator[ShardState]:
        """As in `Engine`."""
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
                "a worker process was killed, most often for want of memory. Finished shards are kept; "
                "run the same command again, with fewer --workers"
            ) from error


@dataclass(frozen=True)
class RayEngine:
    """
    A Ray cluster: the one that RAY_ADDRESS names, or one that is begun on this machine. Root and shard folder must be
    the same paths on every machine. A worker that is lost is replaced.

    Attributes:
        retries: how often a shard is begun again after its worker died.
    """

    retries: int = 5

    def run(self, tasks: Iterable[ShardTask], progress: Progress) -> Iterator[ShardState]:
        """As in `Engine`."""
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
                f"Ray gave up on a shard ({type(error).__name__}). Finished shards are kept; run the same command again"
            ) from error
        finally:
            if began:
                ray.shutdown()

    def _collect(self, ray: Any, tasks: Iterator[ShardTask], progress: Progress) -> Iterator[ShardState]:
        remote = ray.remote(max_retries=self.retries, num_cpus=1)(_build_on_ray)
        # A few tasks ahead keep the workers busy; all at once would hold every sample of the plan in memory.
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
    # Expected failures travel as values: Ray would wrap them in an error of its own, and try again.
    _one_thread()
    try:
        return build_shard(task), None
    except UirError as error:
        return None, error


def _collect(
    pool: ProcessPoolExecutor, tasks: Iterator[ShardTask], workers: int, counter: Any, progress: Progress
) -> Iterator[ShardState]:
    told = 0

    def tell() -> None:
        nonlocal told
        made = int(counter.value)
        progress.advance("samples", made - told)
        told = made

    # A few tasks ahead keep the workers busy; all at once would hold every sample of the plan in memory.
    yield from look_ahead(pool, _build_in_worker, tasks, ahead=workers + 2, as_finished=True, on_wait=tell)


# Set once in each worker process by the pool's initializer, which has no other way to hand it over.
_counter: Any = None


def _start_worker(counter: Any) -> None:
    global _counter
    _counter = counter
    _one_thread()


def _one_thread() -> None:
    import cv2

    # One process a core is the plan; threads inside would only compete.
    cv2.setNumThreads(1)


def _build_in_worker(task: ShardTask) -> ShardState:
    return build_shard(task, _count)


def _count() -> None:
    with _counter.get_lock():
        _counter.value += 1
