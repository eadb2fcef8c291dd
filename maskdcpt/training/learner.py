"""What a step computes: networks and objective as one module."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from maskdcpt.config.train_config import TrainConfig
from maskdcpt.data.batches import Batch
from maskdcpt.masking import Backend, PatchMask, Sites
from maskdcpt.networks.networks import Networks, blocks_of
from maskdcpt.objectives import losses_of


class Learner(nn.Module):
    """Networks and objective as one module whose forward pass returns losses, as DDP and torch.compile need it."""

    def __init__(self, networks: Networks, config: TrainConfig) -> None:
        super().__init__()
        self.networks = networks
        self.objective = config.objective

    def forward(
        self, lq: Tensor, gt: Tensor, label: Tensor, visible: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the fields of `Losses` in their order: scalars."""
        batch = Batch(lq, gt, label)
        mask = None if visible is None else PatchMask(visible)
        losses = losses_of(self.networks, batch, mask, self.objective)
        return losses.total, losses.pixel, losses.classification, losses.accuracy


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which matrix products and convolutions run in the precision that the configuration names."""
    if config.loop.precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def compile_step(learner: nn.Module, networks: Networks, *, in_blocks: bool) -> None:
    """
    Mark a step for compilation at its first call, in place; the names of the weights do not change.

    Args:
        learner: the module whose forward pass is that of a step; contains `networks`.
        networks: of the run.
        in_blocks: compile each block by itself, where something has to happen between the blocks (FSDP).
    """
    # The compiler causes this warning itself when it inspects feature maps between two compiled parts.
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
    networks.backend = _Uncompiled(networks.backend)
    for module in blocks_of(networks.backbone) if in_blocks else (learner,):
        # For each size of crops anew: stages are few, and torch loses count of packed patches in sizes that vary.
        module.compile(dynamic=False)


class _Uncompiled:
    """A backend that is excluded from compilation: its layout in memory depends on which patches are visible."""

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self._stages = torch.compiler.disable(backend.stages)  # type: ignore[no-untyped-call]

    def stages(self, mask: PatchMask, height: int, width: int, count: int) -> tuple[Sites, ...]:
        """Return what `stages` of the backend returns."""
        laid_out: tuple[Sites, ...] = self._stages(mask, height, width, count)
        return laid_out
