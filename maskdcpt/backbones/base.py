"""
The interface of a restoration network.

One class serves plain and masked runs with the same weights. Features are ordered finest last, as the network computes
them; the degradation classifier takes them finest first, `features[::-1]`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from maskdcpt.backbones.padding import pad_to_multiple
from maskdcpt.masking import DENSE, Backend, PatchMask


@dataclass(frozen=True, eq=False)
class Encoded:
    """
    The maps of a network before its restoring convolution.

    Attributes:
        features: maps of the later half, finest last (method of DCPT and MaskDCPT); hidden sites are exactly 0.
        last: (B, C, H, W), the input of the restoring convolution, at the image's size.
    """

    features: list[Tensor]
    last: Tensor


class Backbone(nn.Module, ABC):
    """
    A restoration network whose later features can be read, with and without a mask.

    Attributes:
        name: as in `create_backbone`.
        multiple: height and width must be multiples of it; `restore` pads to it.
        feature_channels: channels of `features`, in their order.
        feature_strides: size of the image over the size of each of `features`, in their order.
        last_channels: channels of `Encoded.last`.
        sees_whole: it takes means or attention over the whole image, so a tile must not be smaller than the crops that
            it was trained on; a network that uses windows only may be run on tiles of any size.
    """

    name: ClassVar[str]
    sees_whole: bool = True
    multiple: int
    feature_channels: tuple[int, ...]
    feature_strides: tuple[int, ...]
    last_channels: int

    @abstractmethod
    def encode(self, x: Tensor, mask: PatchMask | None = None, *, backend: Backend = DENSE) -> Encoded:
        """
        Compute everything but the restoring convolution.

        Args:
            x: (B, 3, H, W) in 0..1, H and W multiples of `multiple`.
            mask: the visible patches; None for a plain run, which a mask that hides nothing equals to the bit.
            backend: how masked stages are computed.

        Raises:
            ValueError: the size does not fit the network or the mask.
        """

    @abstractmethod
    def head(self, last: Tensor) -> Tensor:
        """Apply the restoring convolution alone: (B, C, H, W) to (B, 3, H, W); `forward` adds the image."""

    def features(self, x: Tensor, mask: PatchMask | None = None, *, backend: Backend = DENSE) -> list[Tensor]:
        """Compute the maps of the later half, finest last. Arguments and errors as in `encode`."""
        return self.encode(x, mask, backend=backend).features

    def forward(self, x: Tensor) -> Tensor:
        """Restore (B, 3, H, W) in 0..1; the result has the same shape and is not clamped. Sizes as in `encode`."""
        return x + self.head(self.encode(x).last)

    def restore(self, x: Tensor) -> Tensor:
        """Restore (B, 3, H, W) of any size, not clamped: padded by reflection, and the result cropped back."""
        height, width = x.shape[-2:]
        return self.forward(pad_to_multiple(x, self.multiple))[..., :height, :width]

    def check_size(self, x: Tensor, mask: PatchMask | None = None) -> None:
        """
        Check that the network can take a batch, and that the mask is for it.

        Raises:
            ValueError: the shape does not fit the network, or the mask is for another number of images.
        """
        if x.dim() != 4 or x.shape[1] != 3:
            raise ValueError(f"{self.name} takes (B, 3, H, W), not {tuple(x.shape)}")
        if x.shape[0] == 0:
            raise ValueError(f"{self.name} takes one image at least, but the batch is empty")
        if mask is not None:
            mask.check_batch(x)
        height, width = x.shape[-2:]
        if height % self.divisor or width % self.divisor or 0 in (height, width):
            raise ValueError(
                f"{self.name} takes heights and widths that are multiples of {self.divisor}, not {height}x{width}: "
                "use restore(), which pads"
            )

    @property
    def divisor(self) -> int:
        """The multiple that the layers themselves require of height and width; `multiple` may be larger."""
        return self.multiple
