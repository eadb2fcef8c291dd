"""
The objectives by name, and what follows from the name alone.

The losses are functions of networks, so they are in a higher layer, `maskdcpt.objectives`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

ObjectiveKind = Literal["maskdcpt", "dcpt", "ram", "reconstruction", "classification", "finetune"]


@dataclass(frozen=True, kw_only=True)
class ObjectiveTraits:
    """
    The properties of an objective that do not depend on a network.

    Attributes:
        mask: `none` shows the whole LQ, `each` hides other patches in each image, `shared` the same in a batch.
        classifies: needs the degradation classifier.
        reconstructs: needs the reconstruction decoder, unless the configuration uses the backbone's head instead.
        whole_backbone: trains the whole backbone, its last layer included.
        restores: trains the backbone to turn an LQ into its GT, so that it can restore without fine-tuning.
        pretrains: is a pre-training, from whose weights a fine-tuning starts.
    """

    mask: Literal["none", "each", "shared"] = "none"
    classifies: bool = False
    reconstructs: bool = False
    whole_backbone: bool = False
    restores: bool = False
    pretrains: bool = True

    @property
    def masked(self) -> bool:
        """Whether a part of the LQ is hidden."""
        return self.mask != "none"


OBJECTIVE_TRAITS: Mapping[ObjectiveKind, ObjectiveTraits] = MappingProxyType(
    {
        "maskdcpt": ObjectiveTraits(mask="each", classifies=True, reconstructs=True),
        "dcpt": ObjectiveTraits(classifies=True, whole_backbone=True),
        # RAM hides the same pixels in the whole batch, as its release does.
        "ram": ObjectiveTraits(mask="shared", whole_backbone=True, restores=True),
        "reconstruction": ObjectiveTraits(mask="each", reconstructs=True),
        "classification": ObjectiveTraits(mask="each", classifies=True),
        "finetune": ObjectiveTraits(whole_backbone=True, restores=True, pretrains=False),
    }
)
"""Every objective of this release; `maskdcpt.objectives.OBJECTIVES` has the losses of each."""
