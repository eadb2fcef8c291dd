"""Restoration itself: the whole image in, the whole image out."""

from __future__ import annotations

from maskdcpt.config.train_config import ObjectiveConfig
from maskdcpt.data.batches import Batch
from maskdcpt.networks.networks import Networks
from maskdcpt.objectives.losses import Losses, nothing, pixel_loss


def finetuning_losses(networks: Networks, batch: Batch, objective: ObjectiveConfig) -> Losses:
    """
    Compare restored images with their GT: L1 by default, Charbonnier or PSNR as options.

    Args:
        networks: only the backbone is used.
        batch: images of one size, multiples of the backbone's.
        objective: names the pixel loss and its weight.
    """
    pixel = pixel_loss(networks.backbone(batch.lq), batch.gt, objective.pixel)
    return Losses(objective.pixel_weight * pixel, pixel.detach(), nothing(pixel), nothing(pixel))
