"""The processes of a run under torchrun; without it a run is one process, and these functions do nothing."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from maskdcpt.compute.devices import chosen_device
from uirdata.errors import UsageError


@dataclass(frozen=True)
class Process:
    """
    One process of a run.

    Attributes:
        rank: its number.
        ranks: the number of processes.
        device: its device.
        local_ranks: the number of processes on this machine.
    """

    rank: int
    ranks: int
    device: torch.device
    local_ranks: int = 1

    @property
    def leads(self) -> bool:
        """Whether it is rank 0, the one that writes files and messages."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Return whether the flag is True in any process; all must call together."""
        if self.ranks == 1:
            return flag
        raised = torch.tensor([int(flag)], device=self.device)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return bool(raised.item())

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean over the processes; all must call together."""
        if self.ranks > 1:
            values = values.clone()
            dist.all_reduce(values)
            values /= self.ranks
        return values

    def wait(self) -> None:
        """Wait until every process has called this (a barrier)."""
        if self.ranks > 1:
            dist.barrier()


@contextmanager
def joined(device: str, threads: int) -> Iterator[Process]:
    """
    Return a context in which this process has joined the process group that torchrun started.

    Args:
        device: auto, cpu, cuda or cuda:N; with several processes each uses the GPU of its local rank.
        threads: of a CPU; 0 uses OMP_NUM_THREADS if it is set, else the cores that this process may use, shared among
            the processes of this machine.

    Raises:
        UsageError: there is no such device.
    """
    ranks = _from_environment("WORLD_SIZE", 1, least=1)
    local = _from_environment("LOCAL_RANK", 0)
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
        # The networks compute with pixels in channels-last order and gradients have that layout; DDP copies them, and
        # warns of it.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    try:
        here = _from_environment("LOCAL_WORLD_SIZE", 1, least=1) if ranks > 1 else 1
        yield Process(dist.get_rank() if ranks > 1 else 0, ranks, chosen, here)
    finally:
        if started:
            dist.destroy_process_group()
        torch.set_num_threads(before)


def _from_environment(name: str, default: int, *, least: int = 0) -> int:
    written = os.environ.get(name, "")
    if not written:
        return default
    if not re.fullmatch(r"\d{1,6}", written, re.ASCII) or int(written) < least:
        raise UsageError(
            f"the environment variable {name} is {written!r}, expected a whole number from {least} on; torchrun sets "
            "it, and without torchrun it must not be set"
        )
    return int(written)


def _free_threads(asked_for: int) -> int:
    """Return the number of CPU threads of this process; OMP_NUM_THREADS is ignored under torchrun, which sets it."""
    if os.environ.get("OMP_NUM_THREADS") and "LOCAL_WORLD_SIZE" not in os.environ:
        return asked_for
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // _from_environment("LOCAL_WORLD_SIZE", 1, least=1))
