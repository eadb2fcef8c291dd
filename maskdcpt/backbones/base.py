"""
What a restoration network must be able to do here.

One class serves plain and masked runs with the same weights. Features come finest last, as the network computes them;
the degradation classifier wants them finest first, `features[::-1]`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from maskdcpt.backbones.tiling import pad_to_multiple
from maskdcpt.masking import DENSE, Backend, PatchMask


@dataclass(frozen=True, eq=False)
class Encoded:
    """
    What a network makes of an image before its restoring convolution.

    Attributes:
        features: maps of the later half, finest last (method of DCPT and MaskDCPT); hidden sites are exactly 0.
        last: (B, C, H, W), the map that the restoring convolution reads, at the image's size.
    """

    features: list[Tensor]
    last: Tensor


class Backbone(nn.Module, ABC):
    """
    A restoration network whose later half can be read, with and without a mask.

    Attributes:
        name: as in `create_backbone`.
        multiple: what height and width must be multiples of; `restore` pads to it.
        feature_channels: channels of `features`, in their order.
        feature_strides: by how much smaller than the image `features` are, in their order.
        last_channels: channels of `Encoded.last`.
        sees_whole: it takes means or attention over the whole image, so that a tile must not be smaller than what it
            was trained on; one that looks at windows alone may be cut anywhere.
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
            mask: what may be seen; None for all of it, which a mask that hides nothing equals to the bit.
            backend: how masked stages are computed.

        Raises:
            ValueError: the size does not go with the network or the mask.
        """

    @abstractmethod
    def head(self, last: Tensor) -> Tensor:
        """Apply the restoring convolution alone: (B, C, H, W) to (B, 3, H, W); `forward` adds the image."""

    def features(self, x: Tensor, mask: PatchMask | None = None, *, backend: Backend = DENSE) -> list[Tensor]:
        """Compute the maps of the later half, finest last. Arguments and errors as in `encode`."""
        return self.encode(x, mask, backend=backend).features

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in 0..1 to the restored (B, 3, H, W), not clamped; sizes as in `encode`."""
        return x + self.head(self.encode(x).last)

    def restore(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) of any size to the restored (B, 3, H, W), not clamped: padded by reflection, cropped back."""
        height, width = x.shape[-2:]
        return self.forward(pad_to_multiple(x, self.multiple))[..., :height, :width]

    def check_size(self, x: Tensor, mask: PatchMask | None = None) -> None:
        """
        Refuse an image that the network cannot take, and a mask for other images.

        Raises:
            ValueError: saying what it can take.
        """
        if x.dim() != 4 or x.shape[1] != 3:
            raise ValueError(f"{self.name} takes (B, 3, H, W), not {tuple(x.shape)}")
        if x.shape[0] == 0:
            raise ValueError(f"{self.name} takes one image at least, this batch is empty")
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
        """What the layers themselves need; `multiple` may be more."""
        return self.multiple
