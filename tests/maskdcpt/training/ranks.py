"""Several processes of a run on this machine, as torchrun starts them."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable

# Imported before the processes fork: each of them would spend seconds on the import.
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.training.loop import train

Each = Callable[[int, int], bool]
"""Called after each step with the rank and the number of steps of this process; True stops the run."""


def one_rank(
    rank: int, ranks: int, port: int, config: TrainConfig, resume: bool, each: Each | None, queue: object
) -> None:
    # The variables that torchrun sets.
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_WORLD_SIZE=str(ranks))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCH_GLOO_LAZY_INIT="0")
    asked = iter(range(1, 1000))
    try:
        train(config, resume=resume, stop=lambda: each is not None and each(rank, next(asked)))
    except BaseException:
        queue.put(traceback.format_exc())  # type: ignore[attr-defined]
        raise


def train_on(ranks: int, config: TrainConfig, *, resume: bool = False, each: Each | None = None) -> None:
    """Train in `ranks` processes."""
    errors = errors_on(ranks, config, resume=resume, each=each)
    assert not errors, "\n".join(errors)


def errors_on(ranks: int, config: TrainConfig, *, resume: bool = False, each: Each | None = None) -> list[str]:
    """Train in `ranks` processes, and return the traceback of each that failed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    processes = [
        context.Process(target=one_rank, args=(rank, ranks, port, config, resume, each, queue)) for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(90)
    alive = [process for process in processes if process.is_alive()]
    for process in alive:
        process.kill()
    errors = []
    while not queue.empty():
        errors.append(queue.get())
    assert not alive, "\n".join(["the ranks wait for each other", *errors])
    assert len(errors) == sum(process.exitcode != 0 for process in processes)
    return errors
