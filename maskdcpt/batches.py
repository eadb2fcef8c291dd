"""What a network is given: crops as numbers between 0 and 1. B, C, H, W: batch, channels, height, width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """
    Some samples of one size.

    Attributes:
        lq: (B, 3, H, W) float32 in 0..1, RGB.
        gt: (B, 3, H, W) float32 in 0..1, RGB.
        label: (B,) int64, the position of the degradation in the subset.
    """

    lq: Tensor
    gt: Tensor
    label: Tensor

    def __len__(self) -> int:
        return self.lq.shape[0]


@dataclass(frozen=True)
class PackedBatch:
    """
    The same as it leaves a loader: bytes, a quarter of the floats, as they go through pipes and to the device.

    Attributes:
        lq: (B, H, W, 3) uint8, RGB.
        gt: (B, H, W, 3) uint8, RGB.
        label: (B,) int64.
        sample: (B,) int64, the index in the shards, for people who look for a bad one.
    """

    lq: Tensor
    gt: Tensor
    label: Tensor
    sample: Tensor

    def __len__(self) -> int:
        return self.lq.shape[0]

    def pin_memory(self) -> PackedBatch:
        """Copy into page-locked memory, from where a device reads while the host goes on."""
        return PackedBatch(*(part.pin_memory() for part in (self.lq, self.gt, self.label, self.sample)))

    def unpack(self, device: torch.device | str, *, channels_last: bool = False) -> Batch:
        """Move to a device and turn into floats there."""
        layout = torch.channels_last if channels_last else torch.contiguous_format
        lq, gt = (
            part.to(device, non_blocking=True).permute(0, 3, 1, 2).to(torch.float32).div_(255.0)
            for part in (self.lq, self.gt)
        )
        return Batch(
            lq.contiguous(memory_format=layout),
            gt.contiguous(memory_format=layout),
            self.label.to(device, non_blocking=True),
        )


def join(batches: Sequence[Batch]) -> Batch:
    """Put batches of one size behind each other."""
    return Batch(
        torch.cat([b.lq for b in batches]),
        torch.cat([b.gt for b in batches]),
        torch.cat([b.label for b in batches]),
    )
