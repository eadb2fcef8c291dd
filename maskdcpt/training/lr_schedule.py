"""The learning rate over the steps of a run."""

from __future__ import annotations

import math

import torch

from maskdcpt.config.train_config import OptimizerConfig


def rate_at(step: int, steps: int, config: OptimizerConfig) -> float:
    """
    Return the learning rate of a step as a fraction of the full learning rate.

    The cosine is that of the published configurations: final + (1 - final) / 2 * (1 + cos(pi t / T)). It begins, at
    t = 0, with the first step after the warm-up and after the steps at the constant rate; T is the number of steps from
    there to the end. So the warm-up ends at the top of the cosine, however short the run is.

    Not a scheduler of `torch.optim.lr_scheduler`: those have state, which checkpoints would have to hold, and
    CosineAnnealingLR and LinearLR compute each rate from the previous one, which rounds differently. Here the rate
    depends on the number of the step alone, so a resumed run has the same rates to the bit.

    Args:
        step: counted from 0.
        steps: the number of steps of the whole run.
        config: contains the schedule.

    >>> rate_at(50, 100, OptimizerConfig(lr=1.0, schedule="cosine", final_lr=0.0))
    0.5
    >>> warm = OptimizerConfig(lr=1.0, schedule="cosine", final_lr=0.0, warmup_steps=50)
    >>> rate_at(49, 100, warm), rate_at(50, 100, warm), rate_at(75, 100, warm)
    (1.0, 1.0, 0.5)
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    start = max(config.constant_steps, config.warmup_steps)
    if config.schedule == "constant" or step < start or not config.lr:
        return 1.0
    share = min(1.0, (step - start) / max(1, steps - start))
    final = config.final_lr / config.lr
    return final + (1.0 - final) / 2.0 * (1.0 + math.cos(math.pi * share))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each group to a fraction of its full learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["full_lr"] * rate
