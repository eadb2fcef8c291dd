"""
Modules that make a Restormer aware of the degradation (MaskDCPT, Table XI): instructions, frequencies, experts.

They are not networks, so they are not in the list of backbones: `Restormer(aware=...)` puts one of them after the
latent level and after decoder levels 3 and 2. The paper names the works, but not how they were added to Restormer, nor
how they were pre-trained; the docstring of each class says what was decided here. Each is the identity at the start, so
a Restormer with it starts as the plain Restormer.

They follow the submanifold rule: operations that mix pixels run on whole maps with hidden sites at 0, and their results
are hidden again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskdcpt.masking import Sites
from maskdcpt.masking.layers import ChannelNorm, pixel_last, pointwise

Awareness = Literal["none", "instructions", "frequency", "experts"]

TEXT_CHANNELS = 384
"""Channels of a sentence embedding (bge-micro-v2, as in InstructIR)."""

TEXT_WIDTH = 256
"""Channels of InstructIR's embedding of an instruction."""

EXPERT_PATCHES = (4, 8, 16, 32)
"""Sides of the windows of MoCE-IR's experts, in pixels of the map, from the simplest expert to the most complex."""


class Instructions(nn.Module):
    """
    A gate of channels computed from a sentence (Conde et al., "InstructIR", ECCV 2024, section 3.2).

    x + conv((gamma x + beta) * sigmoid(linear(text))), gamma and beta 0 at the start. InstructIR has a NAFNet block in
    place of the convolution; here it is a gated pair of 1x1 convolutions, as Restormer's blocks follow anyway.

    Args:
        dim: channels of the map.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.choose = nn.Linear(TEXT_WIDTH, dim)
        self.gamma = nn.Parameter(torch.zeros(1, dim, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, dim, 1, 1))
        self.mix = nn.Conv2d(dim, 2 * dim, 1, bias=False)

    def forward(self, x: Tensor, at: Sites, image: Tensor, text: Tensor | None) -> Tensor:
        """Map `x` of the sites `at` to the same shape, hidden. `text` is (B, 256) or (1, 256)."""
        assert text is not None
        chosen = self.choose(text).sigmoid()[:, :, None, None].expand(image.shape[0], -1, 1, 1)
        a, b = pointwise(at.scale(self.gamma * x + self.beta, chosen), self.mix).chunk(2, dim=1)
        return at.hide(x + F.gelu(a) + b)


class CrossAttention(nn.Module):
    """Attention of channels to channels, queries from one map, keys and values from another (AdaIR's and MoCE-IR's)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.q = nn.Conv2d(dim, dim, 1, bias=False)
        self.q_dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False)
        self.kv = nn.Conv2d(dim, 2 * dim, 1, bias=False)
        self.kv_dwconv = nn.Conv2d(2 * dim, 2 * dim, 3, padding=1, groups=2 * dim, bias=False)
        self.project_out = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(self, x: Tensor, y: Tensor, at: Sites) -> Tensor:
        """Combine two maps of the sites `at`, queries first, into one of the same shape, not hidden."""
        q = at.tokens(at.conv(pointwise(x, self.q), self.q_dwconv))
        k, v = at.tokens(at.conv(pointwise(y, self.kv), self.kv_dwconv)).chunk(2, dim=1)
        q, k, v = (part.reshape(part.shape[0], self.heads, -1, part.shape[2]) for part in (q, k, v))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        attention = (q @ k.transpose(-2, -1) * self.temperature).softmax(dim=-1)
        return pointwise(at.from_tokens((attention.to(v.dtype) @ v).flatten(1, 2), x), self.project_out)


class Frequency(nn.Module):
    """
    Low and high frequencies of the image, each attending to the map (Cui et al., "AdaIR", ICLR 2025, section 3.2).

    The image is resized to the map and convolved, its spectrum split by a centred box of half-sizes s H / 128 and
    s W / 128, s in 0..1 from the mean of the map; the magnitudes of both parts gate each other, attend to the map and
    are added to it times `para1`, 0 at the start, the map itself times `para2`, 1 at the start.

    Decided here: the box has edges that fall off over one frequency; the published box is rounded to whole numbers and
    so passes no gradient to s. Gates take means alone. With a mask the spectrum is that of the visible pixels, with
    zeros at hidden pixels.

    Args:
        dim: channels of the map.
        heads: of the attention.
    """

    def __init__(self, dim: int, heads: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, dim, 3, padding=1, bias=False)
        self.rate = nn.Sequential(nn.Conv2d(dim, max(1, dim // 8), 1), nn.GELU(), nn.Conv2d(max(1, dim // 8), 2, 1))
        self.attend_low = CrossAttention(dim, heads)
        self.attend_high = CrossAttention(dim, heads)
        self.attend_both = CrossAttention(dim, heads)
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        few = max(1, dim // 16)
        self.channel = nn.Sequential(nn.Conv2d(dim, few, 1), nn.GELU(), nn.Conv2d(few, dim, 1))
        self.project = nn.Conv2d(dim, dim, 1)
        self.para1 = nn.Parameter(torch.zeros(dim, 1, 1))
        self.para2 = nn.Parameter(torch.ones(dim, 1, 1))

    def forward(self, x: Tensor, at: Sites, image: Tensor, _text: Tensor | None) -> Tensor:
        """Map `x` of the sites `at` to the same shape, hidden; `image` is (B, 3, H, W), hidden."""
        size = _whole_size(at, x)
        small = at.enter(F.interpolate(image, size, mode="bilinear", align_corners=False))
        low, high = self.split(at.leave(at.conv(small, self.conv)), self.rate(at.mean(x)).sigmoid())
        low, high = at.enter(low), at.enter(high)
        high, low = self.attend_high(high, x, at), self.attend_low(low, x, at)
        # The gate of one part comes from the other (AdaIR, section 3.3).
        pooled = torch.cat([high.mean(1, keepdim=True), high.amax(1, keepdim=True)], dim=1)
        low = low * at.conv(pooled, self.spatial).sigmoid()
        high = at.scale(high, self.channel(at.mean(low)).sigmoid())
        both = self.attend_both(pointwise(low + high, self.project), x, at)
        return at.hide(both * self.para1 + x * self.para2)

    @staticmethod
    def split(whole: Tensor, rates: Tensor) -> tuple[Tensor, Tensor]:
        """
        Split a (B, C, H, W) map into low and high frequencies by the box.

        Args:
            whole: the map.
            rates: (B, 2, 1, 1), half-sizes of the box in units of H / 128 and W / 128.

        Returns:
            Magnitudes of the low and of the high part, of the same shape.
        """
        height, width = whole.shape[2:]
        wide = whole.to(torch.promote_types(whole.dtype, torch.float32))
        rates = rates.to(wide.dtype)
        inside = _edge(height, rates[:, :1], wide)[..., None] * _edge(width, rates[:, 1:], wide)[:, :, None, :]
        spectrum = torch.fft.fft2(wide, norm="forward")
        parts = (torch.fft.ifft2(spectrum * box, norm="forward").abs() for box in (inside, 1 - inside))
        low, high = (part.to(whole.dtype) for part in parts)
        return low, high


class WindowFourierAttention(nn.Module):
    """
    Queries times keys in the spectrum of each window, the result gating the values (MoCE-IR's experts, after
    FFTformer, CVPR 2023).

    Args:
        dim: channels of the input and the output.
        rank: channels of queries, keys and values.
        patch: side of a window.
    """

    def __init__(self, dim: int, rank: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.to_hidden = nn.Conv2d(dim, 3 * rank, 1, bias=False)
        self.dwconv = nn.Conv2d(3 * rank, 3 * rank, 3, padding=1, groups=3 * rank, bias=False)
        self.norm = ChannelNorm(rank)
        self.project_out = nn.Conv2d(rank, dim, 1, bias=False)

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """Map a whole (B, dim, H, W) map, hidden sites 0, to the same shape, not hidden."""
        qkv = self.dwconv(pointwise(x, self.to_hidden))
        if visible is not None:
            qkv = qkv * visible.to(qkv.dtype)
        q, k, v = qkv.chunk(3, dim=1)
        height, width = x.shape[2:]
        wide = torch.promote_types(x.dtype, torch.float32)
        spectra = [torch.fft.rfft2(self._windows(part.to(wide))) for part in (q, k)]
        met = torch.fft.irfft2(spectra[0] * spectra[1], s=(self.patch, self.patch))
        met = met.permute(0, 1, 2, 4, 3, 5).flatten(4, 5).flatten(2, 3)[..., :height, :width]
        return pointwise(v * self.norm(met.to(x.dtype)), self.project_out)

    def _windows(self, x: Tensor) -> Tensor:
        """Split (B, C, H, W) into (B, C, rows, columns, patch, patch), zeros where a window exceeds the map."""
        bottom, right = -x.shape[2] % self.patch, -x.shape[3] % self.patch
        x = F.pad(x, (0, right, 0, bottom))
        rows, columns = x.shape[2] // self.patch, x.shape[3] // self.patch
        return x.reshape(*x.shape[:2], rows, self.patch, columns, self.patch).transpose(3, 4)


class Experts(nn.Module):
    """
    One of four experts for each image, beside a shared branch (Zamfir et al., "MoCE-IR", CVPR 2025, section 3).

    A linear gate on the mean of the map chooses the expert with the highest share; experts use windows of 4, 8, 16
    and 32 and have dim/8, dim/4, dim/2 and dim channels. The result of the chosen expert attends to the map and is
    added to it, multiplied by its share and by `scale`, which is 0 at the start.

    Decided here: the shared branch is Restormer's own blocks around it; the gate gets no frequency embedding and no
    noise, so that a run depends on its seed only, and there is no auxiliary loss for an even load: `shares` holds the
    shares of the last batch.

    Args:
        dim: channels of the map.
        heads: of the attention.
    """

    def __init__(self, dim: int, heads: int = 4) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, len(EXPERT_PATCHES))
        ranks = [max(1, dim >> (len(EXPERT_PATCHES) - 1 - i)) for i in range(len(EXPERT_PATCHES))]
        self.experts = nn.ModuleList(
            WindowFourierAttention(dim, rank, patch) for rank, patch in zip(ranks, EXPERT_PATCHES, strict=True)
        )
        self.norm = ChannelNorm(dim)
        self.attend = CrossAttention(dim, heads)
        self.scale = nn.Parameter(torch.zeros(1, dim, 1, 1))
        self.shares: Tensor | None = None

    def forward(self, x: Tensor, at: Sites, _image: Tensor, _text: Tensor | None) -> Tensor:
        """Map `x` of the sites `at` to the same shape, hidden."""
        normed = self.norm(x)
        shares = self.gate(at.mean(normed).flatten(1)).softmax(dim=1)
        self.shares = shares.detach()
        share, chosen = shares.max(dim=1)
        whole, visible = at.leave(at.hide(normed)), at.visible
        found = torch.zeros_like(whole)
        for i, expert in enumerate(self.experts):
            rows = (chosen == i).nonzero().squeeze(1)
            if len(rows):
                part = expert(whole[rows], None if visible is None else visible[rows])
                found = found.index_copy(0, rows, part.to(found.dtype))
        # The share multiplies the result: the norms in the attention would cancel it in the input.
        met = self.attend(at.enter(pixel_last(found)), normed, at)
        return at.hide(x + self.scale * at.scale(met, share[:, None, None, None].to(met.dtype)))


AWARE: Mapping[str, Callable[[int], nn.Module]] = MappingProxyType(
    {"instructions": Instructions, "frequency": Frequency, "experts": Experts}
)
"""The modules that can be added to a Restormer, by name; each takes a number of channels."""


def _whole_size(at: Sites, x: Tensor) -> tuple[int, int]:
    if at.visible is not None:
        return at.visible.shape[2], at.visible.shape[3]
    return x.shape[2], x.shape[3]


def _edge(size: int, rates: Tensor, like: Tensor) -> Tensor:
    """Return (B, 1, size): 1 at frequencies up to rate * size / 128, falling to 0 within one frequency."""
    frequencies = torch.fft.fftfreq(size, 1 / size, dtype=like.dtype, device=like.device).abs()
    edge: Tensor = (rates.flatten(2) * (size / 128) + 1 - frequencies).clamp(0, 1)
    return edge
