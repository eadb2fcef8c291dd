"""Objectives: functions from networks and a batch to losses. The training loop does everything else."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from maskdcpt.config.objective_kinds import ObjectiveKind
from maskdcpt.config.train_config import ObjectiveConfig
from maskdcpt.data.batches import Batch
from maskdcpt.masking import PatchMask
from maskdcpt.networks.networks import Networks
from maskdcpt.objectives.base import Objective
from maskdcpt.objectives.finetuning import FINETUNE
from maskdcpt.objectives.losses import Losses
from maskdcpt.objectives.pretraining import CLASSIFICATION, DCPT, MASKDCPT, RAM, RECONSTRUCTION

OBJECTIVES: Mapping[ObjectiveKind, Objective] = MappingProxyType(
    {objective.kind: objective for objective in (MASKDCPT, DCPT, RAM, RECONSTRUCTION, CLASSIFICATION, FINETUNE)}
)
"""Every objective of this release."""

__all__ = ["OBJECTIVES", "Losses", "Objective", "losses_of", "pretraining_losses"]


def losses_of(networks: Networks, batch: Batch, mask: PatchMask | None, objective: ObjectiveConfig) -> Losses:
    """
    Return the losses of a batch under the objective `objective.kind`, fine-tuning included.

    Args:
        networks: with the heads that the objective needs, as `Networks.create` returns them.
        batch: images of the same size.
        mask: the visible patches of the LQ; None for objectives without a mask.
        objective: kind and weights.

    Raises:
        ValueError: a head or the mask that the objective needs is missing.
    """
    return OBJECTIVES[objective.kind].losses(networks, batch, mask, objective)


def pretraining_losses(
    networks: Networks, batch: Batch, mask: PatchMask | None = None, objective: ObjectiveConfig | None = None
) -> Losses:
    """
    Return the losses of a batch as `losses_of` does, under the paper's objective by default.

    - `maskdcpt`: one forward pass on the masked LQ; L1 between the reconstruction and the GT over the whole image,
      hidden patches included, plus the focal loss of the degradation (Eq. 5).
    - `dcpt`: two forward passes, unmasked; L1 between the whole network's output for the GT and the GT, plus the focal
      loss of the degradation, from the LQ's features (DCPT, as released).
    - `ram`: the plain network restores an LQ with hidden pixels set to 0; L1 over the hidden pixels only (RAM).
    - `reconstruction`: the first term of maskdcpt. `classification`: its second term.

    >>> import torch
    >>> from maskdcpt import TrainConfig, random_patch_mask
    >>> from maskdcpt.config.train_config import ModelConfig
    >>> size = {"width": 8, "enc_blk_nums": (1, 1), "middle_blk_num": 1, "dec_blk_nums": (1, 1)}
    >>> networks = Networks.create(TrainConfig(model=ModelConfig(size=size)), classes=3)
    >>> batch = Batch(torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32), torch.tensor([0, 2]))
    >>> losses = pretraining_losses(networks, batch, random_patch_mask(2, 32, 32))
    >>> losses.total.backward()

    Args:
        networks: with the heads that the objective needs, as `Networks.create` returns them.
        batch: images of the same size.
        mask: the visible patches of the LQ; `dcpt` needs none.
        objective: kind and weights; None uses those of the paper.

    Raises:
        ValueError: a head or the mask that the objective needs is missing.
    """
    return losses_of(networks, batch, mask, objective or ObjectiveConfig())
