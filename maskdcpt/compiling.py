"""torch.compile on a run: what computes is compiled; how a mask is laid out stays Python."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from maskdcpt.masking import Backend, PatchMask, Sites
from maskdcpt.networks import Networks, blocks_of


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
        module.compile()


class _Uncompiled:
    """A backend that the compiler goes around: which patches are seen decides what is laid out where."""

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self._stages = torch.compiler.disable(backend.stages)  # type: ignore[no-untyped-call]

    def stages(self, mask: PatchMask, height: int, width: int, count: int) -> tuple[Sites, ...]:
        """As the backend's own."""
        laid_out: tuple[Sites, ...] = self._stages(mask, height, width, count)
        return laid_out
