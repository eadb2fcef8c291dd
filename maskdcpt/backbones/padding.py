"""Padding of images whose size is not a multiple of what a network needs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """
    Return a (B, C, H, W) image padded by reflection at the bottom and the right, so that `multiple` divides its sides.

    An image smaller than its padding is reflected several times; a single row or column is repeated. Crop the result
    back with `[..., :H, :W]`.

    >>> pad_to_multiple(torch.arange(3.0).view(1, 1, 1, 3), 4)[0, 0, 0].tolist()
    [0.0, 1.0, 2.0, 1.0]
    """
    height, width = image.shape[-2:]
    if height == 0 or width == 0:
        raise ValueError(f"an image of {height}x{width} has no pixels")
    rows, columns = -height % multiple, -width % multiple
    if not rows and not columns:
        return image
    if rows < height and columns < width:
        return F.pad(image, (0, columns, 0, rows), mode="reflect")
    return image[..., _reflected(height, rows, image), :][..., _reflected(width, columns, image)]


def _reflected(size: int, extra: int, image: Tensor) -> Tensor:
    """Return the indices 0 .. size + extra - 1, reflected at both ends into 0 .. size - 1."""
    steps = torch.arange(size + extra, device=image.device)
    period = max(2 * (size - 1), 1)
    steps = steps % period
    return torch.where(steps < size, steps, period - steps)
