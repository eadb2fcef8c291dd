"""Camera curves between grey levels and linear light, and operations in linear light."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from uirdata.images import RgbImage

Curve = Literal["srgb", "gamma-2p2", "linear"]

# The square root of light is looked up in these steps. The root is close to the curves, so that even the first
# grey level of a pure power is over a hundred steps wide.
_STEPS = 65535
_PIECE = 2**15


def to_light(image: RgbImage, curve: str = "srgb") -> NDArray[np.float32]:
    """
    Return linear light, 0 to 1, float32 of the same shape.

    Args:
        image: uint8.
        curve: "srgb" (IEC 61966-2-1), "gamma-2p2" (a plain power, as the GoPro set assumes), or "linear".
    """
    looked_up = cv2.LUT(np.ascontiguousarray(image).reshape(-1, 1), _light_of_level(curve).reshape(256, 1))
    return np.asarray(looked_up, dtype=np.float32).reshape(image.shape)


def from_light(light: NDArray[np.float32], curve: str = "srgb") -> RgbImage:
    """
    Return grey levels, rounded; values below 0 or above 1 are clipped.

    `from_light(to_light(image))` equals the image.
    """
    return look_up_levels(light, _level_of_step(curve))


def look_up_levels(light: NDArray[np.float32], level_of_root: RgbImage) -> RgbImage:
    """
    Return the grey levels of linear light by a table.

    Args:
        light: of any shape; values below 0 or above 1 are clipped.
        level_of_root: (65536,) uint8, the level of each step of the square root of light, from 0 to 1.
    """
    flat, levels = np.ascontiguousarray(light).reshape(-1), np.empty(light.shape, dtype=np.uint8)
    found = levels.reshape(-1)
    # In pieces that fit into the cache, without large temporaries: twice as fast.
    for start in range(0, flat.size, _PIECE):
        root = np.clip(flat[start : start + _PIECE], 0, 1)
        np.sqrt(root, out=root)
        root *= np.float32(_STEPS)
        np.rint(root, out=root)
        np.take(level_of_root, root.astype(np.intp), out=found[start : start + _PIECE], mode="clip")
    return levels


def expose(light: NDArray[np.float32], stops: float) -> NDArray[np.float32]:
    """Change the exposure: each stop doubles the light, each negative stop halves it."""
    return light * np.float32(2.0**stops)


def quantise(light: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Round to the steps of an analogue-digital converter; clips to 0..1, as a converter does."""
    top = np.float32(2**bits - 1)
    return np.asarray(np.rint(np.clip(light, 0, 1) * top) / top)


@lru_cache(maxsize=8)
def _light_of_level(curve: str) -> NDArray[np.float32]:
    return _decode(np.arange(256, dtype=np.float64) / 255.0, curve).astype(np.float32)


@lru_cache(maxsize=8)
def _level_of_step(curve: str) -> RgbImage:
    # A step belongs to the level whose decoded light is nearest in grey levels: the borders are decoded half levels.
    borders = np.sqrt(_decode((np.arange(255, dtype=np.float64) + 0.5) / 255.0, curve)) * _STEPS
    return np.searchsorted(borders, np.arange(_STEPS + 1), side="right").astype(np.uint8)


def _decode(level: NDArray[np.float64], curve: str) -> NDArray[np.float64]:
    if curve == "linear":
        return level
    if curve == "gamma-2p2":
        return np.asarray(level**2.2)
    if curve == "srgb":
        return np.asarray(np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4))
    raise ValueError(f"curve is {curve!r}, expected one of {', '.join(get_args(Curve))}")
