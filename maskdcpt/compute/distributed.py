"""The processes of a run under torchrun; a run without it is one process and none of this does anything."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from maskdcpt.compute.devices import chosen_device


@dataclass(frozen=True)
class Process:
    """
    One process of a run.

    Attributes:
        rank: its number.
        ranks: how many there are.
        device: that it computes on.
        local_ranks: how many of them are on this machine.
    """

    rank: int
    ranks: int
    device: torch.device
    local_ranks: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Say whether the flag is raised in any process; all must ask together."""
        if self.ranks == 1:
            return flag
        raised = torch.tensor([int(flag)], device=self.device)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return bool(raised.item())

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Average over the processes; all must ask together."""
        if self.ranks > 1:
            values = values.clone()
            dist.all_reduce(values)
            values /= self.ranks
        return values

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.ranks > 1:
            dist.barrier()


@contextmanager
def joined(device: str, threads: int) -> Iterator[Process]:
    """
    Join the processes that torchrun started, and leave them at the end.

    Args:
        device: auto, cpu, cuda or cuda:N; with several processes each takes the GPU of its local rank.
        threads: of a CPU; 0 takes what OMP_NUM_THREADS says, else the cores that this process may use, shared among the
            processes of this machine.

    Raises:
        UsageError: the device is not there.
    """
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = chosen_device(device, local if ranks > 1 else None)
    before = torch.get_num_threads()
    if chosen.type == "cpu":
        torch.set_num_threads(threads or _free_threads(before))
    started = ranks > 1 and not dist.is_initialized()
    if started:
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    if started:
        # The networks compute pixel by pixel and gradients come in that layout; DDP copies them, and says so.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    try:
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if ranks > 1 else 1
        yield Process(dist.get_rank() if ranks > 1 else 0, ranks, chosen, here)
    finally:
        if started:
            dist.destroy_process_group()
        torch.set_num_threads(before)


def _free_threads(asked_for: int) -> int:
    """Say how many threads are this process's; torchrun sets OMP_NUM_THREADS by itself, which asks for nothing."""
    if os.environ.get("OMP_NUM_THREADS") and "LOCAL_WORLD_SIZE" not in os.environ:
        return asked_for
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
