"""Images of any size through a network that wants a multiple of something, whole or in overlapping tiles."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """
    Pad a (B, C, H, W) image at the bottom and the right by reflection, so that `multiple` divides it.

    An image smaller than its padding is reflected again and again; one of a single row or column is repeated. Crop
    the result back with `[..., :H, :W]`.

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
    """Indices 0 .. size - 1 and on, bouncing off both ends."""
    steps = torch.arange(size + extra, device=image.device)
    period = max(2 * (size - 1), 1)
    steps = steps % period
    return torch.where(steps < size, steps, period - steps)
