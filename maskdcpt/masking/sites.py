"""
The submanifold rule as an interface: the operations of a network on a map of which only some sites are visible.

A network is written once against `Sites`. Per-pixel operations (1x1 convolutions, gates, residuals) are plain torch on
whatever the sites hold; operations that mix pixels are methods of `Sites`, and so are norms, because one backend has
its own kernel for them. The rule (SparK, section 3; MaskDCPT, "submanifold convolution"): an output exists where its
own site is visible, and hidden sites count as zeros.

`Everything` is the plain network, `DenseSites` the reference for every other backend: whole maps, with hidden sites set
to 0 before each operation that mixes pixels. Between those operations hidden sites may hold any value that does not
depend on hidden input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from maskdcpt.masking.layers import ChannelNorm, pixel_last
from maskdcpt.masking.patches import PatchMask
from uirdata.errors import UirError

LocalOp = Callable[[Tensor], Tensor]
"""An operation from a map to one of half or twice the size, where each 2x2 cell depends on its own site only."""


class Sites(ABC):
    """The sites of one stage of a network. Maps are (B, C, H, W), or what `enter` made of them."""

    visible: Tensor | None
    """(B, 1, H, W) bool; None when everything is visible."""

    @abstractmethod
    def enter(self, x: Tensor) -> Tensor:
        """Return the form of this stage of a whole (B, C, H, W) map; values at hidden sites are dropped, also NaN."""

    @abstractmethod
    def leave(self, x: Tensor) -> Tensor:
        """Return the whole (B, C, H, W) map, hidden sites exactly 0."""

    @abstractmethod
    def hide(self, x: Tensor) -> Tensor:
        """Return the map with hidden sites set to 0. Every block ends with it."""

    @abstractmethod
    def conv(self, x: Tensor, layer: nn.Conv2d) -> Tensor:
        """Convolve with stride 1 and zero padding; hidden sites of `x` count as zeros. The result is not hidden yet."""

    def norm(self, x: Tensor, layer: ChannelNorm) -> Tensor:
        """Normalise the channels of each pixel; this mixes no pixels, but a backend may have its own kernel for it."""
        y: Tensor = layer(x)
        return y

    @abstractmethod
    def mean(self, x: Tensor) -> Tensor:
        """Average over visible sites: (B, C, 1, 1); 0 where a sample has none."""

    @abstractmethod
    def scale(self, x: Tensor, factor: Tensor) -> Tensor:
        """Multiply each sample by its own (B, C, 1, 1) factor, or by a whole (B, C, H, W) map."""

    @abstractmethod
    def tokens(self, x: Tensor) -> Tensor:
        """Return (B, C, N): a column per site, hidden sites zero or omitted."""

    @abstractmethod
    def from_tokens(self, tokens: Tensor, like: Tensor) -> Tensor:
        """Undo `tokens`; `like` is a map of this stage, with any number of channels."""

    @abstractmethod
    def resample(self, x: Tensor, op: LocalOp, to: Sites) -> Tensor:
        """Return the map of another stage by an operation on 2x2 cells; hidden sites are 0 in `x` and in the result."""


class Everything(Sites):
    """All sites are visible: the plain network."""

    visible: Tensor | None = None

    def enter(self, x: Tensor) -> Tensor:
        """Return the map in channels_last layout."""
        return pixel_last(x)

    def leave(self, x: Tensor) -> Tensor:
        """Return `x`."""
        return x

    def hide(self, x: Tensor) -> Tensor:
        """Return `x`."""
        return x

    def conv(self, x: Tensor, layer: nn.Conv2d) -> Tensor:
        """Apply the layer."""
        return _apply(layer, x)

    def mean(self, x: Tensor) -> Tensor:
        """Average over all pixels."""
        # Divided as in the masked form, so that a mask that hides nothing changes no bit.
        count = torch.full((1, 1, 1, 1), x.shape[2] * x.shape[3], dtype=torch.float32, device=x.device)
        return _ratio(x, count)

    def scale(self, x: Tensor, factor: Tensor) -> Tensor:
        """Multiply."""
        return x * factor

    def tokens(self, x: Tensor) -> Tensor:
        """Return all pixels."""
        return x.flatten(2)

    def from_tokens(self, tokens: Tensor, like: Tensor) -> Tensor:
        """Undo `tokens`, for all pixels."""
        return pixel_last(tokens.reshape(*tokens.shape[:2], *like.shape[2:]))

    def resample(self, x: Tensor, op: LocalOp, to: Sites) -> Tensor:
        """Apply the operation."""
        return to.hide(pixel_last(op(x)))


class DenseSites(Everything):
    """
    Whole maps, multiplied by the mask before pixels are mixed: the reference.

    Args:
        visible: (B, 1, H, W) bool.
    """

    def __init__(self, visible: Tensor) -> None:
        self.visible = visible
        self._visible = visible
        self._counts = visible.sum((2, 3), keepdim=True, dtype=torch.float32).clamp(min=1.0)
        self._factors: dict[torch.dtype, Tensor] = {}

    def enter(self, x: Tensor) -> Tensor:
        """Set hidden sites to 0; multiplying by 0 would keep NaN and infinity."""
        return pixel_last(torch.where(self._visible, x, x.new_zeros(())))

    def leave(self, x: Tensor) -> Tensor:
        """Return the map with hidden sites set to 0."""
        return self.hide(x)

    def hide(self, x: Tensor) -> Tensor:
        """Multiply by the mask."""
        factor = self._factors.get(x.dtype)
        if factor is None:
            factor = self._factors[x.dtype] = self._visible.to(x.dtype)
        return x * factor

    def conv(self, x: Tensor, layer: nn.Conv2d) -> Tensor:
        """Hide, then convolve."""
        return _apply(layer, self.hide(x))

    def mean(self, x: Tensor) -> Tensor:
        """Divide the sum over visible sites by their number."""
        return _ratio(self.hide(x), self._counts)

    def tokens(self, x: Tensor) -> Tensor:
        """Return all pixels, hidden ones zero."""
        return self.hide(x).flatten(2)


EVERYTHING = Everything()
"""The plain network's sites, at every stage."""


class Backend(Protocol):
    """A way to compute the stages of a network on visible sites."""

    name: str

    def stages(self, mask: PatchMask, height: int, width: int, count: int) -> tuple[Sites, ...]:
        """
        Return the sites of strides 1, 2, 4, ... (`count` of them) for an image of this size.

        Raises:
            ValueError: the mask does not fit the size of the image.
            BackendError: the backend cannot run on this machine.
        """
        ...


class BackendError(UirError):
    """A backend cannot be used on this machine, or gives wrong results on it."""


def _ratio(x: Tensor, count: Tensor) -> Tensor:
    """Divide the sum over pixels by a count, in float32 at least: float16 cannot count the pixels of an image."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return (x.sum((2, 3), keepdim=True, dtype=wide) / count.to(wide)).to(x.dtype)


def _apply(layer: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = layer(x)
    return y
