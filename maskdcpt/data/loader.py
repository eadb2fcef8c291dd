"""Loader processes that read and crop samples for a run, and their shutdown."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils.signal_handling import _set_SIGCHLD_handler

from maskdcpt.data.batches import PackedBatch
from maskdcpt.data.crops import Crops
from maskdcpt.data.sampling import Draw, StepSampler
from uirdata.errors import UirError
from uirdata.images import RgbImage
from uirdata.pipeline.parallel import end_with_parent, signals_held

logger = logging.getLogger(__name__)

_SHARED = (
    "shared memory, /dev/shm, is full; enlarge it (docker run --shm-size=8g, or --ipc=host), or set a smaller "
    "data.workers, or 0, which does not use it"
)


def crop_loader(
    crops: Crops, sampler: StepSampler, *, workers: int, pin_memory: bool = False
) -> DataLoader[tuple[RgbImage, RgbImage, int, int]]:
    """
    Return a loader of the pieces of steps, in order; iterate over it with `pieces_of`.

    Args:
        crops: what to load.
        sampler: the order.
        workers: the number of processes that read and crop; 0 does it in this process, between the steps.
        pin_memory: copy to page-locked memory, for a CUDA device.
    """
    return DataLoader(
        _ErrorsAsValues(crops) if workers else crops,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_start_worker,
        # Its own generator: the loader draws a number when it starts, which must not change the state of torch's.
        generator=torch.Generator().manual_seed(0),
    )


@contextmanager
def pieces_of(
    loader: DataLoader[Any],
    *,
    again: Callable[[int], DataLoader[Any]] | None = None,
) -> Iterator[Iterator[PackedBatch]]:
    """
    Return a context with an iterator over a loader's pieces; its processes are ended afterwards, also after an error.

    The iterator raises UirError where a sample cannot be read, and ReaderError, a UirError, where a process was killed.

    Args:
        loader: from `crop_loader`.
        again: returns a loader of the pieces from a number on. When processes are killed they are started again with
            it, once. None does not start them again.
    """
    reader = _Reader(loader, again)
    try:
        yield reader
    finally:
        reader.close()


class ReaderError(UirError):
    """Processes that read samples were killed, cannot be started, or have no memory left."""


class _Reader(Iterator[PackedBatch]):
    """The pieces of a loader; they go on with the processes of a second loader if those of the first are killed."""

    def __init__(self, loader: DataLoader[Any], again: Callable[[int], DataLoader[Any]] | None) -> None:
        self._again = again
        self._taken = 0
        self._arriving = _started(loader)

    def __next__(self) -> PackedBatch:
        try:
            piece = self._next()
        except ReaderError as error:
            if self._again is None:
                raise
            logger.warning("%s. They are started again, once", error)
            again, self._again = self._again, None
            self.close()
            self._arriving = _started(again(self._taken))
            piece = self._next()
        self._taken += 1
        return piece

    def _next(self) -> PackedBatch:
        try:
            piece: PackedBatch | UirError = next(self._arriving)
        except (RuntimeError, OSError, EOFError) as error:
            code = _exit_code(self._arriving)
            if code:
                raise ReaderError(_reason(code)) from error
            if "Too many open files" in str(error):
                raise ReaderError(
                    "no batch can be received from the processes that read samples: too many files are open; raise the "
                    "limit (ulimit -n), or set a smaller data.workers"
                ) from error
            raise
        if isinstance(piece, UirError):
            raise piece
        return piece

    def close(self) -> None:
        """End the processes."""
        # Left to the garbage collector, the workers would outlive an error, whose traceback refers to the iterator; and
        # this process would wait for them at its end, because they ignore SIGTERM.
        end = getattr(self._arriving, "_shutdown_workers", None)
        if end is not None:
            end()
        for worker in _workers(self._arriving):
            # One that waits for a lock which a killed one held.
            if worker.is_alive():
                worker.kill()
                worker.join()


def _started(loader: DataLoader[Any]) -> Iterator[PackedBatch | UirError]:
    """Return an iterator over a loader, whose processes run."""
    if not loader.num_workers:
        return iter(loader)
    try:
        # A running worker ignores both signals; one that arrives while it starts would end it.
        with signals_held(signal.SIGINT, signal.SIGTERM), _child_signal_kept():
            return iter(loader)
    except OSError as error:
        raise ReaderError(
            f"the processes that read samples cannot be started ({error.strerror or error}); set data.workers to less "
            f"than {loader.num_workers}"
        ) from error


@contextmanager
def _child_signal_kept() -> Iterator[None]:
    """
    Return a context after which SIGCHLD is handled as before.

    The handler that DataLoader installs raises an error when a worker dies, in the middle of whatever runs then: the
    weights could be half updated. DataLoader looks for dead workers too whenever it waits for a batch.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    own = getattr(before, "__module__", "") != _set_SIGCHLD_handler.__module__
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before if own and before is not None else signal.SIG_DFL)


def _workers(arriving: Iterator[Any]) -> Sequence[BaseProcess]:
    return getattr(arriving, "_workers", ())


def _exit_code(arriving: Iterator[Any]) -> int | None:
    """Return the exit code of a worker that was killed, or is being killed; None if there is none."""
    workers = _workers(arriving)
    # Its connections break before it has ended.
    ending = wait([worker.sentinel for worker in workers], timeout=1.0)
    for worker in workers:
        if worker.sentinel in ending:
            worker.join()
    return next((worker.exitcode for worker in workers if worker.exitcode), None)


def _reason(code: int) -> str:
    """Return why a worker ended, from its exit code: minus a signal's number."""
    if code == -signal.SIGBUS:
        return f"a process that reads samples was killed by SIGBUS: {_SHARED}"
    if code == -signal.SIGKILL:
        return (
            "a process that reads samples was killed by SIGKILL, most often because memory ran out; if it happens "
            "again, set a smaller data.workers"
        )
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"a process that reads samples ended with {how}, and not because of a sample"


class _ErrorsAsValues(Dataset[tuple[RgbImage, RgbImage, int, int]]):
    """
    Crops in a worker process: a UirError is returned as a value.

    DataLoader would raise it in the parent with the worker's traceback in its message.
    """

    def __init__(self, crops: Crops) -> None:
        self._crops = crops

    def __getitems__(self, draws: Sequence[Draw]) -> PackedBatch | UirError:
        try:
            return self._crops.__getitems__(draws)
        except UirError as error:
            return error
        except MemoryError:
            return ReaderError("memory ran out in a process that reads samples; set a smaller data.workers")
        except RuntimeError as error:
            if "shared memory" not in str(error):
                raise
            return ReaderError(f"a process that reads samples cannot hand over a batch ({error}): {_SHARED}")


def _as_it_is(batch: Any) -> Any:
    # `Crops` returns whole batches.
    return batch


def _start_worker(_worker: int) -> None:
    end_with_parent()
    # One thread each: the parallelism comes from the number of workers.
    torch.set_num_threads(1)
    # Ctrl-C and Slurm signal the whole process group; the training loop handles that: it finishes its step and ends the
    # workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
