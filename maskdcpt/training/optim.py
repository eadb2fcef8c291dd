"""The optimiser: parameter groups, and the norm of the gradients."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from maskdcpt.config.train_config import OptimizerConfig
from maskdcpt.training.parallel import whole


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
