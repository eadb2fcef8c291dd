"""
PromptIR in MaskDCPT's layout (Potlapalli et al., "PromptIR", NeurIPS 2023).

The architecture of Restormer, with learned prompts that are mixed with weights computed from each image and joined to
the decoder at three levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskdcpt.backbones.base import Encoded
from maskdcpt.backbones.channel_transformer import (
    ChannelTransformer,
    Level,
    OverlapEmbed,
    TransformerBlock,
    Upsample,
    join,
    reduce,
)
from maskdcpt.masking import DENSE, Backend, PatchMask, Sites
from maskdcpt.masking.layers import at_least_float32


class Prompt(nn.Module):
    """
    Learned maps, mixed with weights computed from the mean of the image's own map.

    Args:
        prompt_dim: channels of the prompt.
        prompt_len: number of maps that are mixed.
        prompt_size: side of the maps.
        lin_dim: channels of the map that the weights are computed from.
    """

    def __init__(self, prompt_dim: int, prompt_len: int, prompt_size: int, lin_dim: int) -> None:
        super().__init__()
        self.prompt_param = nn.Parameter(torch.rand(1, prompt_len, prompt_dim, prompt_size, prompt_size))
        self.linear_layer = nn.Linear(lin_dim, prompt_len)
        self.conv3x3 = nn.Conv2d(prompt_dim, prompt_dim, 3, padding=1, bias=False)

    def forward(self, x: Tensor, at: Sites, size: tuple[int, int]) -> Tensor:
        """Return the prompt for a map `x` of the sites `at`, hidden; `size` is the size of the whole map."""
        weights = at_least_float32(self.linear_layer(at.mean(x).flatten(1))).softmax(dim=1)
        prompts = self.prompt_param.squeeze(0)
        mixed = torch.einsum("bk,kchw->bchw", weights.to(prompts.dtype), prompts)
        whole = F.interpolate(mixed, size, mode="bilinear", align_corners=False)
        return at.hide(at.conv(at.enter(whole), self.conv3x3))


class PromptIR(ChannelTransformer):
    """
    The network; the defaults are the published ones (35,539,290 parameters).

    Features are those after the three prompts (the `reduce_noise_level` convolutions), at strides 8, 4 and 2.

    Args:
        dim: channels at full size. The published code accepts 48 only.
        num_blocks: blocks of levels 1, 2, 3 and of the latent level.
        num_refinement_blocks: blocks at full size after the decoder.
        heads: of the same four levels; the blocks after prompts have as many as level 3.
        ffn_expansion_factor: hidden channels of the feed-forward part over its input, rounded down.
        bias: of all convolutions but the first, the resampling and the prompts'. The published masked class has False.
        prompt_dims: channels of prompts 1, 2 and 3.
        prompt_sizes: sides of their learned maps.
        prompt_len: number of maps that each prompt mixes.
        window_size: `restore` pads to a multiple of it.
    """

    name: ClassVar[str] = "promptir"

    def __init__(
        self,
        dim: int = 48,
        num_blocks: Sequence[int] = (4, 6, 6, 8),
        num_refinement_blocks: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.66,
        bias: bool = True,
        prompt_dims: Sequence[int] = (64, 128, 320),
        prompt_sizes: Sequence[int] = (64, 32, 16),
        prompt_len: int = 5,
        window_size: int = 8,
    ) -> None:
        super().__init__(num_blocks, heads, window_size)
        if len(prompt_dims) != 3 or len(prompt_sizes) != 3:
            raise ValueError("prompt_dims and prompt_sizes need 3 entries, one per prompt")
        self.feature_channels = (4 * dim, 4 * dim, 2 * dim)
        self.feature_strides = (8, 4, 2)
        self.last_channels = 2 * dim

        def level(width: int, count: int, head: int) -> Level:
            return Level(width, count, head, ffn_expansion_factor, bias)

        def prompt(index: int, width: int) -> Prompt:
            return Prompt(prompt_dims[index], prompt_len, prompt_sizes[index], width)

        def interaction(width: int) -> TransformerBlock:
            return TransformerBlock(width, heads[2], ffn_expansion_factor, bias)

        def conv1x1(inputs: int, outputs: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, 1, bias=bias)

        self.patch_embed = OverlapEmbed(dim)
        self.prompt1 = prompt(0, 2 * dim)
        self.prompt2 = prompt(1, 4 * dim)
        self.prompt3 = prompt(2, 8 * dim)
        self._add_encoder(dim, num_blocks, heads, level)
        self.up4_3 = Upsample(4 * dim)
        self.reduce_chan_level3 = conv1x1(6 * dim, 4 * dim)
        self.noise_level3 = interaction(8 * dim + prompt_dims[2])
        self.reduce_noise_level3 = conv1x1(8 * dim + prompt_dims[2], 4 * dim)
        self.decoder_level3 = level(4 * dim, num_blocks[2], heads[2])
        self.up3_2 = Upsample(4 * dim)
        self.reduce_chan_level2 = conv1x1(4 * dim, 2 * dim)
        self.noise_level2 = interaction(4 * dim + prompt_dims[1])
        self.reduce_noise_level2 = conv1x1(4 * dim + prompt_dims[1], 4 * dim)
        self.decoder_level2 = level(2 * dim, num_blocks[1], heads[1])
        self.up2_1 = Upsample(2 * dim)
        self.noise_level1 = interaction(2 * dim + prompt_dims[0])
        self.reduce_noise_level1 = conv1x1(2 * dim + prompt_dims[0], 2 * dim)
        self.decoder_level1 = level(2 * dim, num_blocks[0], heads[0])
        self.refinement = level(2 * dim, num_refinement_blocks, heads[0])
        self.output = nn.Conv2d(2 * dim, 3, 3, padding=1, bias=bias)

    def features(self, x: Tensor, mask: PatchMask | None = None, *, backend: Backend = DENSE) -> list[Tensor]:
        """Compute as in `Backbone`, without the layers after the last prompt."""
        stages = self._stages(x, mask, backend)
        maps, _ = self._decode(x, stages)
        return self._whole(maps, stages)

    def encode(self, x: Tensor, mask: PatchMask | None = None, *, backend: Backend = DENSE) -> Encoded:
        """Compute as in `Backbone`."""
        stages = self._stages(x, mask, backend)
        maps, skip1 = self._decode(x, stages)
        one, two = stages[:2]
        y = self.decoder_level1(join(self.up2_1(maps[-1], two, one), skip1), one)
        last = one.leave(self.refinement(y, one))
        return Encoded(self._whole(maps, stages), last)

    def _decode(self, x: Tensor, stages: Sequence[Sites]) -> tuple[list[Tensor], Tensor]:
        """Return the three features and the skip connection of the first level."""
        _, two, three, four = stages
        height, width = x.shape[2:]
        skip1, skip2, skip3, y = self._encode_levels(x, stages)

        prompt3 = self.prompt3(y, four, (height // 8, width // 8))
        feature3 = reduce(self.noise_level3(join(y, prompt3), four), self.reduce_noise_level3, four)
        y = reduce(join(self.up4_3(feature3, four, three), skip3), self.reduce_chan_level3, three)
        y = self.decoder_level3(y, three)

        prompt2 = self.prompt2(y, three, (height // 4, width // 4))
        feature2 = reduce(self.noise_level2(join(y, prompt2), three), self.reduce_noise_level2, three)
        y = reduce(join(self.up3_2(feature2, three, two), skip2), self.reduce_chan_level2, two)
        y = self.decoder_level2(y, two)

        prompt1 = self.prompt1(y, two, (height // 2, width // 2))
        feature1 = reduce(self.noise_level1(join(y, prompt1), two), self.reduce_noise_level1, two)
        return [feature3, feature2, feature1], skip1

    def _whole(self, maps: Sequence[Tensor], stages: Sequence[Sites]) -> list[Tensor]:
        return [at.leave(y) for y, at in zip(maps, (stages[3], stages[2], stages[1]), strict=True)]
