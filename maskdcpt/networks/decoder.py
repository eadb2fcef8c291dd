"""The reconstruction decoder, which fills hidden patches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskdcpt.backbones.base import Backbone, Encoded
from maskdcpt.masking import PatchMask
from maskdcpt.masking.layers import ChannelNorm, pixel_last

DECODER_WIDTH = 32
"""Most channels of a reconstruction decoder at full size; enough for pixels, few compared with published backbones."""


DECODER_REACH = 32
"""Coarsest stride of a reconstruction decoder, in pixels: twice the patch, so that context crosses a hidden patch."""


def decoder_for(backbone: Backbone, width: int | None = None) -> ReconstructionDecoder:
    """
    Return a new reconstruction decoder for a backbone; its input is `backbone.encode(...)`. Widths as in the class.

    >>> from maskdcpt import create_backbone, random_patch_mask
    >>> network = create_backbone("nafnet", width=8, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1])
    >>> mask = random_patch_mask(2, 32, 32)
    >>> decoder_for(network)(network.encode(torch.rand(2, 3, 32, 32), mask), mask).shape
    torch.Size([2, 3, 32, 32])
    """
    width = width or max(8, min(DECODER_WIDTH, backbone.last_channels // 2))
    channels = (*backbone.feature_channels, backbone.last_channels)
    return ReconstructionDecoder(channels, (*backbone.feature_strides, 1), width=width)


def literal_reconstruction(backbone: Backbone, encoded: Encoded) -> Tensor:
    """
    Return the image, (B, 3, H, W), that the backbone's own last convolution computes from masked features.

    This is what the public masked networks do. The features of a hidden patch are zero up to its border, so all its
    pixels except the outermost get the same colour (the bias): it cannot be filled. For comparison only.
    """
    return backbone.head(encoded.last)


class ReconstructionDecoder(nn.Module):
    """
    Fills hidden patches from their surroundings: a small network without masks on the masked features.

    Hidden sites of each feature start as an average of the visible ones around them plus a learned token of that scale
    (SparK, section 3.3, has the token alone; with the average a short training already benefits from context). Each
    scale is projected by a 3x3 convolution; from the coarsest scale to the finest, each step adds its projection and
    applies two 3x3 convolutions. Where the coarsest feature is finer than `reach`, the decoder first downsamples to
    that scale: with all features at full size it would otherwise reach only a few pixels into a patch. The paper does
    not describe its decoder; this one is ours.

    Of features with the same stride the last one is used. For the published NAFNet it has 2.6 million parameters.

    Args:
        channels: of the features and of `last`, in that order.
        strides: of the features and of `last`; powers of two.
        width: channels at full size; they double with the stride up to 4 times.
        reach: the coarsest stride.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        width: int = DECODER_WIDTH,
        reach: int = DECODER_REACH,
    ) -> None:
        super().__init__()
        inputs = {stride: (i, c) for i, (stride, c) in enumerate(zip(strides, channels, strict=True))}
        if not inputs or any(stride < 1 or stride & (stride - 1) for stride in inputs):
            raise ValueError(f"strides must be powers of two, not {tuple(strides)}")
        coarsest = max(inputs)
        self.inputs = {stride: index for stride, (index, _) in inputs.items()}
        self.bottom = max(coarsest, reach)
        self.coarsest = coarsest
        self.mask_tokens = nn.ParameterDict(
            {str(stride): nn.Parameter(torch.randn(1, c, 1, 1) * 0.02) for stride, (_, c) in inputs.items()}
        )

        def wide(stride: int) -> int:
            return width * min(stride, 4)

        self.projections = nn.ModuleDict(
            {str(stride): nn.Conv2d(c, wide(stride), 3, padding=1) for stride, (_, c) in inputs.items()}
        )
        self.downs = nn.ModuleDict(
            {str(2 * stride): _Down(wide(stride), wide(2 * stride)) for stride in _doublings(coarsest, self.bottom)}
        )
        self.lowers = nn.ModuleDict(
            {str(stride): nn.Conv2d(wide(2 * stride), wide(stride), 1) for stride in _doublings(1, self.bottom)}
        )
        self.refines = nn.ModuleDict(
            {str(stride): _Refine(wide(stride)) for stride in (*_doublings(1, self.bottom), self.bottom)}
        )
        self.to_image = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, encoded: Encoded, mask: PatchMask | None = None) -> Tensor:
        """Return the image (B, 3, H, W), not clamped, from what `encode` of the backbone returned for this mask."""
        maps = [*encoded.features, encoded.last]
        sides = {stride: self._project(stride, maps[index], mask) for stride, index in self.inputs.items()}
        for stride in _doublings(self.coarsest, self.bottom):
            sides[2 * stride] = self.downs[str(2 * stride)](sides[stride])
        y = self.refines[str(self.bottom)](sides[self.bottom])
        for stride in reversed(_doublings(1, self.bottom)):
            y = self.lowers[str(stride)](y)
            side = sides.get(stride)
            if side is None:
                y = F.interpolate(y, scale_factor=2.0, mode="nearest")
            else:
                y = side + F.interpolate(y, size=side.shape[2:], mode="nearest")
            y = self.refines[str(stride)](y)
        image: Tensor = self.to_image(y)
        return image.contiguous()

    def _project(self, stride: int, feature: Tensor, mask: PatchMask | None) -> Tensor:
        if mask is not None:
            visible = mask.at(feature.shape[2], feature.shape[3])
            feature = torch.where(visible, feature, surroundings(feature, visible) + self.mask_tokens[str(stride)])
        y: Tensor = self.projections[str(stride)](pixel_last(feature))
        return y


class _Down(nn.Module):
    """Half the size, twice the channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        self.norm = ChannelNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, ceil(H / 2), ceil(W / 2))."""
        return F.gelu(self.norm(self.conv(x)))


class _Refine(nn.Module):
    """Two 3x3 convolutions, plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = ChannelNorm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        # Starts as the identity: the decoder is linear at first and learns faster.
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same shape."""
        y: Tensor = self.conv2(F.gelu(self.norm(self.conv1(x))))
        return x + y


def surroundings(feature: Tensor, visible: Tensor) -> Tensor:
    """
    Return a feature map with hidden sites filled by averages of the nearest visible ones.

    Visible sites are averaged over cells of 2x2, 4x4, ... until each cell has one; hidden cells then get the value of
    the coarser map, interpolated bilinearly (the pull-push of Gortler et al., "The Lumigraph", SIGGRAPH 1996).

    Args:
        feature: (B, C, H, W), 0 at hidden sites.
        visible: (B, 1, H, W) bool.

    Returns:
        (B, C, H, W), equal to `feature` at visible sites; 0 where a sample has none.
    """
    sums, weights = [feature], [visible.to(feature.dtype)]
    while max(sums[-1].shape[2:]) > 1:
        sums.append(F.avg_pool2d(sums[-1], 2, ceil_mode=True, count_include_pad=False))
        weights.append(F.avg_pool2d(weights[-1], 2, ceil_mode=True, count_include_pad=False))
    filled = torch.zeros_like(sums[-1])
    for total, weight in zip(reversed(sums), reversed(weights), strict=True):
        if filled.shape != total.shape:
            filled = F.interpolate(filled, total.shape[2:], mode="bilinear", align_corners=False)
        filled = torch.where(weight > 0, total / torch.where(weight > 0, weight, 1), filled)
    return filled


def _doublings(first: int, end: int) -> list[int]:
    """Return first, 2 first, 4 first, ... below end."""
    result = []
    while first < end:
        result.append(first)
        first *= 2
    return result
