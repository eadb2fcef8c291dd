"""The optimiser: learning rates over the steps, parameter groups, the norm of the gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from maskdcpt.config.train_config import OptimizerConfig
from maskdcpt.training.parallel import whole


def rate_at(step: int, steps: int, config: OptimizerConfig) -> float:
    """
    Return the learning rate of a step as a fraction of the full learning rate.

    The cosine is that of the published configurations: final + (1 - final) / 2 * (1 + cos(pi t / T)), where the first
    step runs at t = 0 and T is the number of steps after those at the constant rate.

    Not a scheduler of `torch.optim.lr_scheduler`: those have state, which checkpoints would have to hold, and
    CosineAnnealingLR and LinearLR compute each rate from the previous one, which rounds differently. Here the rate
    depends on the number of the step alone, so a resumed run has the same rates to the bit.

    Args:
        step: counted from 0.
        steps: the number of steps of the whole run.
        config: contains the schedule.

    >>> rate_at(50, 100, OptimizerConfig(lr=1.0, schedule="cosine", final_lr=0.0))
    0.5
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant" or step < config.constant_steps or not config.lr:
        return 1.0
    length = max(1, steps - config.constant_steps)
    share = min(1.0, (step - config.constant_steps) / length)
    final = config.final_lr / config.lr
    return final + (1.0 - final) / 2.0 * (1.0 + math.cos(math.pi * share))


def create_optimizer(backbone: nn.Module, decoders: Iterable[nn.Module], config: OptimizerConfig) -> torch.optim.AdamW:
    """
    Return AdamW with two parameter groups: the backbone, and the heads that pre-training puts on it.

    Frozen weights are left out. On a CUDA device the fused implementation is used.
    """
    groups = [
        {"params": _trained(backbone), "lr": config.lr, "full_lr": config.lr},
        {
            "params": [p for decoder in decoders for p in _trained(decoder)],
            "lr": config.lr_decoders,
            "full_lr": config.lr_decoders,
        },
    ]
    groups = [group for group in groups if group["params"]]
    on_gpu = all(p.is_cuda for group in groups for p in group["params"])  # type: ignore[attr-defined]
    return torch.optim.AdamW(
        groups,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=on_gpu,
        foreach=None if on_gpu else True,
    )


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each group to a fraction of its full learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["full_lr"] * rate


def gradient_norm(optimizer: torch.optim.Optimizer, clip_norm: float) -> Tensor:
    """
    Return the norm of all gradients together; if `clip_norm` is positive, scale the gradients down to that norm.

    The norm is NaN or infinite as soon as one gradient is, so every rank gets the same answer whether the step is
    valid. The returned norm is the one before clipping.
    """
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    # Where weights are sharded (FSDP) each process has a part of the sum.
    norm = whole(nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None]))
    if clip_norm:
        nn.utils.clip_grads_with_norm_(weights, clip_norm, norm)
    return norm


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]
