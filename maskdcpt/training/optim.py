"""How weights move: learning rates over the steps, parameter groups, the norm of gradients, the running average."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from maskdcpt.config.train_config import OptimizerConfig
from maskdcpt.training.parallel import whole


def rate_at(step: int, steps: int, config: OptimizerConfig) -> float:
    """
    Give the share of the full learning rate that a step runs at.

    The cosine is that of the published configurations: final + (1 - final) / 2 * (1 + cos(pi t / T)), where the first
    step runs at t = 0 and T is the number of steps after those at the constant rate.

    Not a scheduler of `torch.optim.lr_scheduler`: those carry state from step to step, which checkpoints would have to
    hold, and CosineAnnealingLR and LinearLR compute each rate from the one before, which rounds differently. This one
    is known from the number of the step alone, so a resumed run has the same rates to the bit.

    Args:
        step: counted from 0.
        steps: of the whole run.
        config: names the schedule.

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
    Give AdamW with two groups: the backbone, and the heads that pre-training puts on it.

    Weights without gradient are left out. On a CUDA device the fused form is used.
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
    """Set each group to a share of its full learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["full_lr"] * rate


def gradient_norm(optimizer: torch.optim.Optimizer, clip_norm: float) -> Tensor:
    """
    Give the norm of all gradients together; where `clip_norm` is positive, scale them down to it at most.

    The norm is no number as soon as one gradient is none, so it says on every rank alike whether the step is sound.
    """
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    # Where weights are divided each process has a part of the sum.
    norm = whole(nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None]))
    if clip_norm:
        nn.utils.clip_grads_with_norm_(weights, clip_norm, norm)
    return norm


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]
