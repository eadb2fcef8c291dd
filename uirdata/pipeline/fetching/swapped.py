"""Whether LQ and GT of a user's folder are swapped, measured on a few pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from uirdata.errors import ImageError
from uirdata.images import RgbImage, read_image
from uirdata.screening import blur_effect, grey_levels

_PAIRS = 5
_SIDE_PX = 768
_BLOCK_PX = 16
_LEAST_OF_ALL = 0.8
_NOISY = 3.0
"""Grey levels of noise by which two images must differ to count as noisy and not."""

# Immerkaer, "Fast noise variance estimation", CVIU 1996: no response to edges that are straight.
_LAPLACE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Look:
    """
    What tells a degraded image from a clean one.

    Attributes:
        noise: standard deviation of the noise in its calmest blocks, in grey levels.
        blur: 0 (sharp) to 1; `screening.blur_effect`.
        light: mean grey level.
        veil: 5th percentile of the smallest channel, which haze raises.
        grey: the grey levels that were measured.
    """

    noise: float
    blur: float
    light: float
    veil: float
    grey: NDArray[np.uint8]


def look_at(image: RgbImage) -> Look:
    """Return the measures of an image, of at most its middle 768 x 768 pixels."""
    top, left = (max(0, (side - _SIDE_PX) // 2) for side in image.shape[:2])
    part = image[top : top + _SIDE_PX, left : left + _SIDE_PX]
    grey = grey_levels(part)
    response = np.abs(cv2.filter2D(grey.astype(np.float32), cv2.CV_32F, _LAPLACE)) * np.float32(np.sqrt(np.pi / 2) / 6)
    return Look(
        noise=float(np.percentile(_block_means(response), 10)),
        blur=blur_effect(grey),
        light=float(grey.mean()),
        veil=float(np.percentile(part.min(axis=2), 5)),
        grey=grey,
    )


def _block_means(values: NDArray[np.float32]) -> NDArray[np.float32]:
    side = min(_BLOCK_PX, *values.shape)
    height, width = (length // side * side for length in values.shape)
    blocks = values[:height, :width].reshape(height // side, side, width // side, side)
    means: NDArray[np.float32] = blocks.mean(axis=(1, 3))
    return means


def _noisier(gt: Look, lq: Look) -> bool:
    return gt.noise > max(1.5 * lq.noise, lq.noise + 1.0)


def _brightened(gt: Look, lq: Look) -> bool:
    # Streaks and flakes add light to the GT; seen the other way round, nearly all that differs is darker.
    if gt.grey.shape != lq.grey.shape:
        return False
    added = lq.grey.astype(np.int32) - gt.grey
    more, less = float(added.clip(0).mean()), float((-added).clip(0).mean())
    return less > 0.5 and less > 4 * more


def _blurrier(gt: Look, lq: Look) -> bool:
    # Noise looks sharp; a noisy LQ says nothing about which of the two is blurred.
    return gt.blur > lq.blur + 0.05 and lq.noise < gt.noise + _NOISY


def _darker(gt: Look, lq: Look) -> bool:
    return gt.light < 0.8 * lq.light


def _hazier(gt: Look, lq: Look) -> bool:
    return gt.veil > lq.veil + 10 and lq.noise < gt.noise + _NOISY


_SIGNS: dict[str, tuple[Callable[[Look, Look], bool], str]] = {
    "noise": (_noisier, "noisier"),
    "real-noise": (_noisier, "noisier"),
    "motion-blur": (_blurrier, "more blurred"),
    "defocus-blur": (_blurrier, "more blurred"),
    "gaussian-blur": (_blurrier, "more blurred"),
    "haze": (_hazier, "hazier"),
    "rain-streak": (_brightened, "brighter"),
    "snow": (_brightened, "brighter"),
    "low-light": (_darker, "darker"),
}
"""For types whose direction can be measured: how to tell that the GT is the degraded one, and the word for it."""


def looks_swapped(folder: Path, degradation: str, pairs: Sequence[tuple[str, str]]) -> str:
    """
    Return why LQ and GT look swapped; "" if they do not, or if it cannot be told for this degradation.

    Args:
        folder: that the paths are relative to.
        degradation: of the LQ.
        pairs: LQ and GT; at most five of them are read, spread evenly. Those that cannot be read do not count.
    """
    if degradation not in _SIGNS or not pairs:
        return ""
    is_worse, word = _SIGNS[degradation]
    step = max(1, len(pairs) // _PAIRS)
    measured: list[bool] = []
    for lq, gt in pairs[::step][:_PAIRS]:
        try:
            measured.append(is_worse(look_at(read_image(folder / gt)), look_at(read_image(folder / lq))))
        except ImageError:
            continue
    worse = sum(measured)
    if not measured or worse < _LEAST_OF_ALL * len(measured):
        return ""
    return f"the GT is {word} than its LQ in {worse} of {len(measured)} pairs that were measured"
