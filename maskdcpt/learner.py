"""What a step computes: networks and objective as one module."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from maskdcpt.batches import Batch
from maskdcpt.config import TrainConfig
from maskdcpt.masking import PatchMask
from maskdcpt.networks import Networks
from maskdcpt.objectives.finetuning import finetuning_losses
from maskdcpt.objectives.pretraining import pretraining_losses


class Learner(nn.Module):
    """Networks and objective as one module whose forward pass gives losses: what DDP and torch.compile take."""

    def __init__(self, networks: Networks, config: TrainConfig) -> None:
        super().__init__()
        self.networks = networks
        self.objective = config.objective

    def forward(
        self, lq: Tensor, gt: Tensor, label: Tensor, visible: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Give the fields of `Losses`."""
        batch = Batch(lq, gt, label)
        if self.objective.kind == "finetune":
            losses = finetuning_losses(self.networks, batch, self.objective)
        else:
            mask = None if visible is None else PatchMask(visible)
            losses = pretraining_losses(self.networks, batch, mask, self.objective)
        return losses.total, losses.pixel, losses.classification, losses.accuracy


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Let products and convolutions of the block run in the type that the configuration names."""
    if config.loop.precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
