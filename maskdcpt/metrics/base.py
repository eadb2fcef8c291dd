"""What metrics share: which pixels are compared, and in which numbers."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

Y_WEIGHTS = (65.481, 128.553, 24.966)
"""RGB in 0..1 to the Y of BT.601 in 16..235, MATLAB's rgb2ycbcr."""


class Metric(Protocol):
    """Compare two batches; one value per image."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """(B, 3, H, W) twice, RGB in 0..1, to (B,) float64."""
        ...


def compared(a: Tensor, b: Tensor, *, quantise: bool, y_channel: bool, crop_border: int) -> tuple[Tensor, Tensor]:
    """
    Give both images as they are compared.

    Args:
        a: (B, 3, H, W), RGB in 0..1.
        b: the same shape.
        quantise: clip, and round to 256 steps first, as if both had been saved.
        y_channel: compare the luma alone (BT.601, not rounded).
        crop_border: pixels that are left out on each side.

    Returns:
        Two (B, C, h, w) float64.

    Raises:
        ValueError: the shapes differ, are no images, or nothing is left to compare.
    """
    if a.shape != b.shape or a.dim() != 4 or a.shape[1] != 3:
        raise ValueError(f"expected (B, 3, H, W) twice, not {tuple(a.shape)} and {tuple(b.shape)}")
    if crop_border < 0 or 2 * crop_border >= min(a.shape[2:]):
        raise ValueError(f"a border of {crop_border} leaves nothing of {a.shape[2]}x{a.shape[3]}")
    first, second = (_prepared(x, quantise, y_channel, crop_border) for x in (a, b))
    return first, second


def _prepared(x: Tensor, quantise: bool, y_channel: bool, crop_border: int) -> Tensor:
    x = x.detach().double()
    if crop_border:
        x = x[:, :, crop_border:-crop_border, crop_border:-crop_border]
    if quantise:
        x = (x.clamp(0, 1) * 255).round() / 255
    if y_channel:
        weights = torch.tensor(Y_WEIGHTS, dtype=x.dtype, device=x.device)
        x = ((x * weights[:, None, None]).sum(1, keepdim=True) + 16) / 255
    return x
