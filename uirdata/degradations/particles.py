"""Things that fall between the camera and the scene: scattered marks, each the same small picture at its own place."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Layer = NDArray[np.float32]


def scatter(
    shape: tuple[int, int], rng: np.random.Generator, mark: Layer, *, density: float, faintest: float = 0.3
) -> Layer:
    """
    Put a mark at random places, each with its own strength; where two overlap they add up.

    Args:
        shape: (height, width) of the layer.
        rng: the number of marks, their places and their strengths are drawn from it.
        mark: (h, w) of odd sizes, 0 to 1.
        density: mean number of marks per 10,000 pixels.
        faintest: the strength of a mark is uniform from this to 1.

    Returns:
        (height, width) float32, 0 or more. Marks enter from outside the borders as often as anywhere else.
    """
    reach_y, reach_x = mark.shape[0] // 2, mark.shape[1] // 2
    height, width = shape[0] + 2 * reach_y, shape[1] + 2 * reach_x
    count = int(rng.poisson(density * height * width / 10_000))
    places = rng.integers(0, height * width, count)
    strength = rng.uniform(faintest, 1.0, count)
    seeds = np.bincount(places, weights=strength, minlength=height * width).astype(np.float64).reshape(height, width)
    # A sum of marks is a convolution; in float64 its rounding error never reaches a grey level.
    flipped = np.ascontiguousarray(mark[::-1, ::-1], dtype=np.float64)
    layer = cv2.filter2D(seeds, cv2.CV_64F, flipped, borderType=cv2.BORDER_CONSTANT)
    inner = np.asarray(layer).reshape(height, width)[reach_y : reach_y + shape[0], reach_x : reach_x + shape[1]]
    # Multiples of 2^-12: the last bits of the transform do not show.
    return np.asarray(np.rint(inner * 4096) / 4096, dtype=np.float32)


def streak(length: float, width: float, angle: float) -> Layer:
    """
    Draw a streak: a line with a Gaussian profile that fades out at both ends.

    Args:
        length: pixels, end to end.
        width: pixels at half of the height.
        angle: degrees from the vertical, positive leans to the right at the top.

    Returns:
        (h, w) of odd sizes, 1 in the middle.
    """
    reach = math.ceil(length / 2 + width)
    offsets = np.arange(-reach, reach + 1, dtype=np.float64)
    x, y = np.meshgrid(offsets, offsets)
    sin, cos = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    along, across = x * sin - y * cos, x * cos + y * sin
    # Raised cosine over the last third of each half.
    fade = np.clip((length / 2 - np.abs(along)) / (length / 6 + 0.5), 0, 1)
    profile = np.exp(-4 * math.log(2) * (across / width) ** 2)
    mark = profile * (0.5 - 0.5 * np.cos(math.pi * fade))
    return _trim(mark)


def flake(diameter: float, softness: float, travel: float, angle: float) -> Layer:
    """
    Draw a flake: a disk with a soft edge, drawn out along its way.

    Args:
        diameter: pixels, where it is half as bright as in the middle.
        softness: 0 for a hard disk, 1 for one that is all edge.
        travel: pixels that it moves while the shutter is open.
        angle: of its way, degrees from the vertical, positive leans to the right at the top.

    Returns:
        (h, w) of odd sizes, 1 at most.
    """
    radius = diameter / 2
    reach = math.ceil(radius * (1 + softness) + travel / 2 + 1)
    offsets = np.arange(-reach, reach + 1, dtype=np.float64)
    x, y = np.meshgrid(offsets, offsets)
    sin, cos = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    along, across = x * sin - y * cos, x * cos + y * sin
    distance = np.hypot(np.maximum(np.abs(along) - travel / 2, 0), across)
    edge = max(0.7, radius * softness)
    mark = 1 / (1 + np.exp(4 * (distance - radius) / edge))
    return _trim(mark / max(1.0, float(mark.max())))


def _trim(mark: NDArray[np.float64]) -> Layer:
    rows = np.flatnonzero(mark.max(axis=1) > 0.004)
    columns = np.flatnonzero(mark.max(axis=0) > 0.004)
    centre = mark.shape[0] // 2
    reach_y = int(np.abs(rows - centre).max(initial=0))
    reach_x = int(np.abs(columns - centre).max(initial=0))
    inner = mark[centre - reach_y : centre + reach_y + 1, centre - reach_x : centre + reach_x + 1]
    return np.ascontiguousarray(inner, dtype=np.float32)
