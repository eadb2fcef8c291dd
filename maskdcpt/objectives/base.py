"""What every objective has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from maskdcpt.config.objective_kinds import OBJECTIVE_TRAITS, ObjectiveKind, ObjectiveTraits
from maskdcpt.config.train_config import ObjectiveConfig
from maskdcpt.data.batches import Batch
from maskdcpt.masking import PatchMask
from maskdcpt.networks.networks import Networks
from maskdcpt.objectives.losses import Losses


@dataclass(frozen=True)
class Objective:
    """
    One objective.

    Attributes:
        kind: its name in configurations.
        losses: networks, batch, mask and configuration to losses; ValueError where a head or the mask is missing.
        example: networks, batch and mask to the image, (B, 3, H, W), that is shown for each sample.
    """

    kind: ObjectiveKind
    losses: Callable[[Networks, Batch, PatchMask | None, ObjectiveConfig], Losses]
    example: Callable[[Networks, Batch, PatchMask | None], Tensor]

    @property
    def traits(self) -> ObjectiveTraits:
        """What follows from its name alone."""
        return OBJECTIVE_TRAITS[self.kind]


def needed(mask: PatchMask | None) -> PatchMask:
    """
    Return the mask.

    Raises:
        ValueError: there is none.
    """
    if mask is None:
        raise ValueError("this objective hides a part of the image and needs a mask; `random_patch_mask` draws one")
    return mask
