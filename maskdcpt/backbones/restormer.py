"""Restormer in MaskDCPT's layout (Zamir et al., CVPR 2022): a U-Net of channel transformers, skips concatenated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from maskdcpt.backbones.awareness import AWARE, TEXT_CHANNELS, TEXT_WIDTH, Awareness
from maskdcpt.backbones.base import Encoded
from maskdcpt.backbones.channel_transformer import ChannelTransformer, Level, OverlapEmbed, Upsample, join, reduce
from maskdcpt.masking import DENSE, Backend, PatchMask, Sites


class Restormer(ChannelTransformer):
    """
    The network; the defaults are the published ones (26,126,644 parameters).

    Features are those of decoder levels 3, 2 and 1; the refinement comes after them.

    Args:
        dim: channels at full size.
        num_blocks: blocks of levels 1, 2, 3 and of the latent level.
        num_refinement_blocks: blocks at full size after the decoder.
        heads: of the same four levels.
        ffn_expansion_factor: hidden channels of the feed-forward part over `dim`, rounded down.
        bias: of the 1x1 convolutions between levels and of the last convolution; no other has one, as published.
        window_size: `restore` pads to a multiple of it.
        aware: the module for degradations after the latent level and decoder levels 3 and 2 (MaskDCPT, Table XI):
            "instructions", "frequency" or "experts", see `awareness`; "none" is the published network.
    """

    name: ClassVar[str] = "restormer"

    def __init__(
        self,
        dim: int = 48,
        num_blocks: Sequence[int] = (4, 6, 6, 8),
        num_refinement_blocks: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.66,
        bias: bool = False,
        window_size: int = 8,
        aware: Awareness = "none",
    ) -> None:
        super().__init__(num_blocks, heads, window_size)
        if aware != "none" and aware not in AWARE:
            raise ValueError(f"aware is {aware!r}, expected one of none, {', '.join(AWARE)}")
        self.feature_channels = (4 * dim, 2 * dim, 2 * dim)
        self.feature_strides = (4, 2, 1)
        self.last_channels = 2 * dim

        def level(width: int, count: int, head: int) -> Level:
            return Level(width, count, head, ffn_expansion_factor, bias=False)

        self.patch_embed = OverlapEmbed(dim)
        self._add_encoder(dim, num_blocks, heads, level)
        self.up4_3 = Upsample(8 * dim)
        self.reduce_chan_level3 = nn.Conv2d(8 * dim, 4 * dim, 1, bias=bias)
        self.decoder_level3 = level(4 * dim, num_blocks[2], heads[2])
        self.up3_2 = Upsample(4 * dim)
        self.reduce_chan_level2 = nn.Conv2d(4 * dim, 2 * dim, 1, bias=bias)
        self.decoder_level2 = level(2 * dim, num_blocks[1], heads[1])
        self.up2_1 = Upsample(2 * dim)
        self.decoder_level1 = level(2 * dim, num_blocks[0], heads[0])
        self.refinement = level(2 * dim, num_refinement_blocks, heads[0])
        self.output = nn.Conv2d(2 * dim, 3, 3, padding=1, bias=bias)
        self.apply(_start)
        self._text: Tensor | None = None
        if aware != "none":
            self.aware = nn.ModuleDict(
                {at: AWARE[aware](width * dim) for at, width in (("latent", 8), ("level3", 4), ("level2", 2))}
            )
        if aware == "instructions":
            self.instruction = nn.Parameter(torch.zeros(1, TEXT_CHANNELS))
            self.embed_text = nn.Sequential(nn.Linear(TEXT_CHANNELS, TEXT_WIDTH), nn.LayerNorm(TEXT_WIDTH))

    @contextmanager
    def instructed(self, sentences: Tensor) -> Iterator[None]:
        """
        Use these instructions inside the context; outside it, the learned `instruction` is used.

        Args:
            sentences: (B, 384) or (1, 384), embeddings of sentences; the caller chooses the model that computes them.

        Raises:
            ValueError: the network was not made with aware="instructions", or the shape is wrong.
        """
        if not hasattr(self, "instruction"):
            raise ValueError('only a Restormer with aware="instructions" takes instructions')
        if sentences.dim() != 2 or sentences.shape[1] != TEXT_CHANNELS:
            raise ValueError(f"instructions must be (B, {TEXT_CHANNELS}), not {tuple(sentences.shape)}")
        before, self._text = self._text, sentences
        try:
            yield
        finally:
            self._text = before

    def features(self, x: Tensor, mask: PatchMask | None = None, *, backend: Backend = DENSE) -> list[Tensor]:
        """Compute as in `Backbone`, without the refinement."""
        stages = self._stages(x, mask, backend)
        return self._whole(self._decode(x, stages), stages)

    def encode(self, x: Tensor, mask: PatchMask | None = None, *, backend: Backend = DENSE) -> Encoded:
        """Compute as in `Backbone`."""
        stages = self._stages(x, mask, backend)
        maps = self._decode(x, stages)
        last = stages[0].leave(self.refinement(maps[-1], stages[0]))
        return Encoded(self._whole(maps, stages), last)

    def _decode(self, x: Tensor, stages: Sequence[Sites]) -> list[Tensor]:
        one, two, three, four = stages
        skip1, skip2, skip3, y = self._encode_levels(x, stages)
        y = self._made_aware("latent", y, four, x, one)
        level3 = self.decoder_level3(
            reduce(join(self.up4_3(y, four, three), skip3), self.reduce_chan_level3, three), three
        )
        level3 = self._made_aware("level3", level3, three, x, one)
        level2 = self.decoder_level2(
            reduce(join(self.up3_2(level3, three, two), skip2), self.reduce_chan_level2, two), two
        )
        level2 = self._made_aware("level2", level2, two, x, one)
        level1 = self.decoder_level1(join(self.up2_1(level2, two, one), skip1), one)
        return [level3, level2, level1]

    def _made_aware(self, place: str, y: Tensor, at: Sites, image: Tensor, full: Sites) -> Tensor:
        if not hasattr(self, "aware"):
            return y
        text = None
        if hasattr(self, "instruction"):
            text = self.embed_text(self.instruction if self._text is None else self._text)
        seen = image if full.visible is None else torch.where(full.visible, image, image.new_zeros(()))
        result: Tensor = self.aware[place](y, at, seen, text)
        return result

    def _whole(self, maps: Sequence[Tensor], stages: Sequence[Sites]) -> list[Tensor]:
        return [at.leave(y) for y, at in zip(maps, (stages[2], stages[1], stages[0]), strict=True)]


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02, a=-2.0, b=2.0)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
