"""
NAFNet in MaskDCPT's layout (Chen et al., "Simple Baselines for Image Restoration", ECCV 2022).

A U-Net of blocks without activation functions: one half of the channels gates the other, and channel attention uses one
average. Skip connections are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskdcpt.backbones.base import Backbone, Encoded
from maskdcpt.masking import DENSE, Backend, PatchMask, Sites, stages_for
from maskdcpt.masking.layers import ChannelNorm, gate, pointwise


class NAFBlock(nn.Module):
    """
    One block: a gated depthwise convolution with channel attention, then a gated pair of 1x1 convolutions.

    Args:
        channels: of the map, whose shape does not change.
        window: see `NAFNet`; in pixels of this stage.
        norm_eps: epsilon of the norms.
    """

    def __init__(self, channels: int, window: int | None = None, norm_eps: float = 1e-5) -> None:
        super().__init__()
        c = channels
        self.conv1 = nn.Conv2d(c, 2 * c, 1)
        self.conv2 = nn.Conv2d(2 * c, 2 * c, 3, padding=1, groups=2 * c)
        self.conv3 = nn.Conv2d(c, c, 1)
        # The published weights count the pooling as the first of two layers.
        self.sca = nn.Sequential(nn.Identity(), nn.Conv2d(c, c, 1))
        self.conv4 = nn.Conv2d(c, 2 * c, 1)
        self.conv5 = nn.Conv2d(c, c, 1)
        self.norm1 = ChannelNorm(c, norm_eps)
        self.norm2 = ChannelNorm(c, norm_eps)
        self.beta = nn.Parameter(torch.zeros(1, c, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, c, 1, 1))
        self.window = window

    def forward(self, x: Tensor, at: Sites) -> Tensor:
        """Map `x` of the sites `at` to the same shape, hidden."""
        y = pointwise(at.norm(x, self.norm1), self.conv1)
        y = gate(at.conv(y, self.conv2))
        y = at.scale(y, pointwise(self._average(y, at), self.attention))
        x = x + self.beta * pointwise(y, self.conv3)
        y = gate(pointwise(at.norm(x, self.norm2), self.conv4))
        return at.hide(x + self.gamma * pointwise(y, self.conv5))

    @property
    def attention(self) -> nn.Conv2d:
        """The 1x1 convolution of the channel attention."""
        layer = self.sca[1]
        assert isinstance(layer, nn.Conv2d)
        return layer

    def _average(self, y: Tensor, at: Sites) -> Tensor:
        if self.window is None or at.visible is not None:
            return at.mean(y)
        return local_mean(y, self.window)


class Stage(nn.Module):
    """A sequence of blocks."""

    def __init__(self, channels: int, count: int, window: int | None = None, norm_eps: float = 1e-5) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(NAFBlock(channels, window, norm_eps) for _ in range(count))

    def forward(self, x: Tensor, at: Sites) -> Tensor:
        """Map `x` of the sites `at` to the same shape, hidden."""
        for block in self.blocks:
            x = block(x, at)
        return x


class NAFNet(Backbone):
    """
    The network; the defaults are the published ones (67,888,835 parameters).

    Args:
        width: channels at full size; they double at each stage.
        enc_blk_nums: blocks of each encoder stage.
        middle_blk_num: blocks at the bottom.
        dec_blk_nums: blocks of each decoder stage, coarsest first; as many as encoder stages.
        window_size: `restore` pads to a multiple of it; 2 ** stages when it is None.
        local_train_size: if given, plain runs average over windows of 1.5 times this training size instead of the
            whole image (Chu et al., "Improving Image Restoration by Revisiting Global Information Aggregation", ECCV
            2022). The weights are the same; so is the result for images no larger than the window. The published
            evaluation does not use it.
        norm_eps: epsilon of the norms; 1e-5 in MaskDCPT's weights, 1e-6 in those of NAFNet's authors and of DCPT.
    """

    name: ClassVar[str] = "nafnet"

    def __init__(
        self,
        width: int = 64,
        enc_blk_nums: Sequence[int] = (1, 1, 1, 28),
        middle_blk_num: int = 1,
        dec_blk_nums: Sequence[int] = (1, 1, 1, 1),
        window_size: int | None = None,
        local_train_size: int | None = None,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        depth = len(enc_blk_nums)
        if depth < 1 or len(dec_blk_nums) != depth:
            raise ValueError(f"{depth} encoder stages need as many decoder stages, not {len(dec_blk_nums)}")
        self.depth = depth
        self.multiple = window_size or 2**depth
        if self.multiple % 2**depth:
            raise ValueError(f"window_size {window_size} is not a multiple of {2**depth}, which {depth} stages need")
        self.feature_channels = tuple(width << level for level in reversed(range(depth)))
        self.feature_strides = tuple(1 << level for level in reversed(range(depth)))
        self.last_channels = width

        def stage(level: int, count: int) -> Stage:
            window = None if local_train_size is None else max(int(1.5 * local_train_size) >> level, 1)
            return Stage(width << level, count, window, norm_eps)

        self.intro = nn.Conv2d(3, width, 3, padding=1)
        self.ending = nn.Conv2d(width, 3, 3, padding=1)
        self.encoders = nn.ModuleList(stage(i, count) for i, count in enumerate(enc_blk_nums))
        self.middle_blks = stage(depth, middle_blk_num)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width << i + 1, width << i + 2, 1, bias=False), nn.PixelShuffle(2))
            for i in reversed(range(depth))
        )
        self.downs = nn.ModuleList(nn.Conv2d(width << i, width << i + 1, 2, stride=2) for i in range(depth))
        for i, count in enumerate(dec_blk_nums):
            self.add_module(f"decoder{i}", stage(depth - 1 - i, count))

    @property
    def divisor(self) -> int:
        """Each stage halves the map."""
        return 1 << self.depth

    def encode(self, x: Tensor, mask: PatchMask | None = None, *, backend: Backend = DENSE) -> Encoded:
        """Compute as in `Backbone`; the last feature is also the input of the restoring convolution."""
        self.check_size(x, mask)
        stages = stages_for(mask, x.shape[2], x.shape[3], self.depth + 1, backend)
        features = self._decode(*self._encode(x, stages), stages)
        whole = [at.leave(y) for y, at in zip(features, reversed(stages[:-1]), strict=True)]
        return Encoded(whole, whole[-1])

    def head(self, last: Tensor) -> Tensor:
        """Apply the `ending` convolution."""
        image: Tensor = self.ending(last)
        return image.contiguous()

    def _encode(self, x: Tensor, stages: Sequence[Sites]) -> tuple[Tensor, list[Tensor]]:
        y = stages[0].hide(stages[0].conv(stages[0].enter(x), self.intro))
        skips: list[Tensor] = []
        for level, (encoder, down) in enumerate(zip(self.encoders, self.downs, strict=True)):
            y = encoder(y, stages[level])
            skips.append(y)
            y = stages[level].resample(y, down, stages[level + 1])
        return self.middle_blks(y, stages[-1]), skips

    def _decode(self, y: Tensor, skips: Sequence[Tensor], stages: Sequence[Sites]) -> list[Tensor]:
        features = []
        for i, up in enumerate(self.ups):
            level = self.depth - 1 - i
            assert isinstance(up, nn.Sequential)
            y = stages[level + 1].resample(y, _Grow(up), stages[level]) + skips[level]
            y = self.get_submodule(f"decoder{i}")(y, stages[level])
            features.append(y)
        return features


class _Grow:
    """The 1x1 convolution and the pixel shuffle of an upsampling step, as an operation on cells."""

    def __init__(self, up: nn.Sequential) -> None:
        layer = up[0]
        assert isinstance(layer, nn.Conv2d)
        self.layer = layer

    def __call__(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(pointwise(x, self.layer), 2)


def local_mean(x: Tensor, window: int) -> Tensor:
    """
    Return the average over a window around each pixel, moved inwards at the borders.

    Returns:
        (B, C, 1, 1) when the window covers the map, (B, C, H, W) otherwise.
    """
    height, width = x.shape[2:]
    if window >= height and window >= width:
        return x.mean((2, 3), keepdim=True)
    tall, wide = min(window, height), min(window, width)
    # float64: cumulative sums over a large image lose the last digits of float32.
    sums = F.pad(x.double().cumsum(2).cumsum(3), (1, 0, 1, 0))
    box = sums[:, :, tall:, wide:] - sums[:, :, :-tall, wide:] - sums[:, :, tall:, :-wide] + sums[:, :, :-tall, :-wide]
    mean = (box / (tall * wide)).to(x.dtype)
    rows, columns = height - mean.shape[2], width - mean.shape[3]
    return F.pad(mean, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2), mode="replicate")
