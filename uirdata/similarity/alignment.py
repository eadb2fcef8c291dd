"""Alignment of two images: the part that both show, and the correlation of their pixels."""

from __future__ import annotations

import cv2
import numpy as np

from uirdata.images import RgbImage
from uirdata.screening import grey_levels
from uirdata.similarity.fingerprints import Flip, Placement

Part = tuple[int, int, int, int]
"""Top, left, height and width, in pixels."""

_COMPARED_SIDE = 64


def flip_image(image: RgbImage, flip: Flip) -> RgbImage:
    """Return a flipped image."""
    across = -1 if flip in ("horizontal", "both") else 1
    down = -1 if flip in ("vertical", "both") else 1
    return image[::down, ::across]


def common_parts(one: tuple[int, ...], other: tuple[int, ...], placement: Placement | None) -> tuple[Part, Part]:
    """
    Return the parts of two images that show the same area.

    Args:
        one: height and width of the first, after a flip if there is one.
        other: of the second.
        placement: position of the first in the second; None if both show the same area.

    Returns:
        Top, left, height and width in the first and in the second; heights of 0 if they do not overlap.
    """
    if placement is None:
        return (0, 0, one[0], one[1]), (0, 0, other[0], other[1])
    spans = []
    for length, other_length, offset in ((one[0], other[0], placement.top), (one[1], other[1], placement.left)):
        begin, end = max(0.0, offset), min(float(other_length), offset + placement.scale * length)
        end = max(begin, end)
        mine = round((begin - offset) / placement.scale), round((end - begin) / placement.scale)
        spans.append((mine, (round(begin), round(end - begin))))
    (down, other_down), (across, other_across) = spans
    return (down[0], across[0], down[1], across[1]), (other_down[0], other_across[0], other_down[1], other_across[1])


def correlation(one: RgbImage, other: RgbImage) -> float:
    """Return the correlation of the grey levels of two images at 64 x 64: 1 for equal structure, 0 for a flat image."""
    size = (_COMPARED_SIDE, _COMPARED_SIDE)
    small = [
        cv2.resize(grey_levels(image), size, interpolation=cv2.INTER_AREA).astype(np.float64) for image in (one, other)
    ]
    centred = [image - image.mean() for image in small]
    norm = float(np.sqrt(np.sum(centred[0] ** 2) * np.sum(centred[1] ** 2)))
    return float(np.sum(centred[0] * centred[1])) / norm if norm > 0 else 0.0


def cut(image: RgbImage, part: Part) -> RgbImage:
    """Return a part of an image."""
    top, left, height, width = part
    return image[top : top + height, left : left + width]
