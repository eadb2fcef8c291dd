"""The result of an evaluation: a row for each image, and means over degradations and test sets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from maskdcpt.config.train_config import WeightKind
from maskdcpt.evaluation.significance import confidence_interval

LARGEST_SCORE = 1e6
"""Larger values in a file of others are no scores, whatever the metric."""


@dataclass(frozen=True)
class Protocol:
    """
    How images are restored and compared.

    >>> from maskdcpt import evaluate
    >>> evaluate(checkpoint, shards, protocol=Protocol(y_channel=True, limit=1)).mean.images
    3

    Attributes:
        weights: params_ema or params of the checkpoint.
        quantise: round LQs and outputs to 256 levels first, as if they had been saved; the published files do not.
        y_channel: compare the luma alone (BT.601, 16..235).
        crop_border: pixels removed on each side.
        tile_px: restore larger images in tiles of this side; 0 restores them whole, as published.
        limit: images of each degradation or test set; 0 takes all.
        learned: names of the learned metrics.
        swapped_mosaic: red and blue of mosaics are exchanged, as in the published test.
    """

    weights: WeightKind = "params_ema"
    quantise: bool = False
    y_channel: bool = False
    crop_border: int = 0
    tile_px: int = 0
    limit: int = 0
    learned: tuple[str, ...] = ()
    swapped_mosaic: bool = False


@dataclass(frozen=True)
class ImageScore:
    """
    One image.

    Attributes:
        key: of the sample.
        degradation: of the sample.
        level: of the sample.
        source: of the sample.
        height: in pixels.
        width: in pixels.
        psnr: of the restored image, in dB; 100 where it equals its GT. None where the checkpoint does not restore, or
            there is no GT.
        ssim: of the restored image; None where it does not restore, there is no GT, or it is smaller than the window.
        lq_psnr: of the LQ itself; None without a GT.
        lq_ssim: of the LQ itself.
        named: the class that the classifier returned; "" where there is no classifier.
        test_set: name of the test set; "" for samples of shards.
        scene: name of the scene.
        learned: learned metrics by name; those of the LQ begin with "lq_".
        broken: what is NaN or infinite, and has no score therefore: "output", of the network; "class", of the
            classifier; or names of metrics. "" for nothing.
    """

    key: str
    degradation: str
    level: str
    source: str
    height: int
    width: int
    psnr: float | None
    ssim: float | None
    lq_psnr: float | None
    lq_ssim: float | None
    named: str
    test_set: str = ""
    scene: str = ""
    learned: Mapping[str, float | None] = field(default_factory=dict)
    broken: str = ""

    def is_broken(self, metric: str) -> bool:
        """Return whether a metric, or accuracy, has no value because something is NaN or infinite."""
        what = self.broken.split(", ")
        of_output = not metric.startswith("lq_") and metric != "accuracy"
        return metric in what or (of_output and "output" in what) or (metric == "accuracy" and "class" in what)

    def value(self, metric: str) -> float | None:
        """Return a score by name, such as psnr, lq_ssim or lpips."""
        if metric in ("psnr", "ssim", "lq_psnr", "lq_ssim"):
            found: float | None = getattr(self, metric)
            return found
        return self.learned.get(metric)

    def flat(self) -> dict[str, Any]:
        """Return the row of a table, with a column for each learned metric."""
        row = asdict(self)
        row.update(row.pop("learned"))
        return row


@dataclass(frozen=True)
class Means:
    """
    Means over the images of one degradation or test set, or over several of those.

    Attributes:
        name: of the degradation or test set; "mean" for the mean over them.
        images: how many the means are over.
        psnr: of the restored images, in dB.
        lq_psnr: of the LQ, in dB.
        ssim: of the restored images.
        lq_ssim: of the LQ.
        accuracy: share of images that the classifier classifies correctly, 0 to 1.
        degradation: of the images; "" where there are several.
        learned: learned metrics by name, including those of sets; those of the LQ begin with "lq_".
        intervals: 95 % intervals of the restored images' means, by metric.
        expected: number of images as published; 0 where it is not known.
        contamination: what is known of its scenes in the training data.
        broken: how many images have outputs or scores that are NaN or infinite. Without `Setting.skip_broken` the means
            that they belong to are None; with it they are over the other images, which `images` counts.
        fewer: how many images a mean is over, for metrics that not all of the images have a value of, such as SSIM of
            images that are smaller than its window.
    """

    name: str
    images: int
    psnr: float | None
    lq_psnr: float | None
    ssim: float | None
    lq_ssim: float | None
    accuracy: float | None
    degradation: str = ""
    learned: Mapping[str, float | None] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    expected: int = 0
    contamination: tuple[str, ...] = ()
    broken: int = 0
    fewer: Mapping[str, int] = field(default_factory=dict)

    @property
    def gain(self) -> float | None:
        """The gain in PSNR over the LQ, in dB."""
        return None if self.psnr is None or self.lq_psnr is None else self.psnr - self.lq_psnr

    def value(self, metric: str) -> float | None:
        """Return a mean by name, such as psnr, lq_ssim or lpips."""
        if metric in ("psnr", "ssim", "lq_psnr", "lq_ssim", "accuracy"):
            found: float | None = getattr(self, metric)
            return found
        return self.learned.get(metric)


@dataclass(frozen=True)
class CellMeans:
    """
    A cell of a table of the paper.

    Attributes:
        table: its number.
        name: the table's columns begin with it.
        sets: the test sets whose mean it is.
        missing: those that do not exist below the root; then the cell is not comparable with the paper's.
        values: by metric, the mean of the sets.
        pooled: by metric, the mean over all images of the sets.
        note: what the paper does not state.
    """

    table: int
    name: str
    sets: tuple[str, ...]
    missing: tuple[str, ...]
    values: Mapping[str, float]
    pooled: Mapping[str, float]
    note: str


@dataclass(frozen=True)
class EvalReport:
    """
    The result of an evaluation.

    >>> from maskdcpt import evaluate
    >>> report = evaluate(checkpoint, shards)
    >>> [means.name for means in report.by_degradation], len(report.images)
    (['gaussian-blur', 'low-light', 'noise'], 6)

    Attributes:
        checkpoint: the file.
        shards: the folder; for a bench the root.
        split: that was evaluated; "" for a bench.
        protocol: of restoration and metrics.
        class_names: of the classifier.
        images: a row per image, in the order of the shards.
        by_degradation: means within each degradation, in the order of the shards.
        mean: over degradations; for a bench over test sets.
        unreadable: samples that could not be read, with the reason.
        bench: name of it; "" for shards.
        by_set: means within each test set of a bench.
        cells: of the paper's table.
        missing: test sets without images below the root, with the reason.
        training: what the checkpoint was trained on, in sentences.
        engine: of the learned metrics, with its release; "" for none.
        variants: of the learned metrics, as they are pinned.
        digests: sha256 of the weights of learned metrics, and of the checkpoint.
        backbone: of the checkpoint.
        broken: what is NaN or infinite, by the key of the image, or the name of the group for metrics of sets.
    """

    checkpoint: str
    shards: str
    split: str
    protocol: Protocol
    class_names: tuple[str, ...]
    images: tuple[ImageScore, ...]
    by_degradation: tuple[Means, ...]
    mean: Means
    unreadable: Mapping[str, str]
    bench: str = ""
    by_set: tuple[Means, ...] = ()
    cells: tuple[CellMeans, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    training: tuple[str, ...] = ()
    engine: str = ""
    variants: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    backbone: str = ""
    broken: Mapping[str, str] = field(default_factory=dict)

    @property
    def groups(self) -> tuple[Means, ...]:
        """The groups that are shown, one per line: test sets of a bench, degradations of shards."""
        return self.by_set or self.by_degradation

    def confusion(self) -> dict[str, dict[str, int]]:
        """Return for each true degradation how many images were classified as each class."""
        counts: dict[str, dict[str, int]] = {}
        for image in self.images:
            if image.named:
                row = counts.setdefault(image.degradation, dict.fromkeys(self.class_names, 0))
                row[image.named] += 1
        return counts

    def to_document(self) -> dict[str, Any]:
        """Return plain values, without the rows of the images."""
        document = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "images"}
        document |= {
            "protocol": asdict(self.protocol),
            "by_degradation": [asdict(means) for means in self.by_degradation],
            "by_set": [asdict(means) for means in self.by_set],
            "cells": [asdict(cell) for cell in self.cells],
            "mean": asdict(self.mean),
            "confusion": self.confusion(),
        }
        return document


_ALWAYS = ("psnr", "ssim", "lq_psnr", "lq_ssim")


def means_of(images: Iterable[ImageScore], name: str, *, intervals: bool = True, skip_broken: bool = False) -> Means:
    """
    Average the rows of one degradation or test set.

    Args:
        images: the rows.
        name: of the degradation or test set.
        intervals: compute their 95 % intervals too.
        skip_broken: leave out images with outputs or scores that are not finite. Otherwise the means of what is not
            finite are None: a mean over the other images alone would be that of another set.
    """
    rows = list(images)
    broken = sum(bool(row.broken) for row in rows)
    if skip_broken:
        rows = [row for row in rows if not row.broken]

    def mean(metric: str, values: Iterable[float | None]) -> float | None:
        return None if any(row.is_broken(metric) for row in rows) else mean_of(values)

    def mean_value(metric: str) -> float | None:
        return mean(metric, (row.value(metric) for row in rows))

    named = [(row.degradation, row.named) for row in rows if row.named]
    learned = list(dict.fromkeys(metric for row in rows for metric in row.learned))
    found: dict[str, tuple[float, float]] = {}
    for metric in ("psnr", "ssim", *(name for name in learned if not name.startswith("lq_"))):
        known = [(value, row.scene) for row in rows if (value := row.value(metric)) is not None]
        wanted = known and intervals and not any(row.is_broken(metric) for row in rows)
        interval = confidence_interval([v for v, _ in known], [s for _, s in known]) if wanted else None
        if interval is not None:
            found[metric] = interval
    degradations = {row.degradation for row in rows}
    counts = {metric: sum(row.value(metric) is not None for row in rows) for metric in (*_ALWAYS, *learned)}
    return Means(
        name=name,
        images=len(rows),
        psnr=mean_value("psnr"),
        lq_psnr=mean_value("lq_psnr"),
        ssim=mean_value("ssim"),
        lq_ssim=mean_value("lq_ssim"),
        accuracy=mean("accuracy", (float(truth in class_name.split("+")) for truth, class_name in named)),
        degradation=degradations.pop() if len(degradations) == 1 else "",
        learned={metric: mean_value(metric) for metric in learned},
        intervals=found,
        broken=broken,
        fewer={m: count for m, count in counts.items() if 0 < count < len(rows) and mean_value(m) is not None},
    )


def mean_of_means(parts: Sequence[Means]) -> Means:
    """Average means, each with the same weight however many images it has; None where one is refused."""

    def over(value: Callable[[Means], float | None]) -> float | None:
        if any(part.broken and value(part) is None for part in parts):
            return None
        return mean_of(value(part) for part in parts)

    learned = list(dict.fromkeys(metric for part in parts for metric in part.learned))
    return Means(
        name="mean",
        images=sum(part.images for part in parts),
        psnr=over(lambda part: part.psnr),
        lq_psnr=over(lambda part: part.lq_psnr),
        ssim=over(lambda part: part.ssim),
        lq_ssim=over(lambda part: part.lq_ssim),
        accuracy=over(lambda part: part.accuracy),
        learned={metric: over(lambda part, metric=metric: part.learned.get(metric)) for metric in learned},  # type: ignore[misc]
        broken=sum(part.broken for part in parts),
        fewer={
            metric: sum(part.fewer.get(metric, part.images) for part in parts)
            for metric in dict.fromkeys(metric for part in parts for metric in part.fewer)
        },
    )


def mean_of(values: Iterable[float | None]) -> float | None:
    """Return the mean of the finite values; None where there are none."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return math.fsum(known) / len(known) if known else None
