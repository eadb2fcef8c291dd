"""Conversion of images between arrays, tensors in 0..1 and PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uirdata.images import RgbImage, encode_image, to_uint8
from uirdata.storage.files import writing


def image_grid(rows: Sequence[Sequence[Tensor]], gap: int = 4) -> RgbImage:
    """
    Return one image with images in rows, white between them.

    Args:
        rows: rows of images (3, H, W) in 0..1, all of one size; values outside are clipped.
        gap: pixels between images.
    """
    height, width = rows[0][0].shape[-2:]
    canvas = np.full((len(rows) * (height + gap) - gap, len(rows[0]) * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            top, left = i * (height + gap), j * (width + gap)
            canvas[top : top + height, left : left + width] = to_rgb(image)
    return canvas


def to_rgb(image: Tensor) -> RgbImage:
    """Convert (3, H, W) in 0..1 to (H, W, 3) uint8: clipped, rounded to the nearest level."""
    pixels = image.detach().to("cpu", torch.float32).permute(1, 2, 0).numpy()
    return to_uint8(pixels * 255.0)


def write_image(path: Path, image: RgbImage) -> None:
    """
    Write a PNG file; it gets its final name only when it is complete.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    with writing(path) as partial:
        partial.write_bytes(encode_image(image, "png"))


def to_tensor(image: RgbImage) -> Tensor:
    """Convert (H, W, 3) uint8 to (1, 3, H, W) float32 in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].to(torch.float32) / 255.0


def image_tensor(image: Image) -> Tensor:
    """Convert (H, W, 3) uint8, or float32 in 0..1, to (1, 3, H, W) in 0..1."""
    if image.dtype == np.uint8:
        return to_tensor(np.asarray(image, dtype=np.uint8))
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]


Image = RgbImage | NDArray[np.float32]
"""(H, W, 3) RGB, uint8, or float32 in 0..1 where a protocol does not round."""
