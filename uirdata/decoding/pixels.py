"""Pixels of 8 and of 16 bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""Pixels of 8 or of 16 bits."""

_NEAREST = ((np.arange(65536, dtype=np.uint32) + 128) // 257).astype(np.uint8)


def to_eight_bits(pixels: Pixels) -> NDArray[np.uint8]:
    """
    Return pixels with 8 bits: of 16 bits the nearest grey level, not the next lower one.

    >>> to_eight_bits(np.array([0, 128, 129, 65535], dtype=np.uint16)).tolist()
    [0, 0, 1, 255]
    """
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, dtype=np.uint8)
    nearest: NDArray[np.uint8] = _NEAREST[pixels]
    return nearest


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Return pixels in upright orientation; EXIF: 2 mirrored, 3 rotated by 180, 4 flipped, 5 to 8 these transposed."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def compact(pixels: Pixels) -> Pixels:
    """Return pixels in row order, without a copy where they are already."""
    return pixels if pixels.flags.c_contiguous else pixels.copy()
