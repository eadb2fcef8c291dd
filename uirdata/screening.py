"""
Quality of GT crops: scores of one crop, limits, and the least sharp crops of one image.

Only GT crops are scored: an LQ is blurred or dark on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from uirdata.images import RgbImage

FLAT, BLURRED, DARK, DUPLICATED, LEAST_SHARP = "flat", "blurred", "dark", "duplicated", "least sharp"

_BLOCK = 16
_FLAT_DEVIATION = 3.0
_BLUR_WINDOW = 11
_SOBEL_SIDES = (3, 7, 11, 15)


@dataclass(frozen=True)
class Quality:
    """
    Scores of one GT crop.

    Attributes:
        flatness: share of its 16 x 16 blocks whose grey values have a standard deviation below 3 levels; 1 is all sky.
        blur: 0 (sharp) to 1 (blurred), independent of contrast; Crete et al., "The blur effect", SPIE 2007.
        brightness: 95th percentile of its grey levels, 0 to 255.
    """

    flatness: float
    blur: float
    brightness: float


@dataclass(frozen=True)
class Limits:
    """
    Limits beyond which a crop is left out. Measured on photographs of published sets: `benchmarks/results/audit.md`.

    Attributes:
        flatness: leave out at this flatness or more.
        blur: leave out at this blur or more.
        brightness: leave out at this brightness or less.
    """

    flatness: float = 0.95
    blur: float = 0.7
    brightness: float = 25.0

    def reasons(self, quality: Quality) -> tuple[str, ...]:
        """
        Return the reasons to leave a crop out; empty if it is kept.

        >>> Limits().reasons(Quality(flatness=1.0, blur=0.2, brightness=9.0))
        ('flat', 'dark')
        """
        found = []
        # A crop without any detail has no edges either, and the blur measure of noise is meaningless.
        if quality.flatness >= self.flatness:
            found.append(FLAT)
        elif quality.blur >= self.blur:
            found.append(BLURRED)
        if quality.brightness <= self.brightness:
            found.append(DARK)
        return tuple(found)


def measure(gt: RgbImage) -> Quality:
    """Return the scores of a crop, (H, W, 3) RGB uint8."""
    grey = grey_levels(gt)
    return Quality(_flatness(grey), blur_effect(grey), float(np.percentile(grey, 95)))


def grey_levels(image: RgbImage) -> NDArray[np.uint8]:
    """Return the luma of ITU-R BT.601, rounded: (H, W, 3) to (H, W)."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def blur_effect(grey: NDArray[np.uint8]) -> float:
    """
    Return how little a grey image, (H, W), changes when it is blurred: 0 (much: it was sharp) to 1 (not at all).

    Crete, Dolmiere, Ladret and Nicolas, "The blur effect: perception and estimation with a new no-reference perceptual
    blur metric", SPIE 2007: along each axis the image is averaged over 11 pixels; the share of its gradient that
    survives is the blur of the axis, and the larger one counts. Gradients are Sobel's. 1 if there are none.
    """
    image = grey.astype(np.float32)
    return max(_blur_along(image, axis) for axis in (0, 1))


def sharpness_energies(gt: RgbImage) -> NDArray[np.float64]:
    """
    Return the four sharpness energies of a crop: the sum of Sobel's gradient magnitude at 3, 7, 11 and 15 pixels.

    Abuolaim and Brown, "Defocus Deblurring Using Dual-Pixel Data", ECCV 2020, section 5, select training patches by
    them; the DPDD patches of Restormer do the same.
    """
    grey = grey_levels(gt)
    return np.array([float(np.sum(_gradient(grey, side))) for side in _SOBEL_SIDES])


def sharpness(energies: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """
    Return the ranks of the crops of one image: 0 for the least sharp, 1 for one that is sharpest by all four energies.

    Each energy is scaled to 0..1 over the crops of the image, and the four are multiplied. An energy in which the crops
    do not differ counts as 1.

    Args:
        energies: of each crop, from `sharpness_energies`.
    """
    table = np.stack(energies)
    low = table.min(axis=0)
    span = table.max(axis=0) - low
    scaled = np.where(span > 0, (table - low) / np.where(span > 0, span, 1.0), 1.0)
    product: NDArray[np.float64] = scaled.prod(axis=1)
    return product


def least_sharp(ranks: NDArray[np.float64], share: float) -> tuple[int, ...]:
    """
    Return the indices of the crops to drop: the lowest `share` of the ranks, rounded down; of equal ones the earlier.

    >>> least_sharp(np.array([0.5, 0.1, 0.9, 0.1]), 0.5)
    (1, 3)
    """
    # 0.29 * 100 is 28.999... in floating point, which must count as 29.
    number = int(share * len(ranks) + 1e-9)
    return tuple(sorted(int(index) for index in np.argsort(ranks, kind="stable")[:number]))


def _flatness(grey: NDArray[np.uint8]) -> float:
    side = min(_BLOCK, *grey.shape)
    height, width = (grey.shape[0] // side * side, grey.shape[1] // side * side)
    blocks = grey[:height, :width].reshape(height // side, side, width // side, side).astype(np.float32)
    return float(np.mean(blocks.std(axis=(1, 3)) < _FLAT_DEVIATION))


def _blur_along(image: NDArray[np.float32], axis: int) -> float:
    window = (1, _BLUR_WINDOW) if axis == 0 else (_BLUR_WINDOW, 1)
    blurred = cv2.blur(image, window, borderType=cv2.BORDER_REFLECT)
    order = (0, 1) if axis == 0 else (1, 0)
    before, after = (np.abs(cv2.Sobel(values, cv2.CV_32F, *order)) for values in (image, blurred))
    inside = np.s_[2:-1, 2:-1]
    total = float(np.sum(before[inside], dtype=np.float64))
    lost = float(np.sum(np.maximum(0, before - after)[inside], dtype=np.float64))
    return (total - lost) / total if total > 0 else 1.0


def _gradient(grey: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
    across, down = cv2.Sobel(grey, cv2.CV_64F, 1, 0, ksize=side), cv2.Sobel(grey, cv2.CV_64F, 0, 1, ksize=side)
    magnitude: NDArray[np.float64] = np.sqrt(across * across + down * down)
    return magnitude
