"""
The degradation classifier on a backbone's features.

Backbones return features finest last; the classifier takes them in the published order, finest first: `features[::-1]`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskdcpt.backbones.base import Backbone
from maskdcpt.masking.layers import ChannelNorm, pixel_last, pointwise


def classifier_for(backbone: Backbone, num_classes: int, num_res_blocks: int = 2) -> DegradationClassifier:
    """
    Return a new classifier for a backbone; its input is `backbone.features(...)[::-1]`.

    >>> from maskdcpt import create_backbone
    >>> network = create_backbone("nafnet", width=8, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1])
    >>> classifier = classifier_for(network, num_classes=5)
    >>> classifier(network.features(torch.rand(2, 3, 32, 32))[::-1]).shape
    torch.Size([2, 5])
    """
    strides = backbone.feature_strides
    return DegradationClassifier(
        backbone.feature_channels[::-1],
        num_res_blocks=num_res_blocks,
        num_classes=num_classes,
        downsample=len(strides) > 1 and len(set(strides)) == 1,
    )


class DegradationClassifier(nn.Module):
    """
    The classification decoder of DCPT and MaskDCPT ("features only" form).

    Weighted features are added level by level before the bottleneck blocks; each level halves the feature map. Norms
    are over the channels of a pixel with eps 1e-6. Keys are the published ones.

    Args:
        feature_dims: channels of the features, finest first.
        num_res_blocks: bottleneck blocks of a level.
        num_classes: degradation classes.
        downsample: for features of the same size: the i-th is shrunk by 2 ** i (nearest), as for SwinIR. Then
            features may also be tokens (B, N, C) of a square image.
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
        Return logits (B, num_classes) from features, finest first, (B, C_i, H_i, W_i).

        Raises:
            ValueError: the number of features is not that of `feature_dims`, or a feature does not have half the size
                of the previous one.
        """
        if len(features) != len(self.feature_dims):
            raise ValueError(f"expected {len(self.feature_dims)} features, finest first, not {len(features)}")
        weights = self.mixing_weights.softmax(0)
        z: Tensor | None = None
        for i, feature in enumerate(features):
            scaled = weights[i] * self._as_map(feature, i)
            if z is not None and z.shape != scaled.shape:
                expected, found = tuple(z.shape), tuple(scaled.shape)
                raise ValueError(f"feature {i} is {found}, expected {expected}: features must be finest first")
            z = self.bottleneck_layers[i](scaled if z is None else z + scaled)
            z = self.downsample_layers[i](z)
        assert z is not None
        logits: Tensor = self.fc(self.last_stage(z).mean((2, 3)))
        return logits

    def _as_map(self, feature: Tensor, level: int) -> Tensor:
        if feature.dim() == 3:
            side = int(feature.shape[1] ** 0.5)
            if side * side != feature.shape[1]:
                raise ValueError(f"{feature.shape[1]} tokens do not form a square map: pass them as (B, C, H, W)")
            feature = feature.transpose(1, 2).reshape(feature.shape[0], -1, side, side)
        if self.downsample and level:
            feature = F.interpolate(feature, scale_factor=0.5**level, mode="nearest")
        return pixel_last(feature)


class _NormedConv(nn.Conv2d):
    """A convolution without bias and a norm, which is a part of it in the published keys."""

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
