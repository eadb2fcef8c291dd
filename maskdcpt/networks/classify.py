"""Classification of the degradation of images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from maskdcpt.backbones.padding import pad_to_multiple
from maskdcpt.masking import MASK_KINDS, PatchMask
from maskdcpt.networks.networks import Networks


def named_classes(networks: Networks, lq: Tensor) -> list[int | None]:
    """
    Return the label with the largest logit for each image of (B, 3, H, W); None where a logit is NaN or infinite.

    A classifier that was trained on masked images is applied to masked images, with the same mask for every image. A
    whole image has other statistics than its training images: the accuracy of five short pre-trainings on the sample
    photographs was 41 % on whole held-out images, and 56 % on masked ones.
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
    finite = torch.isfinite(logits).all(dim=1).tolist()
    return [int(label) if known else None for label, known in zip(logits.argmax(dim=1), finite, strict=True)]
