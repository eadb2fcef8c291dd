"""Peak signal-to-noise ratio."""

from __future__ import annotations

from torch import Tensor

from maskdcpt.metrics.base import compared


def psnr(a: Tensor, b: Tensor, *, quantise: bool = False, y_channel: bool = False, crop_border: int = 0) -> Tensor:
    """
    Compare two batches by their mean squared error, in dB; equal images give infinity.

    >>> import torch
    >>> black, grey = torch.zeros(2, 3, 16, 16), torch.full((2, 3, 16, 16), 0.1)
    >>> [round(value, 2) for value in psnr(black, grey).tolist()]
    [20.0, 20.0]

    Args:
        a: (B, 3, H, W), RGB in 0..1; not clipped here.
        b: the same shape.
        quantise: clip, and round to 256 steps first.
        y_channel: compare the luma alone.
        crop_border: pixels that are left out on each side.

    Returns:
        (B,) float64.

    Raises:
        ValueError: the shapes differ, are no images, or nothing is left to compare.
    """
    first, second = compared(a, b, quantise=quantise, y_channel=y_channel, crop_border=crop_border)
    return -10 * (first - second).square().mean((1, 2, 3)).log10()
