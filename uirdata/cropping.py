"""Positions of crops: integers in, boxes out."""

from __future__ import annotations

from typing import NamedTuple


class Box(NamedTuple):
    """A window of an image, in pixels from its top left corner."""

    top: int
    left: int
    height: int
    width: int


def crop_boxes(height: int, width: int, *, size: int, stride: int) -> tuple[Box, ...]:
    """
    Return the windows that cover an image, row by row.

    The last row and column are moved back so that they end at the border, as in the published crop scripts (NAFNet,
    Restormer). A side shorter than `size` is taken whole: a small image gives one smaller window and is never padded.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        size: of the windows, both sides, in pixels.
        stride: distance from one window to the next, in pixels; more than `size` leaves gaps.

    >>> crop_boxes(300, 256, size=256, stride=256)
    (Box(top=0, left=0, height=256, width=256), Box(top=44, left=0, height=256, width=256))
    >>> len(crop_boxes(720, 1280, size=512, stride=256))
    8
    """
    if size <= 0 or stride <= 0:
        raise ValueError(f"size and stride must be positive, not {size} and {stride}")
    return tuple(
        Box(top, left, min(size, height), min(size, width))
        for top in _starts(height, size, stride)
        for left in _starts(width, size, stride)
    )


def _starts(length: int, size: int, stride: int) -> list[int]:
    if length <= size:
        return [0]
    starts = list(range(0, length - size + 1, stride))
    if starts[-1] + size < length:
        starts.append(length - size)
    return starts
