"""The interface of an objective."""

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
    An objective.

    Attributes:
        kind: its name in configurations.
        losses: function of networks, batch, mask and configuration; ValueError if a head or the mask is missing.
        example: function of networks, batch and mask that returns an example image of each sample, (B, 3, H, W).
    """

    kind: ObjectiveKind
    losses: Callable[[Networks, Batch, PatchMask | None, ObjectiveConfig], Losses]
    example: Callable[[Networks, Batch, PatchMask | None], Tensor]

    @property
    def traits(self) -> ObjectiveTraits:
        """The properties that follow from its name alone."""
        return OBJECTIVE_TRAITS[self.kind]


def needed(mask: PatchMask | None) -> PatchMask:
    """
    Return the mask if there is one.

    Raises:
        ValueError: `mask` is None.
    """
    if mask is None:
        raise ValueError("this objective hides a part of the image and needs a mask; `random_patch_mask` draws one")
    return mask
