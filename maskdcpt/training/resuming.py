"""Resuming a run: from its newest checkpoint that is sound, on the samples that it was started with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from maskdcpt.compute.distributed import Process
from maskdcpt.config.train_config import TrainConfig
from maskdcpt.training.errors import TrainingError
from maskdcpt.training.lr_schedule import rate_at
from maskdcpt.training.run_state import RunState
from maskdcpt.weights.checkpoints import CheckpointError, check_same_classes, checkpoint_folders
from maskdcpt.weights.load import load_checkpoint
from maskdcpt.weights.save import load_state
from uirdata.errors import UirError, UsageError
from uirdata.storage.files import storage_error

logger = logging.getLogger(__name__)

DAMAGED = ".damaged"
"""What is appended to the name of a checkpoint that cannot be resumed from."""


@dataclass(frozen=True)
class Resumed:
    """
    Where a run continues.

    Attributes:
        folder: of the checkpoint.
        step: the number of completed steps.
        config: of the run when the checkpoint was written.
        has_digest: whether the checkpoint says which samples it was trained on; those of earlier releases do not.
        damaged: newer checkpoints that cannot be used, and why.
    """

    folder: Path
    step: int
    config: TrainConfig | None
    has_digest: bool
    damaged: tuple[tuple[Path, str], ...]


def resume_state(state: RunState, run: Path, process: Process) -> Resumed:
    """
    Restore a run's state from its newest sound checkpoint, in place.

    Raises:
        UsageError: the samples are not those that the run was trained on.
        CheckpointError: no checkpoint is sound, or the labels are others.
        TrainingError: the processes of the run do not find the same checkpoint.
    """
    damaged: list[tuple[Path, str]] = []
    for folder in reversed(checkpoint_folders(run)):
        try:
            checkpoint, saved = load_checkpoint(folder), load_state(folder)
            if checkpoint.config is None:
                raise CheckpointError(f"{checkpoint.path}: is not a file of weights that a run wrote")
        except UirError as error:
            if _may_pass(error):
                raise
            damaged.append((folder, str(error)))
            continue
        check_same_classes(state.class_names, checkpoint, what="the run")
        _check_same_data(state, saved, run)
        try:
            state.restore(checkpoint, saved)
        except UirError as error:
            damaged.append((folder, str(error)))
            continue
        _check_same_step(state.step, process)
        return Resumed(folder, state.step, checkpoint.config, bool(saved.get("data")), tuple(damaged))
    reasons = "; ".join(reason for _, reason in damaged)
    raise CheckpointError(f"{run} has no sound checkpoint to resume from: {reasons}. Start the run again")


def put_aside(resumed: Resumed) -> None:
    """
    Rename the damaged checkpoints, so that nothing takes them for the newest of the run, and say so.

    Raises:
        StorageError: they cannot be renamed.
    """
    for folder, reason in resumed.damaged:
        name = _free_name(folder)
        try:
            folder.rename(name)
        except OSError as error:
            raise storage_error(folder, error) from error
        logger.warning(
            "%s. The run is resumed from %s, and the steps since are repeated; the damaged checkpoint is kept as %s",
            reason,
            resumed.folder.name,
            name.name,
        )


def remarks(resumed: Resumed, config: TrainConfig) -> Iterator[str]:
    """Yield what the user should know about a run that is resumed with a configuration."""
    before = resumed.config
    if before is not None and before.loop.steps != config.loop.steps:
        yield _about_steps(before, config, resumed.step)
    if resumed.step >= config.loop.steps:
        yield f"step {resumed.step:,} of {config.loop.steps:,} is done already: there is nothing to train"
    optimizer = config.optimizer
    if not resumed.has_digest and optimizer.schedule == "cosine" and optimizer.warmup_steps > optimizer.constant_steps:
        yield (
            "the run was started by an earlier release, whose cosine began during the warm-up; it now begins after it, "
            "so the learning rates of the remaining steps are others than they would have been"
        )


def _about_steps(before: TrainConfig, config: TrainConfig, step: int) -> str:
    old, new = before.loop.steps, config.loop.steps
    changed = f"loop.steps was {old:,} and is {new:,}"
    if config.optimizer.schedule == "constant":
        return f"{changed}; the learning rate stays constant"
    rates = [config.optimizer.lr * rate_at(step, steps, config.optimizer) for steps in (old, new)]
    return (
        f"{changed}: the cosine now ends at step {new:,}. The learning rate continues at {rates[1]:.3g} instead of "
        f"{rates[0]:.3g}; the weights will differ from those of a run of {new:,} steps from the start"
    )


def _check_same_data(state: RunState, saved: dict[str, Any], run: Path) -> None:
    # Runs of earlier releases do not have it.
    before = saved.get("data")
    if before and state.data and before != state.data:
        raise UsageError(
            f"{run} was trained on other samples than these shards hold; resume it with the shards that it was started "
            "with, wherever they lie now, or start another run"
        )


def _check_same_step(step: int, process: Process) -> None:
    mean = process.mean(torch.tensor([float(step)], device=process.device))
    if process.any(float(mean) != step):
        raise TrainingError(
            "the processes of this run find different newest checkpoints; all must see the same folder of the run"
        )


def _may_pass(error: UirError) -> bool:
    """Return whether a checkpoint may be sound although it could not be read now: no permission, no memory."""
    cause = error.__cause__
    if isinstance(cause, OSError):
        return not isinstance(cause, (FileNotFoundError, NotADirectoryError, IsADirectoryError, EOFError))
    return isinstance(cause, (MemoryError, torch.OutOfMemoryError))


def _free_name(folder: Path) -> Path:
    number = 1
    while True:
        name = folder.with_name(f"{folder.name}{DAMAGED}{'' if number == 1 else f'-{number}'}")
        if not name.exists():
            return name
        number += 1
