"""
Per-pixel layers: each reads one site only, so the masked form of a layer is the layer itself.

Maps are (B, C, H, W). The layers compute on the channels of a pixel, so `torch.channels_last` is the layout that needs
no copies.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """
    Layer normalisation over the channels of each pixel, with weight and bias; computed in float32 at least.

    The result has the dtype of the weights, so that a whole network may be converted to bfloat16 or float16.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W), channels_last in memory."""
        pixels = at_least_float32(x).permute(0, 2, 3, 1)
        weight, bias = self.weight.to(pixels.dtype), self.bias.to(pixels.dtype)
        y = F.layer_norm(pixels, weight.shape, weight, bias, self.eps)
        return y.to(self.weight.dtype).permute(0, 3, 1, 2)


def at_least_float32(x: Tensor) -> Tensor:
    """Return the values in float32, or unchanged where their dtype is float32 or float64."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def attention_logits(q: Tensor, k: Tensor) -> Tensor:
    """
    Return the products of queries and keys, in float32 at least, also under autocast: softmax is sensitive to rounding.

    Args:
        q: (..., N, D).
        k: (..., M, D).

    Returns:
        (..., N, M).
    """
    # Meta tensors, which are used to count sizes and costs only, have no autocast to turn off.
    with nullcontext() if q.is_meta else torch.autocast(q.device.type, enabled=False):
        return at_least_float32(q) @ at_least_float32(k).transpose(-2, -1)


def pointwise(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Apply a 1x1 convolution as a matrix product over pixels: on a CPU this is faster than the convolution."""
    y = F.linear(x.permute(0, 2, 3, 1), conv.weight.flatten(1), conv.bias)
    return y.permute(0, 3, 1, 2)


def pixel_last(x: Tensor) -> Tensor:
    """Return a (B, C, H, W) map in channels_last layout; no copy where it is in that layout already."""
    return x.contiguous(memory_format=torch.channels_last)


def gate(x: Tensor) -> Tensor:
    """Multiply the first half of the channels by the second (NAFNet's SimpleGate)."""
    a, b = x.chunk(2, dim=1)
    return a * b
