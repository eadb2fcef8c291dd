"""
The `triton` backend for CUDA: `gather`, with Triton kernels for depthwise 3x3 convolutions and norms of packed patches.

`gather` copies each patch with a rim before a convolution; the kernel reads the rim from the neighbours in place, so a
map is read once and written once. The gradient of the input is computed by the same kernel with flipped weights,
because the neighbour relation is symmetric; the gradient of the weights is a sum in torch. A norm reads and writes the
dtype of the layers around it and computes in float32; torch's norm writes float32 under autocast, which the next
product converts to half precision again.

The results are tested in Triton's interpreter, on a CPU. The kernels have not been timed on a GPU: `auto` chooses this
backend only where it agrees with `dense` and is the fastest.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import torch
from torch import Tensor, nn

from maskdcpt.masking.checked import CheckedBackend
from maskdcpt.masking.gather import packed_stages
from maskdcpt.masking.layers import ChannelNorm
from maskdcpt.masking.patches import PatchMask
from maskdcpt.masking.sites import Backend, Sites

BLOCK = 64
"""Channels that one program of a convolution computes."""

TILE = 2048
"""Values that one program of a norm computes: whole pixels, one at least."""

_loaded: dict[str, Any] = {}


class Triton(CheckedBackend):
    """
    Packed patches, with depthwise convolutions and norms by Triton kernels.

    Args:
        reference: the backend that it must agree with, and that is used where a mask cannot be packed.
    """

    name = "triton"

    def __init__(self, reference: Backend) -> None:
        super().__init__(reference, _Unchecked(reference), patch=8, advice="use gather")

    def missing(self, device: torch.device) -> str:
        """Return a message when there is no CUDA device or no Triton; else ""."""
        if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
            return f"the triton backend needs a CUDA device, but the device is {device.type}: use gather"
        if _source() is None:
            return "the triton backend needs the triton library, which is part of torch for CUDA: use gather"
        return ""


class _Unchecked:
    name = "triton"

    def __init__(self, reference: Backend) -> None:
        self.reference = reference

    def stages(self, mask: PatchMask, height: int, width: int, count: int) -> tuple[Sites, ...]:
        packed = packed_stages(mask, height, width, count, KERNELS)
        return self.reference.stages(mask, height, width, count) if packed is None else packed


class TritonKernels:
    """The operations of packed sites that are Triton kernels."""

    def depthwise(self, x: Tensor, layer: nn.Conv2d, neighbours: Tensor) -> Tensor:
        """Call the function `depthwise`."""
        return depthwise(x, layer, neighbours)

    def norm(self, x: Tensor, layer: ChannelNorm) -> Tensor:
        """Call the function `norm`."""
        return norm(x, layer)


KERNELS = TritonKernels()


def depthwise(x: Tensor, layer: nn.Conv2d, neighbours: Tensor) -> Tensor:
    """
    Convolve packed patches with a depthwise 3x3 layer; hidden neighbours count as zeros.

    Args:
        x: (V, C, ph, pw), channels last in memory.
        layer: 3x3, stride 1, as many groups as channels.
        neighbours: (9, V) int64, as in `Packing`.

    Returns:
        (V, C, ph, pw).
    """
    weight = layer.weight
    if torch.is_autocast_enabled(x.device.type):
        wanted = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(wanted), weight.to(wanted)
    y: Tensor = _Depthwise.apply(x, weight, neighbours)  # type: ignore[no-untyped-call]
    return y if layer.bias is None else y + layer.bias.to(y.dtype).view(1, -1, 1, 1)


def norm(x: Tensor, layer: ChannelNorm) -> Tensor:
    """
    Normalise the channels of each pixel of packed patches.

    Args:
        x: (V, C, ph, pw), channels last in memory.
        layer: of C channels.

    Returns:
        (V, C, ph, pw), in autocast's type where that is on, in that of the weights elsewhere.
    """
    wanted = layer.weight.dtype
    if torch.is_autocast_enabled(x.device.type):
        wanted = torch.get_autocast_dtype(x.device.type)
    y: Tensor = _Norm.apply(x, layer.weight, layer.bias, layer.eps, wanted)  # type: ignore[no-untyped-call]
    return y


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, neighbours: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight, neighbours)
        return _launch(x, weight, neighbours)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[no-untyped-def]
        x, weight, neighbours = ctx.saved_tensors
        for_x = _launch(grad, weight.flip(2, 3), neighbours) if ctx.needs_input_grad[0] else None
        return for_x, _weight_gradient(x, grad, neighbours) if ctx.needs_input_grad[1] else None, None


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, x: Tensor, weight: Tensor, bias: Tensor, eps: float, wanted: torch.dtype
    ) -> Tensor:
        pixels = x.permute(0, 2, 3, 1).contiguous()
        channels, count = pixels.shape[3], pixels.numel() // pixels.shape[3]
        result = torch.empty_like(pixels, dtype=wanted)
        means, scales = torch.empty(2, count, dtype=torch.float32, device=x.device)
        rows, block = _tile(channels)
        if count:
            arguments = (pixels, weight, bias, result, means, scales, count, channels, eps)
            _source().norm_kernel[(-(-count // rows),)](*arguments, ROWS=rows, BLOCK=block)
        ctx.save_for_backward(pixels, weight, means, scales)
        return result.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:  # type: ignore[no-untyped-def]
        pixels, weight, means, scales = ctx.saved_tensors
        given = grad.permute(0, 2, 3, 1).contiguous()
        channels, count = pixels.shape[3], len(means)
        rows, block = _tile(channels)
        programs = -(-count // rows)
        for_x = torch.empty_like(pixels)
        sums = torch.zeros(2, programs, channels, dtype=torch.float32, device=grad.device)
        if count:
            arguments = (pixels, given, weight, means, scales, for_x, sums[0], sums[1], count, channels)
            _source().norm_gradient_kernel[(programs,)](*arguments, ROWS=rows, BLOCK=block)
        for_weight, for_bias = sums.sum(1).to(weight.dtype)
        return for_x.permute(0, 3, 1, 2), for_weight, for_bias, None, None


def _tile(channels: int) -> tuple[int, int]:
    """Return the pixels and channels of one program of a norm; powers of two, as Triton requires."""
    block = 1 << (channels - 1).bit_length()
    return max(1, TILE // block), block


def _weight_gradient(x: Tensor, grad: Tensor, neighbours: Tensor) -> Tensor:
    # Imported late; `with_rim` is an autograd function, of which only the result is used here.
    from maskdcpt.masking.gather import with_rim

    height, width = x.shape[2:]
    padded = with_rim(x.detach(), neighbours, 1)
    wide = torch.promote_types(grad.dtype, torch.float32)
    sums = [
        (padded[:, :, i : i + height, j : j + width] * grad).sum((0, 2, 3), dtype=wide)
        for i in range(3)
        for j in range(3)
    ]
    return torch.stack(sums, 1).view(-1, 1, 3, 3).to(x.dtype)


def _launch(x: Tensor, weight: Tensor, neighbours: Tensor) -> Tensor:
    pixels = x.permute(0, 2, 3, 1).contiguous()
    count, height, width, channels = pixels.shape
    result = torch.empty_like(pixels)
    taps = weight.reshape(channels, 9).t().contiguous()
    grid = (count * height * width, -(-channels // BLOCK))
    if pixels.numel():
        arguments = (pixels, taps, neighbours.contiguous(), result, count, height, width, channels)
        _source().depthwise_kernel[grid](*arguments, BLOCK=BLOCK)
    return result.permute(0, 3, 1, 2)


def _source() -> Any:
    """Return the module of the kernels, imported on first use; None where there is no Triton."""
    if "kernels" not in _loaded:
        try:
            _loaded["kernels"] = importlib.import_module("maskdcpt.masking.triton_source")
        except ImportError:
            _loaded["kernels"] = None
    return _loaded["kernels"]
