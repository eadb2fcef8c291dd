"""What an evaluation gives: a row for each image, and means that say over what they were taken."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Protocol:
    """
    How images are restored and compared.

    Attributes:
        weights: params_ema or params of the checkpoint.
        quantise: round outputs to 256 levels first, as if they had been saved; the published files do not.
        y_channel: compare the luma alone (BT.601, 16..235).
        crop_border: pixels left out on each side.
        tile_px: restore in tiles of this side where an image is larger; 0 takes it whole, as published.
        limit: images of each degradation; 0 takes all.
    """

    weights: str = "params_ema"
    quantise: bool = False
    y_channel: bool = False
    crop_border: int = 0
    tile_px: int = 0
    limit: int = 0


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
        psnr: of the restored image, in dB; 100 where it equals its GT. None where the checkpoint does not restore.
        ssim: of the restored image; None where it does not restore, or is smaller than SSIM's window.
        lq_psnr: of the LQ itself.
        lq_ssim: of the LQ itself.
        named: the class that the classifier gave; "" where there is no classifier.
    """

    key: str
    degradation: str
    level: str
    source: str
    height: int
    width: int
    psnr: float | None
    ssim: float | None
    lq_psnr: float
    lq_ssim: float | None
    named: str


@dataclass(frozen=True)
class Means:
    """
    Means over the images of one degradation, or over degradations.

    Attributes:
        name: of the degradation; "mean" for the mean over degradations.
        images: how many.
        psnr: restored, in dB.
        lq_psnr: given, in dB.
        ssim: restored.
        lq_ssim: given.
        accuracy: share that the classifier named rightly.
    """

    name: str
    images: int
    psnr: float | None
    lq_psnr: float
    ssim: float | None
    lq_ssim: float | None
    accuracy: float | None

    @property
    def gain(self) -> float | None:
        """PSNR that restoration brought, in dB."""
        return None if self.psnr is None else self.psnr - self.lq_psnr


@dataclass(frozen=True)
class EvalReport:
    """
    What came of an evaluation.

    Attributes:
        checkpoint: the file.
        shards: the folder.
        split: that was judged.
        protocol: how.
        class_names: what the classifier may answer.
        images: a row an image, in the order of the shards.
        by_degradation: means within each degradation, in the order in which they lie in the shards.
        mean: over degradations.
        unreadable: samples that could not be read, with the reason.
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

    def confusion(self) -> dict[str, dict[str, int]]:
        """Count for each true degradation which class was named."""
        counts: dict[str, dict[str, int]] = {}
        for image in self.images:
            if image.named:
                row = counts.setdefault(image.degradation, dict.fromkeys(self.class_names, 0))
                row[image.named] += 1
        return counts

    def to_document(self) -> dict[str, Any]:
        """Give plain values, without the rows of the images."""
        document = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "images"}
        document |= {
            "protocol": asdict(self.protocol),
            "by_degradation": [asdict(means) for means in self.by_degradation],
            "mean": asdict(self.mean),
            "confusion": self.confusion(),
        }
        return document


def means_of(images: Iterable[ImageScore], name: str) -> Means:
    """Average the rows of one degradation."""
    rows = list(images)
    named = [row.named for row in rows if row.named]
    return Means(
        name=name,
        images=len(rows),
        psnr=mean_of(row.psnr for row in rows),
        lq_psnr=mean_of(row.lq_psnr for row in rows) or 0.0,
        ssim=mean_of(row.ssim for row in rows),
        lq_ssim=mean_of(row.lq_ssim for row in rows),
        accuracy=mean_of(float(name in class_name.split("+")) for class_name in named),
    )


def mean_of(values: Iterable[float | None]) -> float | None:
    """Average what is there; None where nothing is."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None
