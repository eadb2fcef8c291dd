"""Estimates of the size of shards in each codec, lazy or with every LQ, from a plan and measured images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from uirdata.images import CODECS, Codec
from uirdata.planning import GroupKey, PlannedSample
from uirdata.sources import Source
from uirdata.subsets import Subset

_SHARES: Mapping[Codec, Mapping[str, float]] = {
    "webp": {
        "": 0.479,
        "noise": 0.787,
        "real-noise": 0.697,
        "motion-blur": 0.335,
        "defocus-blur": 0.319,
        "gaussian-blur": 0.328,
        "jpeg": 0.298,
        "haze": 0.433,
        "rain-streak": 0.534,
        "raindrop": 0.486,
        "rain-streak-raindrop": 0.514,
        "snow": 0.515,
        "mosaic": 0.646,
        "low-light": 0.427,
        "moire": 0.687,
        "blur-jpeg": 0.228,
        "blur-rain": 0.401,
        "low-light-blur-noise": 0.470,
        "low-light-haze-rain-snow": 0.462,
        "downsample-noise-blur-jpeg": 0.290,
    },
    "png": {
        "": 0.618,
        "noise": 0.900,
        "real-noise": 0.796,
        "motion-blur": 0.470,
        "defocus-blur": 0.450,
        "gaussian-blur": 0.463,
        "jpeg": 0.468,
        "haze": 0.562,
        "rain-streak": 0.679,
        "raindrop": 0.627,
        "rain-streak-raindrop": 0.654,
        "snow": 0.669,
        "mosaic": 0.677,
        "low-light": 0.518,
        "moire": 0.719,
        "blur-jpeg": 0.359,
        "blur-rain": 0.539,
        "low-light-blur-noise": 0.552,
        "low-light-haze-rain-snow": 0.590,
        "downsample-noise-blur-jpeg": 0.457,
    },
}
"""Bytes of an encoded image as a share of its raw RGB bytes, GT under ""; measured by benchmarks/codec_sizes.py."""

_RAW_BYTES = 3
# The crops of a source that has not been fetched are unknown; those of the paper's data set have this many pixels.
_CROP_PIXELS = 512 * 512


@dataclass
class Amount:
    """
    Numbers of pixels of one degradation.

    Attributes:
        lq: pixels of published LQ, which lazy shards hold, too.
        made: pixels of generated LQ.
        gt: pixels of the GT, one for each sample.
        gt_once: pixels of the GT in lazy shards: one for all LQ that are made of it.
    """

    lq: int = 0
    made: int = 0
    gt: int = 0
    gt_once: int = 0


class Sizes:
    """Sums of the pixels of a plan, and the bytes that they take."""

    def __init__(self) -> None:
        self._amounts: dict[str, Amount] = {}
        self._last: tuple[object, ...] = ()

    def add(self, sample: PlannedSample) -> None:
        """Add a sample; samples of one crop must come one after another."""
        crop = (sample.group, sample.crop)
        self._add(sample.degradation, sample.height * sample.width, made=sample.made, again=crop == self._last)
        self._last = crop

    def add_expected(self, subset: Subset, source: Source, expected: Iterable[tuple[GroupKey, int | None]]) -> None:
        """Add the result of `expected_samples` for a source that has not been fetched, as crops of 512 x 512 pixels."""
        per_image = {GroupKey(use.split, use.degradation, use.source): use.per_image for use in subset.uses}
        published = {kind for (_, kind, _), number in source.published().items() if number}
        for group, number in expected:
            made = group.degradation not in published
            each = per_image[group] if made else 1
            amount = self._amounts.setdefault(group.degradation, Amount())
            pixels = (number or 0) * _CROP_PIXELS
            amount.gt += pixels
            amount.gt_once += pixels // each
            amount.made += pixels if made else 0
            amount.lq += 0 if made else pixels

    def bytes(self, codec: Codec, *, lazy: bool) -> int:
        """Return the estimated bytes of all shards."""
        share = _SHARES[codec]
        total = 0.0
        for kind, amount in self._amounts.items():
            gt, lq = (amount.gt_once, amount.lq) if lazy else (amount.gt, amount.lq + amount.made)
            total += gt * share[""] + lq * share.get(kind, share[""])
        return int(total * _RAW_BYTES)

    def lazily(self) -> dict[Codec, tuple[int, int]]:
        """Return for each codec the bytes of shards with every LQ, and of lazy shards."""
        return {codec: (self.bytes(codec, lazy=False), self.bytes(codec, lazy=True)) for codec in CODECS}

    def _add(self, degradation: str, pixels: int, *, made: bool, again: bool) -> None:
        amount = self._amounts.setdefault(degradation, Amount())
        amount.gt += pixels
        amount.gt_once += 0 if made and again else pixels
        amount.made += pixels if made else 0
        amount.lq += 0 if made else pixels
