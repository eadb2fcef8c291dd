"""The objective of fine-tuning: restoration of the whole image."""

from __future__ import annotations

from torch import Tensor

from maskdcpt.config.train_config import ObjectiveConfig
from maskdcpt.data.batches import Batch
from maskdcpt.masking import PatchMask
from maskdcpt.networks.networks import Networks
from maskdcpt.objectives.base import Objective
from maskdcpt.objectives.losses import Losses, nothing, pixel_loss


def _finetuning(networks: Networks, batch: Batch, _mask: PatchMask | None, objective: ObjectiveConfig) -> Losses:
    """
    Return the pixel loss between restored images and their GT: L1 by default, or Charbonnier or PSNR.

    Args:
        networks: only the backbone is used.
        batch: images of the same size, whose sides are multiples of `backbone.multiple`.
        objective: contains the pixel loss and its weight.
    """
    pixel = pixel_loss(networks.backbone(batch.lq), batch.gt, objective.pixel)
    return Losses(objective.pixel_weight * pixel, pixel.detach(), nothing(pixel), nothing(pixel))


def _restored(networks: Networks, batch: Batch, _mask: PatchMask | None) -> Tensor:
    image: Tensor = networks.backbone(batch.lq)
    return image


FINETUNE = Objective("finetune", losses=_finetuning, example=_restored)
