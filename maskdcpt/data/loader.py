"""The processes that read and cut for a run, and how they end."""

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
    Load the pieces in order; `pieces_of` takes them.

    Args:
        crops: what to load.
        sampler: in which order.
        workers: processes that read and cut; 0 does it between the steps.
        pin_memory: for a CUDA device.
    """
    return DataLoader(
        _Told(crops) if workers else crops,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_start_worker,
        # Its own generator: the loader draws a number at its start, which must not move those of the run.
        generator=torch.Generator().manual_seed(0),
    )


@contextmanager
def pieces_of(loader: DataLoader[Any]) -> Iterator[Iterator[PackedBatch]]:
    """
    Take the pieces of a loader while a block runs; its processes are gone afterwards, however the block ends.

    The iterator raises UirError where a sample cannot be read.
    """
    # A worker ignores both once it runs; one that comes while it starts would end it.
    with signals_held(signal.SIGINT, signal.SIGTERM):
        arriving = iter(loader)
    try:
        yield map(_sound, arriving)
    finally:
        # Left to the garbage collector they outlive an error, whose traceback holds the iterator; and the end of this
        # process would wait for them, as they let SIGTERM pass.
        end = getattr(arriving, "_shutdown_workers", None)
        if end is not None:
            end()


class _Told(Dataset[tuple[RgbImage, RgbImage, int, int]]):
    """Crops for other processes: an error comes as a value. One that is raised comes with a traceback in its words."""

    def __init__(self, crops: Crops) -> None:
        self._crops = crops

    def __getitems__(self, draws: Sequence[Draw]) -> PackedBatch | UirError:
        try:
            return self._crops.__getitems__(draws)
        except UirError as error:
            return error


def _sound(piece: PackedBatch | UirError) -> PackedBatch:
    if isinstance(piece, UirError):
        raise piece
    return piece


def _as_it_is(batch: Any) -> Any:
    # `Crops` gives whole batches.
    return batch


def _start_worker(_worker: int) -> None:
    # One thread each: the workers are the parallelism.
    torch.set_num_threads(1)
    # Ctrl-C and Slurm signal the whole group; that is for the loop, which finishes its step and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
