"""Particles between the camera and the scene: marks at random positions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from uirdata.degradations.depth import draw_depth
from uirdata.images import RgbImage

Layer = NDArray[np.float32]

_PIXELS_AT_ONCE = 2**20
_MOST_OVERLAPS = 300
_DENSEST = 50_000
_LARGEST = 1000
# Half a grey level of a white mark.
_UNSEEN = 1 / 512


def scatter(
    shape: tuple[int, int], rng: np.random.Generator, marks: Sequence[Layer], *, density: float, faintest: float = 0.3
) -> Layer:
    """
    Return a layer with marks at random positions, each with its own strength; overlapping marks are added.

    Args:
        shape: (height, width) of the layer.
        rng: the number of marks, their positions and their strengths are drawn from it, one mark after the other.
        marks: each (h, w) of odd sizes, 0 to 1. All are used equally often.
        density: mean number of marks per 10,000 pixels, over all kinds.
        faintest: the strength of a mark is uniform from this to 1.

    Returns:
        (height, width) float32, 0 or more. Marks that cross the borders are as frequent as all others.
    """
    if density > _DENSEST:
        raise ValueError(f"expected at most {_DENSEST:,} marks per 10,000 pixels")
    overlaps = density / len(marks) / 10_000 * sum(int(np.count_nonzero(mark)) for mark in marks)
    if overlaps > _MOST_OVERLAPS:
        # A recipe of others must not take hours.
        raise ValueError(
            f"expected at most {_MOST_OVERLAPS} marks over a pixel, got {overlaps:.0f}: fewer or smaller ones"
        )
    reach_y, reach_x = (max(mark.shape[axis] // 2 for mark in marks) for axis in (0, 1))
    # The centre of a mark is at most its radius outside; the canvas has room for the whole mark.
    top, left = 2 * reach_y, 2 * reach_x
    canvas = np.zeros((shape[0] + 2 * top, shape[1] + 2 * left))
    for mark in marks:
        half_y, half_x = mark.shape[0] // 2, mark.shape[1] // 2
        height, width = shape[0] + 2 * half_y, shape[1] + 2 * half_x
        count = int(rng.poisson(density / len(marks) * height * width / 10_000))
        places = rng.integers(0, height * width, count)
        strength = rng.uniform(faintest, 1.0, count)
        corners = (places // width + top - 2 * half_y) * canvas.shape[1] + places % width + left - 2 * half_x
        _add(canvas, mark, corners, strength)
    inner = canvas[top : top + shape[0], left : left + shape[1]]
    # Multiples of 2^-12, so that the last bits of the sum have no effect.
    return np.asarray(np.rint(inner * 4096) / 4096, dtype=np.float32)


def _add(canvas: NDArray[np.float64], mark: Layer, corners: NDArray[np.int64], strength: NDArray[np.float64]) -> None:
    """
    Add a mark to the canvas, with its upper left corners at some flat indices.

    Marks are few and small, so this is far less work than a convolution; and the order of the sum is that of the draws,
    on every processor.
    """
    rows, columns = np.nonzero(mark)
    offsets, values = rows * canvas.shape[1] + columns, mark[rows, columns].astype(np.float64)
    # Some marks at a time, to bound the memory.
    at_once = max(1, _PIXELS_AT_ONCE // max(1, len(offsets)))
    for first in range(0, len(corners), at_once):
        chosen = slice(first, first + at_once)
        where = np.add.outer(corners[chosen], offsets).ravel()
        weights = np.multiply.outer(strength[chosen], values).ravel()
        canvas += np.bincount(where, weights=weights, minlength=canvas.size).reshape(canvas.shape)


def lay_over(seen: Layer, colour: float, cover: Layer) -> None:
    """
    Blend a gray level into an image, in place.

    Args:
        seen: (H, W, 3), grey levels.
        colour: grey level.
        cover: (H, W), the share of the gray level, 0 to 1.
    """
    # Three equal channels: several times as fast as broadcasting one over three.
    share = cv2.merge([cover, cover, cover])
    seen += np.multiply(np.subtract(np.float32(colour), seen), share, out=share)


def lay_veil(
    seen: Layer, colour: float, image: RgbImage, rng: np.random.Generator, *, veil: float, near: float
) -> None:
    """
    Lay what is too far away to be seen as marks over an image, in place: the deeper the scene, the denser.

    Args:
        seen: (H, W, 3), grey levels.
        colour: grey level.
        image: (H, W, 3) RGB uint8; the depth follows its edges.
        rng: the depth is drawn from it; nothing where the veil is 0.
        veil: share that it covers where the scene is farthest, 0 to 1.
        near: share of the veil before the nearest of the scene.
    """
    if veil:
        lay_over(seen, colour, np.float32(veil) * draw_depth(image, rng, near=near, far=1.0, roughness=0.4))


def streak(length: float, width: float, angle: float) -> Layer:
    """
    Return a streak: a line with a Gaussian profile that fades out at both ends.

    Args:
        length: pixels, end to end.
        width: pixels at half of the maximum.
        angle: degrees from the vertical, positive leans to the right at the top.

    Returns:
        (h, w) of odd sizes, 1 in the middle.
    """
    _check_size(length, width)
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
    Return a flake: a disk with a soft edge, stretched along its path.

    Args:
        diameter: pixels, at half of the central brightness.
        softness: 0 for a hard disk (an edge of 0.7 pixels), 1 for one that consists only of its edge.
        travel: motion during the exposure, pixels.
        angle: of the motion, degrees from the vertical, positive leans to the right at the top.

    Returns:
        (h, w) of odd sizes, 1 at most.
    """
    _check_size(diameter, travel)
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


def _check_size(*sizes: float) -> None:
    if max(sizes) > _LARGEST:
        raise ValueError(f"expected streaks and flakes of at most {_LARGEST:,} pixels")


def _trim(mark: NDArray[np.float64]) -> Layer:
    """Return a mark without its invisible borders: a slanted streak would otherwise be as large as its bounding box."""
    mark = np.where(mark < _UNSEEN, 0, mark)
    rows, columns = (np.flatnonzero(mark.any(axis=axis)) for axis in (1, 0))
    centre = mark.shape[0] // 2
    reach_y = int(np.abs(rows - centre).max(initial=0))
    reach_x = int(np.abs(columns - centre).max(initial=0))
    inner = mark[centre - reach_y : centre + reach_y + 1, centre - reach_x : centre + reach_x + 1]
    return np.ascontiguousarray(inner, dtype=np.float32)
