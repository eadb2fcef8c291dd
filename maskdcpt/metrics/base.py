"""Shared parts of metrics: which pixels are compared, in which dtype and range, and how a learned metric is pinned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

Y_WEIGHTS = (65.481, 128.553, 24.966)
"""Weights from RGB in 0..1 to the Y of BT.601 in 16..235, as MATLAB's rgb2ycbcr."""


class Metric(Protocol):
    """A comparison of two batches, with one value per image."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Compare two (B, 3, H, W), RGB in 0..1; return (B,) float64."""
        ...


@dataclass(frozen=True)
class WeightFile:
    """
    A weight file that a learned metric needs.

    Attributes:
        path: below the folder of weights.
        url: of the published file.
        sha256: its first digits, from the published file name; "" where the name has none.
    """

    path: str
    url: str
    sha256: str = ""


@dataclass(frozen=True)
class LearnedMetric:
    """
    A metric of another library, with everything pinned that its value depends on.

    Attributes:
        name: in this package.
        engine_name: in the library.
        options: passed to the library, so that its defaults cannot change the value.
        pinned: the variant in words, for tables and reports.
        needs_gt: compares with the GT.
        rounded: takes images of 8 bits, as if they had been saved; else clipped floats.
        of_a_set: one value for a set of images, not for each image.
        least_px: images with a shorter side have no value.
        files: the weight files it needs; the first is passed as the option `file_option`.
        file_option: "" where the library finds the file by its name.
    """

    name: str
    engine_name: str
    pinned: str
    needs_gt: bool
    rounded: bool
    least_px: int
    options: Mapping[str, str | int | bool] = field(default_factory=dict)
    of_a_set: bool = False
    files: tuple[WeightFile, ...] = ()
    file_option: str = ""


def compared(a: Tensor, b: Tensor, *, quantise: bool, y_channel: bool, crop_border: int) -> tuple[Tensor, Tensor]:
    """
    Return both images in the form in which they are compared.

    Args:
        a: (B, 3, H, W), RGB in 0..1.
        b: the same shape.
        quantise: clip, and round to 256 steps first, as if both had been saved.
        y_channel: compare the luma alone (BT.601, not rounded).
        crop_border: pixels removed on each side.

    Returns:
        Two (B, C, h, w) float64.

    Raises:
        ValueError: the shapes differ, are not (B, 3, H, W), or the border leaves no pixels.
    """
    if a.shape != b.shape or a.dim() != 4 or a.shape[1] != 3:
        raise ValueError(f"expected (B, 3, H, W) twice, not {tuple(a.shape)} and {tuple(b.shape)}")
    if crop_border < 0 or 2 * crop_border >= min(a.shape[2:]):
        raise ValueError(f"a border of {crop_border} leaves nothing of {a.shape[2]}x{a.shape[3]}")
    first, second = (_prepared(x, quantise, y_channel, crop_border) for x in (a, b))
    return first, second


def rounded(x: Tensor) -> Tensor:
    """Return the image clipped to 0..1 and rounded to 256 steps, as if it had been saved."""
    return (x.clamp(0, 1) * 255).round() / 255


def _prepared(x: Tensor, quantise: bool, y_channel: bool, crop_border: int) -> Tensor:
    x = x.detach().double()
    if crop_border:
        x = x[:, :, crop_border:-crop_border, crop_border:-crop_border]
    if quantise:
        x = rounded(x)
    if y_channel:
        weights = torch.tensor(Y_WEIGHTS, dtype=x.dtype, device=x.device)
        x = ((x * weights[:, None, None]).sum(1, keepdim=True) + 16) / 255
    return x


MOST_DB = 100.0
"""The PSNR in dB used in means for an image that equals its GT, whose PSNR is infinite."""


def mean_db(psnr: float) -> float | None:
    """
    Return a PSNR as it is averaged: infinity, of equal images, as 100 dB; None for what is no number.

    >>> mean_db(31.5), mean_db(math.inf), mean_db(math.nan)
    (31.5, 100.0, None)
    """
    # Not min(MOST_DB, psnr), which is 100 for NaN.
    return min(psnr, MOST_DB) if psnr > -math.inf else None


def finite_images(x: Tensor) -> list[bool]:
    """Return for each image of (B, C, H, W), before it is clipped, whether all its values are finite."""
    found: list[bool] = torch.isfinite(x).flatten(1).all(1).tolist()
    return found
