"""Batches, the input of a network: crops as numbers between 0 and 1. B, C, H, W: batch, channels, height, width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from uirdata.images import RgbImage


@dataclass(frozen=True)
class Batch:
    """
    Samples of the same size.

    >>> batch = Batch(lq=torch.rand(2, 3, 32, 32), gt=torch.rand(2, 3, 32, 32), label=torch.tensor([0, 4]))
    >>> len(batch)
    2

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
    A batch as a loader yields it: uint8, a quarter of the size of float32, for the transfer to the device.

    Attributes:
        pixels: (2, B, H, W, 3) uint8, RGB: LQ, then GT.
        label: (B,) int64.
        sample: (B,) int64, the index in the shards, for finding a bad sample.
    """

    pixels: Tensor
    label: Tensor
    sample: Tensor

    def __len__(self) -> int:
        return self.pixels.shape[1]

    def __reduce__(self) -> tuple[Any, ...]:
        # Each tensor that is sent to another process costs a connection between the two; only the pixels are worth it.
        return _unpickled, (self.pixels, self.label.tolist(), self.sample.tolist())

    @property
    def lq(self) -> Tensor:
        """(B, H, W, 3) uint8, RGB."""
        return self.pixels[0]

    @property
    def gt(self) -> Tensor:
        """(B, H, W, 3) uint8, RGB."""
        return self.pixels[1]

    def pin_memory(self) -> PackedBatch:
        """Return a copy in page-locked memory, from which a device reads while the host continues."""
        return PackedBatch(*(part.pin_memory() for part in (self.pixels, self.label, self.sample)))

    def unpack(self, device: torch.device | str, *, channels_last: bool = False) -> Batch:
        """Return the batch on a device, converted to float32 there."""
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


def _unpickled(pixels: Tensor, label: list[int], sample: list[int]) -> PackedBatch:
    return PackedBatch(pixels, torch.tensor(label, dtype=torch.int64), torch.tensor(sample, dtype=torch.int64))


def empty_batch(count: int, height: int, width: int) -> PackedBatch:
    """Return an uninitialised batch of `count` crops; in a loader's worker in shared memory, so nothing is copied."""
    shape = (2, count, height, width, 3)
    pixels = torch.empty(shape, dtype=torch.uint8)
    if get_worker_info() is not None:
        shared = torch.UntypedStorage._new_shared(math.prod(shape))  # type: ignore[no-untyped-call]
        pixels = torch.empty(0, dtype=torch.uint8).set_(shared).view(shape)
    return PackedBatch(pixels, torch.empty(count, dtype=torch.int64), torch.empty(count, dtype=torch.int64))


def pack(items: Sequence[tuple[RgbImage, RgbImage, int, int]]) -> PackedBatch:
    """Return a batch of crops of the same size: LQ, GT, label and index of each sample."""
    lq, gt, label, sample = zip(*items, strict=True)
    return PackedBatch(
        torch.from_numpy(np.stack([np.stack(lq), np.stack(gt)])),
        torch.tensor(label, dtype=torch.int64),
        torch.tensor(sample, dtype=torch.int64),
    )


def join(batches: Sequence[Batch]) -> Batch:
    """Return batches of the same image size concatenated in their order."""
    return Batch(
        torch.cat([b.lq for b in batches]),
        torch.cat([b.gt for b in batches]),
        torch.cat([b.label for b in batches]),
    )
