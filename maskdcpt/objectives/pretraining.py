"""
The objectives of pre-training: MaskDCPT, and those it is compared with, on the same networks and batches.

In all of them the encoder is the whole network except its last layer, decoder half included, as in the paper
(section III).
"""

from __future__ import annotations

from torch import Tensor

from maskdcpt.config.train_config import ObjectiveConfig
from maskdcpt.data.batches import Batch
from maskdcpt.masking import PatchMask
from maskdcpt.networks.networks import Networks
from maskdcpt.objectives.base import Objective, needed
from maskdcpt.objectives.losses import Losses, accuracy, focal_loss, nothing, pixel_loss


def _maskdcpt(networks: Networks, batch: Batch, mask: PatchMask | None, objective: ObjectiveConfig) -> Losses:
    encoded = networks.encode(batch.lq, needed(mask))
    image = networks.reconstruct(encoded, needed(mask))
    return _together(image, batch, networks.classify(encoded.features), objective)


def _dcpt(networks: Networks, batch: Batch, _mask: PatchMask | None, objective: ObjectiveConfig) -> Losses:
    logits = networks.classify(networks.encode(batch.lq).features)
    return _together(networks.backbone(batch.gt), batch, logits, objective)


def _ram(networks: Networks, batch: Batch, mask: PatchMask | None, objective: ObjectiveConfig) -> Losses:
    seen = needed(mask)
    image = networks.backbone(seen.hide(batch.lq))
    hidden = ~seen.at(image.shape[-2], image.shape[-1]).expand_as(image)
    pixel = (image.float() - batch.gt.float()).abs()[hidden].mean()
    return Losses(objective.pixel_weight * pixel, pixel.detach(), nothing(pixel), nothing(pixel))


def _reconstruction(networks: Networks, batch: Batch, mask: PatchMask | None, objective: ObjectiveConfig) -> Losses:
    image = networks.reconstruct(networks.encode(batch.lq, needed(mask)), needed(mask))
    pixel = pixel_loss(image, batch.gt, objective.pixel)
    return Losses(objective.pixel_weight * pixel, pixel.detach(), nothing(pixel), nothing(pixel))


def _classification(networks: Networks, batch: Batch, mask: PatchMask | None, objective: ObjectiveConfig) -> Losses:
    logits = networks.classify(networks.encode(batch.lq, needed(mask)).features)
    focal = focal_loss(logits, batch.label, objective.focal_gamma)
    total = objective.classification_weight * focal
    return Losses(total, nothing(focal), focal.detach(), accuracy(logits, batch.label))


def _together(image: Tensor, batch: Batch, logits: Tensor, objective: ObjectiveConfig) -> Losses:
    pixel = pixel_loss(image, batch.gt, objective.pixel)
    focal = focal_loss(logits, batch.label, objective.focal_gamma)
    total = objective.pixel_weight * pixel + objective.classification_weight * focal
    return Losses(total, pixel.detach(), focal.detach(), accuracy(logits, batch.label))


def _filled(networks: Networks, batch: Batch, mask: PatchMask | None) -> Tensor:
    """Return the whole image, reconstructed from the visible patches of the LQ."""
    return networks.reconstruct(networks.encode(batch.lq, needed(mask)), needed(mask))


def _restored_gt(networks: Networks, batch: Batch, _mask: PatchMask | None) -> Tensor:
    image: Tensor = networks.backbone(batch.gt)
    return image


def _restored_hidden(networks: Networks, batch: Batch, mask: PatchMask | None) -> Tensor:
    image: Tensor = networks.backbone(needed(mask).hide(batch.lq))
    return image


MASKDCPT = Objective("maskdcpt", losses=_maskdcpt, example=_filled)
DCPT = Objective("dcpt", losses=_dcpt, example=_restored_gt)
RAM = Objective("ram", losses=_ram, example=_restored_hidden)
RECONSTRUCTION = Objective("reconstruction", losses=_reconstruction, example=_filled)
CLASSIFICATION = Objective("classification", losses=_classification, example=_filled)
