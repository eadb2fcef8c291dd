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
        mask = None if visible is None else PatchMask(visible)
        losses = losses_of(self.networks, batch, mask, self.objective)
        return losses.total, losses.pixel, losses.classification, losses.accuracy


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Let products and convolutions of the block run in the type that the configuration names."""
    if config.loop.precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def compile_step(learner: nn.Module, networks: Networks, *, in_blocks: bool) -> None:
    """
    Let a step be compiled when it is first made, in place; names of weights stay.

    Args:
        learner: whose forward pass is that of a step, with `networks` in it.
        networks: of the run.
        in_blocks: each block by itself, where something has to happen between them.
    """
    # Said by the compiler of its own looks at maps between two compiled parts.
    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
    networks.backend = _Uncompiled(networks.backend)
    for module in blocks_of(networks.backbone) if in_blocks else (learner,):
        # For each size of crops anew: stages are few, and torch loses count of packed patches in sizes that vary.
        module.compile(dynamic=False)


class _Uncompiled:
    """A backend that the compiler goes around: which patches are seen decides what is laid out where."""

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self._stages = torch.compiler.disable(backend.stages)  # type: ignore[no-untyped-call]

    def stages(self, mask: PatchMask, height: int, width: int, count: int) -> tuple[Sites, ...]:
        """As the backend's own."""
        laid_out: tuple[Sites, ...] = self._stages(mask, height, width, count)
        return laid_out
