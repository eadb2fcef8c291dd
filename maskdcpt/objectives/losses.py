"""The terms of objectives, each a mean over the batch, computed in float32."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from maskdcpt.config.train_config import PixelLoss


@dataclass(frozen=True)
class Losses:
    """
    The losses of a batch.

    Attributes:
        total: the weighted sum, a scalar to call backward on.
        pixel: the pixel term before its weight, a scalar without gradient; NaN if the objective has none.
        classification: the focal term before its weight, likewise.
        accuracy: share of the batch that is classified correctly; NaN if the objective does not classify.
    """

    total: Tensor
    pixel: Tensor
    classification: Tensor
    accuracy: Tensor


def focal_loss(logits: Tensor, label: Tensor, gamma: float = 2.0) -> Tensor:
    """
    Return the cross entropy with samples weighted by (1 - p)^gamma, where p is the probability of the true class.

    Lin et al., Focal Loss for Dense Object Detection, without alpha. The paper of MaskDCPT does not state gamma; 2 is
    that of DCPT's configurations. 0 is plain cross entropy.

    Args:
        logits: (B, K).
        label: (B,) int64.
        gamma: the larger, the less samples count that are already classified well.
    """
    log_p = F.log_softmax(logits.float(), dim=1).gather(1, label[:, None]).squeeze(1)
    # expm1 keeps 1 - p exact where p is nearly 1; the bound keeps the power's gradient finite at 0.
    rest = (-torch.expm1(log_p)).clamp_min(1e-8)
    return (rest**gamma * -log_p).mean()


def pixel_loss(image: Tensor, target: Tensor, kind: PixelLoss = "l1") -> Tensor:
    """
    Return the pixel loss, a scalar, between an image and its target, both (B, C, H, W) in 0..1.

    `l1` is the mean absolute difference; `charbonnier` is mean sqrt(d^2 + 1e-6), as used by MPRNet; `psnr` is minus
    half the mean PSNR in dB, as NAFNet's configurations weight it.

    Raises:
        ValueError: there is no such `kind`.
    """
    difference = image.float() - target.float()
    if kind == "l1":
        return difference.abs().mean()
    if kind == "charbonnier":
        return (difference.square() + 1e-6).sqrt().mean()
    if kind != "psnr":
        raise ValueError(f"there is no pixel loss {kind!r}: l1, charbonnier or psnr")
    squared = difference.square().mean(dim=(1, 2, 3))
    return 0.5 * 10.0 * torch.log10(squared + 1e-8).mean()


def accuracy(logits: Tensor, label: Tensor) -> Tensor:
    """Return the share of rows of (B, K) whose largest logit is at the label."""
    return (logits.detach().argmax(dim=1) == label).float().mean()


def nothing(like: Tensor) -> Tensor:
    """Return a NaN scalar on the device of `like`: the value of a term that an objective does not have."""
    return like.new_full((), float("nan")).detach()
