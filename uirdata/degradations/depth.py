"""Depth maps for photographs without depth: plausible ones, drawn from a generator and fitted to the image's edges."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from uirdata.degradations.resampling import resize_field
from uirdata.images import RgbImage

Depth = NDArray[np.float32]


def smooth_field(shape: tuple[int, int], rng: np.random.Generator, *, cells: int) -> Depth:
    """
    Return a smooth random field.

    Args:
        shape: (height, width).
        rng: (cells + 1)^2 numbers are drawn.
        cells: number of cells along each side; more cells are rougher.

    Returns:
        (height, width) float32, 0 to 1.
    """
    coarse = rng.random((cells + 1, cells + 1), dtype=np.float32)
    return np.clip(resize_field(coarse, shape[0], shape[1], "bicubic"), 0, 1)


def draw_depth(image: RgbImage, rng: np.random.Generator, *, near: float, far: float, roughness: float = 0.5) -> Depth:
    """
    Return a random depth map: a ground that recedes upwards to a horizon, with objects of random depth on it.

    The coarse map is fitted to the image by a guided filter (He et al., "Guided Image Filtering", 2013; at a quarter
    of the resolution as in He and Sun, "Fast Guided Filter", 2015), so that depth steps are where the image has
    edges. It is not an estimate of the true depth.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: the horizon and the objects are drawn from it.
        near: smallest depth.
        far: largest depth.
        roughness: 0 for the ground alone, 1 for objects alone.

    roughness: 0 for only the ground, 1 for only objects.
        (H, W) float32, `near` to `far`.
    """
    # Everything is computed at a quarter of the resolution, at which the filter is fitted.
    height, width = max(1, image.shape[0] // 4), max(1, image.shape[1] // 4)
    horizon = rng.uniform(0.1, 0.5)
    rows = (np.arange(height, dtype=np.float32) + 0.5) / height
    # In perspective, the ground's depth is inverse to the distance below the horizon.
    ground = np.float32(0.12) / np.maximum(rows - np.float32(horizon) + np.float32(0.12), np.float32(0.12))
    objects = 0.6 * smooth_field((height, width), rng, cells=4) + 0.4 * smooth_field((height, width), rng, cells=9)
    coarse = (1 - roughness) * ground[:, None] + roughness * objects
    fitted = _guided(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)), coarse.astype(np.float32))
    low, high = float(fitted.min()), float(fitted.max())
    # Rounded to 1/4096, so that the last bits of the filter have no effect.
    unit = np.rint((fitted - low) / max(high - low, 1e-6) * 4096) / 4096
    return np.asarray(near + (far - near) * unit, dtype=np.float32)


def _guided(gray: NDArray[np.uint8], small_values: Depth) -> Depth:
    height, width = gray.shape
    guide = np.float32(1 / 255) * gray.astype(np.float32)
    small_guide = resize_field(guide, small_values.shape[0], small_values.shape[1], "area")

    def mean(field: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(field, (13, 13), borderType=cv2.BORDER_REPLICATE), dtype=np.float32).reshape(
            field.shape
        )

    mean_guide, mean_values = mean(small_guide), mean(small_values)
    covariance: NDArray[np.float32] = mean(small_guide * small_values) - mean_guide * mean_values
    variance: NDArray[np.float32] = mean(small_guide * small_guide) - mean_guide * mean_guide
    slope: NDArray[np.float32] = covariance / (variance + np.float32(0.002))
    offset: NDArray[np.float32] = mean_values - slope * mean_guide
    slope = resize_field(mean(slope), height, width, "bilinear")
    offset = resize_field(mean(offset), height, width, "bilinear")
    return slope * guide + offset
