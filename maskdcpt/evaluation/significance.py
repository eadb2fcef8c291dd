"""Confidence intervals and tests of two runs, by resampling of per-image scores; no distribution is assumed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uirdata.seeding import rng_for

RESAMPLES = 2_000
CONFIDENCE = 0.95
EXACT_UP_TO = 14
"""Up to this many groups all sign flips are computed, 16,384 at most; for more, random ones."""

FLIPS = 20_000

Floats = NDArray[np.float64]


def confidence_interval(values: Sequence[float], groups: Sequence[str]) -> tuple[float, float] | None:
    """
    Return the 95 % interval of a mean by bootstrap (Efron's percentiles).

    Images of one scene, such as frames of a video, are not independent; so whole scenes are drawn, not images.

    Args:
        values: one value per image.
        groups: the scene of each image.

    Returns:
        None where there are fewer than two scenes.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    _check_finite(values)
    sums, counts = _grouped(values, groups)
    if len(sums) < 2:
        return None
    rng = rng_for(0, "interval", "bootstrap")
    means = []
    for _ in range(RESAMPLES // 100):
        drawn = rng.integers(len(sums), size=(100, len(sums)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    outside = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(means), [outside, 100 - outside])
    return float(low), float(high)


@dataclass(frozen=True)
class PairedTest:
    """
    The result of a paired test of two runs on the same images.

    Attributes:
        images: number of images that both have.
        scenes: number of scenes of these images.
        difference: mean of second minus first.
        interval: its 95 % interval; None where there are fewer than two scenes.
        wins: share of images where the second is larger; ties count half.
        p_mean: probability of a mean this far from zero if the two did not differ: signs flipped scene by scene.
        p_ranks: the same for Wilcoxon's signed ranks, which a few images with large differences cannot dominate.
    """

    images: int
    scenes: int
    difference: float
    interval: tuple[float, float] | None
    wins: float
    p_mean: float
    p_ranks: float


def paired_test(first: Sequence[float], second: Sequence[float], groups: Sequence[str]) -> PairedTest:
    """
    Compare two runs image by image.

    Both p values come from sign flips: all of them where there are few scenes, else 20,000 random ones, for which the
    smallest p is 1/20,001.

    Args:
        first: a score for each image.
        second: the same images, in the same order.
        groups: the scene of each image; a scene is flipped as a whole.

    Raises:
        ValueError: the lengths differ, there is nothing to compare, or a value is NaN or infinite.
    """
    if not len(first) == len(second) == len(groups) or not first:
        raise ValueError(f"cannot pair {len(first)}, {len(second)} and {len(groups)} values")
    _check_finite([*first, *second])
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    sums, _ = _grouped(differences.tolist(), groups)
    ranks, _ = _grouped(_signed_ranks(differences).tolist(), groups)
    return PairedTest(
        images=len(differences),
        scenes=len(sums),
        difference=float(differences.mean()),
        interval=confidence_interval(differences.tolist(), groups),
        wins=float(((differences > 0) + 0.5 * (differences == 0)).mean()),
        p_mean=sign_flip_p(sums),
        p_ranks=sign_flip_p(ranks),
    )


def sign_flip_p(values: Floats) -> float:
    """
    Return the two-sided p of a sum under flips of its terms' signs.

    >>> sign_flip_p(np.array([1.0, 2.0, 3.0]))
    0.25
    """
    observed = abs(values.sum()) - 1e-9 * np.abs(values).sum()
    if len(values) <= EXACT_UP_TO:
        signs = 1 - 2 * (np.arange(2 ** len(values))[:, None] >> np.arange(len(values)) & 1)
        return float((np.abs(signs @ values) >= observed).mean())
    rng = rng_for(0, "paired test", "sign flips")
    beyond = sum(
        int((np.abs((1 - 2 * rng.integers(2, size=(500, len(values)))) @ values) >= observed).sum())
        for _ in range(FLIPS // 500)
    )
    # The observed signs are one of the flips, so no p is zero.
    return (beyond + 1) / (FLIPS + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """
    Return p values adjusted for several tests (Holm, 1979).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def _signed_ranks(differences: Floats) -> Floats:
    """Return signed ranks by size; equal sizes share the mean rank, zeros have rank 0 (Wilcoxon, 1945)."""
    sizes = np.abs(differences)
    kept = sizes > 0
    _, inverse, counts = np.unique(sizes[kept], return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = np.zeros_like(sizes)
    ranks[kept] = ((ends - counts + 1 + ends) / 2)[inverse]
    return np.sign(differences) * ranks


def _grouped(values: Sequence[float], groups: Sequence[str]) -> tuple[Floats, Floats]:
    """Return the sum and the number of the values of each group."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for value, group in zip(values, groups, strict=True):
        sums[group] = math.fsum((sums.get(group, 0.0), value))
        counts[group] = counts.get(group, 0) + 1
    return np.array(list(sums.values())), np.array(list(counts.values()), dtype=np.float64)


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """
    Return the 95 % interval of a mean of few values by Student's t, such as results over seeds.

    >>> [round(bound, 3) for bound in mean_interval([0.3, 0.4, 0.5])]
    [0.152, 0.648]

    Returns:
        None for fewer than two values.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    _check_finite(values)
    count = len(values)
    if count < 2:
        return None
    mean = math.fsum(values) / count
    error = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1) / count)
    reach = _student_t(count - 1) * error
    return mean - reach, mean + reach


def _check_finite(values: Sequence[float]) -> None:
    broken = sum(not math.isfinite(value) for value in values)
    if broken:
        raise ValueError(f"{broken} of {len(values)} values are NaN or infinite; leave these images out by name")


_FEW = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)
"""Student's t at 97.5 % for 1 to 10 degrees of freedom."""


def _student_t(freedom: int) -> float:
    if freedom <= len(_FEW):
        return _FEW[freedom - 1]
    # Fisher's expansion around the normal distribution; accurate to three digits here.
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
