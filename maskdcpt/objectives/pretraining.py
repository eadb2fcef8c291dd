"""
Pre-training: MaskDCPT, and what it is compared with, on the same networks and batches.

All take the whole network but its last layer for the encoder, decoder half included, as the paper does (section III).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor

from maskdcpt.config.train_config import ObjectiveConfig
from maskdcpt.data.batches import Batch
from maskdcpt.masking import PatchMask
from maskdcpt.networks.networks import Networks
from maskdcpt.objectives.losses import Losses, accuracy, focal_loss, nothing, pixel_loss


def pretraining_losses(
    networks: Networks, batch: Batch, mask: PatchMask | None = None, objective: ObjectiveConfig | None = None
) -> Losses:
    """
    Give the losses of a batch under the objective that `objective.kind` names.

    - `maskdcpt`: one forward pass on the masked LQ; L1 between the reconstruction and the GT over the whole image,
      hidden places too, plus the focal loss of the degradation (Eq. 5).
    - `dcpt`: two forward passes, unmasked; the GT through the whole network should give itself (L1), the LQ's features
      give the degradation (DCPT, as released).
    - `ram`: the plain network restores an LQ with hidden pixels set to 0; L1 over the hidden pixels only (RAM).
    - `reconstruction`: the first half of maskdcpt. `classification`: its second half.

    >>> import torch
    >>> from maskdcpt import TrainConfig, random_patch_mask
    >>> from maskdcpt.config.train_config import ModelConfig
    >>> size = {"width": 8, "enc_blk_nums": (1, 1), "middle_blk_num": 1, "dec_blk_nums": (1, 1)}
    >>> networks = Networks.create(TrainConfig(model=ModelConfig(size=size)), classes=3)
    >>> batch = Batch(torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32), torch.tensor([0, 2]))
    >>> losses = pretraining_losses(networks, batch, random_patch_mask(2, 32, 32))
    >>> losses.total.backward()

    Args:
        networks: with the heads that the objective needs (`Networks.create` makes those).
        batch: images of one size.
        mask: what of the LQ is seen; `dcpt` needs none.
        objective: kind and weights; the paper's when None.

    Raises:
        ValueError: a head or the mask that the objective needs is missing.
    """
    chosen = objective or ObjectiveConfig()
    return _OBJECTIVES[chosen.kind](networks, batch, mask, chosen)


def _maskdcpt(networks: Networks, batch: Batch, mask: PatchMask | None, objective: ObjectiveConfig) -> Losses:
    encoded = networks.encode(batch.lq, _needed(mask))
    image = networks.reconstruct(encoded, _needed(mask))
    return _together(image, batch, networks.classify(encoded.features), objective)


def _dcpt(networks: Networks, batch: Batch, _mask: PatchMask | None, objective: ObjectiveConfig) -> Losses:
    logits = networks.classify(networks.encode(batch.lq).features)
    return _together(networks.backbone(batch.gt), batch, logits, objective)


def _ram(networks: Networks, batch: Batch, mask: PatchMask | None, objective: ObjectiveConfig) -> Losses:
    seen = _needed(mask)
    image = networks.backbone(seen.hide(batch.lq))
    hidden = ~seen.at(image.shape[-2], image.shape[-1]).expand_as(image)
    pixel = (image.float() - batch.gt.float()).abs()[hidden].mean()
    return Losses(objective.pixel_weight * pixel, pixel.detach(), nothing(pixel), nothing(pixel))


def _reconstruction(networks: Networks, batch: Batch, mask: PatchMask | None, objective: ObjectiveConfig) -> Losses:
    image = networks.reconstruct(networks.encode(batch.lq, _needed(mask)), _needed(mask))
    pixel = pixel_loss(image, batch.gt, objective.pixel)
    return Losses(objective.pixel_weight * pixel, pixel.detach(), nothing(pixel), nothing(pixel))


def _classification(networks: Networks, batch: Batch, mask: PatchMask | None, objective: ObjectiveConfig) -> Losses:
    logits = networks.classify(networks.encode(batch.lq, _needed(mask)).features)
    focal = focal_loss(logits, batch.label, objective.focal_gamma)
    total = objective.classification_weight * focal
    return Losses(total, nothing(focal), focal.detach(), accuracy(logits, batch.label))


_OBJECTIVES: Mapping[str, Callable[[Networks, Batch, PatchMask | None, ObjectiveConfig], Losses]] = MappingProxyType(
    {
        "maskdcpt": _maskdcpt,
        "dcpt": _dcpt,
        "ram": _ram,
        "reconstruction": _reconstruction,
        "classification": _classification,
    }
)


def _together(image: Tensor, batch: Batch, logits: Tensor, objective: ObjectiveConfig) -> Losses:
    pixel = pixel_loss(image, batch.gt, objective.pixel)
    focal = focal_loss(logits, batch.label, objective.focal_gamma)
    total = objective.pixel_weight * pixel + objective.classification_weight * focal
    return Losses(total, pixel.detach(), focal.detach(), accuracy(logits, batch.label))


def _needed(mask: PatchMask | None) -> PatchMask:
    if mask is None:
        raise ValueError("this objective hides a part of the image and needs a mask; `random_patch_mask` draws one")
    return mask
