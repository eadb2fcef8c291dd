"""Noise added to the finished image: Gaussian, Poisson, salt and pepper."""

from __future__ import annotations

import math
from functools import lru_cache, partial

import cv2
import numpy as np
from numpy.typing import NDArray

from uirdata.degradations.base import Choice, Degradation, NamedOperation, Uniform, one_step_level
from uirdata.images import RgbImage, to_uint8

_BUCKETS_LOG2 = 10


def gaussian_noise(image: RgbImage, rng: np.random.Generator, *, sigma: float, correlation: float = 0.0) -> RgbImage:
    """
    Add white Gaussian noise and round.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: H * W * 3 normal numbers are drawn, and H * W more unless `correlation` is 0 (only those if it is 1).
        sigma: standard deviation, grey levels.
        correlation: of the noise of two channels in a pixel, 0 to 1. 0 is colour noise, 1 is gray noise.
    """
    if sigma < 0 or not 0 <= correlation <= 1:
        raise ValueError("expected sigma >= 0 and a correlation from 0 to 1")
    height, width = image.shape[:2]
    noise = np.zeros((height, width, 1), dtype=np.float32)
    if correlation < 1:
        own = rng.standard_normal(image.shape, dtype=np.float32)
        own *= np.float32(sigma * math.sqrt(1 - correlation))
        noise = noise + own
    if correlation > 0:
        shared = rng.standard_normal((height, width, 1), dtype=np.float32)
        noise = noise + shared * np.float32(sigma * math.sqrt(correlation))
    return to_uint8(image + noise)


def poisson_noise(image: RgbImage, rng: np.random.Generator, *, scale: float, gray: bool = False) -> RgbImage:
    """
    Add Poisson noise of one photon per grey level, scaled: v + scale * (P(v) - v), with P(v) Poisson of mean v.

    The variance is scale^2 * v (grey levels). This is the Poisson noise of Wang et al., "Real-ESRGAN" (2021), section
    3.2, whose code counts 256 photons at white where this counts 255.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: one 32-bit integer per value (per pixel if `gray`) is drawn.
        scale: 0.05 to 3 in Real-ESRGAN.
        gray: the same noise for all channels, that of the pixel's luma (BT.601).
    """
    if gray:
        luma = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        noise = _poisson_counts(luma, 1.0, rng).astype(np.float32) - luma
        return to_uint8(image + np.float32(scale) * noise[:, :, None])
    values = image.astype(np.float32)
    noise = _poisson_counts(image, 1.0, rng) - values
    return to_uint8(values + np.float32(scale) * noise)


def photon_noise(image: RgbImage, rng: np.random.Generator, *, peak: float) -> RgbImage:
    """
    Replace values by photon counts: P(v * peak / 255) * 255 / peak, with P Poisson.

    The variance is v * 255 / peak (grey levels). `peak` is the mean count at white, the usual parameter of photon-
    limited imaging (Makitalo and Foi, "Optimal inversion of the Anscombe transformation in low-count Poisson image
    denoising", 2011).
    """
    if not 0 < peak <= 255:
        raise ValueError("expected a peak above 0 and up to 255 photons")
    counts = _poisson_counts(image, peak / 255, rng)
    return to_uint8(counts.astype(np.float32) * np.float32(255 / peak))


def salt_and_pepper(
    image: RgbImage, rng: np.random.Generator, *, density: float, salt: float = 0.5, per_channel: bool = False
) -> RgbImage:
    """
    Replace random pixels by white or black.

    Args:
        image: (H, W, 3) RGB uint8.
        rng: one uniform number per pixel (per value if `per_channel`) is drawn.
        density: share of replaced pixels, 0 to 1.
        salt: share of white among them, 0 to 1.
        per_channel: replace each channel separately, which gives coloured specks.
    """
    if not (0 <= density <= 1 and 0 <= salt <= 1):
        raise ValueError("expected density and salt from 0 to 1")
    shape = image.shape if per_channel else (*image.shape[:2], 1)
    draw = rng.random(shape, dtype=np.float32)
    whitened = np.where(draw < density * salt, np.uint8(255), image)
    return np.where((draw >= density * salt) & (draw < density), np.uint8(0), whitened)


def _poisson_counts(levels: RgbImage, photons_per_level: float, rng: np.random.Generator) -> NDArray[np.int32]:
    """
    Return a Poisson number for every grey level of an image, by inversion of the distribution with 32 random bits.

    There are only 256 different means in an 8-bit image, so their distributions are tabulated: five times as fast as
    drawing each number on its own, and exact down to probabilities of 2^-32.
    """
    cumulative, guide = _poisson_tables(photons_per_level)
    draw = rng.integers(0, 2**32, levels.shape, dtype=np.uint32)
    bucket = (levels.astype(np.int32) << _BUCKETS_LOG2) | (draw >> (32 - _BUCKETS_LOG2)).astype(np.int32)
    counts = guide.ravel()[bucket]
    # The guide has the smallest count of the bucket; the few draws above it are advanced further.
    flat_counts, flat_draw = counts.ravel(), draw.ravel()
    row = levels.astype(np.int32).ravel() * cumulative.shape[1]
    table = cumulative.ravel()
    walking = np.flatnonzero(table[row + flat_counts] <= flat_draw)
    while walking.size:
        flat_counts[walking] += 1
        walking = walking[table[row[walking] + flat_counts[walking]] <= flat_draw[walking]]
    return np.asarray(counts)


@lru_cache(maxsize=4)
def _poisson_tables(photons_per_level: float) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """Return, per grey level, P(count <= k) in units of 2^-32, and the smallest count of each of 1,024 buckets."""
    means = np.arange(256) * photons_per_level
    largest = means[-1]
    counts = np.arange(int(largest + 8 * math.sqrt(largest) + 20))
    log_factorial = np.array([math.lgamma(count + 1.0) for count in counts])
    # Level 0 has mean 0: its count is 0 with certainty.
    log_mean = np.log(np.maximum(means, 1e-300))[:, None]
    density = np.exp(counts * log_mean - means[:, None] - log_factorial)
    units = np.minimum(np.rint(np.cumsum(density, axis=1) * 2.0**32), 2**32 - 1).astype(np.uint64)
    units[0] = 2**32 - 1
    cumulative = units.astype(np.uint32)
    # The largest draw is 2^32 - 1; the last count of each row represents all counts above it.
    edges = np.arange(2**_BUCKETS_LOG2, dtype=np.uint64) << np.uint64(32 - _BUCKETS_LOG2)
    guide = np.stack([np.searchsorted(row, edges, side="right") for row in units]).astype(np.int32)
    return cumulative, guide


_GAUSSIAN = NamedOperation("gaussian-noise", gaussian_noise)
_POISSON = NamedOperation("poisson-noise", poisson_noise)
_PHOTON = NamedOperation("photon-noise", photon_noise)
_SALT_AND_PEPPER = NamedOperation("salt-and-pepper", salt_and_pepper)
_gaussian_level = partial(one_step_level, _GAUSSIAN.name)
_poisson_level = partial(one_step_level, _POISSON.name)
_photon_level = partial(one_step_level, _PHOTON.name)
_salt_level = partial(one_step_level, _SALT_AND_PEPPER.name)

DEGRADATION = Degradation(
    name="noise",
    abbreviation="GN",
    kind="single",
    paper_pairs=531_816,
    operations=(_GAUSSIAN, _POISSON, _PHOTON, _SALT_AND_PEPPER),
    levels=(
        *(
            _gaussian_level(f"gaussian-{sigma}", sigma=float(sigma))
            for sigma in (5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 75, 100)
        ),
        _gaussian_level("gaussian-choice", "the five-degradation setting", sigma=Choice((15.0, 25.0, 50.0))),
        _gaussian_level("gaussian-blind", "the ten-degradation setting of DCPT", sigma=Uniform(1.0, 50.0)),
        *(_gaussian_level(f"gaussian-gray-{sigma}", sigma=float(sigma), correlation=1.0) for sigma in (15, 25, 50)),
        *(_gaussian_level(f"gaussian-correlated-{sigma}", sigma=float(sigma), correlation=0.5) for sigma in (25, 50)),
        *(
            _poisson_level(f"poisson-{scale:.1f}".replace(".", "p"), scale=scale)
            for scale in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
        ),
        _poisson_level("poisson-gray-2p0", scale=2.0, gray=True),
        _poisson_level(
            "poisson-blind",
            "Real-ESRGAN, first order",
            scale=Uniform(0.05, 3.0),
            gray=Choice((False, True), (0.6, 0.4)),
        ),
        *(_photon_level(f"photons-{peak}", peak=float(peak)) for peak in (5, 10, 30, 60, 120)),
        *(_salt_level(f"salt-pepper-{percent}", density=percent / 100) for percent in (1, 2, 5, 10, 20, 30, 50)),
        _salt_level("salt-5", density=0.05, salt=1.0),
        _salt_level("pepper-5", density=0.05, salt=0.0),
        _salt_level("salt-pepper-colour-5", density=0.05, per_channel=True),
    ),
)
