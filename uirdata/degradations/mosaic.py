"""Mosaic: only one colour per pixel is kept, as under the Bayer filter of a sensor, and the others are interpolated."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from uirdata.degradations.base import Choice, Degradation, NamedOperation, one_step_level
from uirdata.images import RgbImage

PHASES = {
    "rggb": ((0, 1), (1, 2)),
    "bggr": ((2, 1), (1, 0)),
    "grbg": ((1, 0), (2, 1)),
    "gbrg": ((1, 2), (0, 1)),
}
"""The channel (0 red, 1 green, 2 blue) of the four pixels in the image's corner, by rows."""

# OpenCV names a pattern after the second and third pixel of its second row, so its BG is our rggb.
_BILINEAR = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
}
_EDGE_AWARE = {
    "rggb": cv2.COLOR_BayerBG2RGB_EA,
    "bggr": cv2.COLOR_BayerRG2RGB_EA,
    "grbg": cv2.COLOR_BayerGB2RGB_EA,
    "gbrg": cv2.COLOR_BayerGR2RGB_EA,
}
# Even, so that the padding keeps the phase; the border pixels that OpenCV leaves out fall into it.
_PAD = 4


def mosaic(
    image: RgbImage,
    rng: np.random.Generator,  # noqa: ARG001 - it is deterministic
    *,
    phase: str = "rggb",
    method: str = "edge-aware",
) -> RgbImage:
    """
    Sample one colour per pixel and interpolate the others. The sampled values are not changed.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: not used.
        phase: "rggb", "bggr", "grbg" or "gbrg": the corner, by rows.
        method: "bilinear", "edge-aware" (green along the smaller gradient, as for MaskDCPT's pairs, in which
            however red and blue are exchanged), or "none" (missing values are 0).
    """
    if phase not in PHASES or method not in ("bilinear", "edge-aware", "none"):
        raise ValueError(f"expected a phase of {', '.join(PHASES)} and bilinear, edge-aware or none")
    height, width = image.shape[:2]
    if method == "none":
        sampled = np.zeros_like(image)
        for (row, column), channel in _sites(phase):
            sampled[row::2, column::2, channel] = image[row::2, column::2, channel]
        return sampled
    padded = cv2.copyMakeBorder(image, _PAD, _PAD, _PAD, _PAD, cv2.BORDER_REFLECT_101)
    # One more row and column if the size is odd: OpenCV needs whole 2 x 2 cells.
    padded = cv2.copyMakeBorder(padded, 0, height % 2, 0, width % 2, cv2.BORDER_REFLECT_101)
    code = (_BILINEAR if method == "bilinear" else _EDGE_AWARE)[phase]
    interpolated = cv2.cvtColor(sample_bayer(np.asarray(padded, dtype=np.uint8), phase), code)
    return np.array(interpolated[_PAD : _PAD + height, _PAD : _PAD + width], dtype=np.uint8)


def sample_bayer(image: RgbImage, phase: str) -> NDArray[np.uint8]:
    """Return the one colour of every pixel that the filter passes: (H, W, 3) to (H, W)."""
    raw = np.empty(image.shape[:2], dtype=image.dtype)
    for (row, column), channel in _sites(phase):
        raw[row::2, column::2] = image[row::2, column::2, channel]
    return raw


def _sites(phase: str) -> list[tuple[tuple[int, int], int]]:
    return [((row, column), PHASES[phase][row][column]) for row in (0, 1) for column in (0, 1)]


_level = partial(one_step_level, "mosaic")

DEGRADATION = Degradation(
    name="mosaic",
    abbreviation="MS",
    kind="single",
    paper_pairs=88_636,
    operations=(NamedOperation("mosaic", mosaic),),
    levels=(
        *(_level(f"{phase}-edge-aware", phase=phase, method="edge-aware") for phase in PHASES),
        *(_level(f"{phase}-bilinear", phase=phase, method="bilinear") for phase in PHASES),
        *(_level(f"{phase}-sampled", "not interpolated", phase=phase, method="none") for phase in PHASES),
        _level("any-phase", phase=Choice(tuple(PHASES)), method="edge-aware"),
    ),
)
