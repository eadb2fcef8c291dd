"""Structural similarity (Wang et al., 2004)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from maskdcpt.metrics.base import compared

WINDOW = 11
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2


def ssim(a: Tensor, b: Tensor, *, quantise: bool = False, y_channel: bool = False, crop_border: int = 0) -> Tensor:
    """
    Return the SSIM of two batches, from local means, variances and covariances; 1 for equal images.

    An 11x11 Gaussian window of sigma 1.5 at all positions inside the image, each channel separately, then the mean.
    Arguments as in `psnr`.

    >>> image = torch.rand(1, 3, 16, 16)
    >>> round(ssim(image, image).item(), 6), bool(ssim(image, image.flip(-1)) < 0.9)
    (1.0, True)

    Returns:
        (B,) float64.

    Raises:
        ValueError: the shapes differ, are not (B, 3, H, W), or are smaller than the window.
    """
    first, second = compared(a, b, quantise=quantise, y_channel=y_channel, crop_border=crop_border)
    if min(first.shape[2:]) < WINDOW:
        raise ValueError(f"SSIM needs {WINDOW}x{WINDOW} pixels at least, not {first.shape[2]}x{first.shape[3]}")
    mean_a, mean_b = _blurred(first), _blurred(second)
    variance_a = _blurred(first * first) - mean_a * mean_a
    variance_b = _blurred(second * second) - mean_b * mean_b
    covariance = _blurred(first * second) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a * mean_a + mean_b * mean_b + C1)
    structure = (2 * covariance + C2) / (variance_a + variance_b + C2)
    return (luminance * structure).mean((1, 2, 3))


def _blurred(x: Tensor) -> Tensor:
    """Return each channel filtered by rows, then by columns, at all positions where the window fits."""
    steps = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    kernel = torch.exp(-steps.square() / (2 * SIGMA**2))
    kernel = (kernel / kernel.sum()).repeat(x.shape[1], 1, 1, 1)
    x = F.conv2d(x, kernel.view(-1, 1, 1, WINDOW), groups=x.shape[1])
    return F.conv2d(x, kernel.view(-1, 1, WINDOW, 1), groups=x.shape[1])
