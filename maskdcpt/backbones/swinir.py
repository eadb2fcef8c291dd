"""
SwinIR in MaskDCPT's layout (Liang et al., "SwinIR", ICCV Workshops 2021): window attention at full size.

Differences to the original: no position bias; no attention mask between opposite borders that a shift puts into one
window; the layers are split into an encoding and a decoding half.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskdcpt.backbones.base import Backbone, Encoded
from maskdcpt.masking import DENSE, Backend, PatchMask, Sites, stages_for
from maskdcpt.masking.layers import ChannelNorm, attention_logits

RGB_MEAN = (0.4488, 0.4371, 0.4040)
"""The mean of DIV2K; subtracted from the image and added to the result. Not a weight."""

MaskedKeys = Literal["excluded", "released"]
"""How attention treats hidden pixels: as no keys at all, or as keys and values made of the biases (public code)."""


class WindowAttention(nn.Module):
    """
    Attention between the pixels of a window.

    Args:
        dim: channels, a multiple of `heads`.
        heads: groups of channels.
        window: side of a window.
        shift: pixels that the windows are moved by, down and right, wrapping around at the borders.
        masked_keys: see `MaskedKeys`.
    """

    def __init__(self, dim: int, heads: int, window: int, shift: int, masked_keys: MaskedKeys) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{dim} channels do not divide into {heads} heads")
        self.heads, self.window, self.shift, self.masked_keys = heads, window, shift, masked_keys
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, at: Sites) -> Tensor:
        """Map `x` of the sites `at`, channels last, to the same shape; not hidden."""
        # Windows may overlap several patches, so attention works on the whole map, whatever the form of the sites.
        qkv = at.leave(self.qkv(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        hidden = None if at.visible is None else ~at.visible.permute(0, 2, 3, 1)
        if hidden is not None and self.masked_keys == "released":
            qkv = torch.where(hidden, self.qkv.bias.to(qkv.dtype), qkv)
            hidden = None
        attended = self._attend(qkv, hidden)
        return self.proj(at.enter(attended.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))  # type: ignore[no-any-return]

    def _attend(self, qkv: Tensor, hidden: Tensor | None) -> Tensor:
        """Map (B, H, W, 3C) and (B, H, W, 1) to (B, H, W, C)."""
        batch, height, width, channels = qkv.shape
        windows = self._windows(qkv)
        parts = windows.reshape(*windows.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)
        scores = attention_logits(q * q.shape[-1] ** -0.5, k)
        if hidden is not None:
            keys = self._windows(hidden).squeeze(2)
            # A window without a visible key would give NaN; its queries are hidden too, so their result is not used.
            keys = keys & ~keys.all(dim=1, keepdim=True)
            scores = scores.masked_fill(keys[:, None, None, :], float("-inf"))
        y = (scores.softmax(dim=-1).to(v.dtype) @ v).transpose(1, 2).reshape(windows.shape[0], -1, channels // 3)
        return self._undo(y, batch, height, width)

    def _windows(self, x: Tensor) -> Tensor:
        """Split (B, H, W, C) into (windows, pixels of a window, C)."""
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
        batch, height, width, channels = x.shape
        side = self.window
        x = x.reshape(batch, height // side, side, width // side, side, channels).transpose(2, 3)
        return x.reshape(-1, side * side, channels)

    def _undo(self, windows: Tensor, batch: int, height: int, width: int) -> Tensor:
        side = self.window
        x = windows.reshape(batch, height // side, width // side, side, side, -1).transpose(2, 3)
        x = x.reshape(batch, height, width, -1)
        return x.roll((self.shift, self.shift), (1, 2)) if self.shift else x


class Mlp(nn.Module):
    """Two linear layers and a GELU."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dim) to the same shape."""
        y: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return y


class SwinBlock(nn.Module):
    """Window attention and a two-layer network, each after a norm and added to its input."""

    def __init__(
        self, dim: int, heads: int, window: int, shift: int, mlp_ratio: float, masked_keys: MaskedKeys
    ) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(dim)
        self.attn = WindowAttention(dim, heads, window, shift, masked_keys)
        self.norm2 = ChannelNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, at: Sites) -> Tensor:
        """Map `x` of the sites `at` to the same shape, hidden."""
        x = x + self.attn(at.norm(x, self.norm1).permute(0, 2, 3, 1), at).permute(0, 3, 1, 2)
        x = x + self.mlp(at.norm(x, self.norm2).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return at.hide(x)


class ResidualGroup(nn.Module):
    """Blocks, every other one with shifted windows."""

    def __init__(
        self, dim: int, depth: int, heads: int, window: int, mlp_ratio: float, masked_keys: MaskedKeys
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(dim, heads, window, window // 2 if i % 2 else 0, mlp_ratio, masked_keys) for i in range(depth)
        )


class SwinLayer(nn.Module):
    """A residual group and a 3x3 convolution, added to the input (RSTB)."""

    def __init__(
        self, dim: int, depth: int, heads: int, window: int, mlp_ratio: float, masked_keys: MaskedKeys
    ) -> None:
        super().__init__()
        self.residual_group = ResidualGroup(dim, depth, heads, window, mlp_ratio, masked_keys)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor, at: Sites) -> Tensor:
        """Map `x` of the sites `at` to the same shape, hidden."""
        y = x
        for block in self.residual_group.blocks:
            y = block(y, at)
        return at.hide(at.conv(y, self.conv) + x)


class PatchEmbed(nn.Module):
    """The norm before the first layer; patches are single pixels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(dim)

    def forward(self, x: Tensor, at: Sites) -> Tensor:
        """Map (B, dim, H, W) to the same shape."""
        return at.norm(x, self.norm)


class SwinIR(Backbone):
    """
    The network; the defaults are the published ones (11,455,563 parameters).

    Features are those of the decoding layers, all at full size.

    Args:
        embed_dim: channels.
        depths: blocks of each layer; the first half of the layers encodes, the rest decodes.
        num_heads: of each layer.
        mlp_ratio: hidden channels of the two-layer networks over `embed_dim`.
        window_size: side of the attention windows; `restore` pads to a multiple of it.
        upscale: 1 only; the published network restores at the same size.
        masked_keys: how attention treats hidden pixels. "excluded" (the default) excludes them; "released" is the
            behaviour of the public masked class: they take part, with keys and values made of the biases.
    """

    name: ClassVar[str] = "swinir"
    sees_whole = False

    def __init__(
        self,
        embed_dim: int = 180,
        depths: Sequence[int] = (6, 6, 6, 6, 6, 6),
        num_heads: Sequence[int] = (6, 6, 6, 6, 6, 6),
        mlp_ratio: float = 2.0,
        window_size: int = 8,
        upscale: int = 1,
        masked_keys: MaskedKeys = "excluded",
    ) -> None:
        super().__init__()
        if len(depths) < 2 or len(num_heads) != len(depths):
            raise ValueError(f"depths and num_heads need an entry per layer, two at least: {depths} and {num_heads}")
        if upscale != 1:
            raise ValueError(f"upscale must be 1, not {upscale}")
        if masked_keys not in ("excluded", "released"):
            raise ValueError(f"masked_keys must be excluded or released, not {masked_keys!r}")
        layers = [
            SwinLayer(embed_dim, depth, heads, window_size, mlp_ratio, masked_keys)
            for depth, heads in zip(depths, num_heads, strict=True)
        ]
        half = len(layers) // 2
        self.multiple = window_size
        self.feature_channels = (embed_dim,) * (len(layers) - half)
        self.feature_strides = (1,) * (len(layers) - half)
        self.last_channels = embed_dim

        self.conv_first = nn.Conv2d(3, embed_dim, 3, padding=1)
        self.patch_embed = PatchEmbed(embed_dim)
        self.encode_layers = nn.ModuleList(layers[:half])
        for i, layer in enumerate(layers[half:]):
            self.add_module(f"decode_layers{i}", layer)
        self.norm = ChannelNorm(embed_dim)
        self.conv_after_body = nn.Conv2d(embed_dim, embed_dim, 3, padding=1)
        self.conv_last = nn.Conv2d(embed_dim, 3, 3, padding=1)
        self.apply(_start)

    def forward(self, x: Tensor) -> Tensor:
        """Compute as in `Backbone`; the mean is subtracted from the image and added to the result."""
        mean = _mean_like(x)
        return (x - mean) + self.head(self.encode(x).last) + mean

    def features(self, x: Tensor, mask: PatchMask | None = None, *, backend: Backend = DENSE) -> list[Tensor]:
        """Compute as in `Backbone`."""
        at = self._sites(x, mask, backend)
        return [at.leave(y) for y in self._decode(self._first(x, at), at)]

    def encode(self, x: Tensor, mask: PatchMask | None = None, *, backend: Backend = DENSE) -> Encoded:
        """Compute as in `Backbone`."""
        at = self._sites(x, mask, backend)
        first = self._first(x, at)
        maps = self._decode(first, at)
        last = at.leave(at.conv(at.norm(maps[-1], self.norm), self.conv_after_body) + first)
        return Encoded([at.leave(y) for y in maps], last)

    def head(self, last: Tensor) -> Tensor:
        """Apply the `conv_last` convolution."""
        image: Tensor = self.conv_last(last)
        return image.contiguous()

    def _sites(self, x: Tensor, mask: PatchMask | None, backend: Backend) -> Sites:
        self.check_size(x, mask)
        return stages_for(mask, x.shape[2], x.shape[3], 1, backend)[0]

    def _first(self, x: Tensor, at: Sites) -> Tensor:
        return at.hide(at.conv(at.enter(x - _mean_like(x)), self.conv_first))

    def _decode(self, first: Tensor, at: Sites) -> list[Tensor]:
        y = self.patch_embed(first, at)
        for layer in self.encode_layers:
            y = layer(y, at)
        maps = []
        for i in range(len(self.feature_channels)):
            y = self.get_submodule(f"decode_layers{i}")(y, at)
            maps.append(y)
        return maps


def _mean_like(x: Tensor) -> Tensor:
    return x.new_tensor(RGB_MEAN).view(1, 3, 1, 1)


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
