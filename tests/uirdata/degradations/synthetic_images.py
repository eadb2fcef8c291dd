"""Images made from a seed: flat ones to measure on, and one with edges, ramps and texture."""

from __future__ import annotations

import numpy as np

from uirdata.images import RgbImage
from uirdata.seeding import rng_for


def flat(level: int | tuple[int, int, int], height: int = 128, width: int = 128) -> RgbImage:
    return np.full((height, width, 3), level, dtype=np.uint8)


def scene(height: int = 45, width: int = 61) -> RgbImage:
    """Return a ramp, a red block with sharp edges, bright bars, and a little grain; the same bytes on any machine."""
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.stack(
        [columns * 255 // max(1, width - 1), rows * 255 // max(1, height - 1), (rows * 5 + columns * 3) % 256], axis=2
    )
    image[height // 4 : height // 2, width // 4 : width // 2] = (200, 30, 60)
    image[height // 2 :, width // 2 :: 4] = 250
    image += rng_for(0, "scene", "grain").integers(-6, 7, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def random_image(height: int, width: int) -> RgbImage:
    return rng_for(0, f"{height}x{width}", "picture").integers(0, 256, (height, width, 3), dtype=np.uint8)
