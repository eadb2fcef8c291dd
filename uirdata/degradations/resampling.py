"""
Resizing and warping that give the same bytes with every version of the libraries.

OpenCV's own resizing rounds differently from release to release, and uses Intel's IPP on some processors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uirdata.degradations.kernels import round_levels
from uirdata.images import RgbImage

METHODS = ("area", "bilinear", "bicubic")

# Weights are integers in units of 2^-11, so that every sum is exact: 255 * 2^22 * 1.6, with the overshoot of the cubic
# in both directions, stays below 2^31.
_UNIT = 2048


def resize(image: RgbImage, height: int, width: int, method: str) -> RgbImage:
    """
    Return a resized image.

    Args:
        image: (H, W, 3) RGB uint8.
        height: of the result.
        width: of the result.
        method: "area" averages the area that a pixel covers. "bilinear" and "bicubic" (a = -0.75) use two and four
            neighbours in each direction however small the result is, so they alias, as in the published pipelines.
    """
    if method == "area":
        # Channel by channel as floats: Pillow rounds colour images between the two directions.
        planes = [resize_field(image[:, :, channel].astype(np.float32), height, width, "area") for channel in range(3)]
        return round_levels(np.stack(planes, axis=2).astype(np.float64))
    taps = {"bilinear": 2, "bicubic": 4}[method]
    rows = _along(image.astype(np.int32), 0, height, taps)
    both = _along(rows, 1, width, taps)
    rounded = (both + (_UNIT * _UNIT // 2)) >> 22
    return np.asarray(np.clip(rounded, 0, 255), dtype=np.uint8)


def resize_field(field: NDArray[np.float32], height: int, width: int, method: str) -> NDArray[np.float32]:
    """Return a resized (H, W) float32 field; all methods average over skipped pixels."""
    resampling = {
        "area": Image.Resampling.BOX,
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
    }[method]
    return np.array(Image.fromarray(field).resize((width, height), resampling), dtype=np.float32)


def to_steps(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return light rounded to multiples of 2^-14: then interpolation at multiples of 1/32 pixel is exact in float32."""
    steps = light * np.float32(2**14)
    np.rint(steps, out=steps)
    steps *= np.float32(2**-14)
    return steps


def look_up(image: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """
    Return an image sampled at positions between its pixels, bilinearly; outside, the nearest border pixel is used.

    Args:
        image: (h, w, C) float32; from `to_steps`, if the bytes must be the same everywhere.
        x: (H, W) columns. Rounded to 1/32 pixel: older OpenCV has no finer steps, newer ones use the exact position.
        y: (H, W) rows.

    Returns:
        (H, W, C) float32.
    """
    steps = np.float32(32)
    column, row = np.rint(x * steps) / steps, np.rint(y * steps) / steps
    found = cv2.remap(image, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, dtype=np.float32).reshape(*x.shape, image.shape[2])


@dataclass(frozen=True)
class AffineMap:
    """
    Source positions of the pixels of an image: that of pixel (x, y) is the sum of the values of column x and row y.

    Pixels, in multiples of 1/32 as float32, so that the sums are exact.

    Attributes:
        x_of_column: (W,), and so on: what a column adds to x.
        x_of_row: (H,).
        y_of_column: (W,).
        y_of_row: (H,).
    """

    x_of_column: NDArray[np.float32]
    x_of_row: NDArray[np.float32]
    y_of_column: NDArray[np.float32]
    y_of_row: NDArray[np.float32]


def affine_map(matrix: NDArray[np.float64], height: int, width: int) -> AffineMap:
    """Return the map of a (2, 3) matrix from (x, y, 1) of the result to (x, y) of the image, pixels."""

    def rounded(values: NDArray[np.float64]) -> NDArray[np.float32]:
        return (np.rint(values * 32) / 32).astype(np.float32)

    columns, rows = np.arange(width), np.arange(height)
    x, y = matrix
    return AffineMap(
        rounded(x[0] * columns), rounded(x[1] * rows + x[2]), rounded(y[0] * columns), rounded(y[1] * rows + y[2])
    )


def move(image: NDArray[np.float32], where: AffineMap, lines: slice) -> NDArray[np.float32]:
    """
    Return some lines of an image sampled through an affine map, bilinearly; beyond the border it is mirrored.

    Args:
        image: (H, W, C) float32. Integers below 2^14 make the result exact.
        where: source positions of the pixels.
        lines: lines of the result to compute.

    Returns:
        (lines, W, C) float32.
    """
    x = np.add.outer(where.x_of_row[lines], where.x_of_column)
    y = np.add.outer(where.y_of_row[lines], where.y_of_column)
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), dtype=np.float32)


def _along(values: NDArray[np.int32], axis: int, size: int, taps: int) -> NDArray[np.int32]:
    length = values.shape[axis]
    place = (np.arange(size, dtype=np.float64) + 0.5) * (length / size) - 0.5
    corner = np.floor(place).astype(np.int64)
    fraction = place - corner
    if taps == 2:
        weights = [1 - fraction, fraction]
    else:
        weights = [_cubic(fraction + 1), _cubic(fraction), _cubic(1 - fraction), _cubic(2 - fraction)]
    whole = [np.rint(weight * _UNIT).astype(np.int32) for weight in weights]
    # The rounded weights must still sum to one, or flat areas would change.
    whole[taps // 2 - 1] += _UNIT - np.sum(whole, axis=0, dtype=np.int32)
    shape = [1, 1, 1]
    shape[axis] = size
    total: NDArray[np.int32] | None = None
    for tap, weight in enumerate(whole):
        index = np.clip(corner + tap - (taps // 2 - 1), 0, length - 1)
        part = np.take(values, index, axis=axis) * weight.reshape(shape)
        total = part if total is None else total + part
    return np.asarray(total, dtype=np.int32)


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    # Keys' kernel with a = -0.75, as in OpenCV and PyTorch.
    a, d = -0.75, np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.asarray(np.where(d <= 1, near, far))


def scaled(length: int, factor: float) -> int:
    """Return a length times a factor, rounded half up, at least 1."""
    return max(1, math.floor(length * factor + 0.5))
