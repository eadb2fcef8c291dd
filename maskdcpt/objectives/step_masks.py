"""The patch mask of a step."""

from __future__ import annotations

import torch

from maskdcpt.config.train_config import TrainConfig
from maskdcpt.masking import MASK_KINDS, PatchMask
from uirdata.seeding import seed_for


def step_mask(config: TrainConfig, step: int, batch: int, crop: int) -> PatchMask | None:
    """
    Return the mask of a step's whole batch, drawn from a generator that is seeded from (seed, step).

    None for objectives without a mask.
    """
    objective = config.objective
    if not objective.traits.masked:
        return None
    generator = torch.Generator().manual_seed(seed_for(config.loop.seed, str(step), "mask"))
    count = 1 if objective.traits.mask == "shared" else batch
    draw = MASK_KINDS[objective.mask_method]
    mask = draw(count, crop, crop, objective.mask_patch, objective.mask_ratio, generator)
    return PatchMask(mask.visible.expand(batch, -1, -1, -1))
