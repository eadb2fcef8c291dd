"""
The parts of Restormer and PromptIR (Zamir et al., "Restormer", CVPR 2022): attention between channels, gated
convolutions, and the encoder of four levels.

Not a network, so not in the list of backbones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskdcpt.backbones.base import Backbone
from maskdcpt.masking import Backend, PatchMask, Sites, stages_for
from maskdcpt.masking.layers import ChannelNorm, at_least_float32, attention_logits, pixel_last, pointwise


class ChannelAttention(nn.Module):
    """
    Attention of channels to channels over all pixels (MDTA); softmax, as in MaskDCPT.

    Hidden pixels are zeros in queries, keys and values, so they have no weight in the norms, the products and the
    result.

    Args:
        dim: channels, a multiple of `heads`.
        heads: groups of channels.
        bias: of the convolutions.
    """

    def __init__(self, dim: int, heads: int, bias: bool) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{dim} channels do not divide into {heads} heads")
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(3 * dim, 3 * dim, 3, padding=1, groups=3 * dim, bias=bias)
        self.project_out = nn.Conv2d(dim, dim, 1, bias=bias)

    def forward(self, x: Tensor, at: Sites) -> Tensor:
        """Map `x` of the sites `at` to the same shape, not hidden."""
        qkv = at.tokens(at.conv(pointwise(x, self.qkv), self.qkv_dwconv))
        batch, _, count = qkv.shape
        q, k, v = (part.reshape(batch, self.heads, -1, count) for part in qkv.chunk(3, dim=1))
        q, k = (F.normalize(at_least_float32(part), dim=-1) for part in (q, k))
        attention = (attention_logits(q, k) * self.temperature).softmax(dim=-1)
        return pointwise(at.from_tokens((attention.to(v.dtype) @ v).flatten(1, 2), x), self.project_out)


class GatedFeedForward(nn.Module):
    """A depthwise convolution; one half of its channels gates the other (GDFN)."""

    def __init__(self, dim: int, expansion: float, bias: bool) -> None:
        super().__init__()
        hidden = int(dim * expansion)
        self.project_in = nn.Conv2d(dim, 2 * hidden, 1, bias=bias)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=bias)
        self.project_out = nn.Conv2d(hidden, dim, 1, bias=bias)

    def forward(self, x: Tensor, at: Sites) -> Tensor:
        """Map `x` of the sites `at` to the same shape, not hidden."""
        a, b = at.conv(pointwise(x, self.project_in), self.dwconv).chunk(2, dim=1)
        return pointwise(F.gelu(a) * b, self.project_out)


class TransformerBlock(nn.Module):
    """Attention and feed-forward, each after a norm and added to its input."""

    def __init__(self, dim: int, heads: int, expansion: float, bias: bool) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(dim)
        self.attn = ChannelAttention(dim, heads, bias)
        self.norm2 = ChannelNorm(dim)
        self.ffn = GatedFeedForward(dim, expansion, bias)

    def forward(self, x: Tensor, at: Sites) -> Tensor:
        """Map `x` of the sites `at` to the same shape, hidden."""
        x = x + self.attn(at.norm(x, self.norm1), at)
        return at.hide(x + self.ffn(at.norm(x, self.norm2), at))


class Level(nn.Module):
    """A sequence of blocks."""

    def __init__(self, dim: int, count: int, heads: int, expansion: float, bias: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads, expansion, bias) for _ in range(count))

    def forward(self, x: Tensor, at: Sites) -> Tensor:
        """Map `x` of the sites `at` to the same shape, hidden."""
        for block in self.blocks:
            x = block(x, at)
        return x


class OverlapEmbed(nn.Module):
    """The first 3x3 convolution, without bias."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 3, padding=1, bias=False)

    def forward(self, x: Tensor, at: Sites) -> Tensor:
        """Map (B, 3, H, W) to a map of the sites `at`, hidden."""
        return at.hide(at.conv(at.enter(x), self.proj))


class Downsample(nn.Module):
    """A 3x3 convolution to half the channels, then 2x2 cells become channels: twice the channels at half the size."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim // 2, 3, padding=1, bias=False)

    def forward(self, x: Tensor, at: Sites, to: Sites) -> Tensor:
        """Map `x` of the sites `at` to the sites `to`, hidden."""
        return at.resample(at.hide(at.conv(x, self.conv)), _unshuffle, to)


class Upsample(nn.Module):
    """A 3x3 convolution to twice the channels, then channels become 2x2 cells: half the channels at twice the size."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, 2 * dim, 3, padding=1, bias=False)

    def forward(self, x: Tensor, at: Sites, to: Sites) -> Tensor:
        """Map `x` of the sites `at` to the sites `to`, hidden."""
        return at.resample(at.hide(at.conv(x, self.conv)), _shuffle, to)


STAGES = 4


class ChannelTransformer(Backbone):
    """
    A network of four levels, without its decoder, which the subclass adds.

    The subclass makes `patch_embed`, calls `_add_encoder` and makes `output`, in the order of the published class: that
    is the order of the state dict, and the one in which weights are drawn.

    Args:
        num_blocks: blocks of levels 1, 2, 3 and of the latent level.
        heads: of the same four levels.
        window_size: `restore` pads to a multiple of it.
    """

    patch_embed: OverlapEmbed
    output: nn.Conv2d

    def __init__(self, num_blocks: Sequence[int], heads: Sequence[int], window_size: int) -> None:
        super().__init__()
        if len(num_blocks) != STAGES or len(heads) != STAGES:
            raise ValueError(f"num_blocks and heads need {STAGES} entries, not {len(num_blocks)} and {len(heads)}")
        if window_size % 8:
            raise ValueError(f"window_size {window_size} is not a multiple of 8, which {STAGES} levels need")
        self.multiple = window_size

    @property
    def divisor(self) -> int:
        """8: the map is halved three times."""
        return 8

    def head(self, last: Tensor) -> Tensor:
        """Apply the `output` convolution."""
        image: Tensor = self.output(last)
        return image.contiguous()

    def _add_encoder(
        self, dim: int, num_blocks: Sequence[int], heads: Sequence[int], level: Callable[[int, int, int], Level]
    ) -> None:
        """Create the levels down to the latent one; `level` takes channels, number of blocks and heads."""
        self.encoder_level1 = level(dim, num_blocks[0], heads[0])
        self.down1_2 = Downsample(dim)
        self.encoder_level2 = level(2 * dim, num_blocks[1], heads[1])
        self.down2_3 = Downsample(2 * dim)
        self.encoder_level3 = level(4 * dim, num_blocks[2], heads[2])
        self.down3_4 = Downsample(4 * dim)
        self.latent = level(8 * dim, num_blocks[3], heads[3])

    def _stages(self, x: Tensor, mask: PatchMask | None, backend: Backend) -> tuple[Sites, ...]:
        self.check_size(x, mask)
        return stages_for(mask, x.shape[2], x.shape[3], STAGES, backend)

    def _encode_levels(self, x: Tensor, stages: Sequence[Sites]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute the maps of levels 1, 2, 3 and of the latent level."""
        one, two, three, four = stages
        skip1 = self.encoder_level1(self.patch_embed(x, one), one)
        skip2 = self.encoder_level2(self.down1_2(skip1, one, two), two)
        skip3 = self.encoder_level3(self.down2_3(skip2, two, three), three)
        return skip1, skip2, skip3, self.latent(self.down3_4(skip3, three, four), four)


def join(first: Tensor, second: Tensor) -> Tensor:
    """Return two maps of the same sites concatenated by channels."""
    return pixel_last(torch.cat([first, second], dim=1))


def reduce(x: Tensor, layer: nn.Conv2d, at: Sites) -> Tensor:
    """Return a map of the sites `at` with fewer channels, by a 1x1 convolution; hidden."""
    return at.hide(pointwise(x, layer))


def _shuffle(x: Tensor) -> Tensor:
    return F.pixel_shuffle(x, 2)


def _unshuffle(x: Tensor) -> Tensor:
    return F.pixel_unshuffle(x, 2)
