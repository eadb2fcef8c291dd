"""
What reads a backbone's features in pre-training: the degradation classifier and the reconstruction decoder.

Backbones give features finest last; the classifier wants them in the published order, finest first: `features[::-1]`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskdcpt.backbones.base import Backbone, Encoded
from maskdcpt.masking import PatchMask
from maskdcpt.masking.layers import ChannelNorm, pixel_last, pointwise

DECODER_WIDTH = 32
"""Most channels of a reconstruction decoder at full size; enough for pixels, small beside any published backbone."""

DECODER_REACH = 32
"""How coarse a reconstruction decoder goes, in pixels: twice the patch, so that context crosses a hidden one."""


def classifier_for(backbone: Backbone, num_classes: int, num_res_blocks: int = 2) -> DegradationClassifier:
    """Make the classifier that fits a backbone; feed it `backbone.features(...)[::-1]`."""
    strides = backbone.feature_strides
    return DegradationClassifier(
        backbone.feature_channels[::-1],
        num_res_blocks=num_res_blocks,
        num_classes=num_classes,
        downsample=len(strides) > 1 and len(set(strides)) == 1,
    )


def decoder_for(backbone: Backbone, width: int | None = None) -> ReconstructionDecoder:
    """Make the reconstruction decoder that fits a backbone; feed it `backbone.encode(...)`. Widths as in the class."""
    width = width or max(8, min(DECODER_WIDTH, backbone.last_channels // 2))
    channels = (*backbone.feature_channels, backbone.last_channels)
    return ReconstructionDecoder(channels, (*backbone.feature_strides, 1), width=width)


def literal_reconstruction(backbone: Backbone, encoded: Encoded) -> Tensor:
    """
    Read the image off the masked features with the backbone's own last convolution, (B, 3, H, W).

    This is what the public masked networks do. A hidden patch holds zeros up to its border, so all its pixels but the
    outermost get one and the same colour (the bias): it cannot be filled. For comparison only.
    """
    return backbone.head(encoded.last)


class DegradationClassifier(nn.Module):
    """
    The classification decoder of DCPT and MaskDCPT ("features only" form).

    Weighted features enter level by level into bottleneck blocks; each level halves the map. Norms are over the
    channels of a pixel with eps 1e-6. Keys are the published ones.

    Args:
        feature_dims: channels of the features, finest first.
        num_res_blocks: bottleneck blocks of a level.
        num_classes: degradation classes.
        downsample: features are all of one size: shrink the i-th by 2 ** i (nearest), as for SwinIR. Then features
            may also be tokens (B, N, C) of a square image.
    """

    def __init__(
        self, feature_dims: Sequence[int], num_res_blocks: int = 2, num_classes: int = 3, downsample: bool = False
    ) -> None:
        super().__init__()
        dims = tuple(feature_dims)
        if not dims:
            raise ValueError("a classifier needs at least one feature")
        self.feature_dims = dims
        self.downsample = downsample
        self.mixing_weights = nn.Parameter(torch.ones(len(dims)))
        self.bottleneck_layers = nn.ModuleList(_bottlenecks(dim, num_res_blocks) for dim in dims)
        self.downsample_layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(dim, after, 1, bias=False), nn.MaxPool2d(2), nn.ReLU())
            for dim, after in zip(dims, (*dims[1:], dims[-1]), strict=True)
        )
        self.last_stage = _bottlenecks(dims[-1], num_res_blocks)
        self.fc = nn.Linear(dims[-1], num_classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """
        Features finest first, (B, C_i, H_i, W_i), to logits (B, num_classes).

        Raises:
            ValueError: there are more or fewer features than `feature_dims`, or a size does not follow from the one
                before.
        """
        if len(features) != len(self.feature_dims):
            raise ValueError(f"expected {len(self.feature_dims)} features, finest first, not {len(features)}")
        weights = self.mixing_weights.softmax(0)
        z: Tensor | None = None
        for i, feature in enumerate(features):
            scaled = weights[i] * self._as_map(feature, i)
            if z is not None and z.shape != scaled.shape:
                expected, found = tuple(z.shape), tuple(scaled.shape)
                raise ValueError(f"feature {i} is {found}, expected {expected}: features go in finest first")
            z = self.bottleneck_layers[i](scaled if z is None else z + scaled)
            z = self.downsample_layers[i](z)
        assert z is not None
        logits: Tensor = self.fc(self.last_stage(z).mean((2, 3)))
        return logits

    def _as_map(self, feature: Tensor, level: int) -> Tensor:
        if feature.dim() == 3:
            side = int(feature.shape[1] ** 0.5)
            if side * side != feature.shape[1]:
                raise ValueError(f"{feature.shape[1]} tokens are no square map: give the feature as (B, C, H, W)")
            feature = feature.transpose(1, 2).reshape(feature.shape[0], -1, side, side)
        if self.downsample and level:
            feature = F.interpolate(feature, scale_factor=0.5**level, mode="nearest")
        return pixel_last(feature)


class _NormedConv(nn.Conv2d):
    """A convolution without bias, then the norm that the published keys place inside it."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__(inputs, outputs, size, padding=size // 2, bias=False)
        self.norm = ChannelNorm(outputs, eps=1e-6)
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        y: Tensor = self.norm(pointwise(x, self) if self.kernel_size == (1, 1) else super().forward(x))
        return y


class _Bottleneck(nn.Module):
    """1x1 to twice the channels, 3x3, 1x1 back, plus the input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = _NormedConv(dim, 2 * dim, 1)
        self.conv2 = _NormedConv(2 * dim, 2 * dim, 3)
        self.conv3 = _NormedConv(2 * dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) to the same shape."""
        y = F.relu(self.conv1(x))
        y = F.relu(self.conv2(y))
        return F.relu(x + self.conv3(y))


def _bottlenecks(dim: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(_Bottleneck(dim) for _ in range(count)))


class ReconstructionDecoder(nn.Module):
    """
    Fill hidden patches from what is around them: a small network without masks over the masked features.

    Hidden sites of each feature start as an average of the visible ones around them plus a learned token of that scale
    (SparK, section 3.3, has the token alone; with the average a short training already gains from context). Each scale
    is projected by a 3x3 convolution, and from the coarsest scale up each step adds its projection and applies two 3x3
    convolutions. Where the coarsest feature is finer than `reach`, the decoder first goes on to that scale by itself:
    with all features at full size it would otherwise see only a few pixels into a patch. The paper does not describe
    its decoder; this one is ours.

    Of features with the same stride the last one is used. Beside the published NAFNet it has 2.6 million parameters.

    Args:
        channels: of the features and of `last`, in that order.
        strides: of the same; powers of two.
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
        """What a backbone's `encode` gave, and the mask it was given, to an image (B, 3, H, W), not clamped."""
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
        # Starts as no change: the decoder is linear at first and learns faster for it.
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same shape."""
        y: Tensor = self.conv2(F.gelu(self.norm(self.conv1(x))))
        return x + y


def surroundings(feature: Tensor, visible: Tensor) -> Tensor:
    """
    Fill hidden sites with averages of visible ones, from near where there are any, from far elsewhere.

    Visible sites are averaged over cells of 2x2, 4x4, ... until each cell has one; hidden cells then take the value of
    the coarser map, bilinearly (the pull-push of Gortler et al., "The Lumigraph", SIGGRAPH 1996).

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
    """first, 2 first, 4 first, ... below end."""
    result = []
    while first < end:
        result.append(first)
        first *= 2
    return result
