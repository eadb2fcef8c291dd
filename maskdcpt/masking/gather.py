"""
The `gather` backend: visible patches are packed side by side, and only they are computed.

A stage's map is packed as (V, C, ph, pw), V = B * visible patches per sample, channels last in memory. Before a
convolution each patch is padded with a rim of one or more pixels copied from its visible neighbours, zeros elsewhere;
where a patch is too small for that to be faster, the convolution runs on a whole map between unpacking and packing.
Everything is torch, so it runs on any device and agrees with `dense` up to the order of sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskdcpt.masking.layers import ChannelNorm, pixel_last
from maskdcpt.masking.patches import PatchMask
from maskdcpt.masking.sites import DenseSites, LocalOp, Sites

HALO_MIN_PATCH = 8
"""Smaller patches are convolved on a whole map: the rim of a 4x4 patch has 125 % of the patch's pixels."""


@dataclass(frozen=True, eq=False)
class Packing:
    """
    The positions of the visible patches of a batch.

    Attributes:
        batch: number of samples.
        rows: patches per column of the grid.
        columns: patches per row of the grid.
        index: (V,) int64, indices of the visible patches among all B * rows * columns, ascending.
        neighbours: (9, V) int64, in reading order of the 3x3 neighbourhood: the packed index of each neighbour, or V
            where it is hidden or outside.
    """

    batch: int
    rows: int
    columns: int
    index: Tensor
    neighbours: Tensor

    @staticmethod
    def of(mask: PatchMask) -> Packing | None:
        """Return the packing; None unless all samples have the same number of visible patches, at least one."""
        visible = mask.visible.squeeze(1)
        counts = visible.sum((1, 2)).tolist()
        if not counts or min(counts) != max(counts) or counts[0] == 0:
            return None
        batch, rows, columns = visible.shape
        index = visible.flatten().nonzero().squeeze(1)
        place = torch.full((batch, rows + 2, columns + 2), len(index), dtype=torch.long, device=visible.device)
        inner = place[:, 1:-1, 1:-1]
        inner[visible] = torch.arange(len(index), device=visible.device)
        shifted = [place[:, i : i + rows, j : j + columns].flatten()[index] for i in range(3) for j in range(3)]
        return Packing(batch, rows, columns, index, torch.stack(shifted))


class Kernels(Protocol):
    """Operations on packed patches that are not computed by torch."""

    def depthwise(self, x: Tensor, layer: nn.Conv2d, neighbours: Tensor) -> Tensor:
        """Convolve with a depthwise 3x3 layer; hidden neighbours count as zeros."""
        ...

    def norm(self, x: Tensor, layer: ChannelNorm) -> Tensor:
        """Normalise the channels of each pixel."""
        ...


class PackedSites(Sites):
    """
    One stage in packed form.

    Args:
        packing: positions of the patches.
        height: of the stage's map; a multiple of the grid's height.
        width: of the stage's map; a multiple of the grid's width.
        visible: (B, 1, H, W) bool of this stage.
        kernels: computes depthwise 3x3 convolutions and norms; torch when None.
    """

    def __init__(
        self, packing: Packing, height: int, width: int, visible: Tensor, kernels: Kernels | None = None
    ) -> None:
        self.visible = visible
        self.packing = packing
        self.patch = (height // packing.rows, width // packing.columns)
        self.kernels = kernels

    def enter(self, x: Tensor) -> Tensor:
        """Pack the visible patches of a whole map."""
        packed: Tensor = _Pack.apply(x, self.packing, self.patch)  # type: ignore[no-untyped-call]
        return packed

    def leave(self, x: Tensor) -> Tensor:
        """Return the whole map, zeros at hidden patches."""
        whole: Tensor = _Unpack.apply(x, self.packing, self.patch)  # type: ignore[no-untyped-call]
        return whole

    def hide(self, x: Tensor) -> Tensor:
        """Return `x`: packed patches hold no hidden sites."""
        return x

    def conv(self, x: Tensor, layer: nn.Conv2d) -> Tensor:
        """Convolve patches with a rim, or a whole map where patches are small."""
        rim = layer.kernel_size[0] // 2
        if self.kernels is not None and rim == 1 and layer.groups == x.shape[1] == layer.out_channels:
            return self.kernels.depthwise(x, layer, self.packing.neighbours)
        if min(self.patch) < max(HALO_MIN_PATCH, rim):
            y: Tensor = layer(self.leave(x))
            return self.enter(y)
        return F.conv2d(with_rim(x, self.packing.neighbours, rim), layer.weight, layer.bias, groups=layer.groups)

    def norm(self, x: Tensor, layer: ChannelNorm) -> Tensor:
        """Normalise by the kernel, where there is one."""
        return super().norm(x, layer) if self.kernels is None else self.kernels.norm(x, layer)

    def mean(self, x: Tensor) -> Tensor:
        """Average over the visible patches of each sample."""
        wide = torch.promote_types(x.dtype, torch.float32)
        sums = x.sum((2, 3), dtype=wide).view(self.packing.batch, -1, x.shape[1])
        return (sums.sum(1) / (sums.shape[1] * x.shape[2] * x.shape[3])).to(x.dtype)[:, :, None, None]

    def scale(self, x: Tensor, factor: Tensor) -> Tensor:
        """Multiply each patch by the factor of its sample."""
        if factor.shape[2:] != (1, 1):
            return x * self.enter(factor)
        patches = x.shape[0] // self.packing.batch
        return x * factor.repeat_interleave(patches, 0, output_size=x.shape[0])

    def tokens(self, x: Tensor) -> Tensor:
        """Return visible pixels only, patch by patch."""
        pixels = x.permute(0, 2, 3, 1).reshape(self.packing.batch, -1, x.shape[1])
        return pixels.transpose(1, 2)

    def from_tokens(self, tokens: Tensor, like: Tensor) -> Tensor:
        """Undo `tokens`: visible pixels only, patch by patch."""
        pixels = tokens.transpose(1, 2).reshape(like.shape[0], *self.patch, tokens.shape[1])
        return pixels.permute(0, 3, 1, 2)

    def resample(self, x: Tensor, op: LocalOp, to: Sites) -> Tensor:
        """Resample patch by patch where both stages are packed, else the whole map."""
        if isinstance(to, PackedSites):
            return pixel_last(op(x))
        return to.enter(op(self.leave(x)))


class UnpackedSites(DenseSites):
    """A stage whose map is coarser than the grid of patches, between packed stages."""

    def resample(self, x: Tensor, op: LocalOp, to: Sites) -> Tensor:
        """Resample into the form of the other stage."""
        return to.enter(op(x))


def packed_stages(
    mask: PatchMask, height: int, width: int, count: int, kernels: Kernels | None = None
) -> tuple[Sites, ...] | None:
    """Return the stages of strides 1, 2, 4, ... in packed form; None where the mask cannot be packed."""
    packing = Packing.of(mask)
    if packing is None:
        return None
    stages: list[Sites] = []
    for level in range(count):
        h, w = height >> level, width >> level
        if h % packing.rows == 0 and w % packing.columns == 0:
            stages.append(PackedSites(packing, h, w, mask.at(h, w), kernels))
        else:
            stages.append(UnpackedSites(mask.at(h, w)))
    return tuple(stages)


def _pack(x: Tensor, packing: Packing, patch: tuple[int, int]) -> Tensor:
    pixels = x.permute(0, 2, 3, 1)
    cells = pixels.reshape(packing.batch, packing.rows, patch[0], packing.columns, patch[1], x.shape[1])
    # (B, rows, columns, ph, pw, C); indexing copies whole pixels, so no second copy is needed.
    cells = cells.transpose(2, 3)
    columns, rows = packing.columns, packing.rows
    i = packing.index
    picked = cells[i // (rows * columns), (i // columns) % rows, i % columns]
    return picked.permute(0, 3, 1, 2)


def _unpack(x: Tensor, packing: Packing, patch: tuple[int, int]) -> Tensor:
    rows, columns = packing.rows, packing.columns
    whole = x.new_zeros(packing.batch, rows, patch[0], columns, patch[1], x.shape[1])
    i = packing.index
    whole.transpose(2, 3)[i // (rows * columns), (i // columns) % rows, i % columns] = x.permute(0, 2, 3, 1)
    return whole.view(packing.batch, rows * patch[0], columns * patch[1], x.shape[1]).permute(0, 3, 1, 2)


class _Pack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, packing: Packing, patch: tuple[int, int]) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.layout = (packing, patch)
        return _pack(x, packing, patch)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        return _unpack(grad, *ctx.layout), None, None


class _Unpack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, packing: Packing, patch: tuple[int, int]) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.layout = (packing, patch)
        return _unpack(x, packing, patch)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        return _pack(grad, *ctx.layout), None, None


def with_rim(x: Tensor, neighbours: Tensor, rim: int) -> Tensor:
    """Pad patches (V, C, ph, pw) by `rim` pixels on each side: those of visible neighbours, else zeros."""
    padded: Tensor = _Halo.apply(x, neighbours, rim)  # type: ignore[no-untyped-call]
    return padded


class _Halo(torch.autograd.Function):
    """Pad each (V, C, ph, pw) patch with `rim` pixels of its visible neighbours."""

    @staticmethod
    def forward(ctx, x: Tensor, neighbours: Tensor, rim: int) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(neighbours)
        ctx.rim = rim
        pixels = x.permute(0, 2, 3, 1)
        count, height, width, channels = pixels.shape
        padded = x.new_empty(count, height + 2 * rim, width + 2 * rim, channels)
        padded[:, rim:-rim, rim:-rim] = pixels
        for which, outside, inside in _strips(height, width, rim):
            padded[:, outside[0], outside[1]] = _taken(pixels[:, inside[0], inside[1]], neighbours[which])
        return padded.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        (neighbours,) = ctx.saved_tensors
        rim = ctx.rim
        padded = grad.permute(0, 2, 3, 1)
        inner = padded[:, rim:-rim, rim:-rim].contiguous()
        for which, outside, inside in _strips(inner.shape[1], inner.shape[2], rim):
            # The gradient of pixels that a neighbour copied from this patch comes from the neighbour on that side.
            inner[:, inside[0], inside[1]] += _taken(padded[:, outside[0], outside[1]], neighbours[8 - which])
        return inner.permute(0, 3, 1, 2), None, None


def _strips(height: int, width: int, rim: int) -> list[tuple[int, tuple[slice, slice], tuple[slice, slice]]]:
    """Return for each neighbour its index in the 3x3, its slices of the padded patch, and the source slices of it."""

    def along(size: int) -> list[tuple[slice, slice]]:
        return [
            (slice(0, rim), slice(size - rim, size)),
            (slice(rim, rim + size), slice(0, size)),
            (slice(rim + size, 2 * rim + size), slice(0, rim)),
        ]

    strips = []
    for i, (outside_y, inside_y) in enumerate(along(height)):
        for j, (outside_x, inside_x) in enumerate(along(width)):
            if (i, j) != (1, 1):
                strips.append((3 * i + j, (outside_y, outside_x), (inside_y, inside_x)))
    return strips


def _taken(strip: Tensor, places: Tensor) -> Tensor:
    """Return rows of a strip by index; the index after the last is a row of zeros."""
    return torch.cat([strip, strip.new_zeros(1, *strip.shape[1:])]).index_select(0, places)
