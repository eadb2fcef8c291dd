"""Loader processes that read and crop samples for a run, and their shutdown."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from maskdcpt.data.batches import PackedBatch
from maskdcpt.data.crops import Crops
from maskdcpt.data.sampling import Draw, StepSampler
from uirdata.errors import UirError
from uirdata.images import RgbImage
from uirdata.pipeline.parallel import signals_held


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
def pieces_of(loader: DataLoader[Any]) -> Iterator[Iterator[PackedBatch]]:
    """
    Return a context with an iterator over a loader's pieces; its processes are ended afterwards, also after an error.

    The iterator raises UirError where a sample cannot be read.
    """
    # A running worker ignores both signals; one that arrives while it starts would end it.
    with signals_held(signal.SIGINT, signal.SIGTERM):
        arriving = iter(loader)
    try:
        yield map(_raise_errors, arriving)
    finally:
        # Left to the garbage collector, the workers would outlive an error, whose traceback refers to the iterator; and
        # this process would wait for them at its end, because they ignore SIGTERM.
        end = getattr(arriving, "_shutdown_workers", None)
        if end is not None:
            end()


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


def _raise_errors(piece: PackedBatch | UirError) -> PackedBatch:
    if isinstance(piece, UirError):
        raise piece
    return piece


def _as_it_is(batch: Any) -> Any:
    # `Crops` returns whole batches.
    return batch


def _start_worker(_worker: int) -> None:
    # One thread each: the parallelism comes from the number of workers.
    torch.set_num_threads(1)
    # Ctrl-C and Slurm signal the whole process group; the training loop handles that: it finishes its step and ends the
    # workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
