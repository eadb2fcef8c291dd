"""Peak signal-to-noise ratio."""

from __future__ import annotations

from torch import Tensor

from maskdcpt.metrics.base import compared


def psnr(a: Tensor, b: Tensor, *, quantise: bool = False, y_channel: bool = False, crop_border: int = 0) -> Tensor:
    """
    Return the PSNR of two batches in dB; infinity for equal images.

    >>> import torch
    >>> black, grey = torch.zeros(2, 3, 16, 16), torch.full((2, 3, 16, 16), 0.1)
    >>> [round(value, 2) for value in psnr(black, grey).tolist()]
    [20.0, 20.0]

    Args:
        a: (B, 3, H, W), RGB in 0..1; not clipped here.
        b: the same shape.
        quantise: clip, and round to 256 steps first.
        y_channel: compare the luma alone.
        crop_border: pixels removed on each side.

    Returns:
        (B,) float64.

    Raises:
        ValueError: the shapes differ, are not (B, 3, H, W), or the border leaves no pixels.
    """
    first, second = compared(a, b, quantise=quantise, y_channel=y_channel, crop_border=crop_border)
    return -10 * (first - second).square().mean((1, 2, 3)).log10()
