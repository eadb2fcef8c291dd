"""
The `triton` way: `gather`, with depthwise 3x3 convolutions of packed patches by a kernel of our own, for CUDA.

`gather` copies each patch with a rim before it convolves; the kernel reads the rim from the neighbours in place, so a
map is read once and written once. The gradient of the input is the same kernel with the weights turned round, because
patches are neighbours of each other; that of the weights is a sum that torch takes. Norms stay torch's, whose
layer_norm is one kernel on CUDA already.

Its numbers are tested in Triton's interpreter, on a CPU. It has not been timed on a GPU: `auto` takes it only where it
agrees with `dense` and is the fastest.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import torch
from torch import Tensor, nn

from maskdcpt.masking.checked import CheckedBackend
from maskdcpt.masking.gather import PackedSites, packed_stages
from maskdcpt.masking.patches import PatchMask
from maskdcpt.masking.sites import Backend, Sites

BLOCK = 64
"""Channels that one program works on."""

_compiled: dict[str, Any] = {}


class Triton(CheckedBackend):
    """
    Packed patches, depthwise convolutions by a kernel.

    Args:
        reference: what it must agree with, and what is used where a mask cannot be packed.
    """

    name = "triton"

    def __init__(self, reference: Backend) -> None:
        super().__init__(reference, _Unchecked(reference), patch=8, advice="use gather")

    def missing(self, device: torch.device) -> str:
        """Say whether there is no GPU or no Triton."""
        if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
            return f"the triton backend needs a CUDA device, and this is {device.type}: use gather"
        if _kernel() is None:
            return "the triton backend needs the triton library, which comes with torch for CUDA: use gather"
        return ""


class _Unchecked:
    name = "triton"

    def __init__(self, reference: Backend) -> None:
        self.reference = reference

    def stages(self, mask: PatchMask, height: int, width: int, count: int) -> tuple[Sites, ...]:
        packed = packed_stages(mask, height, width, count)
        if packed is None:
            return self.reference.stages(mask, height, width, count)
        for at in packed:
            if isinstance(at, PackedSites):
                at.depthwise = depthwise
        return packed


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


def _weight_gradient(x: Tensor, grad: Tensor, neighbours: Tensor) -> Tensor:
    # Late: gather's rim is an autograd function, used here for its numbers alone.
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
        _kernel()[grid](pixels, taps, neighbours.contiguous(), result, count, height, width, channels, BLOCK=BLOCK)
    return result.permute(0, 3, 1, 2)


def _kernel() -> Any:
    """Compile on first use; None where there is no Triton."""
    if "kernel" not in _compiled:
        try:
            _compiled["kernel"] = importlib.import_module("maskdcpt.masking.triton_source").depthwise_kernel
        except ImportError:
            _compiled["kernel"] = None
    return _compiled["kernel"]
