"""The degradation that a classifier sees in an image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from maskdcpt.backbones.tiling import pad_to_multiple
from maskdcpt.masking import MASK_KINDS, PatchMask
from maskdcpt.networks.networks import Networks


def named_classes(networks: Networks, lq: Tensor) -> list[int]:
    """
    Name degradations of (B, 3, H, W): the label whose logit is largest.

    A classifier that was trained on masked images is asked as it was trained, with the same mask for every image. A
    whole image has other statistics than it ever saw: five short pre-trainings on the sample photographs named 41 % of
    the held-out images whole, and 56 % so.
    """
    objective = networks.objective
    multiple = networks.backbone.multiple
    if objective is None or not objective.traits.masked:
        mask, image = None, pad_to_multiple(lq, multiple)
    else:
        image = pad_to_multiple(lq, math.lcm(multiple, objective.mask_patch))
        draw, generator = MASK_KINDS[objective.mask_method], torch.Generator().manual_seed(0)
        drawn = draw(1, *image.shape[-2:], objective.mask_patch, objective.mask_ratio, generator)
        mask = PatchMask(drawn.visible.expand(len(lq), -1, -1, -1)).to(lq.device)
    logits = networks.classify(networks.encode(image, mask).features)
    return [int(label) for label in logits.argmax(dim=1)]
